"""Objects of labelme's files: where images are, what makes up an object, and whatever can be wrong with a file."""

import base64
import json

import numpy as np
import pytest

from dcnrun.config.schema import BadBoxes, LabelmeConfig, Rectangles, Source
from dcnrun.data import IGNORE, build_box_dataset, build_dataset
from dcnrun.errors import DataError, UsageError
from tests.data.conformance import DatasetSuite
from tests.data.factories import drawn, labelme_tree, save_image, save_labelme

SQUARE = [[4, 3], [20, 3], [20, 15], [4, 15]]


class TestLabelme(DatasetSuite):
    source = Source.labelme

    @pytest.fixture
    def config(self, tmp_path):
        return LabelmeConfig(root=str(labelme_tree(tmp_path)))

    def test_boxes_and_notes(self, config):
        val = build_box_dataset(config, "val", masks=True)
        assert [val[index]["boxes"].tolist() for index in range(3)] == [
            [[4, 3, 20, 15], [20, 2, 34, 9]],
            [[10, 11, 17, 16]],
            [],
        ]
        assert val.classes == ("cat", "dog")
        assert val.notes == [
            "1 of 4 images have no .json file, such as d.png: left out (a .json file with no shapes says that there is no object)",
            "1 of 3 objects are rectangles: taken as masks that fill them (data.rectangles=boxes: only their box is known)",
            "1 shapes are no objects and are left out: 1 point",
        ]

    def test_class_masks(self, config):
        expected = np.zeros((30, 40))
        expected[3:15, 4:20] = 1
        expected[2:8, 20:26] = expected[2:9, 30:34] = 2
        assert np.array_equal(build_dataset(config, "val")[0]["mask"], expected)

    def test_rectangles_as_boxes(self, config):
        config.rectangles = Rectangles.boxes
        assert build_box_dataset(config, "val", masks=True)[0]["masks"].flatten(1).any(1).tolist() == [True, False]
        assert (build_dataset(config, "val")[0]["mask"][2:9, 20:34] == IGNORE).all()


def opened(root, split="val", masks=False, **settings):
    return build_box_dataset(LabelmeConfig(root=str(root), **settings), split, masks=masks)


def test_what_x_anylabeling_marks_as_difficult(tmp_path):
    marks = [{"difficult": False}, {"difficult": True}, {"difficult": True, "group_id": 1}, {"group_id": 1}]
    shapes = [drawn("cat", [[n, n], [n + 9, n], [n, n + 9]], **mark) for n, mark in enumerate(marks)]
    save_labelme(tmp_path, "val/a.json", *shapes)
    assert opened(tmp_path)[0]["difficult"].tolist() == [False, True, True]


class TestGroups:
    def test_parts_of_one_label_and_group(self, tmp_path):
        groups = [("cat", 1), ("dog", 1), ("cat", 1), ("cat", None), ("cat", None), ("cat", "1")]
        shapes = [
            drawn(label, [[n, n], [n + 4, n], [n, n + 4]], group_id=group) for n, (label, group) in enumerate(groups)
        ]
        save_labelme(tmp_path, "val/a.json", *shapes)
        sample = opened(tmp_path)[0]
        assert sample["labels"].tolist() == [0, 1, 0, 0]
        assert sample["boxes"].tolist() == [[0, 0, 9, 9], [1, 1, 5, 5], [3, 3, 7, 7], [4, 4, 8, 8]]

    def test_a_part_that_is_wrong_is_named_with_the_others(self, tmp_path):
        shapes = [drawn("cat", SQUARE, group_id=1), drawn("cat", [[1, 1]], group_id=1), drawn("cat", SQUARE)]
        save_labelme(tmp_path, "val/a.json", *shapes)
        with pytest.raises(
            DataError, match=r"a.json: shapes 1, 2 \('cat'\): it is a polygon of 1 points; expected three"
        ):
            opened(tmp_path)
        with pytest.warns(UserWarning, match="dropped or clipped boxes: 1 problem"):
            assert len(opened(tmp_path, bad_boxes=BadBoxes.warn)[0]["boxes"]) == 1


class TestClasses:
    def test_are_the_labels_of_both_splits(self, tmp_path):
        save_labelme(tmp_path, "train/a.json", drawn("dog", SQUARE), drawn("mark", [[1, 1]], "point"))
        save_labelme(tmp_path, "val/b.json", drawn("ant", SQUARE))
        assert opened(tmp_path, "train").classes == opened(tmp_path, "val").classes == ("ant", "dog")

    def test_of_the_settings(self, tmp_path):
        save_labelme(tmp_path, "val/a.json", drawn("dog", SQUARE), drawn("cat", SQUARE))
        assert opened(tmp_path, classes=["dog", "cat"])[0]["labels"].tolist() == [0, 1]
        with pytest.raises(DataError, match=r"shape 1 \('dog'\): it is none of the classes cat \(data.classes\)"):
            opened(tmp_path, classes=["cat"])

    def test_ignored_regions_are_a_crowd_of_each(self, tmp_path):
        """labelme's own converters leave `__ignore__` out of COCO files, and write 255 for it in masks of classes."""
        ignored = drawn("__ignore__", [[20, 20], [30, 20], [30, 28], [20, 28]])
        save_labelme(tmp_path, "val/a.json", drawn("cat", SQUARE), ignored, drawn("dog", SQUARE))
        dataset = opened(tmp_path, masks=True)
        assert dataset.classes == ("cat", "dog")
        sample = dataset[0]
        assert sample["labels"].tolist() == [0, 0, 1, 1]
        assert sample["crowd"].tolist() == [False, True, True, False]
        assert dataset.notes == ["1 regions have the label __ignore__: ignored, as a crowd of each class is"]
        mask = build_dataset(LabelmeConfig(root=str(tmp_path)), "val")[0]["mask"]
        assert (mask[20:28, 20:30] == IGNORE).all()
        assert int((mask == IGNORE).sum()) == 80

    def test_an_ignored_region_outside_the_image_is_said_once(self, tmp_path):
        outside = drawn("__ignore__", [[60, 3], [70, 3], [70, 9]])
        save_labelme(tmp_path, "val/a.json", drawn("cat", SQUARE), outside, drawn("dog", SQUARE))
        with pytest.raises(DataError, match=r"1 problem .*shape 2 \('__ignore__'\).* is outside the image of 40x30"):
            opened(tmp_path)

    def test_none(self, tmp_path):
        save_labelme(tmp_path, "val/a.json", drawn("mark", [[1, 1]], "point"))
        with pytest.raises(UsageError, match=r"no shape is an object with a label"):
            opened(tmp_path)


class TestImages:
    @pytest.mark.parametrize("stated", [True, False])
    def test_inside_the_file(self, tmp_path, stated):
        """Where there is no image file, the one that labelme may keep in the annotation is read."""
        more = {} if stated else {"imageHeight": None, "imageWidth": None}
        for split, seed in (("train", 1), ("val", 2)):
            pixels = save_image(tmp_path / "a.png", seed=seed)
            text = base64.b64encode((tmp_path / "a.png").read_bytes()).decode()
            save_labelme(tmp_path, f"{split}/a.json", drawn("cat", SQUARE), image=False, imageData=text, **more)
            (tmp_path / "a.png").unlink()
        dataset = opened(tmp_path, masks=True)
        assert np.array_equal(dataset[0]["image"].permute(1, 2, 0), pixels)
        assert dataset[0]["masks"].shape == (1, 30, 40)
        assert (
            dataset.notes[0] == "1 of 1 images are inside their .json files (imageData), since there is no image file"
        )
        assert np.array_equal(build_dataset(LabelmeConfig(root=str(tmp_path)), "val")[0]["image"], dataset[0]["image"])

    @pytest.mark.parametrize(
        ("data", "said"),
        [
            (None, "nor inside the file"),
            (7, "imageData is no text"),
            ("*", "imageData can't be read"),
            ("YWJj", "a.json: its imageData can't be read"),
        ],
    )
    def test_inside_the_file_but_damaged(self, tmp_path, data, said):
        save_labelme(tmp_path, "val/a.json", drawn("cat", SQUARE), image=False, imageData=data, imageHeight=None)
        with pytest.raises(DataError, match=said):
            opened(tmp_path)

    @pytest.mark.parametrize(
        ("path", "image", "is_elsewhere"),
        [
            ("a.jpg", "val/a.jpg", False),
            ("../images/a.png", "images/a.png", False),
            (r"..\images\a.png", "images/a.png", False),
            (r"C:\Users\someone\a.jpg", "val/a.jpg", True),
            ("/srv/a.png", "images/a.png", True),
            ("../../elsewhere/a.jpg", "val/a.jpg", True),
            ("", "val/x.png", True),
        ],
    )
    def test_are_found(self, tmp_path, path, image, is_elsewhere):
        save_labelme(tmp_path, "val/x.json", drawn("cat", SQUARE), image=False, imagePath=path)
        save_image(tmp_path / image)
        dataset = opened(tmp_path)
        assert dataset.name(0) == image
        expected = f"1 of 1 images are not where imagePath says: found by their names, such as {image} for x.json"
        assert dataset.notes == ([expected] if is_elsewhere else [])

    def test_outside_the_root(self, tmp_path):
        save_labelme(tmp_path, "set/val/x.json", drawn("cat", SQUARE), image=False, imagePath="../../a.png")
        save_image(tmp_path / "a.png")
        with pytest.raises(
            DataError, match=r"its image '../../a.png' is outside data.root=.*set, which data.allow_outside=true allows"
        ):
            opened(tmp_path / "set")
        assert opened(tmp_path / "set", allow_outside=True).file(0) == tmp_path / "a.png"

    def test_of_one_name_are_not_guessed(self, tmp_path):
        save_labelme(tmp_path, "val/x.json", drawn("cat", SQUARE), image=False, imagePath="/srv/a.png")
        for folder in "pq":
            save_image(tmp_path / folder / "a.png")
        with pytest.raises(DataError, match=r"x.json: its image '/srv/a.png' is not there"):
            opened(tmp_path)

    def test_size_of_the_image_where_the_file_has_none(self, tmp_path):
        save_labelme(tmp_path, "val/x.json", drawn("cat", SQUARE), imageHeight=None, imageWidth=None)
        assert opened(tmp_path, masks=True)[0]["masks"].sum() == 16 * 12

    def test_of_another_size(self, tmp_path):
        save_labelme(tmp_path, "val/x.json", drawn("cat", SQUARE), imageHeight=31)
        with pytest.raises(
            DataError, match=r"x.png: the image is 40x30 when upright, but its objects were annotated at 40x31"
        ):
            opened(tmp_path)[0]


class TestLayouts:
    @pytest.mark.parametrize("folder", ["", "deep/"])
    def test_one_folder_is_shared(self, tmp_path, folder):
        for seed, name in enumerate("abcde"):
            save_labelme(tmp_path, f"{folder}{name}.json", drawn("cat", SQUARE), seed=seed)
        parts = [opened(tmp_path, split, val_share=0.2) for split in ("train", "val")]
        names = [dataset.name(index) for dataset in parts for index in range(len(dataset))]
        assert sorted(names) == [f"{folder}{name}.png" for name in "abcde"]
        assert len(parts[1]) == 1
        with pytest.raises(UsageError, match=r"data.train=train: .*train is not there; .* data.val_share=0.2"):
            opened(tmp_path, "train")

    def test_lists_of_images(self, tmp_path):
        for seed, name in enumerate("abc"):
            save_labelme(tmp_path, f"all/{name}.json", drawn("cat", SQUARE), seed=seed)
        (tmp_path / "val.txt").write_text("a\nall/c.png\n")
        dataset = opened(tmp_path, val="val.txt")
        assert [dataset.name(index) for index in range(2)] == ["all/a.png", "all/c.png"]

    def test_a_root_from_where_one_is(self, tmp_path, monkeypatch):
        labelme_tree(tmp_path / "set")
        monkeypatch.chdir(tmp_path)
        for root in ("set", "./set", "set/../set"):
            assert [opened(root).name(index) for index in range(3)] == ["val/a.png", "val/b.png", "val/c.png"]

    def test_nothing_there(self, tmp_path):
        save_image(tmp_path / "val/a.png")
        with pytest.raises(UsageError, match=r"there are no .json files in .*val; expected one for each image"):
            opened(tmp_path)
        with pytest.raises(DataError, match=r"is outside data.root"):
            opened(tmp_path / "val", val="..")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\xff", r"can't be read \(.*\); expected a JSON file of labelme"),
        (b"[" * 100_000, r"can't be read \(.*\); expected a JSON file of labelme"),
        (b"[]", r"it has no list 'shapes'; expected a JSON file of labelme"),
        (b'{"shapes": {}}', r"it has no list 'shapes'"),
        (b'{"shapes": [], "imagePath": 3}', r"its imagePath is 3; expected the image's path"),
        (b'{"shapes": [], "imagePath": "\\ud800"}', r"its imagePath is '\\ud800'"),
    ],
)
def test_what_is_no_file_of_labelme(tmp_path, content, message):
    save_labelme(tmp_path, "val/a.json", drawn("cat", SQUARE))
    (tmp_path / "val/b.json").write_bytes(content)
    with pytest.raises(DataError, match=rf"1 problem .*b.json: {message}"):
        opened(tmp_path)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        (drawn("", SQUARE), "shape 2: its label is ''; expected a text"),
        (drawn(7, SQUARE), "shape 2: its label is 7; expected a text"),
        ("cat", "shape 2: its label is 'cat'; expected a text"),
        (drawn("cat", [[60, 3], [70, 3], [70, 9]]), "is outside the image of 40x30"),
    ],
)
def test_what_is_no_object(tmp_path, shape, message):
    save_labelme(tmp_path, "val/a.json", drawn("cat", SQUARE), shape)
    with pytest.raises(DataError, match=r"1 problem ") as raised:
        opened(tmp_path)
    assert message in str(raised.value)
    with pytest.warns(UserWarning, match="dropped or clipped boxes: 1 problem"):
        assert len(opened(tmp_path, bad_boxes=BadBoxes.warn)[0]["boxes"]) == 1


def test_files_of_the_first_versions(tmp_path):
    save_labelme(tmp_path, "val/a.json")
    document = json.loads((tmp_path / "val/a.json").read_text())
    document["shapes"] = [{"label": "cat", "points": SQUARE, "line_color": None}]
    (tmp_path / "val/a.json").write_text(json.dumps(document))
    assert opened(tmp_path)[0]["boxes"].tolist() == [[4, 3, 20, 15]]
