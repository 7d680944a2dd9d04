"""Which data the task learns from, and what is said of data that has no masks of objects."""

import pytest
import torch

from dcnrun.config.compose import compose
from dcnrun.config.schema import CocoConfig
from dcnrun.data.box_batches import EvaluationTransform
from dcnrun.data.coco_masks import decode
from dcnrun.errors import UsageError
from dcnrun.tasks.registry import task_of
from dcnrun.tasks.validate import model_problems
from tests.data.factories import annotation, coco_tree, load_json, save_json

TASK = task_of(compose(["model=mask_rcnn"]).model)


def rectangle(x, y, width, height):
    return [[x, y, x + width, y, x + width, y + height, x, y + height]]


def test_data_without_masks_of_objects_is_refused_and_that_with_some_is_named():
    for data in ("voc", "nuclei"):
        problems = model_problems(compose(["model=mask_rcnn", f"data={data}"]))
        (said,) = [line for line in problems if "learns from" in line]
        assert said.startswith("model=mask_rcnn learns from masks of objects, and data=")
        assert (
            "has none: choose data=shapes, coco, coco2017, nuclei_boxes, yolo, labelme, supervisely, instance_masks or panoptic, or another model"
            in said
        )
    assert not any("learns from" in line for line in model_problems(compose(["model=mask_rcnn", "data=shapes"])))


@pytest.fixture
def root(tmp_path):
    return coco_tree(tmp_path, splits=("val",))


def opened(root, *objects):
    save_json(root, "val", load_json(root, "val") | {"annotations": list(objects)})
    return TASK.dataset(CocoConfig(root=str(root)), "val")


def test_objects_that_have_boxes_alone_are_refused_where_all_do(root):
    with pytest.raises(
        UsageError, match=r"data=coco: none of its 1 objects has a mask, only a box; .*model=faster_rcnn"
    ):
        opened(root, annotation(1, 7, 20, [5, 5, 10, 10]))


def test_an_object_without_a_mask_among_others_is_set_aside(root):
    """As are polygons of two points. It counts as difficult, and what the box touches is its mask."""
    dataset = opened(
        root,
        annotation(1, 7, 20, [5, 5, 10, 10], segmentation=rectangle(5, 5, 10, 10)),
        annotation(2, 7, 20, [20.5, 5, 10, 10]),
        annotation(3, 7, 90, [2, 2, 4, 4], segmentation=[[2, 2, 6, 6]]),
    )
    sample = dataset[0]
    assert sample["difficult"].tolist() == [False, True, True]
    assert sample["masks"].flatten(1).sum(1).tolist() == [100, 110, 16]
    assert sample["masks"][1, 5:15, 20:31].all()
    assert "2 of 3 objects have a box and no mask: neither learnt nor scored, as difficult ones" in dataset.notes
    truth = EvaluationTransform(compose(["data=shapes"]).data)(sample).truth
    assert torch.equal(torch.tensor(decode(truth["masks"], truth["size"])), sample["masks"].as_subclass(torch.Tensor))


def test_an_image_without_objects_has_masks_too(root):
    dataset = opened(root, annotation(1, 7, 20, [5, 5, 10, 10], segmentation=rectangle(5, 5, 10, 10)))
    empty = dataset[1]
    assert empty["masks"].shape == (0, *empty["image"].shape[1:])


def test_images_whose_objects_are_all_set_aside_are_not_trained_on(tmp_path):
    root = coco_tree(tmp_path, splits=("train",))
    document = load_json(root, "train")
    first, second = (image["id"] for image in document["images"][:2])
    objects = [
        annotation(1, first, 20, [5, 5, 10, 10], segmentation=rectangle(5, 5, 10, 10)),
        annotation(2, second, 20, [5, 5, 10, 10]),
    ]
    save_json(root, "train", document | {"annotations": objects})
    config = CocoConfig(root=str(root), val="train")
    assert len(TASK.dataset(config, "train")) == 1
    assert len(TASK.dataset(config, "val")) == len(document["images"])
    config.train_empty = True
    assert len(TASK.dataset(config, "train")) == len(document["images"])


def test_a_metric_of_masks_lacks_what_that_of_boxes_does():
    config = compose(["data=shapes", "data.image_size=64", "data.val_images=3"])
    dataset = TASK.dataset(config.data, "val")
    for size in ("small", "medium", "large"):
        assert TASK.lacking(f"val/mask_map_{size}", dataset) == TASK.lacking(f"val/map_{size}", dataset)
    assert "96x96" in TASK.lacking("val/mask_map_large", dataset)
    assert TASK.lacking("val/mask_map", dataset) is None
