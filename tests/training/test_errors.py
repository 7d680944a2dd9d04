"""What a network gets wrong, in files: its numbers are those of the evaluation."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from dcnrun.scores import PerImage
from dcnrun.tasks.detection.coco import coco_confusion, coco_scores
from dcnrun.tasks.detection.matches import match
from dcnrun.training.errors import ERRORS, size_metrics, write_errors
from tests.compare.factories import CLASSES, confusions, per_image
from tests.tasks.detection.factories import CLASS_NAMES, category_id, results

HOSTILE = "a$b_{</script> \x1b"


@dataclass(frozen=True)
class Evaluated:
    """An evaluation of whatever task."""

    metrics: dict[str, float]
    per_class: dict[str, dict[str, float]]
    images: PerImage

    def write_predictions(self, path: Path) -> None:
        raise NotImplementedError


def test_of_masks(tmp_path):
    classes = (*CLASSES[:2], HOSTILE)
    images = per_image(confusions(0), classes)
    iou = dict(zip(classes, [0.5, float("nan"), 0.25], strict=True))
    evaluation = Evaluated({"val/miou": images.score("val/miou")}, {"val/miou": iou}, images)
    written = write_errors(evaluation, "val/miou", tmp_path)
    assert json.loads((tmp_path / ERRORS).read_text()) == written
    assert sorted(file.name for file in tmp_path.iterdir()) == ["classes.png", "confusion.png", ERRORS]
    counts = np.array(written["confusion"]["counts"])
    hits, union = np.diagonal(counts), counts.sum(axis=0) + counts.sum(axis=1) - np.diagonal(counts)
    assert (hits / union).mean() == pytest.approx(written["score"])
    assert written["per_class"]["val/miou"][CLASSES[1]] is None
    assert [image["val/miou"] for image in written["worst_images"]] == sorted(images.by_image("val/miou"))


@pytest.mark.parametrize("metric", ["val/map_50", pytest.param("val/map_small", marks=pytest.mark.slow)])
def test_of_boxes(tmp_path, metric):
    found = results(3)
    scores = coco_scores(found, CLASS_NAMES, category_id)
    images = match(found, CLASS_NAMES, coco_confusion(found, CLASS_NAMES, 0.3, 0.5))
    evaluation = Evaluated(scores.metrics, scores.per_class, images)
    written = write_errors(evaluation, metric, tmp_path)
    names = ["classes.png", "confusion.png", ERRORS, "precision_recall.png", "sizes.png"]
    assert sorted(file.name for file in tmp_path.iterdir()) == names
    for name, curve in written["precision_recall"].items():
        assert np.mean(curve["precision"]) == pytest.approx(scores.per_class["val/map_50"][name])
    assert written["sizes"]["val/map"] == {
        size: scores.metrics[f"val/map_{size}"] for size in ("small", "medium", "large")
    }
    if metric == "val/map_small":  # which results per image don't give
        assert written["metric"] in images.metrics


def test_sizes_of_masks_stand_beside_those_of_boxes():
    metrics = {
        "val/miou": 0.1,
        "val/map": 0.5,
        "val/map_small": 0.2,
        "val/mask_map_small": None,
        "val/mask_map_large": 0.7,
    }
    assert size_metrics(metrics) == {"val/map": {"small": 0.2}, "val/mask_map": {"small": None, "large": 0.7}}
