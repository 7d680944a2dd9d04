"""A user's own folder: what is read from it, and what is said when something is wrong with it."""

from pathlib import Path

import numpy as np
import pytest
import torch

from dcnrun.config.schema import FolderConfig, Source
from dcnrun.data import build_dataset
from dcnrun.data.registry import open_dataset
from dcnrun.errors import DataError, UsageError
from tests.data.conformance import DatasetSuite
from tests.data.factories import folder_tree, labels, save_image, save_mask

NUCLEI = Path(__file__).parents[1] / "fixtures" / "nuclei"


class TestNuclei(DatasetSuite):
    source = Source.folder

    @pytest.fixture
    def config(self):
        return FolderConfig(root=str(NUCLEI), classes=["background", "nucleus"])

    def test_holds_what_its_readme_says(self, config):
        train, val = build_dataset(config, "train"), build_dataset(config, "val")
        assert (len(train), len(val)) == (12, 4)
        assert all(sample["image"].shape == (3, 128, 128) for sample in (train[0], val[0]))
        share = torch.stack([train[index]["mask"].float() for index in range(12)]).mean()
        assert 0.02 < share < 0.6


class TestSubFolders(DatasetSuite):
    source = Source.folder

    @pytest.fixture
    def config(self, tmp_path):
        return FolderConfig(root=str(folder_tree(tmp_path)), classes=["no", "yes"])

    def test_pixels_and_labels_are_those_of_the_files(self, config, tmp_path):
        pixels = save_image(tmp_path / "images" / "train" / "d.png", size=(7, 5), seed=9)
        values = labels(size=(7, 5), values=(0, 1, 255), seed=9)
        save_mask(tmp_path / "masks" / "train" / "d.png", values)
        sample = build_dataset(config, "train")[3]
        assert sample["name"] == "d"
        assert np.array_equal(sample["image"].numpy(), pixels.transpose(2, 0, 1))
        assert np.array_equal(sample["mask"].numpy(), values)


class TestSplitFiles(DatasetSuite):
    source = Source.folder

    @pytest.fixture
    def config(self, tmp_path):
        folder_tree(tmp_path, splits=("", "more"), names=("a", "b"))
        (tmp_path / "train.txt").write_text("\ufeffmore/b\r\na\n\n", encoding="utf-8")
        (tmp_path / "val.txt").write_text("b\n")
        return FolderConfig(root=str(tmp_path), classes=["no", "yes"], train="train.txt", val="val.txt")

    def test_lists_the_samples_in_the_order_of_the_file(self, config):
        train = build_dataset(config, "train")
        assert [train.name(index) for index in range(len(train))] == ["more/b", "a"]

    def test_a_name_without_image_is_named(self, config, tmp_path):
        (tmp_path / "val.txt").write_text("a\nghost\na.png\n")
        with pytest.raises(DataError, match=r"2 of 3 names in .*val.txt have no image: ghost, a.png; expected"):
            build_dataset(config, "val")

    def test_a_name_listed_twice_is_named(self, config, tmp_path):
        (tmp_path / "val.txt").write_text("a\nb\na\n")
        with pytest.raises(DataError, match=r"more than once: a$"):
            build_dataset(config, "val")

    def test_a_missing_split_file(self, config, tmp_path):
        (tmp_path / "val.txt").unlink()
        with pytest.raises(UsageError, match=r"data.val=val.txt lacks .*val.txt"):
            build_dataset(config, "val")

    def test_an_empty_split_file(self, config, tmp_path):
        (tmp_path / "val.txt").write_text("\n")
        with pytest.raises(UsageError, match=r"data.val=val.txt has no images"):
            build_dataset(config, "val")

    def test_a_split_file_that_is_no_text(self, config, tmp_path):
        (tmp_path / "val.txt").write_bytes(b"\xff\xfe\x00\xd8")
        with pytest.raises(DataError, match=r"val.txt: can't be read"):
            build_dataset(config, "val")


@pytest.fixture
def root(tmp_path):
    return folder_tree(tmp_path)


def train_set(root, classes=("no", "yes"), **settings):
    return build_dataset(FolderConfig(root=str(root), classes=list(classes), **settings), "train")


class TestLayout:
    @pytest.mark.parametrize("absent", ["images", "masks"])
    def test_a_missing_folder_is_named_with_the_layout(self, root, absent):
        (root / absent / "train").rename(root / absent / "other")
        with pytest.raises(UsageError, match=rf"data.root={root} .* lacks {root}/{absent}/train; expected either"):
            train_set(root)

    def test_a_root_that_is_not_there(self, tmp_path):
        with pytest.raises(UsageError, match=r"nowhere/images/train, .*nowhere/masks/train"):
            train_set(tmp_path / "nowhere")

    def test_no_root(self):
        with pytest.raises(UsageError, match=r"data.root is not set"):
            build_dataset(FolderConfig(classes=["a", "b"]), "train")

    def test_no_classes(self, root):
        with pytest.raises(UsageError, match=r"data.classes is empty"):
            train_set(root, classes=())

    def test_no_images(self, root):
        for file in (root / "images" / "train").iterdir():
            file.unlink()
        with pytest.raises(UsageError, match=r"data.train=train has no images in .*; expected files ending in .png"):
            train_set(root)


def names_of(dataset):
    return [dataset.name(index) for index in range(len(dataset))]


def test_a_share_of_one_folder_is_validated_on(tmp_path):
    values = [(0,)] * 8 + [(0, 1)] * 2
    for number, present in enumerate(values):
        save_image(tmp_path / f"images/{number}.png", seed=number)
        save_mask(tmp_path / f"masks/{number}.png", labels(values=present, seed=number))
    config = FolderConfig(root=str(tmp_path), classes=["no", "yes"], train=".", val_share=0.2)
    train, val = build_dataset(config, "train"), build_dataset(config, "val")
    names = [names_of(train), names_of(val)]
    assert sorted([*names[0], *names[1]]) == sorted(map(str, range(10)))
    assert len(names[1]) == 2
    assert all(len({"8", "9"} & set(part)) == 1 for part in names)  # the two images with the second class
    assert val.notes == [
        "2 of the 10 images that data.train names, by data.val_share=0.2 and data.split_seed=0 (data.val is not read)"
    ]


def test_a_share_of_masks_that_can_not_be_read_names_them_when_they_are_asked_for(tmp_path):
    folder_tree(tmp_path, splits=("train",))
    (tmp_path / "masks/train/b.png").unlink()
    config = FolderConfig(root=str(tmp_path), classes=["no", "yes"], val_share=0.3)
    (split,) = (split for split in ("train", "val") if "b" in names_of(open_dataset(config, split)))
    with pytest.raises(DataError, match=r"masks/train/b.png"):
        build_dataset(config, split)
