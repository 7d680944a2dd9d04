"""Deformable convolution as defined, in plain PyTorch: any dtype and device, differentiable twice.

The oracle that every faster kernel is checked against, and what runs where none of them can.
"""

import torch
from torch import Tensor


def deform_conv2d_reference(
    input: Tensor,
    offset: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: tuple[int, int] = (1, 1),
    padding: tuple[int, int] = (0, 0),
    dilation: tuple[int, int] = (1, 1),
    mask: Tensor | None = None,
) -> Tensor:
    """Deformable convolution v1 (mask None) and v2 of checked arguments.

    y(p) = sum_k w_k * m_k(p) * x(p * stride - padding + k * dilation + offset_k(p)), x sampled bilinearly and zero
    outside the map (Dai et al. 2017, eq. 2 to 4; Zhu et al. 2018, eq. 1). Shapes as in `dcnrun.ops.deform_conv2d`.
    """
    out_channels, channels_per_group, kernel_h, kernel_w = weight.shape
    n, channels, _, _ = input.shape
    out_h, out_w = offset.shape[-2:]
    taps = kernel_h * kernel_w
    offset_groups = offset.shape[1] // (2 * taps)
    groups = channels // channels_per_group

    y, x = sampling_points(offset, (kernel_h, kernel_w), stride, padding, dilation)
    samples = _bilinear(input.reshape(n * offset_groups, channels // offset_groups, *input.shape[2:]), y, x)
    if mask is not None:
        samples = samples * mask.reshape(n * offset_groups, 1, taps, out_h, out_w).to(samples.dtype)
    columns = samples.reshape(n, groups, channels_per_group * taps, out_h * out_w).to(weight.dtype)
    kernels = weight.reshape(groups, out_channels // groups, channels_per_group * taps)
    output = torch.einsum("gok,ngkp->ngop", kernels, columns).reshape(n, out_channels, out_h, out_w)
    return output if bias is None else output + bias.reshape(1, -1, 1, 1)


def sampling_points(
    offset: Tensor,
    kernel_size: tuple[int, int],
    stride: tuple[int, int],
    padding: tuple[int, int],
    dilation: tuple[int, int],
) -> tuple[Tensor, Tensor]:
    """Positions y and x, in pixels of the input map, that each tap of each output pixel reads.

    `offset` is (N, 2*G*kh*kw, Ho, Wo) with y, x interleaved per tap; both results are (N*G, kh*kw, Ho, Wo), in at
    least fp32: half precision has no fractions left past 2048.
    """
    n, channels, out_h, out_w = offset.shape
    taps = kernel_size[0] * kernel_size[1]
    position_dtype = torch.promote_types(offset.dtype, torch.float32)
    pairs = offset.to(position_dtype).reshape(n * (channels // (2 * taps)), taps, 2, out_h, out_w)

    def along(length: int, axis: int) -> Tensor:
        return torch.arange(length, device=offset.device, dtype=position_dtype) * stride[axis] - padding[axis]

    tap = torch.arange(taps, device=offset.device)
    tap_y = (tap // kernel_size[1] * dilation[0]).to(position_dtype)
    tap_x = (tap % kernel_size[1] * dilation[1]).to(position_dtype)
    y = tap_y[:, None, None] + along(out_h, 0)[:, None] + pairs[:, :, 0]
    x = tap_x[:, None, None] + along(out_w, 1)[None, :] + pairs[:, :, 1]
    return y, x


def _bilinear(maps: Tensor, y: Tensor, x: Tensor) -> Tensor:
    """Sample (M, C, H, W) at (M, K, Ho, Wo) positions, zero outside: (M, C, K, Ho, Wo)."""
    top, left = y.floor(), x.floor()
    down, right = y - top, x - left
    return (
        _pixel(maps, top, left) * ((1 - down) * (1 - right)).unsqueeze(1)
        + _pixel(maps, top, left + 1) * ((1 - down) * right).unsqueeze(1)
        + _pixel(maps, top + 1, left) * (down * (1 - right)).unsqueeze(1)
        + _pixel(maps, top + 1, left + 1) * (down * right).unsqueeze(1)
    )


def _pixel(maps: Tensor, row: Tensor, column: Tensor) -> Tensor:
    """Values at whole positions, zero outside the map (and where the position is not a number)."""
    m, channels, height, width = maps.shape
    inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
    index = torch.where(inside, row * width + column, 0).long().flatten(1).unsqueeze(1).expand(-1, channels, -1)
    values = maps.flatten(2).gather(2, index).reshape(m, channels, *row.shape[1:])
    return values * inside.unsqueeze(1)
