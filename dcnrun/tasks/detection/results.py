"""What a detector found in an image, beside what is there."""

from dataclasses import dataclass
from typing import TypedDict

import numpy as np
import numpy.typing as npt
from torch import Tensor

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


class Detections(TypedDict):
    """What a network found in one image."""

    boxes: Tensor
    """(m, 4), xyxy from 0 and half-open."""
    scores: Tensor
    """(m,), higher is surer."""
    labels: Tensor
    """(m,), places in the data set's `classes`."""


@dataclass(frozen=True)
class ImageResult:
    """m detections in one image and the n objects in it, as arrays; boxes are xyxy, from 0 and half-open."""

    name: str
    image_id: int
    size: tuple[int, int]
    """Height and width."""
    boxes: Floats
    scores: Floats
    labels: Ints
    object_boxes: Floats
    object_labels: Ints
    object_areas: Floats
    crowd: Bools
    difficult: Bools
