"""Folders of images and masks are told by their files, and which of the two is which."""

import numpy as np
import pytest
from PIL import Image

from dcnrun.data.paired_folders import find_paired_folders
from tests.data.factories import labels, save_image, save_mask


def listing_of(root):
    return {path.relative_to(root).as_posix(): sorted(file.name for file in path.iterdir()) for path in root.iterdir()}


def found(root):
    return find_paired_folders(root, listing_of(root))


def save(root, images, masks, suffix="", ending=".png", count=3, seed=0):
    for number in range(count):
        save_image(root / images / f"a{number}{ending}", seed=seed + number)
        save_mask(root / masks / f"a{number}{suffix}.png", labels(values=(0, 1, 2), seed=number))
    return root


@pytest.mark.parametrize("ending", [".png", ".jpg"])
@pytest.mark.parametrize(("suffix", "folders"), [("", ("CameraRGB", "CameraSeg")), ("_segmentation", ("b", "a"))])
def test_by_suffix_or_by_values(tmp_path, ending, suffix, folders):
    assert found(save(tmp_path, *folders, suffix, ending)) == [folders]


def test_grey_images(tmp_path):
    for number in range(3):
        pixels = np.random.default_rng(number).integers(0, 256, (30, 40), np.uint8)
        for folder, values in {"x": pixels, "y": pixels // 128}.items():
            (tmp_path / folder).mkdir(exist_ok=True)
            Image.fromarray(values).save(tmp_path / folder / f"{number}.png")
    assert found(tmp_path) == [("x", "y")]


def test_the_folder_whose_name_says_masks_is_the_first(tmp_path):
    save(save(tmp_path, "photos", "a_depth"), "photos", "b_labels")
    assert found(tmp_path) == [("photos", "b_labels"), ("photos", "a_depth")]


def test_no_pairs(tmp_path):
    for number in range(3):
        save_image(tmp_path / "raw" / f"{number}.png", seed=number)
        save_image(tmp_path / "sharpened" / f"{number}.png", seed=number + 10)
        save_mask(tmp_path / "others" / f"b{number}.png", labels())
    save_mask(tmp_path / "few" / "0.png", labels())
    assert found(tmp_path) == []
    assert find_paired_folders(tmp_path, {}) == []


def test_damaged_masks_are_none(tmp_path):
    for mask in (save(tmp_path, "x", "y") / "y").iterdir():
        mask.write_bytes(b"no image")
    assert found(tmp_path) == []
