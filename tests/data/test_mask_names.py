"""The mask of an image is found by its name."""

from pathlib import Path

import pytest

from dcnrun.data.mask_names import masks_beside, masks_of, others_beside
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
    folders = {str(Path(name).parent): root / "masks" / Path(name).parent for name in images}
    found, naming = masks_of(images, folders, forced)
    return [str(found[name].relative_to(root / "masks")) for name in images], naming.new


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


@pytest.mark.parametrize(
    ("images", "expected", "remark"),
    [
        (
            ["21_training.tif", "22_training.tif"],
            ["21_manual1.gif", "22_manual1.gif"],
            "_manual1 in place of _training in",
        ),
        (["6.jpg", "60.jpg"], ["6_lab.png", "60_lab.png"], "_lab after"),
        (["im01.png"], ["im01.ah.png"], ".ah after"),
        (["s/P1.png", "t/P1.png"], ["s/P1_color_RGB.png", "t/P1_color_RGB.png"], "_color_RGB after"),
        (["t000.tif", "t001.tif"], ["man_seg000.tif", "man_seg001.tif"], "man_seg in place of t in"),
        (["image_1.png", "image_12.png"], ["mask_1.png", "mask_12.png"], "mask_ in place of image_ in"),
        (["7_camera_1.png", "7_camera_2.png"], ["7_label_1.png", "7_label_2.png"], "_label_ in place of _camera_ in"),
    ],
)
def test_unknown_names_that_fit_every_image(tmp_path, images, expected, remark):
    touch(tmp_path / "masks", *expected, "others_1_x_2.png")
    touch(tmp_path, *(f"images/{name}" for name in images))
    paths = {str(Path(name).with_suffix("")): tmp_path / "images" / name for name in images}
    folders = {str(Path(name).parent): tmp_path / "masks" / Path(name).parent for name in images}
    found, naming = masks_of(paths, folders, None)
    assert [str(file.relative_to(tmp_path / "masks")) for file in found.values()] == expected
    assert naming.remark.startswith(f"masks have {remark} their images' names")
    (tmp_path / "masks" / expected[-1]).unlink()
    with pytest.raises(DataError, match="has a mask there"):
        masks_of(paths, folders, None)


@pytest.mark.parametrize(
    ("images", "others"),
    [
        (["a.png"], ["a_1.png"]),  # a number more is another image
        (["a1.png", "a2.png"], ["b3.png", "b4.png"]),
        (["1_a.png", "2_a.png"], ["3_a.png", "4_a.png"]),
        (["a.png", "b.png"], ["ax.png", "bx.png"]),
    ],
)
def test_names_that_do_not_fit(tmp_path, images, others):
    touch(tmp_path / "masks", *others)
    with pytest.raises(DataError, match="has a mask there"):
        masks(tmp_path, *images)


def test_two_annotators(tmp_path):
    """As in CHASE_DB1."""
    touch(tmp_path / "masks", *(f"0{number}_{nth}HO.png" for number in "12" for nth in ("1st", "2nd")))
    with pytest.raises(DataError, match=r"all images have masks with _1stHO and with _2ndHO .* data.mask_suffix"):
        masks(tmp_path, "01.jpg", "02.jpg")
    assert masks(tmp_path, "01.jpg", "02.jpg", forced="_2ndHO") == (["01_2ndHO.png", "02_2ndHO.png"], "_2ndHO")


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
    touch(tmp_path / "masks", "a_cells.png", "d_cells.png")
    said = (
        r"masks: none of the 2 images has a mask there; expected a.png and the like, or one of the endings .png .tif .*;"
        r" there are a_cells.png, d_cells.png \(data.mask_suffix=_cells\?\)$"
    )
    with pytest.raises(DataError, match=said):
        masks(tmp_path, "a.jpg", "b.jpg")
    (tmp_path / "masks/a_cells.png").rename(tmp_path / "masks/a.npy")
    (tmp_path / "masks/d_cells.png").unlink()
    with pytest.raises(DataError, match=r"there are no such files$"):
        masks(tmp_path, "a.jpg", "b.jpg")


@pytest.mark.parametrize(
    ("images", "beside"),
    [
        (["a.png", "b.png"], ["a_mask.png", "b_mask.png"]),
        (["a.jpg", "b.jpeg"], ["a.png", "b.png"]),
        (["mask.png"], []),
        (
            ["train_1.bmp", "train_10.bmp", "testA_1.bmp"],
            [f"{name}_anno.bmp" for name in ("train_1", "train_10", "testA_1")],
        ),
        (["a.png", "a_dark.png", "b.png"], []),  # an image without a mask: no masks
        (["a.png", "a_1.png"], []),
    ],
)
def test_masks_beside_their_images(tmp_path, images, beside):
    touch(tmp_path, *images, *beside)
    assert {file.name for file in masks_beside(tmp_path)} == set(beside)
    if beside:
        found, _ = masks_of({Path(name).stem: tmp_path / name for name in images}, {".": tmp_path}, None)
        assert [file.name for file in found.values()] == beside


def test_other_files_beside_images_and_their_masks(tmp_path):
    """As in CVPPP, and in BUSI, whose second masks of an image are."""
    touch(tmp_path, *(f"plant{number}_{kind}.png" for number in "12" for kind in ("rgb", "label", "fg", "centers")))
    touch(
        tmp_path,
        "b (1).png",
        "b (1)_mask.png",
        "b (1)_mask_1.png",
        "b_1.png",
        "b.png",
        "b_mask.png",
        "b_dark.png",
        "c.png",
    )
    touch(tmp_path, "b_bright.png", "b_bright_mask.png")
    beside = masks_beside(tmp_path)
    kinds = {"label": beside, "fg": (others := others_beside(tmp_path, beside)), "centers": others}
    assert all(tmp_path / f"plant{number}_{kind}.png" in files for kind, files in kinds.items() for number in "12")
    assert {file.name for file in others if file.name[0] == "b"} == {"b (1)_mask_1.png", "b_dark.png"}
    assert {file.name for file in beside if file.name[0] == "b"} == {
        "b (1)_mask.png",
        "b_mask.png",
        "b_bright_mask.png",
    }
    assert others_beside(tmp_path, set()) == set()
