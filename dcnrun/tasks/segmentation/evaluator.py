"""Validation scores of segmentation, exact over any number of processes."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from dcnrun.data import IGNORE, LabelledDataset, MaskBatch, Sample
from dcnrun.tasks.gather import gathered
from dcnrun.tasks.segmentation.scores import ConfusionPerImage, class_iou, mean_iou, pixel_accuracy


@dataclass(frozen=True)
class SegmentationEvaluation:
    """Confusion matrices of all images, and the scores that follow from them."""

    images: ConfusionPerImage

    @property
    def metrics(self) -> dict[str, float]:
        """The numbers that are logged."""
        total = self.images.confusion.sum(0)
        return {"val/miou": float(mean_iou(total)), "val/pixel_acc": float(pixel_accuracy(total))}

    @property
    def per_class(self) -> dict[str, dict[str, float]]:
        """IoU of each class; NaN where a class is in neither truth nor prediction."""
        iou = class_iou(self.images.confusion.sum(0)).tolist()
        return {"val/miou": dict(zip(self.images.classes, iou, strict=True))}

    def write_predictions(self, path: Path) -> None:
        """Raise: predicted masks are as many files as images, and no format for all of them is common."""
        raise NotImplementedError


class SegmentationEvaluator:
    """Confusion matrix of every image, as batches come in; an image that comes twice counts once."""

    def __init__(self, dataset: LabelledDataset[Sample, MaskBatch]) -> None:
        self._dataset = dataset
        self._confusions: dict[int, npt.NDArray[np.int64]] = {}

    def update(self, predictions: Sequence[Tensor], batch: MaskBatch) -> None:
        """Add the predicted classes (h, w) of each image of a batch."""
        for prediction, truth, place in zip(predictions, batch["truth"], batch["index"], strict=True):
            matrix = confusion_matrix(prediction, truth, len(self._dataset.classes))
            self._confusions.setdefault(place, matrix.cpu().numpy())

    def result(self) -> SegmentationEvaluation:
        """Scores of all images that any process added; collective over processes, the same on each."""
        names = [self._dataset.name(i) for i in range(len(self._dataset))]
        return SegmentationEvaluation(
            ConfusionPerImage(names, np.stack(gathered(self._confusions)), self._dataset.classes)
        )


def confusion_matrix(prediction: Tensor, truth: Tensor, num_classes: int) -> Tensor:
    """Pixels of each true class (rows) predicted as each class (columns), (C, C), of classes (H, W).

    Pixels whose true class is `IGNORE` don't count.
    """
    pair = num_classes * truth.long() + prediction
    return torch.bincount(pair[truth != IGNORE], minlength=num_classes**2).view(num_classes, num_classes)
