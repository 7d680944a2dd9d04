"""Validation scores of detection, exact over any number of processes."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from dcnrun.data import BoxBatch, BoxSample, BoxTruth, LabelledDataset
from dcnrun.runs import write_text
from dcnrun.scores import Confusion
from dcnrun.tasks.detection.coco import CocoScores, ImageResult, coco_confusion, coco_predictions, coco_scores
from dcnrun.tasks.detection.detector import Detections
from dcnrun.tasks.detection.matches import match
from dcnrun.tasks.detection.scores import MatchesPerImage
from dcnrun.tasks.gather import gathered

CONFUSION_SCORE, CONFUSION_IOU = 0.3, 0.5
"""From where on detections are looked at in a confusion matrix, and belong to an object."""


@dataclass(frozen=True)
class DetectionEvaluation:
    """What was found in each image of a data set, in its order, and the scores that follow from it."""

    results: Sequence[ImageResult]
    dataset: LabelledDataset[BoxSample, BoxBatch]

    @cached_property
    def metrics(self) -> dict[str, float]:
        """COCO's AP (`val/map`, `val/map_50`, ...) and VOC's (`val/voc07_50`, ...); NaN where there is no object."""
        voc = {metric: self.images.score(metric) for metric in self.images.metrics if metric.startswith("val/voc")}
        return {**self._coco.metrics, **voc}

    @property
    def per_class(self) -> dict[str, dict[str, float]]:
        """`val/map` and `val/map_50` of each class; NaN where a class has no object."""
        return self._coco.per_class

    @cached_property
    def images(self) -> MatchesPerImage:
        """The matches in each image, and what was taken for what."""
        return match(self.results, self.dataset.classes, self.confusion())

    @property
    def predictions(self) -> list[dict[str, Any]]:
        """The detections in COCO's result format."""
        return coco_predictions(self.results, self.dataset.category_id)

    def write_predictions(self, path: Path) -> None:
        """Write the detections as COCO result JSON, beside `path` and renamed."""
        write_text(path, json.dumps(self.predictions) + "\n")

    def confusion(self) -> Confusion:
        """Which objects were found as which class, by boxes, among detections of at least CONFUSION_SCORE."""
        return coco_confusion(self.results, self.dataset.classes, CONFUSION_SCORE, CONFUSION_IOU)

    @cached_property
    def _coco(self) -> CocoScores:
        return coco_scores(self.results, self.dataset.classes, self.dataset.category_id)


class DetectionEvaluator:
    """Gathers detections over batches and processes; an image that comes twice counts once."""

    def __init__(self, dataset: LabelledDataset[BoxSample, BoxBatch]) -> None:
        self._dataset = dataset
        self._results: dict[int, ImageResult] = {}

    def update(self, predictions: Sequence[Detections], batch: BoxBatch) -> None:
        """Add what was found in the images of a batch."""
        for found, there, place in zip(predictions, batch["truth"], batch["index"], strict=True):
            self._results.setdefault(place, self._result(found, there, place))

    def result(self) -> DetectionEvaluation:
        """The scores of all images that any process added; collective over processes, the same on each."""
        return DetectionEvaluation(gathered(self._results), self._dataset)

    def _result(self, found: Detections, there: BoxTruth, place: int) -> ImageResult:
        return ImageResult(
            name=self._dataset.name(place),
            image_id=self._dataset.image_id(place),
            size=there["size"],
            boxes=_array(found["boxes"], np.float64),
            scores=_array(found["scores"], np.float64),
            labels=_array(found["labels"], np.int64),
            object_boxes=_array(there["boxes"], np.float64),
            object_labels=_array(there["labels"], np.int64),
            object_areas=_array(there["area"], np.float64),
            crowd=_array(there["crowd"], np.bool_),
            difficult=_array(there["difficult"], np.bool_),
        )


def _array(tensor: Tensor, dtype: type[Any]) -> npt.NDArray[Any]:
    return tensor.detach().cpu().numpy().astype(dtype)
