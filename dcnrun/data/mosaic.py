"""Mosaics: parts of four training images in one, as YOLOv4 has them (Bochkovskiy et al. 2020, section 3.3), with all that they are labelled by."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2

from dcnrun.data.transforms import LEAST_SHARE, in_bytes

SampleT = TypeVar("SampleT")

PARTS = 4
_NEAREST, _FURTHEST = 0.25, 0.75
"""Where the parts may meet, as shares of the mosaic's sides."""


@dataclass(frozen=True)
class Part:
    """The window of an image that a mosaic shows: its rows and columns in the image, and by how many pixels it is moved in the mosaic."""

    top: int
    bottom: int
    left: int
    right: int
    dy: int
    dx: int

    @property
    def window(self) -> tuple[slice, slice]:
        """The rows and columns in the image."""
        return slice(self.top, self.bottom), slice(self.left, self.right)

    @property
    def place(self) -> tuple[slice, slice]:
        """The rows and columns in the mosaic."""
        rows = slice(self.top + self.dy, self.bottom + self.dy)
        return rows, slice(self.left + self.dx, self.right + self.dx)


@dataclass(frozen=True)
class Mosaic(Generic[SampleT]):
    """How often a sample becomes the first of a mosaic, and what makes one of four samples."""

    probability: float
    join: Callable[[Sequence[SampleT], np.random.Generator], SampleT]


def draw_parts(sizes: Sequence[tuple[int, int]], rng: np.random.Generator) -> list[Part]:
    """Draw the parts of a mosaic of four images of these (height, width): above left, above right, below left and below right.

    It has the size of the first image. The parts meet at a point of its inner half, along each side; which window of an image is
    seen is drawn as well. An image that is smaller than its part lies next to that point.
    """
    height, width = sizes[0]
    y, x = (round(side * rng.uniform(_NEAREST, _FURTHEST)) for side in (height, width))
    parts = []
    for nth, size in enumerate(sizes):
        below, right = divmod(nth, 2)
        top, bottom, dy = _drawn(size[0], (y, height) if below else (0, y), not below, rng)
        left, end, dx = _drawn(size[1], (x, width) if right else (0, x), not right, rng)
        parts.append(Part(top, bottom, left, end, dy, dx))
    return parts


def _drawn(side: int, room: tuple[int, int], at_the_end: bool, rng: np.random.Generator) -> tuple[int, int, int]:
    """Draw a window along an axis for the room in a mosaic: its start and end in the image, and how far it is moved."""
    first, last = room
    length = min(side, last - first)
    start = int(rng.integers(side - length + 1))
    return start, start + length, (last - length if at_the_end else first) - start


def join_images(images: Sequence[tv_tensors.Image], parts: Sequence[Part], mean: Sequence[float]) -> tv_tensors.Image:
    """Return the mosaic of images, all of as many bands as the mean; of float32 where one of them is. The mean is what no part covers."""
    if any(image.is_floating_point() for image in images):
        images = [v2.functional.to_dtype(image, torch.float32, scale=True) for image in images]
    fill = mean if images[0].is_floating_point() else in_bytes(mean)
    ground = torch.tensor(fill, dtype=images[0].dtype)[:, None, None].expand(images[0].shape)
    return tv_tensors.Image(_joined(ground.clone(), images, parts))


def join_masks(masks: Sequence[Tensor], parts: Sequence[Part], padding: int) -> tv_tensors.Mask:
    """Return the mosaic of class masks (H, W); `padding` is what no part covers."""
    return tv_tensors.Mask(_joined(torch.full_like(masks[0], padding), masks, parts))


def join_object_masks(masks: Sequence[Tensor], parts: Sequence[Part]) -> tv_tensors.Mask:
    """Return masks (n, H, W) of the objects of all images, each where its image's part is."""
    height, width = masks[0].shape[-2:]
    moved = [each.new_zeros(len(each), height, width) for each in masks]
    for there, each, part in zip(moved, masks, parts, strict=True):
        there[..., *part.place] = each[..., *part.window]
    return tv_tensors.Mask(torch.cat(moved))


def join_boxes(boxes: Sequence[Tensor], parts: Sequence[Part]) -> tuple[Tensor, Tensor]:
    """Return the boxes (n, 4) of all images, xyxy, in the mosaic and clipped to their parts; and of which enough is left to be found."""
    moved, left = [], []
    for each, part in zip(boxes, parts, strict=True):
        low, high = each.new_tensor([part.left, part.top]), each.new_tensor([part.right, part.bottom])
        clipped = each.reshape(-1, 2, 2).clamp(low, high)
        before, after = (corners.diff(dim=1).prod(-1).flatten() for corners in (each.reshape(-1, 2, 2), clipped))
        moved.append((clipped + each.new_tensor([part.dx, part.dy])).reshape(-1, 4))
        left.append((after > 0) & (after >= LEAST_SHARE * before))
    return torch.cat(moved), torch.cat(left)


def _joined(ground: Tensor, tensors: Sequence[Tensor], parts: Sequence[Part]) -> Tensor:
    plain = ground.as_subclass(Tensor)
    for tensor, part in zip(tensors, parts, strict=True):
        plain[..., *part.place] = tensor.as_subclass(Tensor)[..., *part.window]
    return plain
