"""Run folders: names, damaged files."""

import pytest

from dcnrun.errors import RunError, UsageError
from dcnrun.runs import RunFolder, new_run_folder, write_json


def test_folders_made_in_the_same_second_are_distinct(tmp_path):
    paths = {new_run_folder(tmp_path / "runs", "name").path for _ in range(20)}
    assert len(paths) == 20
    assert all(path.is_dir() for path in paths)


def test_names_stay_inside_the_folder(tmp_path):
    path = new_run_folder(tmp_path, "../../etc/x y").path
    assert path.parent == tmp_path
    assert "/" not in path.name
    assert " " not in path.name


@pytest.mark.parametrize("content", ["", "{", "[1]", "3"])
def test_a_damaged_summary_is_named(tmp_path, content):
    folder = RunFolder(tmp_path)
    folder.summary_file.write_text(content)
    with pytest.raises(RunError, match=r"summary\.json is damaged"):
        folder.read_summary()


def test_a_missing_summary_and_a_folder_of_something_else(tmp_path):
    with pytest.raises(RunError, match=r"summary\.json is missing"):
        RunFolder(tmp_path).read_summary()
    with pytest.raises(UsageError, match=r"has no config\.yaml"):
        RunFolder(tmp_path).require()


def test_json_holds_no_nan(tmp_path):
    write_json(tmp_path / "x.json", {"a": [float("nan"), 1.5], "b": float("inf")})
    assert (tmp_path / "x.json").read_text().split() == ["{", '"a":', "[", "null,", "1.5", "],", '"b":', "null", "}"]
