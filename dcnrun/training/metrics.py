"""Validation metrics of segmentation, exact over any number of processes."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.functional.classification import multiclass_confusion_matrix
from torchmetrics.utilities import dim_zero_cat

from dcnrun import scores
from dcnrun.data import IGNORE


@dataclass(frozen=True)
class Evaluation:
    """Confusion matrices (n_images, C, C) in the order of the data set, and the scores that follow from them."""

    confusion: npt.NDArray[np.int64]
    names: list[str]
    classes: tuple[str, ...]

    @property
    def metrics(self) -> dict[str, float]:
        """The numbers that are logged."""
        total = self.confusion.sum(0)
        return {"val/miou": float(scores.mean_iou(total)), "val/pixel_acc": float(scores.pixel_accuracy(total))}

    @property
    def class_iou(self) -> dict[str, float]:
        """IoU of each class; NaN where a class is in neither truth nor prediction."""
        return dict(zip(self.classes, scores.class_iou(self.confusion.sum(0)).tolist(), strict=True))


class ConfusionPerImage(Metric):
    """Confusion matrix of every image, gathered over processes; an image seen twice counts once."""

    confusion: list[Tensor]
    index: list[Tensor]
    full_state_update = False

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.add_state("confusion", default=[], dist_reduce_fx="cat")
        self.add_state("index", default=[], dist_reduce_fx="cat")

    def update(self, prediction: Tensor, mask: Tensor, index: list[int]) -> None:
        """Add predicted and true classes (N, H, W) of the images with these places in the data set."""
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


def evaluation(metric: ConfusionPerImage, dataset: Any) -> Evaluation:
    """The scores of a whole data set; collective over processes."""
    return Evaluation(metric.compute(), [dataset.name(i) for i in range(len(dataset))], dataset.classes)
