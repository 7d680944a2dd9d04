"""What a network found in an image, in a form that does not depend on its task, and the formats that it can be written in.

Importing this file imports no torch: the command line reads the formats here.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


DEFAULT_SCORE = 0.5
"""What an object must score to be written and drawn, unless another score is asked for."""


class PredictionFormat(StrEnum):
    """What predictions are written as."""

    png = "png"
    """A mask for each image: the class, or the number of the object, of every pixel."""
    overlay = "overlay"
    """The image with what was found drawn on it."""
    coco = "coco"
    """One JSON file as COCO's annotations are, with scores."""
    yolo = "yolo"
    """A text file for each image, as YOLO's labels are: boxes, or polygons where there are masks."""


@dataclass(frozen=True)
class FoundObjects:
    """n objects in an image, the surest first."""

    boxes: "NDArray[np.float64]"
    """(n, 4), xyxy in pixels from 0 and half-open."""
    scores: "NDArray[np.float64]"
    """(n,), from 0 to 1."""
    labels: "NDArray[np.int64]"
    """(n,), indices into the classes."""
    masks: Sequence[dict[str, Any]] | None
    """The run lengths of each object's mask in the image; None of a network that finds boxes alone."""

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Found:
    """What a network found in one image, in pixels of the image as its file has it; a task fills what it finds."""

    size: tuple[int, int]
    """The image's height and width."""
    classes: "NDArray[np.uint8] | None" = None
    """(H, W), the class of every pixel."""
    objects: FoundObjects | None = None

    def renumbered(self, numbers: "NDArray[np.int64]") -> "Found":
        """Return the same with class i as class `numbers[i]`."""
        if self.classes is not None:
            return replace(self, classes=numbers.astype("uint8")[self.classes])
        assert self.objects is not None
        return replace(self, objects=replace(self.objects, labels=numbers[self.objects.labels]))
