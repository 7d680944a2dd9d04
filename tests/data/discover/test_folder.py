"""What a folder is, where it is nothing or several things."""

import os

import pytest

from dcnrun.data.discover.folder import discover
from dcnrun.errors import UsageError
from tests.data.factories import (
    coco_tree,
    folder_tree,
)


def test_what_is_not_there(tmp_path):
    with pytest.raises(UsageError, match=r"absent.json: there is no such folder or file"):
        discover(tmp_path / "absent.json")


def test_several_readings(tmp_path):
    coco_tree(tmp_path)
    folder_tree(tmp_path)
    assert [reading.format for reading in discover(tmp_path)] == ["COCO", "folders of images and masks"]


def test_nothing_to_recognise_links_in_circles_and_pipes(tmp_path):
    (tmp_path / "below").mkdir()
    (tmp_path / "below/circle").symlink_to(tmp_path)
    (tmp_path / "below/itself").symlink_to("itself")  # which the system refuses to follow
    (tmp_path / "notes.md").touch()
    for name in ("pipe.json", "pipe.yaml", "pipe.xml", "pipe.png"):
        os.mkfifo(tmp_path / name)
    with pytest.raises(UsageError, match=r"no data set was recognised; looked for COCO .*; there are files: 1 in \.$"):
        discover(tmp_path)
