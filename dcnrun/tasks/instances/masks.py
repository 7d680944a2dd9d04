"""From what a mask head says of the cells of a box to the pixels of the image."""

from math import ceil, floor

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from dcnrun.data.coco_masks import RunLengths, encode

_INSIDE = 0.5


def pasted(masks: Tensor, boxes: Tensor, size: tuple[int, int]) -> list[RunLengths]:
    """Return the masks in an image of (height, width) `size`: the pixels where the object is at least as likely as not.

    A pixel whose centre is in the box has the probability at its index, interpolated between the centres of cells and the same
    beyond the outer ones. Indices, since torchvision reads the masks that are learnt from at these: pixel i, which boxes have
    from i to i + 1, at i. Its own way back rounds boxes to pixels, which costs small objects much of their overlap.

    Args:
        masks: (m, 1, s, s), probabilities for s x s cells of each box.
        boxes: (m, 4), xyxy in pixels of the image.
        size: of the image.
    """
    return [
        encode(_inside(cells, box, size))
        for cells, box in zip(masks.float().cpu(), boxes.double().cpu().tolist(), strict=True)
    ]


def _inside(cells: Tensor, box: list[float], size: tuple[int, int]) -> np.ndarray[tuple[int, int], np.dtype[np.bool_]]:
    """Return which pixels (H, W) of the image are inside, from a mask (1, s, s) in a box."""
    inside = np.zeros(size, np.bool_)
    (left, right), (top, bottom) = (
        (max(floor(low + 0.5), 0), min(ceil(high - 0.5), most))
        for low, high, most in ((box[0], box[2], size[1]), (box[1], box[3], size[0]))
    )
    if left < right and top < bottom:
        # in grid_sample a box goes from -1 to 1
        x = (torch.arange(left, right) - box[0]) / (box[2] - box[0]) * 2 - 1
        y = (torch.arange(top, bottom) - box[1]) / (box[3] - box[1]) * 2 - 1
        grid = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1)[None].float()
        values = F.grid_sample(cells[None], grid, padding_mode="border", align_corners=False)
        inside[top:bottom, left:right] = values[0, 0].numpy() >= _INSIDE
    return inside
