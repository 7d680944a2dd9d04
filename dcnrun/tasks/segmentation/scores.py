"""Segmentation scores from confusion matrices: rows are the truth, columns the prediction."""

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from dcnrun.scores import Confusion, Counts, Floats, PerImage, order_of
from dcnrun.tasks.found import PredictionFormat
from dcnrun.tasks.traits import Metric, TaskTraits

if TYPE_CHECKING:
    from dcnrun.tasks.segmentation.task import Segmentation


def class_iou(confusion: Counts) -> Floats:
    """Intersection over union of each class, (..., C, C) to (..., C); NaN for a class in neither truth nor prediction."""
    return _class_iou(_totals(confusion))


def mean_iou(confusion: Counts) -> Floats:
    """Mean of the classes' IoU, (..., C, C) to (...): classes in neither truth nor prediction don't count."""
    return _mean_iou(_totals(confusion))


def pixel_accuracy(confusion: Counts) -> Floats:
    """Share of labelled pixels whose class is right, (..., C, C) to (...)."""
    return _pixel_accuracy(_totals(confusion))


class ConfusionPerImage(PerImage):
    """The confusion matrix (C, C) of each image."""

    kind = "confusion"
    metrics = ("val/miou", "val/pixel_acc")

    def __init__(self, names: Sequence[str], confusion: npt.NDArray[Any], classes: Sequence[str]) -> None:
        """Take `confusion` (N, C, C), in the order of `names` (N,), of which it is sorted."""
        if confusion.shape != (len(names), len(classes), len(classes)):
            raise ValueError(f"{confusion.shape} matrices of {len(names)} images and {len(classes)} classes")
        super().__init__(names, classes)
        self.confusion: Counts = confusion[order_of(names)].astype(np.int64)

    def truth_of_class(self) -> Counts:  # noqa: D102
        pixels: Counts = self.confusion.sum(axis=(0, 2))
        return pixels

    def confusion_matrix(self) -> Confusion:  # noqa: D102
        return Confusion(self.classes, self.confusion.sum(axis=0), "pixels")

    def resampled(self, metric: str, image_counts: Counts) -> Floats:  # noqa: D102
        sums = image_counts.astype(np.float64) @ self._columns
        return _SCORES[metric](sums.reshape(len(image_counts), 3, len(self.classes)))

    def work(self, metric: str) -> float:  # noqa: D102
        return self._columns.size

    def has_same_truth(self, other: PerImage) -> bool:  # noqa: D102
        return (
            isinstance(other, ConfusionPerImage)
            and other.names == self.names
            and np.array_equal(other.confusion.sum(axis=-1), self.confusion.sum(axis=-1))
        )

    def arrays(self) -> dict[str, npt.NDArray[Any]]:  # noqa: D102
        return {"confusion": self.confusion}

    @cached_property
    def _columns(self) -> Floats:
        """The images' totals as (N, 3 * C)."""
        return _totals(self.confusion).reshape(len(self.names), -1).astype(np.float64)


def _totals(confusion: Counts) -> Counts:
    """What the scores need of (..., C, C): hits, truth and prediction of each class, as (..., 3, C).

    They add up over images as the matrices do, and are smaller.
    """
    hits = np.diagonal(confusion, axis1=-2, axis2=-1)
    return np.stack([hits, confusion.sum(axis=-1), confusion.sum(axis=-2)], axis=-2)


def _class_iou(totals: npt.NDArray[Any]) -> Floats:
    hits, truth, prediction = totals[..., 0, :], totals[..., 1, :], totals[..., 2, :]
    return _ratio(hits, truth + prediction - hits)


def _mean_iou(totals: npt.NDArray[Any]) -> Floats:
    iou = _class_iou(totals)
    present = ~np.isnan(iou)
    return _ratio(np.where(present, iou, 0.0).sum(axis=-1), present.sum(axis=-1))


def _pixel_accuracy(totals: npt.NDArray[Any]) -> Floats:
    return _ratio(totals[..., 0, :].sum(axis=-1), totals[..., 1, :].sum(axis=-1))


def _ratio(part: npt.ArrayLike, whole: npt.ArrayLike) -> Floats:
    """`part` / `whole`, NaN where there is nothing to divide by."""
    whole = np.asarray(whole)
    result: Floats = np.full(whole.shape, np.nan)
    np.divide(part, whole, out=result, where=whole > 0)
    return result


_SCORES: dict[str, Callable[[npt.NDArray[Any]], Floats]] = {
    "val/miou": _mean_iou,
    "val/pixel_acc": _pixel_accuracy,
}


def _load() -> "Segmentation":
    from dcnrun.tasks.segmentation.task import Segmentation

    return Segmentation()


SEGMENTATION = TaskTraits(
    labels="masks",
    finds="masks",
    metrics=(Metric("val/miou", "mIoU"), Metric("val/pixel_acc", "pixel accuracy")),
    per_image=ConfusionPerImage,
    saves_predictions=False,
    load=_load,
    formats=(PredictionFormat.png, PredictionFormat.overlay),
)
