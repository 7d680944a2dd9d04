"""Segmentation scores from confusion matrices: rows are the truth, columns the prediction."""

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def class_iou(confusion: npt.NDArray[np.int64]) -> Floats:
    """Intersection over union of each class, (..., C, C) to (..., C); NaN for a class in neither truth nor prediction."""
    intersection = np.diagonal(confusion, axis1=-2, axis2=-1).astype(np.float64)
    union = confusion.sum(-1) + confusion.sum(-2) - intersection
    return _ratio(intersection, union)


def mean_iou(confusion: npt.NDArray[np.int64]) -> Floats:
    """Mean of the classes' IoU, (..., C, C) to (...): classes in neither truth nor prediction don't count."""
    iou = class_iou(confusion)
    present = ~np.isnan(iou)
    count = present.sum(-1)
    total = np.where(present, iou, 0.0).sum(-1)
    return _ratio(total, count)


def pixel_accuracy(confusion: npt.NDArray[np.int64]) -> Floats:
    """Share of labelled pixels whose class is right, (..., C, C) to (...)."""
    total = confusion.sum((-2, -1))
    right = np.diagonal(confusion, axis1=-2, axis2=-1).sum(-1).astype(np.float64)
    return _ratio(right, total)


def _ratio(part: npt.ArrayLike, whole: npt.ArrayLike) -> Floats:
    """`part` / `whole`, NaN where there is nothing to divide by."""
    whole = np.asarray(whole)
    result: Floats = np.full(whole.shape, np.nan)
    np.divide(part, whole, out=result, where=whole > 0)
    return result
