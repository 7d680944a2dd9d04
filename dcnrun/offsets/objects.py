"""The objects of an image, and which of them a filter belongs to: the one whose box contains the filter's centre.

Boxes are as in the data sets, half-open with pixel i from i to i + 1; grids have pixel i centred at i. So a position on a
grid plus half a pixel is a position in the coordinates of boxes.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from dcnrun.offsets.grid import Grid

BACKGROUND_OWNER = -1
"""The owner of a filter whose centre lies in no object's box."""
NO_OWNER = -2
"""The owner of a filter of which it is not known: its centre lies outside the image, on an ignored pixel or in a crowd."""

_DIAGONAL_TOO = np.ones((3, 3), dtype=bool)


class SizeClass(StrEnum):
    """The size of the object that a filter belongs to, or background."""

    small = "small"
    medium = "medium"
    large = "large"
    background = "background"


@dataclass(frozen=True)
class Thresholds:
    """The areas from which on an object is medium or large, in pixels of the image that the network sees; by default COCO's."""

    medium: float = 32.0**2
    large: float = 96.0**2

    def classify(self, area: Tensor) -> Tensor:
        """Return the index in `SizeClass` of each area (n,), int64."""
        return torch.bucketize(area, area.new_tensor([self.medium, self.large]), right=True)

    def __str__(self) -> str:
        return f"small < {self.medium:g} <= medium < {self.large:g} <= large, in pixels of area"


@dataclass(frozen=True)
class Objects:
    """The objects of one image of (height, width) `size`, as the network sees it without padding."""

    size: tuple[int, int]
    boxes: Tensor
    """float32 (n, 4), xyxy in pixels of the image."""
    area: Tensor
    """float32 (n,), pixels: that of the object's mask where there is one, else of its box."""
    classes: tuple[str, ...]
    """The class name of each object."""
    unknown: Tensor
    """bool (H, W): pixels of which it is not known what they show."""

    def owners(self, grid: Grid, size: tuple[int, int]) -> Tensor:
        """Return the index of the object that each filter of a layer belongs to, int64 (Ho, Wo).

        The grid gives the filters' centres. A filter belongs to the object whose box contains its centre, of several to the
        smallest one; else its owner is BACKGROUND_OWNER or NO_OWNER.
        """
        y, x = (
            torch.arange(size[axis], dtype=torch.float64) * grid.step[axis] + grid.start[axis] + 0.5 for axis in (0, 1)
        )
        height, width = self.size
        rows, columns = y.floor().long().clamp(0, height - 1), x.floor().long().clamp(0, width - 1)
        owners = torch.full(size, BACKGROUND_OWNER)
        owners[self.unknown[rows[:, None], columns]] = NO_OWNER
        for i in self.area.argsort(descending=True, stable=True).tolist():
            owners[_in_box(y, x, self.boxes[i])] = i
        return owners.where(_in_box(y, x, (0, 0, width, height)), torch.tensor(NO_OWNER))


def objects_of_boxes(
    boxes: Tensor, area: Tensor, classes: Sequence[str], crowd: Tensor, size: tuple[int, int]
) -> Objects:
    """Make objects from boxes (n, 4), areas (n,) and classes; crowds (bool, n) are regions of which nothing is known."""
    unknown = torch.zeros(size, dtype=torch.bool)
    y, x = (torch.arange(side) + 0.5 for side in size)
    for box in boxes[crowd]:
        unknown |= _in_box(y, x, box)
    single = [name for name, is_crowd in zip(classes, crowd.tolist(), strict=True) if not is_crowd]
    return Objects(size, boxes[~crowd], area[~crowd], tuple(single), unknown)


def objects_of_mask(mask: Tensor, classes: Sequence[str], ignored: int) -> Objects:
    """Make an object of each connected piece of a class in a mask (H, W); pixels that touch at a corner are connected.

    Touching objects of one class are one piece. The class called background gives no objects; where no class has that name,
    as in Cityscapes, every class gives some. Of pixels with the label `ignored` nothing is known.
    """
    values = mask.numpy()
    boxes, areas, names = [], [], []
    for label, name in enumerate(classes):
        if name.lower() != "background":
            pieces, count = ndimage.label(values == label, structure=_DIAGONAL_TOO)
            boxes += [(x.start, y.start, x.stop, y.stop) for y, x in ndimage.find_objects(pieces)]
            areas += np.bincount(pieces.ravel(), minlength=count + 1)[1:].tolist()
            names += [name] * count
    return Objects(
        size=(mask.shape[0], mask.shape[1]),
        boxes=torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        area=torch.tensor(areas, dtype=torch.float32),
        classes=tuple(names),
        unknown=mask == ignored,
    )


def _in_box(y: Tensor, x: Tensor, box: Iterable[Any]) -> Tensor:
    """Return which of the pixels in rows at y (H,) and columns at x (W,) have their centre in a box, bool (H, W)."""
    left, top, right, bottom = box
    inside: Tensor = ((y >= top) & (y < bottom))[:, None] & ((x >= left) & (x < right))
    return inside
