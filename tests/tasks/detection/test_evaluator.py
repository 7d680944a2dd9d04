"""Detections of batches become the scores of a data set, and a file that others can read."""

import contextlib
import io
import json

import numpy as np
import pytest
import torch
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from dcnrun.data.box_batches import BoxDataset
from dcnrun.data.sample import Size
from dcnrun.tasks.detection.coco import coco_confusion, coco_scores
from dcnrun.tasks.detection.evaluator import DetectionEvaluator
from dcnrun.tasks.detection.scores import MatchesPerImage
from tests.tasks.detection.factories import CLASS_NAMES, category_id, results
from tests.tasks.detection.fakes import kit_scores


class Made(BoxDataset):
    """A data set that knows its images' names only."""

    classes = CLASS_NAMES

    def __init__(self, images):
        self.images = images

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        raise AssertionError("what is there comes with the batch")

    def name(self, index):
        return self.images[index].name

    def image_id(self, index):
        return self.images[index].image_id

    def category_id(self, label):
        return category_id(label)


def add(evaluator, images, places):
    """One batch, as the loader and a network give it."""
    chosen = [images[place] for place in places]
    predictions = [
        {
            "boxes": torch.tensor(image.boxes, dtype=torch.float32),
            "scores": torch.tensor(image.scores),
            "labels": torch.tensor(image.labels),
        }
        for image in chosen
    ]
    truth = [
        {
            "boxes": torch.tensor(image.object_boxes, dtype=torch.float32),
            "labels": torch.tensor(image.object_labels),
            "area": torch.tensor(image.object_areas),
            "crowd": torch.tensor(image.crowd),
            "difficult": torch.tensor(image.difficult),
            "size": Size(*image.size),
        }
        for image in chosen
    ]
    evaluator.update(predictions, {"truth": truth, "index": places})


def expected(images):
    return {**coco_scores(images, CLASS_NAMES, category_id).metrics, **kit_scores(images, len(CLASS_NAMES))}


def test_batches_in_any_order_and_an_image_twice():
    images = results(2)
    evaluator = DetectionEvaluator(Made(images))
    for places in ([5, 3, 4], [0], [1, 2, 5], [11, 10, 9, 8, 7, 6]):
        add(evaluator, images, places)
    evaluation = evaluator.result()
    assert evaluation.metrics == pytest.approx(expected(images))
    assert evaluation.images.names == tuple(image.name for image in images)
    assert evaluation.images.score("val/map") == pytest.approx(evaluation.metrics["val/map"])
    assert evaluation.per_class["val/map"].keys() == set(CLASS_NAMES)
    assert np.isnan(evaluation.per_class["val/map_50"]["never there"])


def test_others_score_the_written_predictions_alike(tmp_path):
    images = [image for image in results(3) if not image.difficult.any()]
    evaluator = DetectionEvaluator(Made(images))
    add(evaluator, images, list(range(len(images))))
    evaluation = evaluator.result()
    evaluation.write_predictions(tmp_path / "predictions.json")
    assert json.loads((tmp_path / "predictions.json").read_text()) == evaluation.predictions
    truth = {
        "images": [{"id": image.image_id} for image in images],
        "categories": [{"id": category_id(label)} for label in range(len(CLASS_NAMES))],
        "annotations": [
            {
                "id": 1 + 100 * nth + i,
                "image_id": image.image_id,
                "category_id": category_id(image.object_labels[i]),
                "bbox": [x1, y1, x2 - x1, y2 - y1],
                "area": image.object_areas[i],
                "iscrowd": int(image.crowd[i]),
            }
            for nth, image in enumerate(images)
            for i, (x1, y1, x2, y2) in enumerate(image.object_boxes.tolist())
        ],
    }
    (tmp_path / "truth.json").write_text(json.dumps({"info": {}, **truth}))
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(tmp_path / "truth.json")
        judge = COCOeval(coco, coco.loadRes(str(tmp_path / "predictions.json")), "bbox")
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    assert list(evaluation.metrics.values())[:6] == pytest.approx(judge.stats[:6], abs=1e-9)


def test_results_per_image_keep_what_was_taken_for_what(tmp_path):
    images = results(5, 10)
    evaluator = DetectionEvaluator(Made(images))
    add(evaluator, images, range(10))
    evaluator.result().images.save(tmp_path / "per_image.npz")
    kept = MatchesPerImage.load(tmp_path / "per_image.npz").confusion_matrix()
    expected = coco_confusion(images, CLASS_NAMES, 0.3, 0.5)
    assert kept.names == (*CLASS_NAMES, "nothing")
    np.testing.assert_array_equal(kept.counts, expected.counts)
    assert kept.counts[:-1].sum() == evaluator.result().images.truth_of_class().sum()
