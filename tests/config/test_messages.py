import pytest

from dcnrun.compare.grid import expand
from dcnrun.config.compose import compose
from dcnrun.config.groups import GROUPS
from dcnrun.config.messages import did_you_mean, nearest, unknown_key
from dcnrun.config.schema import SYNONYMS
from dcnrun.config.settings import all_settings
from dcnrun.errors import ConfigError


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("lr", "optim.lr"),
        ("trainer.lr", "optim.lr"),
        ("optimlr", "optim.lr"),
        ("optm.lr", "optim.lr"),
        ("dilatoin", "conv.dilation"),
        ("batchsize", "data.batch_size"),
        ("modle", "model"),
        ("experimnet", "experiment"),
        ("Optim.LR", "optim.lr"),
    ],
)
def test_the_first_suggestion_is_what_was_meant(word, meant):
    assert nearest(word, [*all_settings(), *GROUPS])[0] == meant


@pytest.mark.parametrize(
    ("key", "meant"),
    [
        ("optim.learning_rate", "optim.lr"),
        ("learning_rate", "optim.lr"),
        ("trainer.max_steps", "trainer.steps"),
        ("trainer.max_epochs", "trainer.epochs"),
        ("epochs", "trainer.epochs"),
        ("batch_size", "data.batch_size"),
        ("data.batch", "data.batch_size"),
        ("lr", "optim.lr"),
        ("data.rotate", "data.random_rotation or data.quarter_turns"),
        ("fp16", "trainer.precision"),
        ("dataset", "data or data.root"),
    ],
)
def test_what_a_setting_is_called_elsewhere_finds_its_name_here(key, meant):
    said = f"there is no setting {key}; did you mean {meant}?"
    assert unknown_key(key) == said
    for command in (compose, expand):
        with pytest.raises(ConfigError) as caught:
            command([f"{key}=1"])
        assert caught.value.problems == [f"{key}=1: {said}"]


def test_each_name_from_elsewhere_is_none_of_ours_and_leads_to_one():
    here = {*all_settings(), *GROUPS}
    assert not SYNONYMS.keys() & {name.rpartition(".")[2] for name in here}
    assert here.issuperset(name for names in SYNONYMS.values() for name in names)


def test_a_list_is_written_with_brackets():
    for override, wanted in [("data.classes=a,b", "'data.classes=[a,b]'"), ("optim.step_at=0.5,0.9", "=[0.5,0.9]'")]:
        with pytest.raises(ConfigError, match=r"for one list, write ") as caught:
            compose(["data=folder", override])
        assert wanted in str(caught.value)
    with pytest.raises(ConfigError, match="`dcnrun compare` takes several"):
        compose(["optim.lr=1,2"])


def test_two_swapped_letters_still_find_every_setting():
    for key in all_settings():
        section, dot, last = key.rpartition(".")
        if len(last) < 4:
            continue
        middle = len(last) // 2
        typo = last[: middle - 1] + last[middle] + last[middle - 1] + last[middle + 1 :]
        assert key in nearest(section + dot + typo, all_settings()), typo


def test_nothing_is_suggested_for_a_word_unlike_all_others():
    assert nearest("qqqqqqq", all_settings()) == []
    assert nearest("optim.zzz", all_settings()) == []
    assert nearest("anything", []) == []


def test_the_message_lists_at_most_three():
    assert did_you_mean("abz", ["aba", "abc", "abd", "abe"]).count(" or ") == 2
    assert did_you_mean("qq", ["ab"]) == ""
