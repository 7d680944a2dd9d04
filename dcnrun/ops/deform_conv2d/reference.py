"""Deformable convolution as defined, in plain PyTorch: any dtype and device, differentiable.

The oracle that every faster kernel is checked against, and what runs where none of them can.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from dcnrun.ops.deform_conv2d.arguments import Operands, Pair


def deform_conv2d_reference(
    input: Tensor,
    offset: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Pair = (1, 1),
    padding: Pair = (0, 0),
    dilation: Pair = (1, 1),
    mask: Tensor | None = None,
) -> Tensor:
    """Deformable convolution v1 (mask None) and v2 of checked arguments.

    y(p) = sum_k w_k * m_k(p) * x(p * stride - padding + k * dilation + offset_k(p)), x sampled bilinearly and zero
    outside the feature map (Dai et al. 2017, eq. 2 to 4; Zhu et al. 2018, eq. 1). Shapes as in `dcnrun.ops.deform_conv2d`.
    Half precision is computed in fp32.
    """
    operands = Operands(input, offset, weight, bias, stride, padding, dilation, mask)
    samples = _sample(operands)
    values = samples.values if mask is None else samples.values * _per_sample(mask, samples)
    output = torch.einsum("gok,ngkp->ngop", _kernels(operands), _columns(values, operands))
    output = output.reshape(input.shape[0], weight.shape[0], *offset.shape[-2:])
    if bias is not None:
        output = output + bias.to(output.dtype).reshape(1, -1, 1, 1)
    return output.to(input.dtype)


def deform_conv2d_backward_reference(
    grad_output: Tensor, operands: Operands
) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    """Return the gradients of input, offset, weight and mask (None without one), themselves differentiable."""
    input, offset, weight, mask = operands.input, operands.offset, operands.weight, operands.mask
    samples = _sample(operands)
    factors = None if mask is None else _per_sample(mask, samples)
    values = samples.values if factors is None else samples.values * factors
    grad = grad_output.to(values.dtype).flatten(2).unflatten(1, (operands.groups, -1))

    grad_weight = torch.einsum("ngop,ngkp->gok", grad, _columns(values, operands)).reshape(weight.shape)
    grad_values = torch.einsum("gok,ngop->ngkp", _kernels(operands), grad).reshape(values.shape)
    grad_samples = grad_values if factors is None else grad_values * factors
    grad_mask = None if mask is None else (grad_values * samples.values).sum(1).reshape(mask.shape)
    grad_input = samples.scatter(grad_samples).reshape(input.shape)
    slopes = torch.stack([(grad_samples * along).sum(1) for along in samples.slopes()], dim=2)
    return (
        grad_input.to(input.dtype),
        slopes.reshape(offset.shape).to(offset.dtype),
        grad_weight.to(weight.dtype),
        None if grad_mask is None or mask is None else grad_mask.to(mask.dtype),
    )


def sampling_points(
    offset: Tensor,
    kernel_size: Pair,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
    offset_scale: float = 1.0,
    remove_center: bool = False,
) -> tuple[Tensor, Tensor]:
    """Return the positions y and x, in pixels of the input, of every sampling point of each output pixel.

    `offset` is (N, 2*G*P, Ho, Wo) with y, x interleaved per sampling point; both results are (N*G, P, Ho, Wo), in at least
    fp32: half precision has no fractions left past 2048. P is kh*kw, or one less where the centre is left out. `offset_scale`
    multiplies the offsets, and the distances of the points from the kernel's centre.
    """
    n, channels, out_h, out_w = offset.shape
    position_dtype = torch.promote_types(offset.dtype, torch.float32)
    point = torch.arange(kernel_size[0] * kernel_size[1], device=offset.device)
    if remove_center:
        center = kernel_size[0] * kernel_size[1] // 2
        point = torch.cat([point[:center], point[center + 1 :]])
    points = point.shape[0]
    pairs = offset.to(position_dtype).reshape(n * (channels // (2 * points)), points, 2, out_h, out_w)

    def along(length: int, axis: int) -> Tensor:
        return torch.arange(length, device=offset.device, dtype=position_dtype) * stride[axis] - padding[axis]

    def in_kernel(line: Tensor, axis: int) -> Tensor:
        position = (line * dilation[axis]).to(position_dtype)
        if offset_scale == 1:
            return position
        center = dilation[axis] * (kernel_size[axis] - 1) // 2
        return center + offset_scale * (position - center)

    scaled = pairs if offset_scale == 1 else offset_scale * pairs
    y = in_kernel(point // kernel_size[1], 0)[:, None, None] + along(out_h, 0)[:, None] + scaled[:, :, 0]
    x = in_kernel(point % kernel_size[1], 1)[:, None, None] + along(out_w, 1)[None, :] + scaled[:, :, 1]
    return y, x


def outside(y: Tensor, x: Tensor, size: Pair) -> Tensor:
    """Return which positions lie one pixel or more outside a feature map of `size`: a sample there is zero and has no slope.

    One that is not a number is not among them: it stays one.
    """
    return (y <= -1) | (y >= size[0]) | (x <= -1) | (x >= size[1])


class Samples(NamedTuple):
    """Bilinear samples of feature maps (M, C, H, W) at positions (M, K, Ho, Wo), M being images x offset groups."""

    size: Pair  # H, W
    corners: list[Tensor]  # 4 of (M, C, K, Ho, Wo): the pixels top left, top right, bottom left and bottom right
    pixels: list[Tensor]  # 4 of (M, K, Ho, Wo): their index in the feature map, row by row
    inside: list[Tensor]  # 4 of (M, K, Ho, Wo): whether they are on the feature map; outside it is zero
    down: Tensor  # (M, 1, K, Ho, Wo): how far below the upper corners the position is
    right: Tensor

    def corner_weights(self) -> list[Tensor]:
        """The weight of each corner."""
        down, right = self.down, self.right
        return [(1 - down) * (1 - right), (1 - down) * right, down * (1 - right), down * right]

    @property
    def values(self) -> Tensor:
        """The samples, (M, C, K, Ho, Wo)."""
        first, second, third, fourth = (
            corner * weight for corner, weight in zip(self.corners, self.corner_weights(), strict=True)
        )
        return first + second + third + fourth

    def slopes(self) -> tuple[Tensor, Tensor]:
        """Derivatives of the samples along y and x, (M, C, K, Ho, Wo)."""
        top_left, top_right, bottom_left, bottom_right = self.corners
        along_y = (bottom_left - top_left) * (1 - self.right) + (bottom_right - top_right) * self.right
        along_x = (top_right - top_left) * (1 - self.down) + (bottom_right - bottom_left) * self.down
        return along_y, along_x

    def scatter(self, gradients: Tensor) -> Tensor:
        """The gradients of the feature maps, (M, C, H * W), from those of the samples."""
        grads = gradients.new_zeros(*gradients.shape[:2], self.size[0] * self.size[1])
        for pixel, inside, weight in zip(self.pixels, self.inside, self.corner_weights(), strict=True):
            weighted = torch.where(inside.unsqueeze(1), gradients * weight, 0)
            grads = grads.scatter_add(2, _index(pixel, grads.shape[1]), weighted.flatten(2))
        return grads


def bilinear_samples(input: Tensor, y: Tensor, x: Tensor, groups: int) -> Samples:
    """Sample feature maps (N, C, H, W) at positions (N*G, K, Ho, Wo), each of `groups` groups of channels at its own.

    Samples are zero from one pixel outside the feature map on. Half precision is computed in fp32.
    """
    n, channels, height, width = input.shape
    features = input.to(torch.promote_types(input.dtype, torch.float32))
    features = features.reshape(n * groups, channels // groups, height, width)
    far = outside(y, x, (height, width))
    y, x = torch.where(far, -2, y).to(features.dtype), torch.where(far, -2, x).to(features.dtype)

    top, left = y.detach().floor(), x.detach().floor()
    corners, pixels, insides = [], [], []
    for row, column in ((top, left), (top, left + 1), (top + 1, left), (top + 1, left + 1)):
        inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
        # In integers: fp32 does not hold the index of every pixel.
        pixel = torch.where(inside, row, 0).long() * width + torch.where(inside, column, 0).long()
        corner = features.flatten(2).gather(2, _index(pixel, features.shape[1])).unflatten(2, y.shape[1:])
        corners.append(torch.where(inside.unsqueeze(1), corner, 0))
        pixels.append(pixel)
        insides.append(inside)
    return Samples((height, width), corners, pixels, insides, (y - top).unsqueeze(1), (x - left).unsqueeze(1))


def _sample(operands: Operands) -> Samples:
    kernel_height, kernel_width = operands.weight.shape[2:]
    y, x = sampling_points(operands.offset, (kernel_height, kernel_width), *operands.settings)
    return bilinear_samples(operands.input, y, x, operands.offset_groups)


def _index(pixel: Tensor, channels: int) -> Tensor:
    """(M, K, Ho, Wo) indices of pixels, repeated for all channels, (M, C, K * Ho * Wo)."""
    return pixel.flatten(1).unsqueeze(1).expand(-1, channels, -1)


def _per_sample(mask: Tensor, samples: Samples) -> Tensor:
    """The mask as factors of (M, C, K, Ho, Wo)."""
    return mask.to(samples.down.dtype).reshape(samples.down.shape)


def _columns(values: Tensor, operands: Operands) -> Tensor:
    """Samples (M, C, K, Ho, Wo) as (N, groups, C / groups * K, Ho * Wo)."""
    pixels = values.shape[-2] * values.shape[-1]
    return values.reshape(operands.input.shape[0], operands.groups, operands.weight[0].numel(), pixels)


def _kernels(operands: Operands) -> Tensor:
    """Weights as (groups, Co / groups, C / groups * K), in the dtype of the samples."""
    weight, groups = operands.weight, operands.groups
    kernels = weight.reshape(groups, weight.shape[0] // groups, weight[0].numel())
    return kernels.to(torch.promote_types(weight.dtype, torch.float32))
