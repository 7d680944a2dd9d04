"""Deformable sampling as defined, in plain PyTorch: any dtype and device, differentiable.

The oracle that every faster kernel is checked against, and what runs where none of them can.
"""

import torch
from torch import Tensor

from dcnrun.ops.deform_conv2d.reference import Samples, bilinear_samples, sampling_points
from dcnrun.ops.deform_sample2d.arguments import Operands


def deform_sample2d_reference(operands: Operands) -> Tensor:
    """Return the output of checked operands, as `dcnrun.ops.deform_sample2d` defines it. Half precision is computed in fp32."""
    values, factors = _samples(operands).values, _factors(operands)
    weighted = values if factors is None else values * factors
    return weighted.sum(2).reshape(operands.output_shape).to(operands.input.dtype)


def deform_sample2d_backward_reference(grad_output: Tensor, operands: Operands) -> tuple[Tensor, Tensor, Tensor | None]:
    """Return the gradients of input, offset and mask (None without one), themselves differentiable."""
    input, offset, mask = operands[:3]
    samples, factors = _samples(operands), _factors(operands)
    values = samples.values
    grad = grad_output.to(values.dtype).reshape(values.shape[0], values.shape[1], 1, *values.shape[3:])
    grad_samples = (grad if factors is None else grad * factors).expand_as(values)
    grad_input = samples.scatter(grad_samples).reshape(input.shape)
    slopes = torch.stack([(grad_samples * along).sum(1) for along in samples.slopes()], dim=2) * operands.offset_scale
    grad_mask = None
    if mask is not None and factors is not None:
        grad_factors = (grad * values).sum(1, keepdim=True)
        if operands.softmax:
            grad_factors = factors * (grad_factors - (factors * grad_factors).sum(2, keepdim=True))
        grad_mask = grad_factors.reshape(mask.shape).to(mask.dtype)
    return grad_input.to(input.dtype), slopes.reshape(offset.shape).to(offset.dtype), grad_mask


def _samples(operands: Operands) -> Samples:
    """The samples of images x groups, (N*G, C/G, P, Ho, Wo)."""
    y, x = sampling_points(operands.offset, *operands.grid)
    return bilinear_samples(operands.input, y, x, operands.groups)


def _factors(operands: Operands) -> Tensor | None:
    """What the samples are multiplied with, (N*G, 1, P, Ho, Wo); None where all are 1."""
    mask = operands.mask
    if mask is None:
        return None
    points = (mask.shape[0] * operands.groups, 1, operands.points, *mask.shape[2:])
    factors = mask.to(torch.promote_types(mask.dtype, torch.float32)).reshape(points)
    return factors.softmax(2) if operands.softmax else factors
