"""Folders of images and masks are told by their files, and which of the two is which."""

import numpy as np
import pytest
from PIL import Image

from dcnrun.data.discover.paired_folders import find_layout, find_paired_folders, show_no_scene
from dcnrun.data.layouts import Layout
from tests.data.factories import labels, save_image, save_mask


def listing_of(root):
    return {
        path.relative_to(root).as_posix(): sorted(file.name for file in path.iterdir() if file.is_file())
        for path in sorted(root.rglob("*"))
        if path.is_dir()
    }


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


def test_folders_of_one_split_belong_together(tmp_path):
    """Files are numbered anew in each."""
    for split in ("train", "test"):
        save(tmp_path, f"{split}/rgb", f"{split}/GT_color")
    assert sorted(found(tmp_path)) == [(f"{split}/rgb", f"{split}/GT_color") for split in ("test", "train")]
    assert find_layout(tmp_path, listing_of(tmp_path)) == (
        Layout("SPLIT/rgb", "SPLIT/GT_color"),
        "train",
        "test",
        ["test/rgb", "train/rgb"],
        [],
    )


def test_folders_whose_paths_share_most_words_belong_together(tmp_path):
    """As in MVTec AD, whose images without defects are numbered as those with them."""
    save(tmp_path, "bottle/train/good", "bottle/ground_truth/cut")
    for kind in ("cut", "bent"):
        save(tmp_path, f"bottle/test/{kind}", f"bottle/ground_truth/{kind}", seed=9)
    assert {pair for pair in found(tmp_path) if "test" in pair[0]} == {
        (f"bottle/test/{kind}", f"bottle/ground_truth/{kind}") for kind in ("cut", "bent")
    }
    layout = find_layout(tmp_path, listing_of(tmp_path))
    assert layout.layout == ("bottle/test/*", "bottle/ground_truth/*")
    assert (layout.train, layout.val, layout.others) == (".", None, ["bottle/train/good"])


def test_a_split_comes_before_more_folders(tmp_path):
    for split in ("train", "val"):
        for city in ("x", "y"):
            save(tmp_path, f"{split}/{city}/images", f"{split}/{city}/labels")
    for city in "abcde":
        save(tmp_path, f"more/{city}/images", f"more/{city}/labels")
    layout = find_layout(tmp_path, listing_of(tmp_path))
    assert layout.layout == ("SPLIT/*/images", "SPLIT/*/labels")
    assert sorted(layout.places) == [f"{split}/{city}/images" for split in ("train", "val") for city in ("x", "y")]
    assert layout.others == [f"more/{city}/images" for city in "abcde"]


def test_numbers_come_before_the_colours_that_say_the_same(tmp_path):
    save(tmp_path, "images", "a_labels")
    for number in range(3):
        colours = np.array([(0, 0, 0), (128, 64, 128), (70, 70, 0)], np.uint8)[labels(values=(0, 1, 2), seed=number)]
        (tmp_path / "a_colour_labels").mkdir(exist_ok=True)
        Image.fromarray(colours).save(tmp_path / f"a_colour_labels/a{number}.png")
    assert found(tmp_path) == [("images", "a_labels"), ("images", "a_colour_labels")]


def test_masks_of_the_field_of_view_come_last(tmp_path):
    """As in DRIVE and HRF."""
    row, column = np.mgrid[:30, :40]
    view = (row - 15) ** 2 + (column - 20) ** 2
    save(tmp_path, "images", "manual1")
    for number in range(3):
        save_mask(tmp_path / f"mask/a{number}_mask.png", 255 * (view < 170 + number), "L")
    assert found(tmp_path) == [("images", "manual1")]
    fields, vessels = (sorted((tmp_path / folder).iterdir()) for folder in ("mask", "manual1"))
    assert show_no_scene(fields)
    assert not show_no_scene(vessels)
    assert not show_no_scene(fields[:1])
    assert not show_no_scene([*fields[:2], vessels[0]])
    few = [tmp_path / f"few/{number}.png" for number in range(3)]  # thin cracks: most pixels are alike
    for number, file in enumerate(few):
        save_mask(file, (row == number) & (column < 20), "L")
    assert not show_no_scene(few)


def test_of_many_folders_some_of_each_split_are_looked_at(tmp_path):
    """As in UAVid and IDD."""
    for split in ("test", "train", "val"):
        for number in range(20):
            save(tmp_path, f"{split}/seq{number:02}/x", f"{split}/seq{number:02}/y_labels", count=2)
    layout = find_layout(tmp_path, listing_of(tmp_path))
    assert (layout.layout, layout.train, layout.val) == (("SPLIT/*/x", "SPLIT/*/y_labels"), "train", "val")


def test_frames_in_a_row_are_alike_and_still_of_a_scene(tmp_path):
    files = [tmp_path / f"{number}.png" for number in range(30)]
    for number, file in enumerate(files):
        save_mask(file, np.roll(np.arange(40) < 20, number // 10 * 10)[None].repeat(30, 0), "L")
    assert show_no_scene(files[:9])
    assert not show_no_scene(files)


def test_of_many_patients_images_and_masks_are_looked_at(tmp_path):
    for number in range(32):
        save(tmp_path, f"p{number:02}/scan", f"p{number:02}/tumour", count=2)
    assert find_layout(tmp_path, listing_of(tmp_path)).layout == ("*/scan", "*/tumour")


def test_splits_of_different_depth_are_not_mixed(tmp_path):
    """As in Trans10K."""
    for place in ("train", "validation/easy", "validation/hard", "test/easy", "test/hard"):
        save(tmp_path, f"{place}/images", f"{place}/masks", count=2)
    layout = find_layout(tmp_path, listing_of(tmp_path))
    assert len({place.split("/")[0] for place in layout.places}) == 1
    assert "train/images" in [*layout.places, *layout.others]


def test_images_to_test_on_are_numbered_as_those_that_have_masks(tmp_path):
    for place in ("test", "train"):
        save(tmp_path, place, "gt")
    assert found(tmp_path) == [("train", "gt")]


def test_one_damaged_file_hides_no_folder(tmp_path):
    save(tmp_path, "x", "y")
    (tmp_path / "x/a0.png").write_bytes(b"no image")
    (tmp_path / "y/a2.png").write_bytes(b"")
    assert found(tmp_path) == [("x", "y")]


def test_a_split_to_train_on_comes_before_more_folders_to_test_on(tmp_path):
    """As in Trans10K, whose other splits are in two parts each."""
    save(tmp_path, "train/images", "train/masks")
    for split in ("test", "validation"):
        for part in ("easy", "hard"):
            save(tmp_path, f"{split}/{part}/images", f"{split}/{part}/masks")
    layout = find_layout(tmp_path, listing_of(tmp_path))
    assert (layout.layout, layout.train, layout.val) == (("SPLIT/images", "SPLIT/masks"), "train", None)
    assert layout.others == [f"{split}/{part}/images" for split in ("test", "validation") for part in ("easy", "hard")]


def test_other_masks_of_the_same_images_are_named(tmp_path):
    for annotator in "ab":
        save(tmp_path, "images", f"{annotator}_labels")
    layout = find_layout(tmp_path, listing_of(tmp_path))
    assert (layout.layout, layout.others) == (("images", "a_labels"), ["b_labels"])


def test_what_lies_beside_images_is_no_mask_where_there_are_masks(tmp_path):
    """As in ISIC 2017, whose superpixels lie beside the images."""
    save(tmp_path, "Training_Data", "Training_GroundTruth", "_segmentation", ".jpg")
    save(tmp_path, "Training_Data", "Training_Data", "_superpixels", ".jpg")
    assert found(tmp_path)[0] == ("Training_Data", "Training_GroundTruth")
