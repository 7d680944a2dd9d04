"""COCO's scores against pycocotools."""

import contextlib
import dataclasses
import io
import warnings

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from dcnrun.tasks.detection.coco import ImageResult, coco_confusion, coco_predictions, coco_scores
from dcnrun.tasks.detection.matches import match
from tests.tasks.detection.factories import CLASS_NAMES, category_id, results


class Judge(COCOeval):
    """pycocotools with the flag that its annotations may have and it drops."""

    def _prepare(self):
        super()._prepare()
        for annotation in (annotation for own in self._gts.values() for annotation in own):
            annotation["ignore"] = annotation["iscrowd"] or annotation["difficult"]


def judged(images):
    """The first six of pycocotools' numbers, and its precision (T, R, K, A, M)."""
    truth = COCO()
    truth.dataset = {
        "info": {},
        "images": [{"id": image.image_id} for image in images],
        "categories": [{"id": category_id(label)} for label in range(len(CLASS_NAMES))],
        "annotations": [
            {
                "id": 1000 * image.image_id + i,
                "image_id": image.image_id,
                "category_id": category_id(image.object_labels[i]),
                "bbox": [x1, y1, x2 - x1, y2 - y1],
                "area": image.object_areas[i],
                "iscrowd": int(image.crowd[i]),
                "difficult": bool(image.difficult[i]),
            }
            for image in images
            for i, (x1, y1, x2, y2) in enumerate(image.object_boxes.tolist())
        ],
    }
    with contextlib.redirect_stdout(io.StringIO()):
        truth.createIndex()
        evaluation = Judge(truth, truth.loadRes(coco_predictions(images, category_id)), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation.stats[:6], evaluation.eval["precision"]


def nan_for_minus_one(values):
    return np.where(np.asarray(values) == -1, np.nan, values)


@pytest.mark.parametrize("seed", range(12))
def test_every_number_is_that_of_pycocotools(seed):
    images = results(seed, many=seed % 4 == 0)
    scores = coco_scores(images, CLASS_NAMES, category_id)
    expected, precision = judged(images)
    names = ["map", "map_50", "map_75", "map_small", "map_medium", "map_large"]
    assert list(scores.metrics) == [f"val/{name}" for name in names]
    np.testing.assert_allclose(list(scores.metrics.values()), nan_for_minus_one(expected), rtol=0, atol=1e-12)
    for label, name in enumerate(CLASS_NAMES):
        of_class = precision[:, :, sorted(map(category_id, range(4))).index(category_id(label)), 0, 2]
        for metric, values in (("val/map", of_class), ("val/map_50", of_class[0])):
            expected = nan_for_minus_one(values).mean()
            np.testing.assert_allclose(scores.per_class[metric][name], expected, rtol=0, atol=1e-12)


def test_the_random_images_have_what_scoring_has_rules_for():
    together = [image for seed in range(12) for image in results(seed, many=seed % 4 == 0)]
    assert any(not len(image.object_labels) for image in together)
    assert any(not len(image.labels) and len(image.object_labels) for image in together)
    assert any(np.bincount(image.labels, minlength=1).max() > 100 for image in together)
    assert any(len(set(image.scores)) < len(image.scores) for image in together)
    areas = np.concatenate([image.object_areas for image in together])
    assert min((areas < 32**2).sum(), ((areas > 32**2) & (areas < 96**2)).sum(), (areas > 96**2).sum()) > 50
    assert match(together, CLASS_NAMES).ignored[:, 0].sum() > 50


def test_nothing_to_find_and_nothing_found():
    images = results(1)
    empty = [
        dataclasses.replace(image, boxes=image.boxes[:0], scores=image.scores[:0], labels=image.labels[:0])
        for image in images
    ]
    assert coco_scores(empty, CLASS_NAMES, category_id).metrics["val/map"] == 0
    nothing = {"object_boxes": np.zeros((0, 4)), "object_labels": np.zeros(0, np.int64), "object_areas": np.zeros(0)}
    flags = {"crowd": np.zeros(0, np.bool_), "difficult": np.zeros(0, np.bool_)}
    without = [dataclasses.replace(image, **nothing, **flags) for image in images]
    assert np.isnan(list(coco_scores(without, CLASS_NAMES, category_id).metrics.values())).all()


def test_to_find_a_difficult_object_is_neither_right_nor_wrong_once():
    image = dataclasses.replace(
        results(0, images=1)[0],
        boxes=np.array([[0, 0, 50, 50], [100, 100, 150, 150], [100, 100, 150, 151.0]]),
        scores=np.array([0.3, 0.9, 0.8]),
        labels=np.zeros(3, np.int64),
        object_boxes=np.array([[0, 0, 50, 50], [100, 100, 150, 150.0]]),
        object_labels=np.zeros(2, np.int64),
        object_areas=np.array([2500.0, 2500.0]),
        crowd=np.array([False, False]),
        difficult=np.array([False, True]),
    )
    assert coco_scores([image], CLASS_NAMES, category_id).metrics["val/map_50"] == pytest.approx(1 / 2)
    once = dataclasses.replace(image, boxes=image.boxes[:2], scores=image.scores[:2], labels=image.labels[:2])
    assert coco_scores([once], CLASS_NAMES, category_id).metrics["val/map_50"] == pytest.approx(1)


def test_the_confusion_matrix_is_that_of_supervision():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that OpenCV is not installed
        import supervision

    images = [
        dataclasses.replace(image, crowd=image.crowd & False, difficult=image.difficult & False)
        for image in results(5, 30)
    ]
    theirs = supervision.ConfusionMatrix.from_detections(
        predictions=[
            supervision.Detections(image.boxes, class_id=image.labels, confidence=image.scores) for image in images
        ],
        targets=[supervision.Detections(image.object_boxes, class_id=image.object_labels) for image in images],
        classes=list(CLASS_NAMES),
        conf_threshold=0.3,
        iou_threshold=0.5,
    )
    ours = coco_confusion(images, CLASS_NAMES, 0.3, 0.5)
    assert ours.names == (*CLASS_NAMES, "nothing")
    assert (ours.counts.sum(axis=1) > 0).sum() > 3
    np.testing.assert_array_equal(ours.counts, theirs.matrix)


def test_what_finds_a_difficult_object_or_a_crowd_confuses_nothing():
    image = ImageResult(
        "a",
        1,
        (100, 100),
        boxes=np.array([[0, 0, 10, 10], [20, 20, 30, 30], [50, 50, 60, 60], [0, 0, 10, 10]], np.float64),
        scores=np.array([0.9, 0.9, 0.9, 0.2]),
        labels=np.array([0, 1, 1, 1]),
        object_boxes=np.array([[0, 0, 10, 10], [20, 20, 30, 30]], np.float64),
        object_labels=np.array([1, 1]),
        object_areas=np.full(2, 100.0),
        crowd=np.array([False, True]),
        difficult=np.array([False, False]),
    )
    expected = [[0, 0, 0], [1, 0, 0], [0, 1, 0]]  # one found as another class, one where nothing is
    assert coco_confusion([image], ("a", "b"), 0.3, 0.5).counts.tolist() == expected
