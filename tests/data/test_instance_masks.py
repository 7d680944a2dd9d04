"""Objects of label images and of mask files for each, against what was drawn; and whatever can be wrong with these."""

import numpy as np
import pytest
import tifffile
from PIL import Image

from dcnrun.config.schema import BadBoxes, InstanceMasksConfig, Source
from dcnrun.data import IGNORE, build_box_dataset, build_dataset, build_instance_dataset
from dcnrun.errors import DataError, UsageError
from tests.data.conformance import DatasetSuite
from tests.data.factories import object_files_tree, save_image, save_mask, save_object_files

TWO = np.zeros((30, 40), np.uint16)
TWO[3:15, 4:20], TWO[15:20, 10:30], TWO[25:27, 0:2] = 7, 300, 7
"""An object in two pieces, one that touches it, and numbers beyond a byte."""
BOXES = [[0, 3, 20, 27], [10, 15, 30, 20]]


def save_labels(file, numbers=TWO):
    file.parent.mkdir(parents=True, exist_ok=True)
    if file.suffix == ".tif":
        tifffile.imwrite(file, numbers)
    else:
        Image.fromarray(numbers).save(file)


def label_images(root):
    for nth, split in enumerate(("train", "val")):
        for number, name in enumerate("abc"):
            save_image(root / "images" / split / f"{name}.png", seed=10 * nth + number)
            save_labels(root / "masks" / split / f"{name}.tif", TWO if name != "c" else 0 * TWO)
    return root


def opened(root, split="val", **settings):
    return build_instance_dataset(InstanceMasksConfig(root=str(root), **settings), split)


class TestLabelImages(DatasetSuite):
    source = Source.instance_masks

    @pytest.fixture
    def config(self, tmp_path):
        return InstanceMasksConfig(root=str(label_images(tmp_path)))

    def test_an_object_for_each_number(self, config):
        val = build_instance_dataset(config, "val")
        assert val.classes == ("object",)
        assert [val[index]["boxes"].tolist() for index in range(3)] == [BOXES, BOXES, []]
        sample = val[0]
        assert sample["labels"].tolist() == [0, 0]
        assert sample["area"].tolist() == [16 * 12 + 4, 100]
        assert np.array_equal(sample["masks"], np.stack([TWO == 7, TWO == 300]))

    def test_class_masks(self, config):
        dataset = build_dataset(config, "val")
        assert dataset.classes == ("background", "object")
        assert np.array_equal(dataset[0]["mask"], TWO > 0)

    def test_an_ignored_number_is_a_crowd(self, config):
        config.ignore_label = 300
        assert build_instance_dataset(config, "val")[0]["crowd"].tolist() == [False, True]
        assert (build_dataset(config, "val")[0]["mask"].numpy()[TWO == 300] == IGNORE).all()


class TestObjectFiles(DatasetSuite):
    source = Source.instance_masks

    @pytest.fixture
    def config(self, tmp_path):
        return InstanceMasksConfig(root=str(object_files_tree(tmp_path)))

    def test_an_object_for_each_file_and_they_may_overlap(self, tmp_path):
        root = object_files_tree(tmp_path)
        sample = opened(root)[0]
        assert sample["name"] == "val_0"
        assert sample["boxes"].tolist() == [[2, 3, 12, 13], [8, 8, 20, 14]]
        assert sample["masks"].sum((1, 2)).tolist() == [100, 72]

    def test_with_a_folder_for_each_image_below_masks(self, tmp_path):
        for number in range(2):
            inside = np.zeros((30, 40))
            inside[number : number + 5, 3:9] = 255
            save_image(tmp_path / f"images/val/{number}.png", seed=number)
            save_mask(tmp_path / f"masks/val/{number}/first.png", inside, "L")
        save_image(tmp_path / "images/val/2.png", seed=2)
        dataset = opened(tmp_path)
        assert [dataset[index]["boxes"].tolist() for index in range(2)] == [[[3, 0, 9, 5]], [[3, 1, 9, 6]]]
        assert f"1 images have no folder of masks, such as {tmp_path}/images/val/2.png: not read" in dataset.notes

    def test_a_set_without_a_split_is_shared(self, tmp_path):
        object_files_tree(tmp_path)
        root = tmp_path / "train"
        assert [len(opened(root, split, val_share=0.5)) for split in ("train", "val")] == [1, 1]

    @pytest.mark.parametrize(
        ("spoil", "problem"),
        [
            (
                lambda masks: save_mask(masks / "9.png", np.arange(1200).reshape(30, 40) % 3, "L"),
                "9.png: it holds 2 values beside 0",
            ),
            (
                lambda masks: save_mask(masks / "9.png", np.ones((30, 41)), "L"),
                "9.png: the mask is 41x30, those before it 40x30",
            ),
            (lambda masks: (masks / "9.png").write_bytes(b"no image"), "9.png: can't be read"),
            (lambda masks: save_image(masks / "9.jpg"), "9.jpg: JPEG changes the values of pixels"),
        ],
    )
    def test_what_is_wrong_with_a_file(self, tmp_path, spoil, problem):
        spoil(object_files_tree(tmp_path) / "val/val_0/masks")
        with pytest.raises(DataError, match=problem):
            opened(tmp_path)

    def test_an_empty_file_can_be_passed_over(self, tmp_path):
        save_mask(object_files_tree(tmp_path) / "val/val_0/masks/9.png", np.zeros((30, 40)), "L")
        with pytest.raises(DataError, match=r"9.png: no pixel is of an object. data.bad_boxes=warn drops"):
            opened(tmp_path)
        with pytest.warns(UserWarning, match="9.png: no pixel"):
            assert len(opened(tmp_path, bad_boxes=BadBoxes.warn)[0]["boxes"]) == 2

    def test_several_images_in_one_folder(self, tmp_path):
        save_image(object_files_tree(tmp_path) / "val/val_1/images/other.png")
        with pytest.raises(
            DataError, match=r"val_1/images: there are several images; expected one, as in .*val_0/images"
        ):
            opened(tmp_path)


class TestWrong:
    def test_a_mask_of_another_size(self, tmp_path):
        save_image(tmp_path / "images/val/a.png", (41, 30))
        save_labels(tmp_path / "masks/val/a.png")
        with pytest.raises(DataError, match=r"a.png: the image is 41x30 .* annotated at 40x30"):
            opened(tmp_path)[0]

    def test_a_missing_mask(self, tmp_path):
        (label_images(tmp_path) / "masks/val/b.tif").unlink()
        with pytest.raises(DataError, match=r"masks/val/b.png: no such file"):
            opened(tmp_path)

    def test_nothing_there(self, tmp_path):
        with pytest.raises(UsageError, match="lacks"):
            opened(tmp_path)

    def test_a_split_outside(self, tmp_path):
        with pytest.raises(DataError, match=r"outside data\.root"):
            opened(tmp_path, val="../elsewhere")


class TestNotes:
    def test_masks_of_classes_look_like_one_object_each(self, tmp_path):
        for number in range(2):
            save_image(tmp_path / f"images/val/{number}.png", seed=number)
            save_labels(tmp_path / f"masks/val/{number}.png", (TWO > 0).astype(np.uint8) * 255)
        (note,) = [note for note in opened(tmp_path).notes if "more than one object" in note]
        assert note.startswith("no mask holds more than one object: where a value stands for a class")

    def test_specks(self, tmp_path):
        numbers = TWO.copy()
        numbers[29, 39] = 8
        save_image(tmp_path / "images/val/a.png")
        save_labels(tmp_path / "masks/val/a.png", numbers)
        assert "1 of 3 objects have fewer than 4 pixels, such as object 8 of a: " in " ".join(opened(tmp_path).notes)

    @pytest.mark.parametrize(("most", "is_said"), [(254, False), (255, True), (256, False)])
    def test_numbers_that_were_cut_to_8_bits(self, tmp_path, most, is_said):
        numbers = np.zeros(1200, np.uint16)
        numbers[: 3 * most] = np.repeat(np.arange(1, most + 1), 3)
        save_image(tmp_path / "images/val/a.png")
        save_labels(tmp_path / "masks/val/a.png", numbers.reshape(30, 40))
        said = [
            note
            for note in opened(tmp_path).notes
            if note.startswith("objects are numbered from 1 to 255 and no further in a:")
        ]
        assert bool(said) == is_said


def test_boxes_alone(tmp_path):
    dataset = build_box_dataset(InstanceMasksConfig(root=str(label_images(tmp_path))), "val")
    assert dataset[0]["boxes"].tolist() == BOXES
    assert dataset[0]["masks"] is None


def test_an_object_that_fills_the_one_image(tmp_path):
    save_object_files(tmp_path / "val" / "a", np.ones((30, 40), np.bool_))
    assert opened(tmp_path)[0]["boxes"].tolist() == [[0, 0, 40, 30]]
