"""Validation scores of segmentation, exact over any number of processes."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from dcnrun.data import IGNORE, SegmentationDataset
from dcnrun.errors import UsageError
from dcnrun.scores.segmentation import ConfusionPerImage, class_iou, mean_iou, pixel_accuracy
from dcnrun.tasks.gather import gathered


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
        """Refuses: predicted masks are as many files as images, and no format for all of them is common."""
        raise UsageError(f"--save-predictions {path}: predictions are written of networks for boxes only.")


class SegmentationEvaluator:
    """Confusion matrix of every image, as batches come in; an image that comes twice counts once."""

    def __init__(self, dataset: SegmentationDataset) -> None:
        self._dataset = dataset
        self._confusions: dict[int, npt.NDArray[np.int64]] = {}

    def update(self, predictions: Tensor, batch: Any) -> None:
        """Add predicted classes (B, H, W) of a batch."""
        matrices = confusion_matrices(predictions, batch["mask"], len(self._dataset.classes))
        for matrix, place in zip(matrices.cpu().numpy(), batch["index"], strict=True):
            self._confusions.setdefault(place, matrix)

    def result(self) -> SegmentationEvaluation:
        """Scores of all images that any process added; collective over processes, the same on each."""
        names = [self._dataset.name(i) for i in range(len(self._dataset))]
        return SegmentationEvaluation(
            ConfusionPerImage(names, np.stack(gathered(self._confusions)), self._dataset.classes)
        )


def confusion_matrices(prediction: Tensor, truth: Tensor, num_classes: int) -> Tensor:
    """Pixels of each true class (rows) predicted as each class (columns), (B, C, C), of classes (B, H, W).

    Pixels whose true class is `IGNORE` don't count.
    """
    batch, labelled = len(truth), truth != IGNORE
    image = torch.arange(batch, device=truth.device)[:, None, None]
    pair = (image * num_classes + truth) * num_classes + prediction
    return torch.bincount(pair[labelled], minlength=batch * num_classes**2).view(batch, num_classes, num_classes)
