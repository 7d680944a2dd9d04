"""Boxes and masks in COCO's layout, against pycocotools; and whatever can be wrong with the file."""

import gc
import json
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools.coco import COCO

from dcnrun.config.compose import compose
from dcnrun.config.schema import BadBoxes, CocoConfig, Source
from dcnrun.data import build_box_dataset, build_dataset, coco, coco_json
from dcnrun.data.check import check_data
from dcnrun.errors import DataError, UsageError
from tests.data.conformance import DatasetSuite
from tests.data.factories import annotation, coco_tree, load_json, save_image, save_json


class TestCoco(DatasetSuite):
    source = Source.coco

    @pytest.fixture
    def config(self, tmp_path):
        return CocoConfig(root=str(coco_tree(tmp_path)))

    def test_images_without_objects_are_left_out_of_training(self, config):
        train, val = (build_box_dataset(config, split) for split in ("train", "val"))
        assert [train.image_id(index) for index in range(len(train))] == [7, 3]
        assert [val.image_id(index) for index in range(len(val))] == [7, 3, 5]
        assert val[2]["boxes"].shape == (0, 4)
        config.train_empty = True
        assert len(build_box_dataset(config, "train")) == 3

    def test_categories_are_in_the_order_of_their_ids(self, config):
        dataset = build_box_dataset(config, "val")
        assert dataset.classes == ("apple", "zebra")
        assert [dataset.category_id(label) for label in (0, 1)] == [20, 90]
        assert dataset[1]["labels"].tolist() == [0, 1]

    def test_crowds_and_areas(self, config):
        sample = build_box_dataset(config, "val")[1]
        assert sample["crowd"].tolist() == [True, False]
        assert sample["area"].tolist() == [300, 20]
        assert not sample["difficult"].any()

    def test_masks_of_an_image_without_objects(self, config):
        assert build_box_dataset(config, "val", masks=True)[2]["masks"].shape == (0, 30, 45)


def test_ids_of_images_that_are_texts(tmp_path):
    """As in COCO Camera Traps, whose animals' boxes iWildCam has."""
    images = [{"id": key, "file_name": f"{key}.png", "width": 40, "height": 30} for key in ("b-7", "a-9", "12")]
    for seed, image in enumerate(images):
        save_image(tmp_path / "val" / image["file_name"], seed=seed)
    objects = [annotation("x", "a-9", 1, [4, 3, 16, 12]), annotation("y", "12", 1, [1, 2, 3, 4])]
    document = {"images": images, "annotations": objects, "categories": [{"id": 1, "name": "cat"}]}
    save_json(tmp_path, "val", document)
    dataset = build_box_dataset(CocoConfig(root=str(tmp_path)), "val")
    assert [dataset[n]["boxes"].tolist() for n in range(3)] == [[], [[4, 3, 20, 15]], [[1, 2, 4, 6]]]
    assert [dataset.image_id(n) for n in range(3)] == [1, 2, 3]
    assert dataset.notes == [
        "ids of images are texts: files of results have numbers from 1 in their place, in the order of the file"
    ]
    images[0]["id"] = 7
    save_json(tmp_path, "val", document)
    with pytest.raises(DataError, match=r"one of its images has .*'a-9'.*; expected an integer and a text"):
        build_box_dataset(CocoConfig(root=str(tmp_path)), "val")


def test_corners_of_one_polygon_alone(tmp_path):
    """As the VGG Image Annotator writes them, with ids of images as texts."""
    save_image(tmp_path / "val/a.png")
    corners = [4, 3, 20.5, 3, 20, 15, 4, 15]
    objects = [
        annotation(0, "1", 1, [4, 3, 16, 12], segmentation=corners),
        annotation(1, 1, 1, [5, 3, 16, 12], segmentation=[corners]),
    ]
    image = {"id": 1, "file_name": "a.png", "width": 40, "height": 30}
    save_json(tmp_path, "val", {"images": [image], "annotations": objects, "categories": [{"id": 1, "name": "cat"}]})
    first, second = build_box_dataset(CocoConfig(root=str(tmp_path)), "val", masks=True)[0]["masks"]
    assert first.any()
    assert torch.equal(first, second)


def test_objects_to_be_left_out_are_difficult(tmp_path):
    """As mmdetection's reader leaves them out; a crowd stays one."""
    save_image(tmp_path / "val/a.png")
    marks = [{}, {"ignore": 0}, {"ignore": 1}, {"ignore": True}, {"ignore": False}, {"ignore": 1, "iscrowd": 1}]
    objects = [annotation(n, 1, 1, [1 + n, 2, 9, 9], **mark) for n, mark in enumerate(marks)]
    image = {"id": 1, "file_name": "a.png", "width": 40, "height": 30}
    document = {"images": [image], "annotations": objects, "categories": [{"id": 1, "name": "cat"}]}
    save_json(tmp_path, "val", document)
    dataset = build_box_dataset(CocoConfig(root=str(tmp_path)), "val")
    assert dataset[0]["difficult"].tolist() == [False, False, True, True, False, False]
    assert dataset[0]["crowd"].tolist() == [False] * 5 + [True]
    assert dataset.notes[-1].startswith("3 of 6 objects have ignore=1: difficult ones")
    objects[0]["ignore"] = "perhaps"
    save_json(tmp_path, "val", document)
    with pytest.raises(DataError, match=r"annotation 0 of 'a\.png': its ignore is 'perhaps'; expected 0 or 1"):
        build_box_dataset(CocoConfig(root=str(tmp_path)), "val")


class TestFilesAreRead:
    @pytest.fixture
    def config(self, tmp_path):
        return CocoConfig(root=str(coco_tree(tmp_path, ["train"])), val_share=0.4)

    @pytest.fixture
    def read(self, monkeypatch):
        files, original = [], coco_json.read
        monkeypatch.setattr(coco_json, "read", lambda file: files.append(file) or original(file))
        return files

    def test_once_for_both_splits_that_share_them(self, config, read):
        train, val = (build_box_dataset(config, split, masks=True) for split in ("train", "val"))
        assert len(read) == 1
        names = {dataset.name(index) for dataset in (train, val) for index in range(len(dataset))}
        assert names <= {"train_7.png", "train_3.png", "train_5.png"}
        build_box_dataset(config, "val", masks=False)
        assert len(read) == 2

    def test_again_when_they_or_the_settings_have_changed(self, config, read):
        train = build_box_dataset(config, "train")
        build_box_dataset(replace(config, tolerance=1), "val")
        assert len(read) == 2
        document = load_json(Path(config.root), "train")
        document["categories"].append({"id": 91, "name": "zoo"})
        save_json(Path(config.root), "train", document)
        val = build_box_dataset(config, "val")
        assert (len(train.classes), len(val.classes)) == (2, 3)

    def test_and_not_kept_without_the_data_sets(self, config, read):
        for split in ("train", "val"):
            build_box_dataset(config, split)
            gc.collect()
        assert len(read) == 2

    def test_in_columns_as_one_by_one(self, config, monkeypatch):
        config = replace(config, val_share=0, val="train")
        columns = [build_box_dataset(config, "val", masks=masks)._records for masks in (False, True)]
        gc.collect()
        monkeypatch.setattr(coco, "_plain_objects", lambda *_: None)
        one_by_one = [build_box_dataset(config, "val", masks=masks)._records for masks in (False, True)]
        assert columns[1][0] is not one_by_one[1][0]
        assert repr(columns) == repr(one_by_one)
        assert [len(record.masks) for record in columns[1]] == [1, 2, 0]


class TestNuclei(DatasetSuite):
    source = Source.coco

    @pytest.fixture
    def config(self):
        return compose(["data=nuclei_boxes"]).data

    def test_holds_what_its_readme_says(self, config):
        for split, images, boxes in (("train", 12, 121), ("val", 4, 32)):
            dataset = build_box_dataset(config, split)
            assert dataset.classes == ("nucleus",)
            assert (len(dataset), sum(len(dataset[i]["boxes"]) for i in range(images))) == (images, boxes)

    def test_the_objects_make_up_the_class_masks(self, config):
        boxes, masks = build_box_dataset(config, "val", masks=True), build_dataset(compose(["data=nuclei"]).data, "val")
        for index in range(len(boxes)):
            missing = masks[index]["mask"].bool() & ~boxes[index]["masks"].any(0)
            assert not (boxes[index]["masks"].any(0) & ~masks[index]["mask"].bool()).any()
            assert missing.sum() < 40, "nuclei under 20 pixels have no annotation"


@pytest.mark.filterwarnings("ignore::DeprecationWarning:pycocotools")
@pytest.mark.parametrize("data", ["tree", "nuclei"])
def test_agrees_with_pycocotools(data, tmp_path):
    if data == "tree":
        config = CocoConfig(root=str(coco_tree(tmp_path)))
        file = tmp_path / "annotations/instances_val.json"
    else:
        config = compose(["data=nuclei_boxes"]).data
        file = f"{config.root}/annotations/instances_val.json"
    reference = COCO(str(file))
    dataset = build_box_dataset(config, "val", masks=True)
    assert {dataset.image_id(index) for index in range(len(dataset))} == set(reference.getImgIds())
    for index in range(len(dataset)):
        sample = dataset[index]
        expected = reference.loadAnns(reference.getAnnIds(dataset.image_id(index)))
        assert [dataset.category_id(label) for label in sample["labels"].tolist()] == [
            a["category_id"] for a in expected
        ]
        for box, mask, item in zip(sample["boxes"].tolist(), sample["masks"], expected, strict=True):
            x, y, width, height = item["bbox"]
            assert box == [x, y, x + width, y + height]
            assert np.array_equal(mask.numpy(), reference.annToMask(item))


@pytest.fixture
def root(tmp_path):
    return coco_tree(tmp_path, splits=("val",))


def change(root, **lists):
    """Replace lists of the annotation file."""
    save_json(root, "val", load_json(root, "val") | lists)


def val(root, masks=False, **settings):
    return build_box_dataset(CocoConfig(root=str(root), **settings), "val", masks=masks)


def test_annotations_that_were_merged_twice_are_said_and_kept(root):
    once = load_json(root, "val")["annotations"]
    again = [entry | {"id": entry["id"] + 100} for entry in once]
    other = once[0] | {"id": 50, "category_id": 20}  # of another class
    change(root, annotations=[*once, *again, other])
    with pytest.warns(
        UserWarning, match=r"annotated twice: 3 problems .* annotation 101 of 'val_7.png': it is annotation 1 of"
    ):
        dataset = val(root)
    assert [len(dataset[index]["boxes"]) for index in range(3)] == [3, 4, 0]
    report = check_data(CocoConfig(root=str(root)), ["val"])
    assert report["problems"] == 3


ONE = [annotation(1, 7, 90, [1, 2, 3, 4])]

BAD = {
    "empty": ({"bbox": [5, 5, 0, 4]}, r"annotation 2 of 'val_7.png': its box \(5, 5, 5, 9\) is empty"),
    "inverted": ({"bbox": [5, 5, -3, 4]}, r"annotation 2 of 'val_7.png': its box \(5, 5, 2, 9\) is inverted"),
    "outside": ({"bbox": [60, 5, 3, 4]}, r"is outside the image of 47x30"),
    "none": ({"bbox": None}, r"its bbox is None; expected \[x, y, width, height\]"),
    "three numbers": ({"bbox": [1, 2, 3]}, r"its bbox is \[1, 2, 3\]"),
    "nan": ({"bbox": [float("nan"), 2, 3, 4]}, r"its bbox is \[nan, 2, 3, 4\]"),
    "huge": ({"bbox": [10**400, 2, 3, 4]}, r"its bbox is \[10000"),
    "text": ({"bbox": ["1", 2, 3, 4]}, r"its bbox is \['1', 2, 3, 4\]"),
    "unknown image": ({"image_id": 99}, r"annotation 2: its image_id is 99, which the file does not list"),
    "no image": ({"image_id": [7]}, r"its image_id is \[7\]"),
    "unknown category": ({"category_id": 1}, r"annotation 2 of 'val_7.png': its category_id is 1, which"),
    "true is no id": ({"category_id": True}, r"its category_id is True"),
}


def test_ids_as_text(root):
    """VGG Image Annotator writes them so."""
    change(root, annotations=[*ONE, annotation(2, "7", "20", [1, 2, 3, 4])])
    sample = build_box_dataset(CocoConfig(root=str(root)), "val")[0]
    assert sample["boxes"][-1].tolist() == [1, 2, 4, 6]


class TestBadBoxes:
    @pytest.mark.parametrize("name", BAD)
    def test_are_errors_that_name_file_and_annotation(self, root, name):
        changes, message = BAD[name]
        change(root, annotations=[*ONE, annotation(2, 7, 20, [1, 2, 3, 4]) | changes])
        with pytest.raises(
            DataError, match=rf"1 problem .*instances_val.json: annotation 2.*{message.split(': ')[-1]}"
        ):
            val(root)
        with pytest.raises(DataError, match=message):
            val(root)

    @pytest.mark.parametrize("name", BAD)
    def test_or_are_dropped_and_counted(self, root, name):
        changes, message = BAD[name]
        change(root, annotations=[*ONE, annotation(2, 7, 20, [1, 2, 3, 4]) | changes])
        with pytest.warns(UserWarning, match=message):
            dataset = val(root, bad_boxes=BadBoxes.warn)
        assert dataset[0]["boxes"].tolist() == [[1, 2, 4, 6]]

    def test_partly_outside(self, root):
        change(root, annotations=[annotation(1, 7, 90, [-2, 3, 10, 99])])
        with pytest.raises(DataError, match=r"its box \(-2, 3, 8, 102\) is partly outside the image of 47x30"):
            val(root)
        with pytest.warns(UserWarning, match=r"partly outside"):
            assert val(root, bad_boxes=BadBoxes.warn)[0]["boxes"].tolist() == [[0, 3, 8, 30]]

    def test_what_rounding_adds_is_clipped_in_silence(self, root):
        change(root, annotations=[annotation(1, 7, 90, [0.49, 0, 46.52, 30.004])])
        assert val(root)[0]["boxes"][0].tolist() == pytest.approx([0.49, 0, 47, 30])

    def test_with_masks_they_are_dropped_together(self, root):
        square = [[1, 2, 4, 2, 4, 6, 1, 6]]
        sound = ONE[0] | {"segmentation": square}
        change(root, annotations=[sound | {"bbox": [5, 5, 0, 0]}, sound, sound | {"segmentation": "square"}])
        with pytest.warns(UserWarning, match=r"2 problems .*its mask can't be used"):
            sample = val(root, masks=True, bad_boxes=BadBoxes.warn)[0]
        assert sample["boxes"].tolist() == [[1, 2, 4, 6]]
        assert sample["masks"].shape == (1, 30, 47)


class TestMissingParts:
    def test_without_area_and_box_those_of_the_mask(self, root):
        polygon = {"segmentation": [[5, 4, 25, 4, 25, 14, 5, 14]], "id": 1, "image_id": 7, "category_id": 90}
        change(root, annotations=[polygon, polygon | {"bbox": [5, 4, 20, 10]}, polygon | {"area": 7}])
        sample = val(root)[0]
        assert sample["boxes"].tolist() == [[5, 4, 25, 14]] * 3
        assert sample["area"].tolist() == [200, 200, 7]
        assert not sample["crowd"].any()

    def test_without_area_and_mask_that_of_the_box(self, root):
        bare = annotation(1, 7, 90, [1, 2, 3, 4], area=None)
        change(root, annotations=[bare, bare | {"segmentation": []}])
        assert val(root)[0]["area"].tolist() == [12, 12]
        assert val(root, masks=True)[0]["masks"] is None

    def test_a_mask_that_is_not_needed_is_not_looked_at(self, root):
        change(root, annotations=[ONE[0] | {"segmentation": [[1, 2, 3]]}])
        assert len(val(root)[0]["boxes"]) == 1
        with pytest.raises(DataError, match=r"its mask can't be used"):
            val(root, masks=True)

    def test_without_a_size_the_images_own_counts(self, root):
        images = [{key: image[key] for key in ("id", "file_name")} for image in load_json(root, "val")["images"]]
        change(root, images=images, annotations=[annotation(1, 7, 90, [40, 0, 9, 8])])
        with pytest.raises(DataError, match=r"partly outside the image of 47x30"):
            val(root)


SQUARE = [1, 2, 4, 2, 4, 6, 1, 6]


class TestMasksOfNothing:
    """Of whose object only the box is known."""

    @pytest.mark.parametrize("nothing", [[], [[]], [[], []], [[1, 2]], [[1, 2, 3, 4]], [[1, 2], [3, 4, 5, 6]], None])
    def test_the_box_counts(self, root, nothing):
        for others in ([], [annotation(2, 7, 90, [1, 2, 3, 4], segmentation=[SQUARE])]):
            change(root, annotations=[annotation(1, 7, 90, [5, 6, 7, 8], segmentation=nothing), *others])
            plain, masked = val(root), val(root, masks=True)
            assert plain[0]["boxes"].tolist()[0] == masked[0]["boxes"].tolist()[0] == [5, 6, 12, 14]
            assert plain[0]["area"].tolist() == masked[0]["area"].tolist()
            assert masked.record(0).masks == ([None, masked.record(0).masks[1]] if others else None)
            assert any("1 masks have fewer than three points" in note for note in masked.notes) == bool(nothing)

    def test_the_parts_that_are_something_count(self, root):
        change(root, annotations=[annotation(1, 7, 90, [1, 2, 3, 4], segmentation=[[], SQUARE, [1, 1, 2, 2]])])
        mask = val(root, masks=True)[0]["masks"][0].bool()
        expected = torch.zeros(30, 47, dtype=torch.bool)
        expected[2:6, 1:4] = True
        assert torch.equal(mask, expected)

    @pytest.mark.parametrize("masks", [False, True])
    def test_an_area_of_nothing_is_computed(self, root, masks):
        flat = annotation(1, 7, 90, [1, 2, 3, 4], area=0)
        change(root, annotations=[flat, flat | {"bbox": [1, 2, 30, 20], "segmentation": [SQUARE]}])
        dataset = val(root, masks=masks)
        assert dataset[0]["area"].tolist() == [12, 12]  # of the box, of the mask
        assert any(note.startswith("2 areas are 0") for note in dataset.notes)


def test_annotations_that_share_an_id_are_all_read_and_it_is_said(root):
    boxes = [[1, 2, 3, 4], [10, 2, 3, 4], [20, 2, 3, 4]]
    change(root, annotations=[annotation(id, 7, 90, box) for id, box in zip((2, 1, 2), boxes, strict=True)])
    dataset = val(root)
    assert [box[0] for box in dataset[0]["boxes"].tolist()] == [1, 10, 20]
    (said,) = [note for note in dataset.notes if "the id of another" in note]
    assert said.startswith("1 annotation has the id of another: all are read here; pycocotools")


class TestNormalised:
    @pytest.mark.parametrize("boxes", [[[0.1, 0.2, 0.3, 0.4]], [[0.5, 0.5, 1, 1], [0, 0, 0.25, 1.0004]]])
    @pytest.mark.parametrize("masks", [False, True])
    def test_boxes_between_0_and_1_are_an_error(self, root, boxes, masks):
        change(root, annotations=[annotation(number, 7, 90, box) for number, box in enumerate(boxes)])
        said = rf"_val.json: all of its {len(boxes)} boxes lie between 0 and 1, though images have up to 47x30 pixels: they look"
        with pytest.raises(DataError, match=said):
            val(root, masks=masks, bad_boxes=BadBoxes.warn)
        report = check_data(CocoConfig(root=str(root)), ["val"])
        assert report["problems"] == 1

    def test_a_box_of_a_pixel_is_a_box(self, root):
        change(root, annotations=[annotation(1, 7, 90, [0, 0, 1, 1])])
        assert val(root)[0]["boxes"].tolist() == [[0, 0, 1, 1]]
        change(root, annotations=[annotation(1, 7, 90, [0.5, 0, 1, 0.5]), annotation(2, 7, 90, [0.5, 0, 9, 9])])
        assert len(val(root)[0]["boxes"]) == 2


def test_a_box_within_the_tolerance_is_clipped_and_counted(root):
    change(root, annotations=[annotation(1, 7, 90, [40, 3, 7.4, 10], area=70)])
    dataset = val(root)
    assert dataset[0]["boxes"][0].tolist() == [40, 3, 47, 13]
    assert dataset[0]["area"].tolist() == [70]
    assert dataset.notes[0].startswith("1 box reaches beyond the image by up to 1 pixels: clipped (data.tolerance=1")
    with pytest.raises(DataError, match=r"its box \(40, 3, 47.4, 13\) is partly outside"):
        val(root, tolerance=0)


class TestCategories:
    NESTED: ClassVar = [
        {"id": 0, "name": "zebra", "supercategory": "none"},
        {"id": 90, "name": "zebra", "supercategory": "zebra"},
        {"id": 20, "name": "apple", "supercategory": "zebra"},
    ]

    @pytest.mark.parametrize("masks", [False, True])
    def test_one_that_is_the_others_supercategory_and_has_no_object_is_left_out(self, root, masks):
        change(root, categories=self.NESTED)
        dataset = val(root, masks=masks)
        assert dataset.classes == ("apple", "zebra")
        assert [dataset.category_id(label) for label in (0, 1)] == [20, 90]
        assert dataset[1]["labels"].tolist() == [0, 1]
        assert any(note.startswith("no class: 'zebra', the supercategory of others") for note in dataset.notes)

    def test_with_an_object_it_is_a_class(self, root):
        named = [self.NESTED[0] | {"name": "thing"}, *(entry | {"supercategory": "thing"} for entry in self.NESTED[1:])]
        change(root, categories=named, annotations=[*ONE, annotation(2, 7, 0, [5, 5, 2, 2])])
        assert val(root).classes == ("thing", "apple", "zebra")
        change(root, categories=self.NESTED)
        with pytest.raises(DataError, match=r"several of its categories have the same name"):
            val(root)

    def test_one_that_is_its_own_supercategory_stays(self, root):
        change(root, categories=[*load_json(root, "val")["categories"], {"id": 1, "name": "x", "supercategory": "x"}])
        assert val(root).classes == ("x", "apple", "zebra")


class TestImages:
    def test_missing_ones_are_named(self, root):
        (root / "val/val_3.png").unlink()
        with pytest.raises(DataError, match=r"1 of 3 image files are missing; expected .*val/val_3.png"):
            val(root, bad_boxes=BadBoxes.warn)

    def test_another_size_than_the_file_says(self, root):
        Image.new("RGB", (30, 47)).save(root / "val/val_7.png")
        with pytest.raises(DataError, match=r"val_7.png: the image is 30x47 when upright, .* annotated at 47x30"):
            val(root)[0]

    @pytest.mark.parametrize("mode", ["L", "RGBA", "P"])
    def test_other_colours(self, root, mode):
        Image.new(mode, (47, 30)).save(root / "val/val_7.png")
        assert val(root)[0]["image"].shape == (3, 30, 47)

    def test_a_photograph_is_turned_upright(self, root):
        exif = Image.Exif()
        exif[0x0112] = 6
        Image.new("RGB", (30, 47)).save(root / "val/val_7.png", exif=exif)
        assert val(root)[0]["image"].shape == (3, 30, 47)

    @pytest.mark.parametrize("name", ["[red]a[/red].png", "b $x$\n.png", "\x1b[31mc.png", "sub/дърво.png"])
    def test_hostile_names_are_names(self, root, name):
        (root / "val" / name).parent.mkdir(exist_ok=True)
        (root / "val/val_7.png").rename(root / "val" / name)
        images = load_json(root, "val")["images"]
        images[0]["file_name"] = name
        change(root, images=images)
        dataset = val(root)
        assert dataset.name(0) == dataset[0]["name"] == name


class TestFile:
    @pytest.mark.parametrize(
        ("content", "message"),
        [
            ("", "can't be read"),
            ("{", "can't be read"),
            ("[" * 100_000, "can't be read"),
            ("\ud800", "can't be read"),
            ("[]", "it has no list 'annotations'"),
            ('{"annotations": {}}', "it has no list 'annotations'"),
            ('{"annotations": [1]}', "it has no list 'annotations'"),
            ('{"annotations": [], "categories": []}', "its list 'categories' is empty"),
        ],
    )
    def test_that_is_not_like_cocos(self, root, content, message):
        (root / "annotations/instances_val.json").write_text(content, errors="surrogatepass")
        with pytest.raises(DataError, match=rf"instances_val.json: {message}"):
            val(root)

    @pytest.mark.parametrize(
        ("key", "place", "entry", "message"),
        [
            ("images", 0, {"id": "7"}, r"one of its images has \{'id': '7', 'file_name': 'val_7.png'\}; expected"),
            ("images", 0, {"file_name": None}, r"one of its images has .*None"),
            ("images", 0, {"id": 3}, r"several of its images have the same id"),
            ("images", 0, {"file_name": "val_3.png"}, r"several of its images have the same file_name"),
            ("categories", 0, {"id": 20}, r"several of its categories have the same id"),
            ("categories", 0, {"name": "apple"}, r"several of its categories have the same name"),
            ("categories", 0, {"id": None}, r"one of its categories has"),
        ],
    )
    def test_ids_and_names(self, root, key, place, entry, message):
        entries = load_json(root, "val")[key]
        entries[place] |= entry
        change(root, **{key: entries})
        with pytest.raises(DataError, match=rf"instances_val.json: {message}"):
            val(root)

    def test_where_it_is_looked_for(self, root):
        with pytest.raises(UsageError, match=r"lacks .*a/val.json and .*val/b; .*data.annotations=a/SPLIT.json,"):
            val(root, annotations="a/SPLIT.json", images="SPLIT/b")
        with pytest.raises(UsageError, match=r"lacks \S*/other; "):
            val(root, images="other")
        with pytest.raises(UsageError, match=r"data.root=\S*/nowhere is not there; expected the folder that holds "):
            val(root / "nowhere")
        with pytest.raises(UsageError, match=r"data.root is not set"):
            build_box_dataset(CocoConfig(), "val")

    def test_settings_say_where_it_is(self, root):
        (root / "valid").mkdir()
        (root / "annotations/instances_val.json").rename(root / "valid/_annotations.coco.json")
        for image in (root / "val").iterdir():
            image.rename(root / "valid" / image.name)
        assert len(val(root, annotations="SPLIT/_annotations.coco.json", val="valid")) == 3

    def test_a_byte_order_mark(self, root):
        file = root / "annotations/instances_val.json"
        file.write_text(json.dumps(load_json(root, "val")), encoding="utf-8-sig")
        assert len(val(root)) == 3


def test_masks_only_where_asked(root):
    assert val(root)[0]["masks"] is None
    assert torch.equal(val(root)[0]["boxes"], val(root, masks=True)[0]["boxes"])


class TestWhatAFileClaims:
    """Bounded before memory is asked for."""

    @pytest.mark.timeout(20)
    @pytest.mark.parametrize("mask", [[[1, 1, 9, 1, 9, 9]], {"size": [200_000] * 2, "counts": "o9"}])
    def test_the_size_of_an_image(self, root, mask):
        images = load_json(root, "val")["images"]
        images[0] |= {"width": 200_000, "height": 200_000}
        change(root, images=images, annotations=[annotation(1, 7, 90, [1, 2, 3, 4], segmentation=mask)])
        with pytest.raises(DataError, match=r"its image is listed as 200000x200000, more than 178,956,970 pixels"):
            val(root, masks=True)

    def test_the_masks_of_an_image(self, root):
        Image.new("L", (2048, 2048)).save(root / "val" / "val_7.png")
        images = load_json(root, "val")["images"]
        images[0] |= {"width": 2048, "height": 2048}
        whole = {"size": [2048, 2048], "counts": [0, 2048 * 2048]}
        many = [annotation(n, 7, 90, [0, 0, 2048, 2048], segmentation=whole) for n in range(600)]
        change(root, images=images, annotations=many)
        with pytest.raises(DataError, match=r"val_7.png: the masks of its 600 objects would take 2.34 GiB; expected 2"):
            val(root, masks=True)[0]
        assert len(val(root)[0]["boxes"]) == 600

    @pytest.mark.parametrize("name", ["../../secret.png", "/etc/secret.png", "x/../../../secret.png"])
    def test_a_name_that_leads_out_of_the_root(self, root, name):
        images = load_json(root, "val")["images"]
        images[0]["file_name"] = name
        change(root, images=images)
        with pytest.raises(DataError, match=rf"_val.json: the image '{name}' is outside data.root={root}; expected"):
            val(root)

    def test_a_name_that_may_lead_out_of_the_root(self, root):
        images = load_json(root, "val")["images"]
        images[0]["file_name"] = "../../elsewhere.png"
        change(root, images=images)
        save_image(root.parent / "elsewhere.png", (47, 30))
        assert val(root, allow_outside=True)[0]["image"].shape == (3, 30, 47)

    def test_a_name_beside_the_folder_of_images_is_inside(self, root):
        images = load_json(root, "val")["images"]
        (root / "more").mkdir()
        (root / "val" / "val_7.png").rename(root / "more" / "val_7.png")
        images[0]["file_name"] = "../more/val_7.png"
        change(root, images=images)
        assert val(root)[0]["image"].shape == (3, 30, 47)

    @pytest.mark.parametrize(("key", "name"), [("images", "file_name"), ("categories", "name")])
    def test_a_name_that_is_half_a_character(self, root, key, name):
        entries = load_json(root, "val")[key]
        entries[0][name] = "caf\ud800"
        change(root, **{key: entries})
        with pytest.raises(DataError, match=rf"one of its {key} has .*caf\\ud800'}}; expected an integer and a text"):
            val(root)
