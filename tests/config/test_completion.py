import pytest

from dcnrun.config.completion import complete, offers
from dcnrun.config.groups import GROUPS, choices
from dcnrun.config.settings import all_settings


def words(typed, config_dir=None):
    return [override for override, _ in complete(typed, config_dir)]


def in_bash(*line):
    """What bash is offered at the end of a line that it has split into these words."""
    environment = {"COMP_WORDS": "\n".join(line), "COMP_CWORD": str(len(line) - 1)}
    incomplete = "" if line[-1] == "=" else line[-1]  # as Typer passes it on
    return [override for override, _ in offers(incomplete, environment)]


def test_groups_sections_and_lone_settings_first():
    assert words("") == [
        *(f"{group}=" for group in GROUPS),
        *(f"{group}." for group in GROUPS if group != "experiment"),
        *("seed=", "name=", "runs_dir="),
    ]
    assert words("mod") == ["model=", "model."]


def test_settings_of_a_section_after_its_dot():
    assert words("conv.") == [f"{key}=" for key in all_settings() if key.startswith("conv.")]


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("conv=", [f"conv={choice}" for choice in choices("conv")]),
        ("conv=def", ["conv=deformable"]),
        ("conv=standard,dil", ["conv=standard,dilated"]),
        ("logger.csv=t", ["logger.csv=true"]),
        ("optim.schedule=co", ["optim.schedule=constant", "optim.schedule=cosine"]),
        ("optim.lr=", ["optim.lr=0.01"]),
        ("optim.clip_norm=", ["optim.clip_norm=null"]),
        ("data.mean=", ["data.mean=auto"]),
        ("nothing", []),
        ("nothing=", []),
        ("conv.nothing=", []),
    ],
)
def test_what_may_follow(typed, expected):
    assert words(typed) == expected


@pytest.mark.parametrize("typed", ["see", "optim.l", "experiment", "name", "data.mea", "logger.csv", "conv.k"])
def test_a_lone_key_brings_a_second_offer_so_that_no_space_follows_it(typed):
    key, *more = words(typed)
    assert key.endswith("=")
    assert more
    assert all(offer.startswith(key) for offer in more)


def test_every_offer_goes_on_from_what_was_typed_and_says_what_it_is():
    for key in [*all_settings(), *GROUPS]:
        for typed in (key[:1], key[:-1], key, f"{key}="):
            for override, meaning in complete(typed):
                assert override.startswith(typed)
                assert meaning


def test_bash_gets_only_what_it_replaces():
    assert in_bash("dcnrun", "train", "conv", "=", "def") == ["deformable"]
    assert in_bash("dcnrun", "train", "conv", "=") == choices("conv")
    several = ["dcnv3", "dcnv4", "deformable", "dilated"]
    assert in_bash("dcnrun", "train", "seed", "=", "1", "conv", "=", "d") == several
    assert in_bash("dcnrun", "train", "conv=def") == ["conv=deformable"]  # where = splits no words
    assert in_bash("dcnrun", "train", "mod") == ["model=", "model."]
    assert in_bash("dcnrun", "train", "conv", "=", "dilated", "") == words("")


def test_other_shells_get_the_whole_override():
    assert [override for override, _ in offers("conv=def", {})] == ["conv=deformable"]


def test_choices_of_an_own_folder(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "cells.yaml").touch()
    assert words("data=ce", tmp_path) == ["data=cells"]
