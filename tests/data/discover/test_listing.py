"""The files of a folder are listed, each once, and nothing that could not be read."""

import os

from dcnrun.data.discover import listing
from dcnrun.data.discover.listing import first_files, has_images, list_files


def test_links_in_circles_pipes_and_hidden_files(tmp_path):
    (tmp_path / "below").mkdir()
    (tmp_path / "below/circle").symlink_to(tmp_path)
    (tmp_path / "below/itself").symlink_to("itself")  # which the system refuses to follow
    os.mkfifo(tmp_path / "pipe.json")
    for name in ("below/b.PNG", "a.txt", ".hidden.txt"):
        (tmp_path / name).touch()
    assert list_files(tmp_path) == {"": ["a.txt"], "below": ["b.PNG"]}


def test_of_large_folders_the_first(tmp_path, monkeypatch):
    monkeypatch.setattr(listing, "_MOST_ENTRIES", 3)
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.txt").touch()
    assert list_files(tmp_path) == {"": []}


def test_files_of_a_kind_from_several_folders(monkeypatch):
    monkeypatch.setattr(listing, "MOST_READ", 2)
    assert first_files({"": ["a.txt"], "b": ["1.TXT", "2.txt", "3.txt", "c.png"]}, ".txt") == [
        "a.txt",
        "b/1.TXT",
        "b/2.txt",
    ]
    assert has_images(["a.txt", "c.PNG"])
    assert not has_images(["a.txt"])
