"""COCO's JSON, read by msgspec, beside the standard library's reader."""

import json

import pytest

from dcnrun.data import coco_json
from dcnrun.errors import DataError

PLAIN = {
    "images": [{"id": 3, "file_name": "a.png", "width": 40, "height": 30, "license": 1}],
    "categories": [{"id": 1, "name": "cat", "supercategory": "animal"}],
    "annotations": [
        {"id": 7, "image_id": 3, "category_id": 1, "bbox": [1, 2.5, 3, 4], "area": 12, "segmentation": [[1, 2, 3, 4, 5, 6]]},
        {"id": 8, "image_id": 3, "category_id": 1, "bbox": [0, 0, 9, 9], "area": 81.0, "iscrowd": 1},
    ],
}  # fmt: skip


def read(tmp_path, text):
    file = tmp_path / "x.json"
    file.write_text(text)
    return coco_json.read(file)


def with_annotation(**changes):
    return json.dumps(PLAIN | {"annotations": [PLAIN["annotations"][0], PLAIN["annotations"][1] | changes]})


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({}, coco_json.PlainAnnotation),
        ({"bbox": [1, 2]}, coco_json.LooseAnnotation),
        ({"iscrowd": "0"}, coco_json.LooseAnnotation),
        ({"area": 0}, coco_json.LooseAnnotation),
        ({"area": float("nan")}, coco_json.LooseAnnotation),  # which the standard library alone reads
    ],
    ids=str,
)
def test_every_value_is_the_file_s_whichever_reader_takes_it(tmp_path, changes, kind):
    text = with_annotation(**changes)
    document = read(tmp_path, text)
    assert all(isinstance(entry, kind) for entry in document.annotations)
    for entry, expected in zip(document.annotations, json.loads(text)["annotations"], strict=True):
        for key in ("id", "image_id", "category_id", "bbox", "area"):
            value = getattr(entry, key)
            assert repr(list(value) if isinstance(value, tuple) else value) == repr(
                [float(number) for number in expected[key]]
                if key == "bbox" and kind is coco_json.PlainAnnotation
                else float(expected[key])
                if key == "area" and kind is coco_json.PlainAnnotation
                else expected[key]
            )
        assert coco_json.mask_of(entry) == expected.get("segmentation")
        assert coco_json.has_mask(entry) == bool(expected.get("segmentation"))
    assert (document.images[0].file_name, document.categories[0].supercategory) == ("a.png", "animal")


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("{", "can't be read"),
        ("[" * 100_000, "can't be read"),
        ("[]", "it has no list 'annotations'"),
        (json.dumps(PLAIN | {"categories": {}}), "it has no list 'categories'"),
        (json.dumps(PLAIN | {"images": []}), "its list 'images' is empty"),
    ],
    ids=["half", "deep", "list", "object", "empty"],
)
def test_what_is_no_such_file_is_said(tmp_path, text, wrong):
    with pytest.raises(DataError, match=f"x.json: {wrong}"):
        read(tmp_path, text)
    assert wrong.endswith("empty") or coco_json.read_outline(tmp_path / "x.json") is None


def test_an_outline_has_the_classes_of_the_objects(tmp_path):
    for text in (json.dumps(PLAIN), with_annotation(area=float("nan"))):
        (tmp_path / "x.json").write_text(text)
        outline = coco_json.read_outline(tmp_path / "x.json")
        assert [entry.category_id for entry in outline.annotations] == [1, 1]
        assert (outline.images[0].id, outline.categories[0].name) == (3, "cat")


@pytest.mark.parametrize(
    ("value", "expected"), [(0, False), (1, True), ("0", False), ("1", True), (True, True), (None, False), (1.0, True)]
)
def test_a_mark_of_a_crowd_is_read_in_all_its_spellings(value, expected):
    assert coco_json.is_marked(coco_json.LooseAnnotation(iscrowd=value)) is expected


@pytest.mark.parametrize("value", [2, "yes", [1]])
def test_another_mark_is_an_error(value):
    with pytest.raises(ValueError, match="expected 0 or 1"):
        coco_json.is_marked(coco_json.LooseAnnotation(iscrowd=value))


def test_run_lengths_are_known_by_their_braces(tmp_path):
    rle = {"size": [30, 40], "counts": [1, 2, 1197]}
    first, second = read(tmp_path, with_annotation(segmentation=rle)).annotations
    assert (coco_json.has_run_lengths(first), coco_json.has_run_lengths(second)) == (False, True)
    assert coco_json.mask_of(second) == rle
