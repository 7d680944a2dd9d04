"""The groups of `conf/`, with those of a user's own folder."""

import pytest

from dcnrun.config.groups import EXPERIMENT, GROUPS, SECTIONS, choices, config_dirs
from dcnrun.errors import ConfigError
from dcnrun.resources import resource_dir


def test_the_groups_are_the_folders():
    assert set(GROUPS) == {path.name for path in resource_dir("conf").iterdir() if path.is_dir()}
    assert set(GROUPS) - set(SECTIONS) == {EXPERIMENT}


@pytest.mark.parametrize("group", GROUPS)
def test_a_choice_is_a_file(group):
    assert choices(group) == sorted(path.stem for path in (resource_dir("conf") / group).glob("*.yaml"))


def test_own_choices_stand_among_ours_also_in_folders_of_their_own(tmp_path):
    for name in ("cells", "lab/plates"):
        file = tmp_path / "data" / f"{name}.yaml"
        file.parent.mkdir(exist_ok=True, parents=True)
        file.touch()
    (tmp_path / "data" / "notes.txt").touch()
    assert choices("data", tmp_path) == sorted([*choices("data"), "cells", "lab/plates"])
    assert choices("conv", tmp_path) == choices("conv")
    assert config_dirs(tmp_path) == [resource_dir("conf"), tmp_path]


def test_an_own_folder_is_there_and_hides_nothing_of_ours(tmp_path):
    with pytest.raises(ConfigError, match="there is no such folder"):
        config_dirs(tmp_path / "nowhere")
    for name in ("conv/dilated.yaml", "data/shapes.yaml", "data/mine.yaml"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    with pytest.raises(ConfigError) as refused:
        config_dirs(tmp_path)
    assert [problem.split(" has the name")[0] for problem in refused.value.problems] == [
        str(tmp_path / "conv" / "dilated.yaml"),
        str(tmp_path / "data" / "shapes.yaml"),
    ]
