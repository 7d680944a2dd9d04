"""Masks of batches become the scores of a data set and a file that others can read, against pycocotools."""

import contextlib
import dataclasses
import io
import json

import numpy as np
import pytest
import torch
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from dcnrun.data.coco_masks import decode, encode
from dcnrun.tasks import gather
from dcnrun.tasks.detection.coco import coco_confusion
from dcnrun.tasks.instances.evaluator import InstanceEvaluation, InstanceEvaluator
from dcnrun.tasks.instances.scores import INSTANCES
from tests.tasks.detection.factories import CLASS_NAMES, category_id
from tests.tasks.detection.test_evaluator import Made, add
from tests.tasks.instances.factories import results

NAMES = [f"val/{kind}map{end}" for kind in ("mask_", "") for end in ("", "_50", "_75", "_small", "_medium", "_large")]


class Judge(COCOeval):
    """pycocotools with the flag that its annotations may have and it drops."""

    def _prepare(self):
        super()._prepare()
        for annotation in (annotation for own in self._gts.values() for annotation in own):
            annotation["ignore"] = annotation["iscrowd"] or annotation["difficult"]


def truth_of(images):
    return {
        "info": {},
        "images": [{"id": image.image_id, "height": image.size[0], "width": image.size[1]} for image in images],
        "categories": [{"id": category_id(label)} for label in range(len(CLASS_NAMES))],
        "annotations": [
            {
                "id": 1000 * image.image_id + i,
                "image_id": image.image_id,
                "category_id": category_id(image.object_labels[i]),
                "bbox": [x1, y1, x2 - x1, y2 - y1],
                "segmentation": image.object_masks[i] | {"counts": image.object_masks[i]["counts"].decode()},
                "area": image.object_areas[i],
                "iscrowd": int(image.crowd[i]),
                "difficult": bool(image.difficult[i]),
            }
            for image in images
            for i, (x1, y1, x2, y2) in enumerate(image.object_boxes.tolist())
        ],
    }


def judged(images, predictions, shape):
    """The first six numbers of pycocotools, NaN for -1."""
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = truth_of(images)
        truth.createIndex()
        judge = Judge(truth, truth.loadRes(predictions), shape)
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    return np.where(judge.stats[:6] == -1, np.nan, judge.stats[:6])


def without(key, predictions):
    return [{name: value for name, value in each.items() if name != key} for each in predictions]


@pytest.mark.parametrize("seed", range(4))
def test_every_number_and_the_written_file_are_those_of_pycocotools(seed, tmp_path):
    images = results(seed)
    evaluation = InstanceEvaluation(images, Made(images))
    evaluation.write_predictions(tmp_path / "found.json")
    predictions = json.loads((tmp_path / "found.json").read_text())
    masks = judged(images, without("bbox", predictions), "segm")  # the size of a mask is its own, not its box's
    boxes = judged(images, without("segmentation", predictions), "bbox")
    ours = [evaluation.metrics[name] for name in NAMES]
    np.testing.assert_allclose(ours, [*masks, *boxes], rtol=0, atol=1e-12)
    as_written = judged(images, predictions, "segm")
    np.testing.assert_allclose(ours[:3], as_written[:3], rtol=0, atol=1e-12)
    assert tuple(evaluation.metrics) == INSTANCES.metric_names
    assert 0 < evaluation.metrics["val/mask_map"] != evaluation.metrics["val/map"]
    assert list(evaluation.per_class) == ["val/mask_map", "val/mask_map_50", "val/map", "val/map_50"]
    of_classes = [value for value in evaluation.per_class["val/mask_map"].values() if not np.isnan(value)]
    assert np.mean(of_classes) == pytest.approx(evaluation.metrics["val/mask_map"])


class Predicted:
    """Batches of images whose detections have masks of 2 x 2 cells."""

    def __init__(self, seed):
        random = np.random.default_rng(seed)
        self.images = results(seed)
        self.cells = [torch.tensor(random.random((len(image.labels), 1, 2, 2))) for image in self.images]

    def add(self, evaluator, places):
        class WithMasks:
            """Adds what detectors' tests leave out."""

            @staticmethod
            def update(predictions, batch):
                for place, found, there in zip(places, predictions, batch["truth"], strict=True):
                    found["masks"], there["masks"] = self.cells[place], self.images[place].object_masks
                evaluator.update(predictions, batch)

        add(WithMasks, self.images, places)


def test_processes_together_score_as_one_alone(monkeypatch):
    """Each has its share of the images, one of which two have."""
    predicted = Predicted(7)
    dataset = Made(predicted.images)
    alone, *processes = (InstanceEvaluator(dataset) for _ in range(3))
    predicted.add(alone, [0, 1, 2, 3, 4, 5, 6, 7])
    for evaluator, places in zip(processes, ([6, 0, 2, 4], [7, 5, 3, 1, 6]), strict=True):
        predicted.add(evaluator, places)
    wanted = alone.result()
    monkeypatch.setattr(gather, "_of_each_process", lambda own: [evaluator._results for evaluator in processes])
    found = processes[1].result()
    assert found.metrics == pytest.approx(wanted.metrics, nan_ok=True)
    assert found.predictions == wanted.predictions
    assert np.array_equal(found.images.matched, wanted.images.matched)


def test_a_difficult_mask_is_neither_right_nor_wrong_to_find():
    square = np.zeros((300, 400), bool)
    square[10:50, 10:50] = True
    other = np.zeros((300, 400), bool)
    other[100:150, 100:150] = True
    image = dataclasses.replace(
        results(0, images=1)[0],
        boxes=np.array([[10, 10, 50, 50.0], [100, 100, 150, 150]]),
        scores=np.array([0.3, 0.9]),
        labels=np.zeros(2, np.int64),
        masks=[encode(square), encode(other)],
        object_boxes=np.array([[10, 10, 50, 50.0], [100, 100, 150, 150]]),
        object_labels=np.zeros(2, np.int64),
        object_areas=np.array([1600.0, 2500.0]),
        object_masks=[encode(square), encode(other)],
        crowd=np.zeros(2, np.bool_),
        difficult=np.array([False, True]),
    )
    evaluation = InstanceEvaluation([image], Made([image]))
    assert evaluation.metrics["val/mask_map"] == evaluation.images.score("val/mask_map") == pytest.approx(1)
    entries = [each["segmentation"] for each in evaluation.predictions]
    assert np.array_equal(decode(entries, image.size) > 0, [square, other])


def test_masks_that_fill_their_boxes_are_confused_as_these_are():
    images = []
    for image in results(4, 12):
        whole = dataclasses.replace(image, size=(400, 400))
        masks, object_masks = ([encode(filled(box)) for box in boxes] for boxes in (image.boxes, image.object_boxes))
        images.append(dataclasses.replace(whole, masks=masks, object_masks=object_masks))
    of_masks = coco_confusion(images, CLASS_NAMES, 0.3, 0.5, "segm")
    np.testing.assert_array_equal(of_masks.counts, coco_confusion(images, CLASS_NAMES, 0.3, 0.5).counts)
    kept = InstanceEvaluation(images, Made(images)).images.confusion_matrix()
    assert kept.counts.tolist() == of_masks.counts.tolist()


def filled(box):
    mask = np.zeros((400, 400), np.bool_)
    left, top, right, bottom = box.astype(int)
    mask[top:bottom, left:right] = True
    return mask
