"""dcnrun's operators in terms of PyTorch's own, for programs that run without dcnrun.

Each function has the arguments of the operator that it stands for, and gives its numbers up to rounding; only at positions that are
no numbers, infinite or beyond 2**24, where fp32 has no odd numbers left, a sample may be another. They are made of `grid_sample`:
torchvision's `deform_conv2d` gives the same numbers in more time (`benchmarks/results/deployment.json`), and has to be installed.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from dcnrun.ops.deform_conv2d.arguments import Pair
from dcnrun.ops.deform_conv2d.reference import sampling_points


def grid_sampled(input: Tensor, y: Tensor, x: Tensor, mask: Tensor | None) -> Tensor:
    """Return bilinear samples (N*G, C/G, P, Ho, Wo) of (N, C, H, W) at positions (N*G, P, Ho, Wo) in pixels, times a mask.

    By `grid_sample`, which with `align_corners=False` and zeros around the map has the rule of deformable convolution at its
    border, also of maps of one row or column.
    """
    images, points, high, wide = y.shape
    height, width = input.shape[2:]
    grid = torch.stack([(2 * x + 1) / width - 1, (2 * y + 1) / height - 1], -1).reshape(images, points * high, wide, 2)
    groups = input.reshape(images, -1, height, width)
    samples = F.grid_sample(groups, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    samples = samples.reshape(images, -1, points, high, wide)
    return samples if mask is None else samples * mask.reshape(images, 1, points, high, wide)


def _deform_conv2d(
    input: Tensor,
    offset: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
    mask: Tensor | None,
) -> Tensor:
    """Samples, and a convolution of 1x1 over the channels of all points."""
    n, channels = input.shape[:2]
    y, x = sampling_points(offset, weight.shape[2:], stride, padding, dilation)  # type: ignore[arg-type]
    columns = grid_sampled(input, y, x, mask).reshape(n, -1, *offset.shape[2:])
    return F.conv2d(columns, weight.flatten(1)[:, :, None, None], bias, groups=channels // weight.shape[1])


def _deform_sample2d(
    input: Tensor,
    offset: Tensor,
    mask: Tensor | None,
    kernel_size: Pair,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
    offset_scale: float,
    softmax: bool,
    remove_center: bool,
) -> Tensor:
    """Samples, and their sum over the points."""
    y, x = sampling_points(offset, kernel_size, stride, padding, dilation, offset_scale, remove_center)
    if mask is not None and softmax:
        mask = mask.reshape(y.shape).softmax(1)
    return grid_sampled(input, y, x, mask).sum(2).reshape(*input.shape[:2], *offset.shape[2:])


DECOMPOSITIONS: dict[Any, Callable[..., Tensor]] = {
    torch.ops.dcnrun.deform_conv2d.default: _deform_conv2d,
    torch.ops.dcnrun.deform_sample2d.default: _deform_sample2d,
}
"""By operator, as `torch.export.ExportedProgram.run_decompositions` takes them."""
