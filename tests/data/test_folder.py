"""A user's own folder: what is read from it, and what is said when something is wrong with it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dcnrun.config.schema import FolderConfig, Source
from dcnrun.data import build_dataset, folder
from dcnrun.data.bands import settle
from dcnrun.data.files import read_mask
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
        (tmp_path / "val.txt").write_text("a\nghost\na.jpg\n")
        with pytest.raises(DataError, match=r"2 of 3 names in .*val.txt have no image: ghost, a.jpg; expected"):
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
        with pytest.raises(
            UsageError, match=r"data.root=\S*/nowhere is not there; expected the folder that holds images and masks"
        ):
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


def save_values(root, *of_each, split="train", mode="L"):
    """Masks of one column for each value, and their images."""
    for number, values in enumerate(of_each):
        save_image(root / f"images/{split}/{number}.png", size=(len(values), 2), seed=number)
        save_mask(root / f"masks/{split}/{number}.png", [values] * 2, mode)
    return root


def rows_of(dataset):
    """The first row of each mask."""
    return [dataset[index]["mask"][0].tolist() for index in range(len(dataset))]


class TestValues:
    WHITE = ((0, 0, 255), (0, 0, 0))

    @pytest.mark.parametrize("mode", ["L", "P"])
    def test_two_classes_of_0_and_255(self, tmp_path, mode):
        dataset = train_set(save_values(tmp_path, *self.WHITE, mode=mode))
        assert rows_of(dataset) == [[0, 0, 1], [0, 0, 0]]
        assert dataset.notes == [
            "255 in 1 of the masks looked at, and no value but 0 beside it: it is 'yes'"
            " (data.mask_values=[0,255] or data.ignore_label=255 forces either)"
        ]
        assert dataset.settled == {"mask_values": [0, 255]}
        dataset.require_every_class()

    def test_validation_images_are_read_as_those_to_train_on_are(self, tmp_path):
        save_values(tmp_path, (0, 1, 255))
        save_values(tmp_path, *self.WHITE, split="val")
        config = FolderConfig(root=str(tmp_path), classes=["no", "yes"])
        for ignored, remedy in (
            (None, "make the values of both splits alike"),
            (255, "data.ignore_label=null takes it for that"),
        ):
            with pytest.warns(match=rf"255 in 1 of the masks of data.val .* so that no pixel is 'yes' \({remedy}\)"):
                dataset = build_dataset(replace(config, ignore_label=ignored), "val")
            assert rows_of(dataset) == [[0, 0, 255], [0, 0, 0]]
        save_values(tmp_path, *self.WHITE)
        assert rows_of(build_dataset(config, "val")) == [[0, 0, 1], [0, 0, 0]]
        (tmp_path / "masks/train").rename(tmp_path / "masks/gone")
        assert rows_of(build_dataset(config, "val")) == [[0, 0, 1], [0, 0, 0]]

    @pytest.mark.parametrize("settings", [{"ignore_label": 255}, {"mask_values": [0, 1]}])
    def test_255_is_ignored_where_that_is_asked_for(self, tmp_path, settings):
        dataset = train_set(save_values(tmp_path, *self.WHITE), **settings)
        assert (rows_of(dataset), dataset.notes) == ([[0, 0, 255], [0, 0, 0]], [])
        with pytest.raises(
            DataError,
            match=r"no pixel of 'yes' in the training masks, which hold the values 0, 255; .*"
            r"data.mask_values=\[0,255\]$",
        ):
            dataset.require_every_class()

    def test_a_run_keeps_what_was_taken_for_what(self, tmp_path):
        for values, expected in (((0, 1), {"ignore_label": 255}), ((0, 255), {"mask_values": [0, 255]})):
            config = FolderConfig(root=str(save_values(tmp_path, values)), classes=["no", "yes"])
            settled, _ = settle(config, build_dataset(config, "train"))
            assert settled == replace(config, **expected)
            again = build_dataset(settled, "train")
            assert (again.settled, again.notes, rows_of(again)) == ({}, [], [[0, 1]])

    def test_shades_of_grey(self, tmp_path):
        save_values(tmp_path, (0, 128, 255), (0, 0, 0))
        dataset = train_set(tmp_path, "abc")
        with pytest.raises(
            DataError,
            match=r"no pixel of 'b', 'c' in .* hold the values 0, 128, 255; expected 0 to 2 .*"
            r"If they are the classes in their order: data.mask_values=\[0,128,255\]$",
        ):
            dataset.require_every_class()
        assert rows_of(train_set(tmp_path, "abc", mask_values=[0, 128, 255])) == [[0, 1, 2], [0, 0, 0]]
        assert rows_of(train_set(tmp_path, "abc", mask_values=[255, 0, 128])) == [[1, 2, 0], [1, 1, 1]]

    def test_zero_is_nothing(self, tmp_path):
        save_values(tmp_path, (0, 1, 2), (0, 0, 2))
        with pytest.raises(
            DataError,
            match=r"values of no class: 2 in .* 2 names in data.classes and 3 values: either 0 stands for"
            r" nothing \(data.ignore_label=0\), or data.classes lacks the name of a class",
        ):
            train_set(tmp_path).require_every_class()
        dataset = train_set(tmp_path, ignore_label=0)
        assert rows_of(dataset) == [[255, 0, 1], [255, 255, 1]]
        dataset.require_every_class()
        save_values(tmp_path, (0, 1, 3))
        with pytest.raises(
            DataError, match=r"label 3 at row 0, column 2 .* expected 1 to 2 \(the classes\) or 0 \(ignored\)"
        ):
            train_set(tmp_path, ignore_label=0)[0]

    def test_what_can_not_be_read_is_named_before_the_first_step(self, tmp_path):
        save_values(tmp_path, (0, 0))
        Image.fromarray(labels(size=(2, 2))).save(tmp_path / "masks/train/0.png", "JPEG")
        with pytest.raises(DataError, match=r"0.png: JPEG changes the values"):
            train_set(tmp_path).require_every_class()

    def test_masks_are_read_until_all_classes_were_seen(self, tmp_path, monkeypatch):
        dataset = train_set(save_values(tmp_path, *[(0, 1)] * 9))
        read = []
        monkeypatch.setattr(folder, "read_mask", lambda *given: read.append(given) or read_mask(*given))
        dataset.require_every_class()
        assert len(read) == 1

    def test_a_class_that_few_of_many_masks_have_is_no_error(self, tmp_path, monkeypatch):
        dataset = train_set(save_values(tmp_path, *[(0, 0)] * 3))
        monkeypatch.setattr(folder, "_MOST_SEARCHED", 2)
        dataset.require_every_class()


class TestNearestClass:
    """Masks whose values a program or a format has changed."""

    @pytest.fixture
    def drawn(self):
        mask = np.zeros((40, 60), np.uint8)
        mask[8:30, 10:50], mask[30:, 40:] = 1, 2
        return mask

    def saved(self, root, mask, **how):
        for split in ("train", "val"):
            save_image(root / "images" / split / "a.png", (60, 40))
            (root / "masks" / split).mkdir(parents=True)
            Image.fromarray(mask).save(root / "masks" / split / f"a.{how.get('format', 'png').lower()}", **how)
        return root

    @pytest.mark.parametrize("how", [{"format": "JPEG", "quality": 80}, {"format": "WEBP", "quality": 80}])
    @pytest.mark.parametrize("is_rgb", [True, False])
    def test_formats_that_change_values(self, tmp_path, drawn, how, is_rgb):
        values = np.array([0, 128, 255], np.uint8)[drawn]
        self.saved(tmp_path, np.stack([values] * 3, -1) if is_rgb else values, **how)
        settings = {"classes": ["a", "b", "c"], "mask_values": [0, 128, 255]}
        with pytest.raises(
            DataError, match=r"changes the values .* \(data=folder takes them with data.nearest_class=true\)"
        ):
            train_set(tmp_path, **settings)[0]
        dataset = train_set(tmp_path, nearest_class=True, **settings)
        dataset.require_every_class()
        found = dataset[0]["mask"].numpy()
        assert found.max() == 2
        assert (found != drawn).sum() <= 8  # at corners
        assert "count as the nearest class" in dataset.notes[-1]

    def test_colours_in_jpeg(self, tmp_path, drawn):
        colours = np.array([(0, 0, 0), (200, 30, 30), (20, 60, 220)], np.uint8)
        self.saved(tmp_path, colours[drawn], format="JPEG", quality=90, subsampling=0)
        texts = ["0,0,0", "200,30,30", "20,60,220"]
        dataset = train_set(tmp_path, nearest_class=True, classes=["a", "b", "c"], colours=texts)
        assert (dataset[0]["mask"].numpy() != drawn).sum() <= 8
        with pytest.raises(DataError, match="its pixel format is RGB, with the colours"):
            train_set(tmp_path, nearest_class=True, classes=["a", "b", "c"], mask_values=[0, 1, 2])[0]

    def test_smoothed_edges(self, tmp_path):
        row = np.array([[0, 40, 126, 129, 200, 255]], np.uint8)
        self.saved(tmp_path, np.repeat(row, 40, 0).repeat(10, 1))
        dataset = train_set(tmp_path, nearest_class=True, mask_values=[0, 255])
        assert dataset[0]["mask"][0, ::10].tolist() == [0, 0, 0, 1, 1, 1]

    def test_what_is_ignored_counts_as_a_class_would(self, tmp_path):
        row = np.array([[0, 1, 2, 120, 150, 255]], np.uint8)
        self.saved(tmp_path, np.repeat(row, 40, 0).repeat(10, 1))
        dataset = train_set(tmp_path, nearest_class=True, mask_values=[0, 2], ignore_label=255)
        assert dataset[0]["mask"][0, ::10].tolist() == [0, 0, 1, 1, 255, 255]

    def test_the_values_of_classes_must_be_known(self, tmp_path, drawn):
        with pytest.raises(
            UsageError, match=r"expected data.mask_values, such as \[0,255\], or data.colours or a labelmap"
        ):
            train_set(self.saved(tmp_path, drawn), nearest_class=True)

    def test_index_colours_are_left_as_they_are(self, tmp_path, drawn):
        picture = Image.fromarray(np.minimum(drawn * 100, 255)).convert("P")
        for split in ("train", "val"):
            save_image(tmp_path / "images" / split / "a.png", (60, 40))
            (tmp_path / "masks" / split).mkdir(parents=True)
            picture.save(tmp_path / "masks" / split / "a.png")
        with pytest.raises(DataError, match=r"label 100 .* is out of range"):
            train_set(tmp_path, nearest_class=True, mask_values=[0, 255])[0]


class TestColours:
    RED, BLUE, GREY = (250, 50, 83), (51, 221, 255), (7, 7, 7)

    @pytest.fixture(params=["RGB", "RGBA", "P"])
    def root(self, tmp_path, request):
        save_image(tmp_path / "images/train/a.png", size=(4, 1))
        (tmp_path / "masks/train").mkdir(parents=True)
        picture = Image.fromarray(np.array([[(0, 0, 0), self.BLUE, self.RED, self.GREY]], np.uint8)).convert("RGB")
        picture = picture.quantize(4) if request.param == "P" else picture.convert(request.param)
        picture.save(tmp_path / "masks/train/a.png")
        return tmp_path

    def test_of_a_labelmap(self, root):
        (root / "labelmap.txt").write_text(
            "# label:color_rgb:parts:actions\nbackground:0,0,0::\ncat:250,50,83::\nVoid:7,7,7::\ndog:51,221,255::\n"
        )
        dataset = train_set(root, ("background", "cat", "dog"))
        assert rows_of(dataset) == [[0, 2, 1, 255]]
        assert dataset.settled["colours"] == ["#000000", "#fa3253", "#33ddff", "#070707"]
        assert "labelmap.txt; grey values are classes" in dataset.notes[0]
        dataset.require_every_class()
        settled = FolderConfig(root=str(root), classes=["background", "cat", "dog"], **dataset.settled)
        (root / "labelmap.txt").unlink()
        assert rows_of(build_dataset(settled, "train")) == [[0, 2, 1, 255]]

    def test_other_colours_of_a_labelmap_than_those_that_count_are_said(self, root):
        """As of other data than a run's, whose colours it has kept: cats would be scored as dogs."""
        (root / "labelmap.txt").write_text("background:0,0,0::\ncat:51,221,255::\ndog:250,50,83::\nvoid:7,7,7::\n")
        kept = ["#000000", "#fa3253", "#33ddff", "#070707"]
        with pytest.warns(
            UserWarning, match=r"labelmap.txt has other colours than data.colours for 'cat', 'dog': those"
        ):
            dataset = train_set(root, ("background", "cat", "dog"), colours=kept)
        assert rows_of(dataset) == [[0, 2, 1, 255]]
        assert rows_of(train_set(root, ("background", "cat", "dog"))) == [[0, 1, 2, 255]]

    @pytest.mark.parametrize("ignored", [0, 9, None])
    def test_of_a_setting(self, root, ignored):
        colours = ["0,0,0", "51 221 255", "#FA3253"]
        assert rows_of(train_set(root, "abc", colours=[*colours, "#070707"], ignore_label=ignored)) == [[0, 1, 2, 255]]
        with pytest.raises(DataError, match=r"a.png: data.colours has no class with the colours #070707 \(1 pixels\)$"):
            train_set(root, "abc", colours=colours)[0]

    def test_grey_values_are_classes_unless_all_colours_are_grey(self, tmp_path):
        save_values(tmp_path, (0, 1, 1))
        assert rows_of(train_set(tmp_path, colours=["#000000", "#ff0000"])) == [[0, 1, 1]]
        assert rows_of(train_set(tmp_path, colours=["#010101", "#000000"])) == [[1, 0, 0]]

    @pytest.mark.parametrize(
        ("content", "why"), [("no\nyes\n", "the line 'no' has no colour"), ("no:0,0,0\n", "has no colour for 'yes' of")]
    )
    def test_a_labelmap_of_another_kind_is_left_alone(self, tmp_path, content, why):
        (tmp_path / "labelmap.txt").write_text(content)
        dataset = train_set(save_values(tmp_path, (0, 1)))
        assert rows_of(dataset) == [[0, 1]]
        assert "labelmap.txt is not used: " in dataset.notes[0]
        assert why in dataset.notes[0]
