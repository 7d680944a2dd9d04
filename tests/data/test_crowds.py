"""What iscrowd=1 means: tools mark every mask of run lengths with it, COCO marks few regions of many objects."""

import msgspec
import numpy as np
import pytest

from dcnrun.config.schema import CocoConfig, Crowds
from dcnrun.data import build_box_dataset
from dcnrun.data.coco_json import LooseAnnotation, PlainAnnotation
from dcnrun.data.crowds import mark_objects
from dcnrun.errors import DataError
from tests.data.factories import annotation, coco_tree, counts_of, load_json, save_json

HEIGHT, WIDTH = 30, 47  # of image 7
SQUARE = [[1, 21, 4, 21, 4, 25, 1, 25]]


def runs(*boxes):
    """Run lengths, worked out by hand, of the pixels in boxes of [x, y, width, height]."""
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    for x, y, width, height in boxes:
        mask[y : y + height, x : x + width] = 1
    return {"size": [HEIGHT, WIDTH], "counts": counts_of(mask)}


def marked(number, box, category=90, image=7, **more):
    more = {"segmentation": runs(box), "iscrowd": 1} | more
    return annotation(number, image, category, box, **more)


def polygon(number, image=7):
    return annotation(number, image, 90, [1, 21, 3 + number, 4], segmentation=SQUARE)


def opened(root, annotations, split="val", **settings):
    save_json(root, split, load_json(root, split) | {"annotations": annotations})
    return build_box_dataset(CocoConfig(root=str(root), **settings), split)


@pytest.fixture
def root(tmp_path):
    return coco_tree(tmp_path, splits=("val",))


SINGLE = [marked(1, [1, 2, 3, 4]), marked(2, [10, 2, 5, 6]), marked(3, [30, 2, 5, 6], category=20)]
COCO = [*(polygon(number) for number in range(2, 12)), marked(1, [0, 10, 40, 15])]
FILES = {
    "nothing but run lengths": (SINGLE, [False] * 3),
    "a polygon beside": ([*SINGLE, polygon(4)], [False] * 4),
    "several of a class in an image": ([*SINGLE[:2], *(polygon(number) for number in range(3, 10))], [False] * 9),
    "all marked, whatever the masks": ([polygon(1) | {"iscrowd": 1}], [False]),
    "all marked, without masks": ([annotation(1, 7, 90, [1, 2, 3, 4], iscrowd=1)], [True]),
    "boxes beside": ([*SINGLE, *(annotation(n, 7, 90, [n, 20, 2, 2]) for n in range(4, 12))], [False] * 11),
    "few, one to an image and class": (COCO, [False] * 10 + [True]),
    "run lengths of objects too": ([*SINGLE, marked(4, [20, 20, 2, 2], iscrowd=0)], [True] * 3 + [False]),
    "crowds that are polygons": ([*SINGLE, polygon(4), polygon(5) | {"iscrowd": 1}], [True] * 3 + [False, True]),
    "one that covers others of its class": (
        [marked(1, [0, 0, 30, 20]), marked(2, [1, 2, 3, 4]), marked(3, [10, 2, 5, 6]), marked(4, [32, 2, 5, 6])],
        [True, False, False, False],
    ),
    "one whose box covers others": (
        [
            marked(1, [0, 0, 30, 20], segmentation=runs((0, 0, 30, 1), (29, 0, 1, 20))),
            marked(2, [1, 2, 3, 4]),
            marked(3, [10, 2, 5, 6]),
        ],
        [False] * 3,
    ),
    "one that covers others of another class": (
        [marked(1, [0, 0, 30, 20], category=20), marked(2, [1, 2, 3, 4]), marked(3, [10, 2, 5, 6])],
        [False] * 3,
    ),
}


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("masks", [False, True])
def test_it_is_told_by_the_whole_file(root, name, masks):
    annotations, crowd = FILES[name]
    save_json(root, "val", load_json(root, "val") | {"annotations": annotations})
    dataset = build_box_dataset(CocoConfig(root=str(root)), "val", masks=masks)
    assert dataset[0]["crowd"].tolist() == crowd
    (note,) = dataset.notes
    count = sum(entry["iscrowd"] for entry in annotations)
    assert note.startswith(f"{count} of {len(annotations)} objects have iscrowd=1")
    assert (f"{sum(crowd)} for crowds, since they cover" in note) == name.endswith("of its class")
    assert "data.crowds=" in note


def test_settings_force_it(root):
    for annotations in (SINGLE, COCO):
        assert not opened(root, annotations, crowds=Crowds.objects)[0]["crowd"].any()
        kept = opened(root, annotations, crowds=Crowds.keep)
        assert kept[0]["crowd"].tolist() == [entry["iscrowd"] == 1 for entry in annotations]
        assert not kept.notes


def test_the_training_file_decides_for_both(tmp_path):
    root = coco_tree(tmp_path)
    few = [polygon(1), polygon(2), marked(3, [10, 2, 5, 6])]
    opened(root, SINGLE, "train")
    assert not opened(root, few)[0]["crowd"].any()
    opened(root, COCO, "train")
    assert opened(root, few)[0]["crowd"].tolist() == [False, False, True]
    opened(root, [polygon(1)], "train")  # none is marked: its own file decides
    assert not opened(root, SINGLE)[0]["crowd"].any()


def test_in_the_form_of_cocos_own_file_few_stay_crowds():
    """As in val2017: 446 crowds, one to an image and class, among 36,781 objects; run lengths are of crowds alone."""
    lengths, outline = msgspec.Raw(b'{"size":[1,1],"counts":[0,1]}'), msgspec.Raw(b"[[1,2,3,4,5,6]]")
    objects = [PlainAnnotation(n % 500, n % 7, (0, 0, 1, 1), 1, n, 0, outline) for n in range(3634)]
    crowds = [PlainAnnotation(n, n % 7, (0, 0, 1, 1), 1, n, 1, lengths) for n in range(44)]
    assert mark_objects([*objects, *crowds]) is False
    assert mark_objects(objects) is None
    assert mark_objects(crowds) is True


@pytest.mark.parametrize(
    ("value", "crowd"),
    [
        ("0", False),
        ("1", True),
        (True, True),
        (False, False),
        (None, False),
        ("false", False),
        ("True", True),
        (1.0, True),
    ],
)
def test_spellings(root, value, crowd):
    entries = [polygon(1), annotation(2, 7, 90, [9, 2, 3, 4], iscrowd=value)]
    assert opened(root, entries, crowds=Crowds.keep)[0]["crowd"].tolist() == [False, crowd]
    assert mark_objects([LooseAnnotation(iscrowd=value)]) is (False if crowd else None)


@pytest.mark.parametrize("value", [2, "yes", [1]])
def test_another_value_is_an_error(root, value):
    with pytest.raises(DataError, match=r"annotation 2 of 'val_7.png': its iscrowd is .*; expected 0 or 1"):
        opened(root, [polygon(1), annotation(2, 7, 90, [9, 2, 3, 4], iscrowd=value)])
