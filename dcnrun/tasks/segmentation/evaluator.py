"""Validation scores of segmentation, exact over any number of processes."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.functional.classification import multiclass_confusion_matrix
from torchmetrics.utilities import dim_zero_cat

from dcnrun.data import IGNORE, SegmentationDataset
from dcnrun.errors import UsageError
from dcnrun.scores.segmentation import ConfusionPerImage, class_iou, mean_iou, pixel_accuracy


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
    """Confusion matrix of every image, as batches come in."""

    def __init__(self, dataset: SegmentationDataset, device: torch.device) -> None:
        self._dataset = dataset
        self._confusions = _Confusions(len(dataset.classes)).to(device)

    def update(self, predictions: Tensor, batch: Any) -> None:
        """Add predicted classes (B, H, W) of a batch."""
        self._confusions.update(predictions, batch["mask"], batch["index"])

    def result(self) -> SegmentationEvaluation:
        """Scores of all that was added; collective over processes."""
        names = [self._dataset.name(i) for i in range(len(self._dataset))]
        return SegmentationEvaluation(ConfusionPerImage(names, self._confusions.compute(), self._dataset.classes))


class _Confusions(Metric):
    """Gathered over processes; an image seen twice counts once."""

    confusion: list[Tensor]
    index: list[Tensor]
    full_state_update = False

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.add_state("confusion", default=[], dist_reduce_fx="cat")
        self.add_state("index", default=[], dist_reduce_fx="cat")

    def update(self, prediction: Tensor, mask: Tensor, index: list[int]) -> None:
        """Add predicted and true classes (B, H, W) of the images with these places in the data set."""
        for image_prediction, image_mask, place in zip(prediction, mask, index, strict=True):
            matrix = multiclass_confusion_matrix(
                image_prediction, image_mask, self.num_classes, ignore_index=IGNORE, validate_args=False
            )
            self.confusion.append(matrix.to(torch.int32)[None])
            self.index.append(torch.tensor([place], device=prediction.device))

    def compute(self) -> npt.NDArray[np.int64]:
        """(n_images, C, C) counts, in the order of the data set."""
        index = dim_zero_cat(self.index).cpu().numpy()
        confusion = dim_zero_cat(self.confusion).cpu().numpy().astype(np.int64)
        _, first = np.unique(index, return_index=True)
        return np.asarray(confusion[first])
