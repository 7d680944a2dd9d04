"""What masks without names of classes hold, as those who drew them know it."""

import re

import numpy as np
import pytest
from PIL import Image, ImageFilter

from dcnrun.data.discover.mask_classes import guess_classes, hold_objects

BLOCKS = np.zeros((40, 40), np.uint8)
BLOCKS[5:20, 5:30], BLOCKS[22:36, 10:35] = 1, 2


def saved(folder, *masks):
    files = [folder / f"{number}.png" for number in range(len(masks))]
    for file, mask in zip(files, masks, strict=True):
        (mask if isinstance(mask, Image.Image) else Image.fromarray(np.array(mask, np.uint8))).save(file)
    return files


def of_values(*values):
    return np.array(values, np.uint8)[BLOCKS]


@pytest.mark.parametrize(
    ("values", "classes", "overrides"),
    [
        ((0, 1, 2), ["background", "class1", "class2"], []),
        ((0, 128, 255), ["background", "class1", "class2"], ["data.mask_values=[0,128,255]"]),
        ((1, 2, 3), ["class1", "class2", "class3"], ["data.ignore_label=0"]),
        ((255, 1, 2), ["class1", "class2"], ["data.mask_values=[1,2]"]),
        ((0, 0, 255), ["background", "class1"], []),
        (
            ((0, 0, 0), (255, 0, 0), (0, 0, 9)),
            ["background", "class1", "class2"],
            ["data.colours=['#000000','#000009','#ff0000']"],
        ),
    ],
)
def test_values_and_colours(tmp_path, values, classes, overrides):
    files = saved(tmp_path, of_values(*values))
    assert guess_classes(files)[:2] == (classes, overrides)
    (tmp_path / "damaged.png").write_bytes(b"no picture")
    assert guess_classes([tmp_path / "damaged.png", *files, tmp_path / "missing.png"])[:2] == (classes, overrides)


def test_what_smoothing_leaves_at_edges_is_no_class(tmp_path):
    grey, coloured = of_values(0, 255, 255), of_values((0, 0, 0), (255, 0, 0), (0, 255, 0))
    for masks, classes, overrides in (
        (grey, 2, ["data.mask_values=[0,255]"]),
        (coloured, 3, ["data.colours=['#000000','#00ff00','#ff0000']"]),
    ):
        smoothed = Image.fromarray(masks).rotate(20, Image.Resampling.BICUBIC).filter(ImageFilter.SMOOTH)
        guess = guess_classes(saved(tmp_path, smoothed))
        assert (len(guess.classes), guess.overrides) == (classes, overrides)
        assert "smoothed" in guess.remark


def test_lines_and_points_are_classes(tmp_path):
    mask = np.zeros((30, 30))
    mask[10], mask[:, 5], mask[20, 20] = 1, 2, 3
    assert guess_classes(saved(tmp_path, mask))[:2] == (["background", "class1", "class2", "class3"], [])


def test_more_colours_than_classes_are_none(tmp_path):
    photograph = np.random.default_rng(0).integers(256, size=(20, 20, 3))
    guess = guess_classes(saved(tmp_path, photograph))
    assert (guess.classes, guess.overrides) == (["background", "class1"], [])
    assert "400 colours" in guess.remark


@pytest.mark.parametrize("ending", [".jpg", ".webp"])
@pytest.mark.parametrize("values", [(0, 255, 255), (0, 128, 255), ((0, 0, 0), (200, 30, 30), (20, 60, 220))])
def test_classes_of_masks_whose_format_has_changed_them(tmp_path, values, ending):
    mask = Image.fromarray(np.array(values, np.uint8)[np.kron(BLOCKS, np.ones((4, 4), np.uint8))])
    files = [tmp_path / f"{quality}{ending}" for quality in (75, 95)]
    for file, quality in zip(files, (75, 95), strict=True):
        mask.save(file, quality=quality)
    guess = guess_classes(files)
    assert len(guess.classes) == len(set(values))
    given, nearest = guess.overrides
    assert nearest == "data.nearest_class=true"
    numbers = [int(text, 16) for text in re.findall("#(.{6})", given)] or re.findall("[0-9]+", given)
    for number, value in zip(numbers, sorted(set(values)), strict=True):
        channels = (number >> 16, number >> 8 & 255, number & 255) if "#" in given else int(number)
        assert np.abs(np.subtract(channels, value)).max() <= 6


def test_no_classes_in_photographs(tmp_path):
    Image.fromarray(np.random.default_rng(0).integers(256, size=(20, 20, 3), dtype=np.uint8)).save(tmp_path / "a.jpg")
    guess = guess_classes([tmp_path / "a.jpg"])
    assert guess.overrides == []
    assert "which were classes doesn't show" in guess.remark


class TestObjects:
    def test_numbers_up_to_as_many_as_there_are(self, tmp_path):
        of_many = [np.arange(900).reshape(30, 30) // 20 % count for count in (12, 31, 40)]
        assert hold_objects(saved(tmp_path, *of_many)) == (True, True)

    def test_few_may_be_classes(self, tmp_path):
        assert hold_objects(saved(tmp_path, of_values(0, 1, 2), of_values(0, 1, 1), of_values(1, 2, 3))) == (
            True,
            False,
        )

    @pytest.mark.parametrize(
        "masks",
        [
            [(0, 1, 2), (0, 1, 2)],
            [(0, 0, 255), (0, 255, 255)],
            [(0, 1, 1), (0, 1, 2)],
            [(0, 3, 8), (0, 1, 5)],
            [(0, 0, 0)],
        ],
    )
    def test_classes(self, tmp_path, masks):
        assert hold_objects(saved(tmp_path, *(of_values(*values) for values in masks))) == (False, False)

    def test_no_masks_and_damaged_ones(self, tmp_path):
        (tmp_path / "a.png").write_bytes(b"no image")
        assert hold_objects([]) == hold_objects([tmp_path / "a.png"]) == (False, False)
