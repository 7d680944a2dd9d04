"""The mask of an image is found by its name."""

from pathlib import Path

import pytest

from dcnrun.data.mask_names import masks_beside, masks_of
from dcnrun.errors import DataError


def touch(root, *files):
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).touch()
    return root


def masks(root, *names, forced=None):
    """What is found for images of these files, relative to root."""
    touch(root, *(f"images/{name}" for name in names))
    images = {str(Path(name).with_suffix("")): root / "images" / name for name in names}
    found, suffix = masks_of(images, root / "masks", forced)
    return [str(found[name].relative_to(root / "masks")) for name in images], suffix


@pytest.mark.parametrize(
    ("images", "expected", "suffix"),
    [
        (["a.jpg", "b.jpg"], ["a.png", "b.tif"], ""),
        (["a.jpg", "b.jpg"], ["a_mask.gif", "b_mask.gif"], "_mask"),
        (["a.jpg", "b.JPG"], ["a-label.png", "b-label.PNG"], "-label"),
        (["1_sat.jpg", "2_sat.jpg"], ["1_mask.png", "2_mask.png"], "_mask"),
        (["top_2_10_RGB.tif", "top_2_11_RGB.tif"], ["top_2_10_label.tif", "top_2_11_label.tif"], "_label"),
        (["ISIC_01.jpg"], ["ISIC_01_segmentation.png"], "_segmentation"),
        (["x_000_leftImg8bit.png"], ["x_000_gtFine_labelIds.png"], "_gtFine_labelIds"),
        (["s/a.jpg", "t/a.jpg"], ["s/a_gt.bmp", "t/a_gt.bmp"], "_gt"),
        (["a.v1.jpg"], ["a.v1_seg.png"], "_seg"),
    ],
)
def test_known_names(tmp_path, images, expected, suffix):
    touch(tmp_path / "masks", *expected, "notes.txt", "._a.png")
    assert masks(tmp_path, *images) == (expected, suffix)


def test_a_mask_that_is_missing_has_the_name_that_it_should_have(tmp_path):
    touch(tmp_path / "masks", "a_mask.png", "c_mask.png")
    assert masks(tmp_path, "a.jpg", "b.jpg", "c.jpg") == (["a_mask.png", "b_mask.png", "c_mask.png"], "_mask")


def test_a_format_that_keeps_values_comes_first(tmp_path):
    touch(tmp_path / "masks", "a.jpg", "a.png", "b.jpg")
    assert masks(tmp_path, "a.jpg", "b.jpg") == (["a.png", "b.jpg"], "")  # what reads it says what is wrong with it


def test_a_suffix_is_forced(tmp_path):
    touch(tmp_path / "masks", "a_mask.png", "a_gt.png", "a.png", "a_x.png")
    assert masks(tmp_path, "a.jpg") == (["a.png"], "")
    assert masks(tmp_path, "a.jpg", forced="_x") == (["a_x.png"], "_x")
    (tmp_path / "masks/a.png").unlink()
    with pytest.raises(DataError, match=r"masks: all images have masks with _mask and with _gt .* data.mask_suffix"):
        masks(tmp_path, "a.jpg")
    assert masks(tmp_path, "a.jpg", forced="_gt") == (["a_gt.png"], "_gt")


def test_masks_of_one_image_in_two_formats(tmp_path):
    touch(tmp_path / "masks", "a.tif", "a.png")
    with pytest.raises(DataError, match=r"a.png: another mask has the same name, .*a.tif"):
        masks(tmp_path, "a.jpg")


def test_what_is_there_is_named(tmp_path):
    touch(tmp_path / "masks", "a_cells.png", "b_cells.png")
    said = (
        r"masks: none of the 2 images has a mask there; expected a.png and the like, or one of the endings .png .tif .*;"
        r" there are a_cells.png, b_cells.png \(data.mask_suffix=_cells\?\)$"
    )
    with pytest.raises(DataError, match=said):
        masks(tmp_path, "a.jpg", "b.jpg")
    (tmp_path / "masks/a_cells.png").rename(tmp_path / "masks/a.npy")
    (tmp_path / "masks/b_cells.png").unlink()
    with pytest.raises(DataError, match=r"there are no such files$"):
        masks(tmp_path, "a.jpg", "b.jpg")


@pytest.mark.parametrize(
    ("images", "beside"),
    [(["a.png", "b.png"], ["a_mask.png", "b_mask.png"]), (["a.jpg", "b.jpeg"], ["a.png", "b.png"]), (["mask.png"], [])],
)
def test_masks_beside_their_images(tmp_path, images, beside):
    touch(tmp_path, *images, *beside)
    assert {file.name for file in masks_beside(tmp_path)} == set(beside)
    if beside:
        found, _ = masks_of({Path(name).stem: tmp_path / name for name in images}, tmp_path, None)
        assert [file.name for file in found.values()] == beside
