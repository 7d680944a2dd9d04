"""Images and masks are found in the layouts that people have."""

import pytest

from dcnrun.config.schema import FolderConfig
from dcnrun.data import folder
from dcnrun.data.layouts import pairs_of
from dcnrun.errors import DataError, UsageError
from tests.data.test_mask_names import touch


def found(root, split="train", **settings):
    """Names, and files relative to root, of the pairs; and the notes."""
    pairs, notes = pairs_of(FolderConfig(root=str(root), **settings), split)
    return [(name, *(str(file.relative_to(root)) for file in files)) for name, *files in pairs], notes


@pytest.mark.parametrize(
    ("images", "masks", "forced"),
    [
        ("images/train", "masks/train", None),
        ("train/images", "train/masks", "data.images=SPLIT/images data.masks=SPLIT/masks data.train=train"),
        ("training/images", "training/labels", "data.images=SPLIT/images data.masks=SPLIT/labels data.train=training"),
        ("JPEGImages/train", "SegmentationClass/train", "data.images=JPEGImages data.masks=SegmentationClass"),
        ("Train/Images", "Train/Masks", "data.images=SPLIT/Images data.masks=SPLIT/Masks data.train=Train"),
        ("img_dir/train", "ann_dir/train", "data.images=img_dir data.masks=ann_dir data.train=train"),
        ("train", "trainannot", "data.images=SPLIT data.masks=SPLITannot data.train=train"),
        ("train", "train_masks", "data.images=SPLIT data.masks=SPLIT_masks data.train=train"),
        ("train", "masks/train", "data.images=SPLIT data.masks=masks data.train=train"),
    ],
)
def test_folders(tmp_path, images, masks, forced):
    touch(tmp_path, *(f"{images}/{name}.jpg" for name in "ab"), *(f"{masks}/{name}.png" for name in "ab"))
    pairs, notes = found(tmp_path)
    assert pairs == [(name, f"{images}/{name}.jpg", f"{masks}/{name}.png") for name in "ab"]
    assert len(notes) == bool(forced)
    if forced:
        assert forced in notes[0]
        settings = dict(
            text.removeprefix("data.").split("=") for text in notes[0].split(" (")[1].split(" forces")[0].split()
        )
        assert found(tmp_path, **settings) == (pairs, [])


def test_a_link_to_itself_hides_no_other_folder(tmp_path):
    touch(tmp_path, "train/images/a.jpg", "train/masks/a.png")
    (tmp_path / "itself").symlink_to("itself")
    assert found(tmp_path)[0] == [("a", "train/images/a.jpg", "train/masks/a.png")]


@pytest.mark.parametrize("name", ["val", "valid", "validation"])
def test_names_of_the_validation_images(tmp_path, name):
    touch(tmp_path, f"{name}/images/a.jpg", f"{name}/masks/a_mask.tif", "train/images/b.jpg", "train/masks/b.png")
    pairs, notes = found(tmp_path, "val")
    assert pairs == [("a", f"{name}/images/a.jpg", f"{name}/masks/a_mask.tif")]
    assert notes[1] == "masks have _mask after their images' names (data.mask_suffix=_mask forces it)"


def test_side_by_side(tmp_path):
    touch(tmp_path, "train/a.jpg", "train/a.png", "train/b.jpg", "train/b.png", "val/c.png", "val/c_mask.png")
    pairs, notes = found(tmp_path)
    assert pairs == [("a", "train/a.jpg", "train/a.png"), ("b", "train/b.jpg", "train/b.png")]
    assert "masks beside images (data.images=SPLIT data.masks=SPLIT data.train=train forces it)" in notes[0]
    assert found(tmp_path, "val")[0] == [("c", "val/c.png", "val/c_mask.png")]


def test_what_else_is_there_is_counted(tmp_path):
    touch(tmp_path, *(f"images/train/{name}_leftImg8bit.png" for name in ("1", "2")), "images/train/deep/er/3.png")
    touch(tmp_path, *(f"masks/train/{name}_gtFine_{kind}.png" for name in ("1", "2") for kind in ("labelIds", "color")))
    touch(tmp_path, "masks/train/11_gtFine_labelIds.png", "masks/train/deep/er/3.png")
    pairs, notes = found(tmp_path)
    assert [name for name, *_ in pairs] == ["1_leftImg8bit", "2_leftImg8bit"]
    assert notes[1:] == [
        f"1 image in folders below {tmp_path}/images/train, such as deep/er/3.png: not read (a list names images in folders: data.train=train.txt)",
        "1 mask has no image, such as 11_gtFine_labelIds.png: not read",
    ]


def test_one_folder_that_is_shared(tmp_path):
    touch(tmp_path, "images/a.jpg", "masks/a.png")
    assert found(tmp_path, val_share=0.5)[0] == [("a", "images/a.jpg", "masks/a.png")]
    with pytest.raises(UsageError, match=r"data.train=train lacks .*images/train, .*masks/train; expected either"):
        found(tmp_path)


def test_a_list_of_images_in_folders_that_a_star_stands_for(tmp_path):
    touch(
        tmp_path,
        *(
            f"{place}/{name}.png"
            for place in ("a/images", "a/masks", "b/images", "b/masks")
            for name in ("1", place[0])
        ),
    )
    (tmp_path / "train.txt").write_text("a\nb/1.png\nb.png\n")
    settings = {"images": "*/images", "masks": "*/masks", "train": "train.txt"}
    assert [name for name, *_ in found(tmp_path, **settings)[0]] == ["a/a", "b/1", "b/b"]
    (tmp_path / "train.txt").write_text("1\n")  # of which there are two
    with pytest.raises(DataError, match=r"1 of 1 names in .*train.txt have no image: 1;"):
        found(tmp_path, **settings)


def test_two_layouts(tmp_path):
    touch(tmp_path, "train/images/a.jpg", "train/masks/a.png", "train/labels/a.png")
    said = r"can be read in several ways; choose one: data.images=SPLIT/images data.masks=SPLIT/labels data.train=train or data"
    with pytest.raises(UsageError, match=said):
        found(tmp_path)
    assert found(tmp_path, images="SPLIT/images", masks="SPLIT/masks")[0] == [
        ("a", "train/images/a.jpg", "train/masks/a.png")
    ]


def test_settings_of_other_folders_are_kept_to(tmp_path):
    touch(tmp_path, "train/images/a.jpg", "train/masks/a.png")
    with pytest.raises(UsageError, match=r"lacks .*pictures/train"):
        found(tmp_path, images="pictures")


def test_what_lies_beside_images_and_has_no_mask(tmp_path):
    """As superpixels of ISIC 2017; an image without a mask is still an error, also one of a word that others have with a mask."""
    names = ("a.jpg", "a_superpixels.png", "b.jpg", "c.jpg", "c_crop.jpg", "a_crop.jpg")
    touch(tmp_path, *(f"images/train/{name}" for name in names))
    touch(tmp_path, *(f"masks/train/{name}_segmentation.png" for name in ("a", "c", "c_crop")))
    pairs, notes = found(tmp_path)
    assert [name for name, *_ in pairs] == ["a", "a_crop", "b", "c", "c_crop"]
    assert (
        notes[-1]
        == "1 file beside images and masks with another word in their names, such as a_superpixels.png: not read"
    )


class TestAnyFolder:
    """`*` in data.images and data.masks."""

    def test_within_a_split(self, tmp_path):
        """As in LoveDA and UAVid."""
        for split in ("train", "val"):
            for city in ("a b", "c"):
                touch(tmp_path, f"x_{split}/{city}/img/1.png", f"x_{split}/{city}/gt/1_mask.png")
        touch(tmp_path, "x_train/d/img/1.png", "x_train/e/gt/1.png", "x_train/.f/img/1.png", "x_train/c/gt/2_mask.png")
        settings = {"images": "x_SPLIT/*/img", "masks": "x_SPLIT/*/gt"}
        for split in ("train", "val"):
            pairs, notes = found(tmp_path, split, **settings)
            assert pairs == [
                (f"{city}/1", f"x_{split}/{city}/img/1.png", f"x_{split}/{city}/gt/1_mask.png") for city in ("a b", "c")
            ]
        _, notes = found(tmp_path, **settings)
        assert notes == [
            f"1 folder of images without a folder of masks, such as {tmp_path}/x_train/d/img: not read",
            "masks have _mask after their images' names (data.mask_suffix=_mask forces it)",
            "1 mask has no image, such as 2_mask.png: not read",
        ]

    @pytest.mark.parametrize(
        ("images", "masks", "image", "mask"),
        [
            ("Slide_*", "GT_*", "Slide_{}/1.png", "GT_{}/1.png"),  # as TNBC's nuclei
            ("*", "*", "{}/1.jpg", "{}/1.png"),
            ("*.v1/img", "*.v1/gt", "{}.v1/img/1.png", "{}.v1/gt/1.png"),
        ],
    )
    def test_one_text_in_images_and_masks(self, tmp_path, images, masks, image, mask):
        expected = [(f"{number}/1", image.format(number), mask.format(number)) for number in ("01", "02")]
        for _, *files in expected:
            touch(tmp_path, *files)
        touch(tmp_path, "Slide/1.png", "GT/1.png", ".v1/img/1.png", ".v1/gt/1.png")
        pairs, _ = found(tmp_path, images=images, masks=masks, train=".")
        assert [pair for pair in pairs if pair[0][0] == "0"] == expected

    def test_several_texts(self, tmp_path):
        """As in ACDC; of PH2 the second says the same as the first."""
        for weather, drive in (("fog", "1"), ("fog", "2"), ("rain", "1"), ("rain", "3")):
            touch(tmp_path, f"rgb/{weather}/train/{drive}/a_rgb.png", f"gt/{weather}/train/{drive}/a_gt_labelIds.png")
        touch(
            tmp_path,
            "rgb/rain/train/4/a_rgb.png",
            "gt/rain/train/5/a_rgb.png",
            "P/7/7_photo/7.png",
            "P/7/7_lesion/7_lesion.png",
        )
        pairs, notes = found(tmp_path, images="rgb/*/SPLIT/*", masks="gt/*/SPLIT/*")
        assert [name for name, *_ in pairs] == ["fog/1/a_rgb", "fog/2/a_rgb", "rain/1/a_rgb", "rain/3/a_rgb"]
        assert all(mask == image.replace("rgb/", "gt/").replace("_rgb", "_gt_labelIds") for _, image, mask in pairs)
        assert notes[0].startswith("1 folder of images without a folder of masks, such as")
        settings = {"images": "P/*/*_photo", "masks": "P/*/*_lesion", "train": "."}
        assert found(tmp_path, **settings)[0] == [("7/7/7", "P/7/7_photo/7.png", "P/7/7_lesion/7_lesion.png")]

    def test_as_many_in_both(self, tmp_path):
        config = FolderConfig(root=str(tmp_path), classes=["a", "b"], images="*/*", masks="*/gt")
        assert [rule for rule in folder.rules(config) if not rule[1]] == [
            ("masks", False, "as many * as in data.images")
        ]

    def test_without_such_folders(self, tmp_path):
        touch(tmp_path, "a/1.png")
        with pytest.raises(UsageError, match=r"lacks .*/\*/img, .*/\*/gt; expected"):
            found(tmp_path, images="*/img", masks="*/gt", train=".")


class TestLists:
    PAIR = ("images/a b.jpg", "masks/a b_gt.png")

    @pytest.mark.parametrize("separator", [" ", "\t", ",", " ; ", ", "])
    @pytest.mark.parametrize("is_short", [False, True])
    def test_of_pairs(self, tmp_path, separator, is_short):
        image, mask = (name.partition("/")[2] for name in self.PAIR) if is_short else self.PAIR
        touch(tmp_path, *self.PAIR)
        (tmp_path / "train.txt").write_text(f"{image}{separator}{mask}\n")
        assert found(tmp_path, train="train.txt") == ([(image[:-4], *self.PAIR)], [])

    def test_of_pairs_in_other_folders(self, tmp_path):
        touch(tmp_path, "x/1.tif", "y/one.png")
        (tmp_path / "list.txt").write_text("x/1.tif y/one.png\n")
        assert found(tmp_path, train="list.txt")[0] == [("x/1", "x/1.tif", "y/one.png")]

    @pytest.mark.parametrize("line", ["a", "a.jpg", "images/a.jpg", "images/a"])
    def test_of_names(self, tmp_path, line):
        touch(tmp_path, "images/a.jpg", "masks/a_mask.png")
        (tmp_path / "train.txt").write_text(f"{line}\n")
        pairs, notes = found(tmp_path)
        assert pairs == [("a", "images/a.jpg", "masks/a_mask.png")]
        assert "is read from the list" in notes[0]
        assert "data.train=train.txt forces it" in notes[0]

    @pytest.mark.timeout(20)
    def test_a_line_with_a_polygon_of_many_points_is_no_list_of_images(self, tmp_path):
        touch(tmp_path, "images/a.jpg", "masks/a.png")
        (tmp_path / "train.txt").write_text("0 " + "0.1 0.2 " * 200_000)
        with pytest.raises(DataError, match=r"1 of 1 names in .* have no image"):
            found(tmp_path, train="train.txt")

    @pytest.mark.parametrize("line", ["../a.jpg ../a.png", "../a", "../a.jpg"])
    def test_lead_nowhere_else(self, tmp_path, line):
        touch(tmp_path, "a.jpg", "a.png", "root/images/b.jpg", "root/masks/b.png")
        (tmp_path / "root/train.txt").write_text(f"{line}\n")
        with pytest.raises(DataError, match=r"outside data.root=.*data.allow_outside=true|have no image: ../a"):
            found(tmp_path / "root", train="train.txt")
