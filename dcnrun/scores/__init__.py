"""Scores of results on validation images, and those results per image, which comparisons resample. NumPy only."""

from dcnrun.scores.detection import MatchesPerImage
from dcnrun.scores.per_image import PerImage
from dcnrun.scores.segmentation import ConfusionPerImage, class_iou, mean_iou, pixel_accuracy
from dcnrun.scores.stored import load_per_image

__all__ = [
    "ConfusionPerImage",
    "MatchesPerImage",
    "PerImage",
    "class_iou",
    "load_per_image",
    "mean_iou",
    "pixel_accuracy",
]
