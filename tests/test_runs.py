"""Run folders: names, damaged files."""

import os
import subprocess
import sys
from pathlib import Path

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


def test_a_run_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").touch()
    for runs_dir, name, why in (
        (tmp_path / "file", "name", "Not a directory"),
        (Path("/proc/none"), "name", "No such file"),
        (tmp_path, "a" * 300, "File name too long"),
    ):
        with pytest.raises(UsageError, match=rf"can't be made: {why}.*Give another runs_dir or name"):
            new_run_folder(runs_dir, name)


def test_a_file_that_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    for path, why in (
        (tmp_path / "file" / "x.json", f"{tmp_path / 'file'} is not a folder"),
        (tmp_path / "file" / "folder" / "x.json", "Not a directory"),
        (Path("/proc/none/x.json"), "No such file"),
    ):
        with pytest.raises(RunError, match=rf"Can't write {path}: {why}") as refused:
            write_json(path, {})
        assert "room" not in str(refused.value), "no disk is full"


def test_text_is_utf8_whatever_the_locale(tmp_path):
    write = "import sys, pathlib, dcnrun.runs; dcnrun.runs.write_text(pathlib.Path(sys.argv[1]), chr(177))"
    posix = {"LC_ALL": "POSIX", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    subprocess.run([sys.executable, "-c", write, tmp_path / "x"], env=os.environ | posix, check=True)
    assert (tmp_path / "x").read_text(encoding="utf-8") == "±"
