"""Deformable convolution on the CPU with PyTorch's own kernels, channels-last.

Each sampling point reads four rows of C contiguous channels, weighs and adds them: what `embedding_bag` does with
vector instructions and on all threads. The result is one matrix product. In forward and backward together this takes a
fraction of the time of torchvision's CPU kernel, which reads channel by channel (benchmarks/deform_conv2d_cpu.py).
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from dcnrun.ops.reference import sampling_points


def deform_conv2d_rows(
    input: Tensor,
    offset: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: tuple[int, int],
    padding: tuple[int, int],
    dilation: tuple[int, int],
    mask: Tensor | None,
) -> Tensor:
    """The same as `deform_conv2d_reference`, for checked arguments on the CPU; not differentiable twice."""
    n, channels, height, width = input.shape
    out_channels, channels_per_group, kernel_h, kernel_w = weight.shape
    out_h, out_w = offset.shape[-2:]
    taps = kernel_h * kernel_w
    offset_groups = offset.shape[1] // (2 * taps)
    groups = channels // channels_per_group
    row = channels // offset_groups

    y, x = sampling_points(offset, (kernel_h, kernel_w), stride, padding, dilation)
    factors = None if mask is None else mask.reshape(y.shape)
    pixels, weights = _corners(y, x, (height, width), factors)
    # channels-last, so that the channels of one pixel and offset group are one row
    table = input.reshape(n, offset_groups, row, height * width).transpose(2, 3).reshape(-1, row)
    samples = F.embedding_bag(pixels, table, mode="sum", per_sample_weights=weights.to(table.dtype))

    # (n, G, taps, pixels, row) -> (n * pixels, taps, channels): the columns of the matrix product
    columns = samples.reshape(n, offset_groups, taps, out_h * out_w, row).permute(0, 3, 2, 1, 4)
    columns = columns.reshape(n * out_h * out_w, taps, groups, channels_per_group)
    kernels = weight.reshape(groups, out_channels // groups, channels_per_group, taps)
    if groups == 1:
        output = columns.flatten(1) @ kernels[0].permute(2, 1, 0).reshape(taps * channels, out_channels)
    else:
        output = torch.einsum("ptgc,goct->pgo", columns, kernels)
    if bias is not None:
        output = output.reshape(-1, out_channels) + bias
    return output.reshape(n, out_h, out_w, out_channels).permute(0, 3, 1, 2)


def _corners(y: Tensor, x: Tensor, size: tuple[int, int], factors: Tensor | None) -> tuple[Tensor, Tensor]:
    """Rows of the table, and their bilinear weights, of the four pixels around each position: both (positions, 4).

    Positions are (maps, taps, Ho, Wo). A corner outside the map gets weight 0.
    """
    height, width = size
    first_row = torch.arange(y.shape[0], device=y.device).reshape(-1, 1, 1, 1) * (height * width)
    top, left = y.floor(), x.floor()
    down, right = y - top, x - left
    pixels, weights = [], []
    for row, weight_y in ((top, 1 - down), (top + 1, down)):
        for column, weight_x in ((left, 1 - right), (left + 1, right)):
            inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
            pixels.append(first_row + torch.where(inside, row * width + column, 0).long())
            weights.append(weight_y * weight_x * inside)
    stacked = torch.stack(weights, -1)
    if factors is not None:
        stacked = stacked * factors.unsqueeze(-1)
    return torch.stack(pixels, -1).reshape(-1, 4), stacked.reshape(-1, 4)
