"""The operands and settings of a deformable RoI pooling as one thing, and where its bins lie."""

from typing import NamedTuple

import torch
from torch import Tensor

from dcnrun.ops.common.forms import Formed


class _Arguments(NamedTuple):
    """The arguments in the operator's order; shapes as in `dcnrun.ops.deform_roi_pool`, sizes as (y, x)."""

    input: Tensor
    rois: Tensor
    offset: Tensor | None
    mask: Tensor | None
    output_size: tuple[int, int]
    spatial_scale: float
    sampling_ratio: int
    gamma: float
    aligned: bool
    position_sensitive: bool
    authors: bool = False


class Operands(_Arguments, Formed):
    """The arguments, and what follows from them."""

    @property
    def settings(self) -> tuple[tuple[int, int], float, int, float, bool, bool, bool]:
        """All arguments that are not tensors."""
        return self[4:]

    @property
    def bins(self) -> int:
        """Bins of one RoI."""
        return self.output_size[0] * self.output_size[1]

    @property
    def planes(self) -> int:
        """Input channels that each output channel reads: one, or one per bin where the pooling is position-sensitive."""
        return self.bins if self.position_sensitive else 1

    @property
    def groups(self) -> int:
        """Groups of output channels that share offsets and masks."""
        if self.offset is not None:
            return self.offset.shape[1] // 2
        return 1 if self.mask is None else self.mask.shape[1]

    @property
    def first_point(self) -> float:
        """Where in a bin its first sampling point lies, in steps from point to point."""
        return 0.0 if self.authors else 0.5

    @property
    def beyond(self) -> float:
        """How many pixels outside the feature map a sample may lie: further off it is zero, or not one with `authors`."""
        return 0.5 if self.authors else 1.0

    @property
    def output_shape(self) -> tuple[int, int, int, int]:
        """(R, Co, ph, pw)."""
        return self.rois.shape[0], self.input.shape[1] // self.planes, *self.output_size


_LEAST_OF_AUTHORS = 0.1  # pixels of the feature map, along each side of a RoI


class Regions(NamedTuple):
    """RoIs on the feature map, in at least fp32: positions are in its pixels, pairs are (y, x)."""

    image: Tensor  # (R,)
    start: Tensor  # (R, 2) the upper left corner
    size: Tensor  # (R, 2) negative where the RoI is inverted
    grid: Tensor  # (R, 2) how many sampling points a bin has; integers from 0 on


def regions(operands: Operands) -> Regions:
    """Return where RoIs lie and how densely they are sampled, with `torchvision.ops.roi_align`'s roundings.

    With `authors` those of their code. Without `aligned` a RoI is at least 1 x 1; one with a NaN coordinate has one sampling point per bin,
    whose position then is NaN too, unless it has no extent along the other axis, and so no sampling points.
    """
    input, rois = operands.input, operands.rois
    dtype = torch.promote_types(input.dtype, torch.float32)
    corners = rois[:, 1:].to(dtype)
    if operands.authors:
        corners = corners.sign() * (corners.abs() + 0.5).floor() + corners.new_tensor([0, 0, 1, 1])
    corners = corners * operands.spatial_scale - (0.5 if operands.aligned else 0.0)
    start = corners[:, :2].flip(1)
    size = corners[:, 2:].flip(1) - start
    if operands.authors or not operands.aligned:
        size = size.clamp(min=_LEAST_OF_AUTHORS if operands.authors else 1)
    if operands.sampling_ratio > 0:
        grid = torch.full_like(size, operands.sampling_ratio)
    else:
        adaptive = (size / size.new_tensor(operands.output_size)).ceil()
        grid = adaptive.nan_to_num(nan=1, posinf=1, neginf=0).clamp(min=0)
        grid = grid * (grid > 0).all(1, keepdim=True)  # none along one axis is none at all
    return Regions(rois[:, 0].to(dtype), start, size, grid)
