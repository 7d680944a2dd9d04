"""Anchors at the strides that a network really has."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.image_list import ImageList


class Anchors(AnchorGenerator):  # type: ignore[misc]
    """torchvision's anchors, at given strides: `sizes` per level, each in every one of the `ratios` (height / width).

    Its own generator divides the image's size by the map's, which is wrong wherever a map was rounded up, and makes the
    anchors in the features' precision.
    """

    def __init__(self, sizes: Sequence[Sequence[float]], ratios: Sequence[float], strides: Sequence[int]) -> None:
        super().__init__(tuple(map(tuple, sizes)), (tuple(ratios),) * len(sizes))
        self.strides = [[stride, stride] for stride in strides]

    def forward(self, image_list: ImageList, feature_maps: list[Tensor]) -> list[Tensor]:
        """For each image the anchors (m, 4) of all maps, as x0, y0, x1, y1 in input pixels."""
        self.set_cell_anchors(torch.float32, feature_maps[0].device)
        anchors = torch.cat(self.grid_anchors([list(each.shape[-2:]) for each in feature_maps], self.strides))
        return [anchors] * len(image_list.image_sizes)
