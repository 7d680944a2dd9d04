"""What of earlier calls is deleted, and what is left and told."""

import pytest

from dcnrun.errors import UsageError
from dcnrun.visualize.outputs import (
    delete_stale_outputs,
    folder_names,
    folders_with_stale_outputs,
    unique_names,
    writable_folder,
)


def write(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("earlier")


def names(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_results_and_pictures_of_the_folders_written_to_are_deleted(tmp_path):
    mine = ("notes.txt", "points.png", "a/photo.png", "a/offsets.txt", "a/sizes.png", "b/points.png")
    write(tmp_path, *mine, "offsets.html", "offsets.npz", "sizes.png", "a/points.png", "a/regions-pool.png")
    delete_stale_outputs([tmp_path], [tmp_path / "a", tmp_path / "missing"])
    assert names(tmp_path) == sorted(mine)


def test_folders_that_hold_results_of_others_are_left_and_told(tmp_path):
    write(
        tmp_path, "a/points.png", "run/offsets.npz", "run/old/masks.png", "old/regions-x.png", "own/photo.png", "file"
    )
    results, written = [tmp_path, tmp_path / "run", tmp_path / "missing"], {tmp_path / "run", tmp_path / "a"}
    assert folders_with_stale_outputs(results, written) == [tmp_path / "old", tmp_path / "run" / "old"]


def test_unique():
    assert unique_names(["a", "b", "a", "a", "a (2)"]) == ["a", "b", "a (2)", "a (3)", "a (2) (2)"]


def test_file_names_are_safe_and_differ():
    assert folder_names(["val_0-1", "é"]) == ["val_0-1", "é"]
    hostile = [
        "",
        "..",
        "../..",
        "/etc",
        "a/b",
        "a b",
        "sizes.png",
        "a" * 300,
        "b" * 60 + "c",
        "b" * 60 + "d",
        "\udcff",
        "\n",
    ]
    found = folder_names(hostile)
    assert len(set(found)) == len(hostile)
    for name in found:
        assert name
        assert len(name.encode()) < 255
        assert not set(name) & set("/.\n \udcff")


def test_a_folder_is_made_and_stays_empty_and_one_that_can_t_be_is_refused(tmp_path):
    folder = writable_folder(tmp_path / "new" / "out")
    assert list(folder.iterdir()) == []
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(UsageError, match=r"--out .*file/out can't be written to"):
        writable_folder(tmp_path / "file" / "out")
