"""Class masks made of objects' masks, against pictures put together by hand and against pycocotools."""

import numpy as np
import pytest
import torch
from pycocotools.coco import COCO

from dcnrun.config.compose import compose
from dcnrun.config.schema import CocoConfig
from dcnrun.data import IGNORE, build_box_dataset, build_dataset
from dcnrun.data.check import check_data
from dcnrun.errors import UsageError
from tests.data.factories import annotation, coco_tree, load_json, save_json

APPLE, ZEBRA = 1, 2
"""The classes of coco_tree as class masks have them: categories 20 and 90."""


def rectangle(x, y, width, height):
    return [x, y, x + width, y, x + width, y + height, x, y + height]


def thing(number, category, box, **more):
    """An object whose mask fills its box."""
    return annotation(number, 7, category, box, **{"segmentation": [rectangle(*box)]} | more)


def class_mask(root, *annotations, **settings):
    """The class mask of the first image, 47 x 30."""
    document = load_json(root, "val")
    save_json(root, "val", document | {"annotations": list(annotations)})
    return build_dataset(CocoConfig(root=str(root), **settings), "val")[0]["mask"].numpy()


def picture(*layers):
    """Rectangles of (value, x1, y1, x2, y2), one over the other."""
    values = np.zeros((30, 47), np.uint8)
    for value, x1, y1, x2, y2 in layers:
        values[y1:y2, x1:x2] = value
    return values


@pytest.fixture
def root(tmp_path):
    return coco_tree(tmp_path, splits=("val",))


class TestOverlap:
    @pytest.mark.parametrize("order", [1, -1])
    def test_the_smaller_object_is_on_top_whatever_their_order(self, root, order):
        objects = [thing(1, 90, [5, 5, 20, 20]), thing(2, 20, [10, 10, 5, 5])][::order]
        assert np.array_equal(class_mask(root, *objects), picture((ZEBRA, 5, 5, 25, 25), (APPLE, 10, 10, 15, 15)))

    def test_size_is_that_of_the_mask_whatever_the_file_says_of_it(self, root):
        objects = [thing(1, 90, [5, 5, 20, 20], area=3), thing(2, 20, [10, 10, 5, 5], area=999)]
        assert np.array_equal(class_mask(root, *objects), picture((ZEBRA, 5, 5, 25, 25), (APPLE, 10, 10, 15, 15)))

    def test_of_two_of_one_size_the_later_one(self, root):
        objects = [thing(1, 90, [5, 5, 10, 10]), thing(2, 20, [10, 5, 10, 10])]
        assert np.array_equal(class_mask(root, *objects), picture((ZEBRA, 5, 5, 15, 15), (APPLE, 10, 5, 20, 15)))
        assert np.array_equal(class_mask(root, *objects[::-1]), picture((APPLE, 10, 5, 20, 15), (ZEBRA, 5, 5, 15, 15)))


class TestIgnored:
    def test_crowds_below_smaller_objects(self, root):
        crowd = thing(1, 90, [0, 0, 30, 20], segmentation={"size": [30, 47], "counts": stripes(30, 20)}, iscrowd=1)
        objects = [crowd, thing(2, 20, [10, 10, 5, 5])]
        assert np.array_equal(class_mask(root, *objects), picture((IGNORE, 0, 0, 30, 20), (APPLE, 10, 10, 15, 15)))

    def test_the_box_of_an_object_without_a_mask(self, root):
        bare = thing(2, 20, [10.4, 10, 5, 5.5], segmentation=[])
        objects = [thing(1, 90, [5, 5, 20, 20]), bare, thing(3, 20, [12, 12, 2, 2])]
        expected = picture((ZEBRA, 5, 5, 25, 25), (IGNORE, 10, 10, 16, 16), (APPLE, 12, 12, 14, 14))
        assert np.array_equal(class_mask(root, *objects), expected)
        dataset = build_dataset(CocoConfig(root=str(root)), "val")
        assert dataset.notes == ["1 of 3 objects have a box and no mask: what the box covers is ignored"]

    def test_a_file_of_boxes_alone_is_refused(self, root):
        with pytest.raises(UsageError, match=r"data=coco: none of its 1 objects has a mask, .* model=faster_rcnn"):
            class_mask(root, thing(1, 90, [5, 5, 20, 20], segmentation=[]))
        assert not class_mask(root).any(), "without any object all is background"


def stripes(width, height):
    """Run lengths of the first rows and columns of the image."""
    counts = [0, height] + [30 - height, height] * (width - 1)
    return [*counts, 30 * 47 - sum(counts)]


def test_a_class_called_background_is_the_background(root):
    document = load_json(root, "val")
    document["categories"][1]["name"] = "background"
    save_json(root, "val", document)
    objects = [thing(1, 90, [5, 5, 20, 20]), thing(2, 20, [10, 10, 5, 5])]
    assert np.array_equal(class_mask(root, *objects), picture((1, 5, 5, 25, 25), (0, 10, 10, 15, 15)))
    assert build_dataset(CocoConfig(root=str(root)), "val").classes == ("background", "zebra")


@pytest.mark.filterwarnings("ignore::DeprecationWarning:pycocotools")
def test_agrees_with_pycocotools_painting_by_size():
    config = compose(["data=nuclei_boxes"]).data
    dataset = build_dataset(config, "val")
    reference = COCO(f"{config.root}/annotations/instances_val.json")
    assert dataset.classes == ("background", "nucleus")
    for index in range(len(dataset)):
        masks = [reference.annToMask(item) for item in reference.imgToAnns[dataset.image_id(index)]]
        expected = np.zeros(masks[0].shape, np.uint8)
        for mask in sorted(masks, key=lambda mask: -int(mask.sum())):
            expected[mask > 0] = 1
        assert np.array_equal(dataset[index]["mask"].numpy(), expected)


def test_every_image_is_that_of_the_boxes(tmp_path):
    config = CocoConfig(root=str(coco_tree(tmp_path)))
    for split in ("train", "val"):
        masks, boxes = build_dataset(config, split), build_box_dataset(config, split)
        assert len(masks) == len(boxes)
        for index in range(len(masks)):
            assert torch.equal(masks[index]["image"], boxes[index]["image"])
            assert (masks.name(index), masks.file(index), masks.image_id(index)) == (
                boxes.name(index),
                boxes.file(index),
                boxes.image_id(index),
            )


def test_check_reads_what_the_model_learns_from(tmp_path):
    config = CocoConfig(root=str(coco_tree(tmp_path)))
    assert check_data(config)["labels"] == "boxes"
    report = check_data(config, labels="masks")
    assert report["splits"]["val"]["images_with_class"] == {"background": 3, "apple": 0, "zebra": 2}
    assert report["splits"]["train"]["images"] == 3


def test_the_bands_that_are_chosen_are_those_of_its_images(root):
    dataset = build_dataset(CocoConfig(root=str(root)), "val")
    pixels = dataset[0]["image"]
    dataset.bands = [2, 0]
    assert torch.equal(dataset[0]["image"], pixels[[2, 0]])
