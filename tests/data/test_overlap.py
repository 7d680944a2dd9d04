"""Images that are trained on and validated on: found by place and by content, whatever they are called."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dcnrun.config.compose import compose
from dcnrun.config.schema import CityscapesConfig, CocoConfig, FolderConfig, ShapesConfig, Voc2012Config, VocConfig
from dcnrun.data import build_box_dataset, build_dataset
from dcnrun.data.check import check_data
from dcnrun.data.overlap import images_in_both, require_apart
from dcnrun.errors import DataError
from tests.data.factories import (
    cityscapes_tree,
    coco_tree,
    folder_tree,
    load_json,
    save_image,
    save_json,
    voc_boxes_tree,
    voc_tree,
)


def folder(root, **settings):
    return FolderConfig(root=str(root), classes=["no", "yes"], workers=0, **settings)


def opened(config):
    build = build_box_dataset if isinstance(config, CocoConfig | VocConfig) else build_dataset
    return build(config, "train"), build(config, "val")


@pytest.fixture
def root(tmp_path):
    return folder_tree(tmp_path)


def test_equal_names_in_two_folders_are_two_images(root):
    assert images_in_both(*opened(folder(root))) == []
    require_apart(folder(root), *opened(folder(root)))


def test_a_copy_is_found_by_what_it_holds(root):
    shutil.copy(root / "images/train/b.png", root / "images/val/a.png")
    assert images_in_both(*opened(folder(root))) == [("b", "a")]
    with pytest.raises(
        DataError, match=r"^1 of 3 validation .* too: 'a' \(there 'b'\)\. .* data.allow_overlap=true\.$"
    ):
        require_apart(folder(root), *opened(folder(root)))
    require_apart(folder(root, allow_overlap=True), *opened(folder(root)))


@pytest.mark.parametrize("link", [Path.hardlink_to, Path.symlink_to])
def test_links_are_the_same_image(root, link):
    (root / "images/val/c.png").unlink()
    link(root / "images/val/c.png", root / "images/train/c.png")
    assert images_in_both(*opened(folder(root))) == [("c", "c")]


def test_names_in_both_lists(root):
    folder_tree(root, splits=("",))
    (root / "train.txt").write_text("a\nb\n")
    (root / "val.txt").write_text("c\nb\n")
    assert images_in_both(*opened(folder(root, train="train.txt", val="val.txt"))) == [("b", "b")]


def test_files_of_one_size_with_a_middle_in_common_are_read_whole(root):
    """A part is alike in all of them; those that differ elsewhere are two images."""
    pixels = np.zeros((200, 200, 3), np.uint8)
    for nth, (split, name) in enumerate([("train", "a"), ("train", "b"), ("val", "a"), ("val", "b")]):
        pixels[0, 0] = nth % 3
        (root / f"images/{split}/{name}.png").unlink()
        Image.fromarray(pixels).save(root / f"images/{split}/{name}.bmp")
    assert images_in_both(*opened(folder(root))) == [("a", "b")]


@pytest.mark.parametrize(
    ("config", "names"),
    [
        (lambda root: folder(folder_tree(root), val="train"), ["a", "b", "c"]),
        (lambda root: CocoConfig(root=str(coco_tree(root)), val="train"), ["train_7.png", "train_3.png"]),
        (
            lambda root: VocConfig(root=str(voc_boxes_tree(root)), val=["VOC2012/trainval", "VOC2007/trainval"]),
            ["2007_trainval_0", "2007_trainval_1"],
        ),
        (lambda root: Voc2012Config(root=str(voc_tree(root)), val="train"), ["2007_000032", "2007_000039"]),
        (lambda root: CityscapesConfig(root=str(cityscapes_tree(root)), val="train"), ["aachen_000000_000019"]),
    ],
)
def test_the_same_split_of_any_source(tmp_path, config, names):
    config = config(tmp_path)
    both = images_in_both(*opened(config))
    assert [one for one, other in both if one == other] == [one for one, _ in both]
    assert set(names) <= {name.rpartition("/")[2] for name, _ in both}
    reason = r"^\d of" if config.train != config.val else rf"data.val={config.val} is data.train: \d of"
    with pytest.raises(DataError, match=reason):
        require_apart(config, *opened(config))


def test_generated_images_have_no_files():
    assert images_in_both(*opened(ShapesConfig(train_images=2, val_images=2))) == []


@pytest.mark.parametrize("data", ["nuclei", "treecrowns", "nuclei_boxes"])
def test_the_samples_that_ship_are_apart(data):
    config = compose([f"data={data}"]).data
    assert images_in_both(*opened(config)) == []


class TestCheck:
    def test_another_format_of_the_same_picture_is_found_too(self, root):
        with Image.open(root / "images/train/b.png") as picture:
            (root / "images/val/a.png").unlink()
            picture.save(root / "images/val/a.bmp")
        report = check_data(folder(root))
        assert (report["problems"], report["images_in_both"]) == (1, 1)
        assert check_data(folder(root, allow_overlap=True))["problems"] == 0

    def test_boxes(self, tmp_path):
        root = coco_tree(tmp_path)
        document = load_json(root, "val")
        document["images"][0] |= {"file_name": "other.png"}
        save_json(root, "val", document)
        save_image(root / "val" / "other.png", (47, 30), 7)
        assert check_data(CocoConfig(root=str(root), workers=0))["images_in_both"] == 1
