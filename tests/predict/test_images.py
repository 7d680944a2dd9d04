"""Which images words name, and what their results are called."""

import errno
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dcnrun.errors import UsageError
from dcnrun.predict.images import images_in, images_of, result_names
from tests.predict.factories import photo


def test_a_folder_is_searched_through_but_for_results_and_hidden_files(tmp_path):
    for name in ("a/x.png", "b/x.PNG", "c.jpg", "out/overlays/x.jpg", ".cache/x.png", "._c.jpg", "notes.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    root, images = images_in([str(tmp_path)], tmp_path / "out")
    assert root == tmp_path
    assert [(image.key, image.result) for image in images] == [("a/x.png", "a/x"), ("b/x.PNG", "b/x"), ("c.jpg", "c")]


def test_what_was_predicted_before_is_no_image_to_predict_on(tmp_path):
    for name in (
        "x.png",
        "one/predict.json",
        "one/predict.jsonl",
        "one/overlays/x.jpg",
        "two/predict.json",
        "two/y.png",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert [image.key for image in images_in([str(tmp_path)], tmp_path / "out")[1]] == ["two/y.png", "x.png"]
    asked_for = images_in([str(tmp_path / "one" / "overlays")], tmp_path / "out")[1]
    assert [image.key for image in asked_for] == ["x.jpg"]


def test_images_that_are_not_read_are_counted(tmp_path, capsys):
    for name in ("x.png", "a/IMG_1.HEIC", "a/IMG_2.heic", "b.gif", "c.txt", "out/d.gif"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    images_in([str(tmp_path)], tmp_path / "out")
    assert "Left out are images of kinds that are not read: .gif (1), .heic (2)\n" in capsys.readouterr().out


class Dataset(list):
    """Samples with names, and files where they have any."""

    def name(self, index):
        return self[index]["name"]

    def file(self, index):
        return self[index].get("file")

    def image_id(self, index):
        return 10 + index


def test_images_of_a_data_set_are_read_with_each_runs_bands(tmp_path):
    rgb, bgr = (Dataset({"name": f"{number}", "image": bands} for number in range(2)) for bands in ("rgb", "bgr"))
    images = images_of({(): rgb, (2, 1, 0): bgr})
    assert [(image.key, image.image_id) for image in images] == [("0", 10), ("1", 11)]
    assert [images[1].read(bands) for bands in ((), (2, 1, 0))] == ["rgb", "bgr"]
    with pytest.raises(UsageError, match=r"other bands \(data\.bands\), and of other images"):
        images_of({(): rgb, (2, 1, 0): Dataset(bgr[:1])})


def test_other_tools_are_told_the_names_of_files():
    """Pascal VOC and labelme name images without the ending of the file."""
    names = {"a": "JPEGImages/a.jpg", "b/x.png": "images/b/x.png", "c.v1": "c.v1.png", "shape": None}
    dataset = Dataset({"name": name, "file": file and Path(file)} for name, file in names.items())
    assert [image.file_name for image in images_of({(): dataset})] == ["a.jpg", "b/x.png", "c.v1.png", "shape"]


def test_files_and_folders_are_named_below_the_folder_of_all(tmp_path):
    first, second = photo(tmp_path / "a" / "x.png"), photo(tmp_path / "b" / "x.png", seed=1)
    root, images = images_in([str(first), str(second.parent), str(first)], tmp_path / "out")
    assert (root, [image.key for image in images]) == (tmp_path, ["a/x.png", "b/x.png"])
    assert (images[1].read(()) != images[0].read(())).any()
    root, images = images_in([str(first)], tmp_path / "out")
    assert (root, [image.result for image in images]) == (tmp_path / "a", ["x"])


def test_links_to_folders_are_followed_once(tmp_path):
    photo(tmp_path / "disk" / "x.png")
    (tmp_path / "photos").mkdir()
    for link, folder in (("again", "photos"), ("one", "disk"), ("two", "disk")):
        (tmp_path / "photos" / link).symlink_to(tmp_path / folder)
    root, images = images_in([str(tmp_path / "photos")], tmp_path / "out")
    assert (root, [image.key for image in images]) == (tmp_path / "photos", ["one/x.png"])


def test_a_name_that_is_not_text_is_kept(tmp_path):
    name = os.fsdecode(b"caf\xe9.png")
    photo(tmp_path / name)
    _, (image,) = images_in([str(tmp_path)], tmp_path / "out")
    assert image.key == name
    assert image.read(()).shape == (3, 40, 56)


@pytest.mark.parametrize(
    ("word", "out", "expected"),
    [
        ("nowhere", "out", "is not there: give run folders"),
        (".", "out", "holds no images"),
        (".", ".", "the images themselves"),
    ],
)
def test_words_without_images_are_refused(word, out, expected, tmp_path):
    with pytest.raises(UsageError, match=expected):
        images_in([str(tmp_path / word)], tmp_path / out)


def test_a_folder_that_may_not_be_read_is_said(tmp_path, monkeypatch):
    """Or else its images would be missing without a word; root may read all, so the system's answer is made up."""
    photo(tmp_path / "x.png")
    photo(tmp_path / "secret" / "y.png")
    scandir = os.scandir

    def refusing(path):
        if Path(path).name == "secret":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    for word in (tmp_path, tmp_path / "secret"):
        with pytest.raises(UsageError, match=r"secret can't be searched for files: Permission denied\.$"):
            images_in([str(word)], tmp_path / "out")


def test_results_keep_their_endings_where_they_would_be_mixed_up():
    assert result_names(["a.jpg", "b.jpg", "b.png", "c.v1"]) == ["a", "b.jpg", "b.png", "c.v1"]


@given(st.lists(st.text("ab./", min_size=1, max_size=7).map(lambda name: f"{name}.png"), unique=True, max_size=8))
def test_results_are_apart_and_inside(keys):
    files = {os.path.normpath(f"/out/masks/{name}.png") for name in result_names(keys)}
    assert len(files) == len(keys)
    assert all(file.startswith("/out/masks/") for file in files)
