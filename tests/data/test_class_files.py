"""Masks that come as a file for each class, against what was drawn; and whatever can be wrong with them."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from dcnrun.config.schema import FolderConfig, Source
from dcnrun.data import build_dataset, problems
from dcnrun.errors import DataError, UsageError
from tests.data.conformance import DatasetSuite
from tests.data.factories import save_image, save_mask

CLASSES = ["background", "exudates", "disc"]
EXUDATES, DISC = np.zeros((30, 40), np.uint8), np.zeros((30, 40), np.uint8)
EXUDATES[3:12, 4:20], DISC[8:20, 10:30] = 255, 1
DRAWN = np.where(DISC > 0, 2, np.where(EXUDATES > 0, 1, 0))


def class_folders(root):
    """A folder for each class; of an image without a disc there is no file of one, of the last image none at all."""
    for nth, split in enumerate(("train", "val")):
        for number, name in enumerate(("a_01", "a_02", "a_03")):
            save_image(root / "images" / split / f"{name}.png", (40, 30), seed=10 * nth + number)
        for name in ("a_01", "a_02"):
            save_mask(root / "masks" / split / "exudates" / f"{name}_EX.png", EXUDATES, "L")
        save_mask(root / "masks" / split / "disc" / "a_01_OD.png", DISC, "L")
    return root


class TestFoldersOfClasses(DatasetSuite):
    source = Source.folder

    @pytest.fixture
    def config(self, tmp_path):
        return FolderConfig(root=str(class_folders(tmp_path)), classes=CLASSES, masks="masks/SPLIT/CLASS")

    def test_the_last_class_counts_and_what_has_no_file_is_background(self, config):
        dataset = build_dataset(config, "val")
        assert dataset.classes == tuple(CLASSES)
        for index, drawn in enumerate((DRAWN, EXUDATES > 0, np.zeros((30, 40)))):
            assert np.array_equal(dataset[index]["mask"], drawn)
            assert np.array_equal(dataset.mask(index), drawn)
        assert dataset.notes == ["1 of 3 images have no file of any class, such as a_03: all background"]
        other_way = build_dataset(replace(config, classes=["background", "disc", "exudates"]), "val")
        assert np.array_equal(other_way[0]["mask"], np.where(EXUDATES > 0, 2, DISC))

    def test_lists_and_shares(self, config, tmp_path):
        (tmp_path / "train.txt").write_text("a_02\na_01.png\n")
        whole = replace(config, images="images/train", masks="masks/train/CLASS")
        listed = build_dataset(replace(whole, train="train.txt"), "train")
        assert [listed.name(index) for index in range(len(listed))] == ["a_02", "a_01"]
        assert np.array_equal(listed[1]["mask"], DRAWN)
        shares = [build_dataset(replace(whole, train=".", val_share=0.4), split) for split in ("train", "val")]
        assert sorted(each.name(index) for each in shares for index in range(len(each))) == ["a_01", "a_02", "a_03"]

    def test_labels_that_are_mended_are_noticed(self, config, tmp_path):
        before = build_dataset(config, "val").label_content(0)
        save_mask(tmp_path / "masks/val/disc/a_01_OD.png", 1 - DISC, "L")
        assert build_dataset(config, "val").label_content(0) != before


def test_suffixes_of_classes_in_one_folder(tmp_path):
    """As attributes of lesions in ISIC 2018."""
    for name in ("ISIC_1", "ISIC_12"):
        save_image(tmp_path / f"images/train/{name}.jpg", (40, 30))
        save_mask(tmp_path / f"masks/train/{name}_attribute_exudates.png", EXUDATES, "L")
        save_mask(tmp_path / f"masks/train/{name}_attribute_disc.png", DISC, "L")
    config = FolderConfig(root=str(tmp_path), classes=CLASSES, mask_suffix="_attribute_CLASS")
    dataset = build_dataset(config, "train")
    assert len(dataset) == 2
    assert np.array_equal(dataset[0]["mask"], DRAWN)


class TestWrongFiles:
    @pytest.fixture
    def config(self, tmp_path):
        return FolderConfig(root=str(class_folders(tmp_path)), classes=CLASSES, masks="masks/SPLIT/CLASS")

    def test_settings_that_say_something_else(self, config):
        wrong = replace(
            config, ignore_label=255, colours=["0,0,0", "1,1,1", "2,2,2"], nearest_class=True, mask_values=[0, 1, 2]
        )
        keys = [line.split("=")[0] for line in problems(wrong)]
        assert keys == ["data.mask_values", "data.colours", "data.ignore_label", "data.nearest_class"]

    def test_a_class_that_no_image_has(self, config):
        dataset = build_dataset(replace(config, classes=[*CLASSES, "vessels"]), "train")
        with pytest.raises(DataError, match="no training image has a file of 'vessels'"):
            dataset.require_every_class()

    def test_no_files_at_all(self, config):
        with pytest.raises(
            UsageError, match=r"no image has a file of a class; looked for 'cats' in data.masks=masks/SPLIT/CLASS"
        ):
            build_dataset(replace(config, classes=["background", "cats"]), "val")

    def test_several_values_in_a_file(self, config, tmp_path):
        save_mask(tmp_path / "masks/val/disc/a_01_OD.png", DISC + EXUDATES // 255, "L")
        with pytest.raises(
            DataError, match=r"a_01_OD.png: it holds the values 1, 2 beside 0; expected 0 and one other"
        ):
            build_dataset(config, "val")[0]

    def test_another_size(self, config, tmp_path):
        save_mask(tmp_path / "masks/val/disc/a_01_OD.png", DISC[:, :20], "L")
        with pytest.raises(DataError, match=r"a_01_OD.png: the mask is 20x30 but its image .* is 40x30"):
            build_dataset(config, "val")[0]

    def test_two_files_of_a_class(self, config, tmp_path):
        Image.fromarray(DISC).save(tmp_path / "masks/val/disc/a_01_OD2.png")
        with pytest.raises(DataError, match=r"a_01_OD2.png: another file is of class 'disc' in a_01, .*a_01_OD.png"):
            build_dataset(config, "val")

    def test_two_images_of_a_name(self, config, tmp_path):
        save_image(tmp_path / "images/val/a_01.jpg", (40, 30))
        with pytest.raises(DataError, match=r"a_01.png: another image has the same name, .*a_01.jpg; expected one"):
            build_dataset(config, "val")

    def test_a_list_of_other_names(self, config, tmp_path):
        (tmp_path / "val.txt").write_text("a_01\nlost\n")
        with pytest.raises(DataError, match=r"1 of 2 names in .*val.txt are not those of one image: lost"):
            build_dataset(replace(config, images="images/val", masks="masks/val/CLASS", val="val.txt"), "val")
