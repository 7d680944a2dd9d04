"""Deformable convolution as operators of PyTorch: `dcnrun::deform_conv2d` and `dcnrun::deform_conv2d_backward`.

Registered with torch.library for every device, so they run under autograd (again and again), autocast, torch.compile,
torch.export, torch.func (vmap, and grad in reverse mode), and count their FLOPs.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.library import Library
from torch.utils.flop_counter import register_flop_formula

from dcnrun.ops.common import operator as common
from dcnrun.ops.common.checks import check_gradient, memory_format_of
from dcnrun.ops.common.forms import Made
from dcnrun.ops.common.operator import Shape
from dcnrun.ops.common.shortcuts import empty_strided
from dcnrun.ops.deform_conv2d import dispatch
from dcnrun.ops.deform_conv2d.arguments import Operands
from dcnrun.ops.deform_conv2d.checks import check_deform_conv2d
from dcnrun.ops.deform_conv2d.reference import deform_conv2d_backward_reference

_SETTINGS = "int[2] stride, int[2] padding, int[2] dilation"

_library = Library("dcnrun", "DEF")
_library.define(
    f"deform_conv2d(Tensor input, Tensor offset, Tensor weight, Tensor? bias, {_SETTINGS}, Tensor? mask) -> Tensor"
)
# `wanted` tells which gradients to compute: input, offset, weight, mask. The others are empty tensors.
_library.define(
    "deform_conv2d_backward(Tensor grad_output, Tensor input, Tensor offset, Tensor weight, Tensor? mask, "
    f"{_SETTINGS}, bool[4] wanted) -> (Tensor, Tensor, Tensor, Tensor)"
)


# What they compute, and the empty results that a fake tensor wants ---------------------------------------------------


def _empty_output(*arguments: Any, **named: Any) -> Tensor:
    operands = Operands(*arguments, **named)
    check_deform_conv2d(operands)
    input = operands.input
    memory_format = memory_format_of(input)
    return torch.empty(operands.output_shape, dtype=input.dtype, device=input.device, memory_format=memory_format)


_output_of = common.checked_output(_empty_output)


def _forward(*arguments: Any, made: Made | None = None, **named: Any) -> Tensor:
    operands = Operands(*arguments, **named).knowing(made)
    output = empty_strided(operands.input, *_output_of(operands))
    dispatch.forward(operands, output)
    return output


def _empty_gradients(grad_output: Tensor, *arguments: Any) -> tuple[Tensor, ...]:
    operands, wanted = _of_backward(*arguments)
    check_deform_conv2d(operands)
    check_gradient(grad_output, operands.output_shape, operands.input)
    return common.empty_like(_differentiated(operands), wanted, operands.input)


def _backward(grad_output: Tensor, *arguments: Any, made: Made | None = None) -> tuple[Tensor, ...]:
    operands, wanted = _of_backward(*arguments)
    operands.knowing(made)
    check_gradient(grad_output, _output_of(operands)[0], operands.input)
    grads = common.empty_like(_differentiated(operands), wanted, operands.input)
    # A backward pass under autocast computes in the dtypes that the forward had.
    with common.without_autocast(operands.input.device.type):
        dispatch.backward(grad_output, operands, common.wanted_gradients(grads, _differentiated(operands), wanted))
    return grads


def _of_backward(*arguments: Any) -> tuple[Operands, list[bool]]:
    input, offset, weight, mask, stride, padding, dilation, wanted = arguments
    return Operands(input, offset, weight, None, stride, padding, dilation, mask), wanted


def _differentiated(operands: Operands) -> tuple[Tensor | None, ...]:
    """What the backward operator computes gradients of, in its order."""
    return operands.input, operands.offset, operands.weight, operands.mask


common.register(_library, "deform_conv2d", _forward, _backward, _empty_output, _empty_gradients)


# Autograd ------------------------------------------------------------------------------------------------------------


def _save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    operands = Operands(*inputs)
    ctx.save_for_backward(*_differentiated(operands))
    ctx.settings = operands.settings


def _gradients(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, ...]:
    wants_input, wants_offset, wants_weight, wants_bias, _, _, _, wants_mask = ctx.needs_input_grad
    wanted = wants_input, wants_offset, wants_weight, wants_mask
    grads: list[Tensor | None] = [None] * 4
    if any(wanted):
        computed = _differentiate(grad_output, *ctx.saved_tensors, *ctx.settings, wanted)
        grads = [grad if want else None for grad, want in zip(computed, wanted, strict=True)]
    grad_bias = grad_output.sum((0, 2, 3)) if wants_bias else None
    return grads[0], grads[1], grads[2], grad_bias, None, None, None, grads[3]


def _save_for_second(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    *operands, stride, padding, dilation, wanted = inputs
    ctx.save_for_backward(*operands)
    ctx.settings = stride, padding, dilation
    ctx.wanted = wanted


def _second_gradients(ctx: Any, *grad_grads: Tensor) -> tuple[Tensor | None, ...]:
    """Gradients of the backward, through the definition in plain PyTorch."""
    stride, padding, dilation = ctx.settings

    def backward(grad_output: Any, input: Any, offset: Any, weight: Any, mask: Any) -> tuple[Tensor | None, ...]:
        operands = Operands(input, offset, weight, None, stride, padding, dilation, mask)
        return deform_conv2d_backward_reference(grad_output, operands)

    return *common.second_gradients(backward, ctx.saved_tensors, ctx.wanted, grad_grads), None, None, None, None


torch.library.register_autograd("dcnrun::deform_conv2d", _gradients, setup_context=_save, lib=_library)
torch.library.register_autograd(
    "dcnrun::deform_conv2d_backward", _second_gradients, setup_context=_save_for_second, lib=_library
)


# vmap: the mapped dimension becomes groups of channels, each with its own weights and offsets -------------------------


def _vmap_forward(call: Any, info: Any, in_dims: tuple[int | None, ...], *arguments: Any) -> tuple[Tensor, int]:
    folded, size = list(arguments), info.batch_size
    for i, dim in ((0, 1), (1, 1), (2, 0), (3, 0), (7, 1)):
        folded[i] = common.folded(arguments[i], in_dims[i], size, dim)
    return call(*folded).unflatten(1, (size, -1)), 1


def _vmap_backward(
    call: Any, info: Any, in_dims: tuple[int | None, ...], *arguments: Any
) -> tuple[tuple[Tensor, ...], tuple[int, ...]]:
    wanted, size = arguments[-1], info.batch_size
    folded = (common.folded(arguments[i], in_dims[i], size, 0 if i == 3 else 1) for i in range(5))
    grads = call(*folded, *arguments[5:])
    dims = tuple(0 if i == 2 or not want else 1 for i, want in enumerate(wanted))
    unfolded = (
        grad.unflatten(dim, (size, -1)) if want else grad.new_empty(size, 0)
        for grad, dim, want in zip(grads, dims, wanted, strict=True)
    )
    return tuple(unfolded), dims


for _name, _rule in (("deform_conv2d", _vmap_forward), ("deform_conv2d_backward", _vmap_backward)):
    torch.library.register_vmap(f"dcnrun::{_name}", partial(_rule, getattr(torch.ops.dcnrun, _name)), lib=_library)


# Autocast: the input and weight in its dtype, positions and masks in fp32 -----------------------------------------------


_autocast = common.autocast(
    lambda *arguments: convolve(*arguments), Operands, ("input", "weight", "bias"), ("offset", "mask")
)
for _key in ("AutocastCPU", "AutocastCUDA"):
    _library.impl("deform_conv2d", _autocast, _key)


# Calls: recorded by autograd and torch.func, or past all that has nothing to do ----------------------------------------


_compute = common.below_autograd(torch.ops.dcnrun.deform_conv2d.default, _forward, (0, 1, 2, 3, 7), range(4, 7))
_compute_backward = common.below_autograd(
    torch.ops.dcnrun.deform_conv2d_backward.default, _backward, range(5), range(5, 9)
)

_convolve_recorded = common.as_function(
    "deform_conv2d",
    _compute,
    _save,
    _gradients,
    lambda *arguments: _vmap_forward(convolve, *arguments),
)
_differentiate_recorded = common.as_function(
    "deform_conv2d",
    _compute_backward,
    _save_for_second,
    _second_gradients,
    lambda *arguments: _vmap_backward(_differentiate, *arguments),
)

# `torch.ops.dcnrun.deform_conv2d`, also under the transforms of torch.func; forward mode is refused.
convolve: Callable[..., Tensor] = common.differentiable(
    torch.ops.dcnrun.deform_conv2d.default, _compute, _convolve_recorded, _autocast
)
_differentiate: Callable[..., tuple[Tensor, ...]] = common.differentiable(
    torch.ops.dcnrun.deform_conv2d_backward.default, _compute_backward, _differentiate_recorded
)


# FLOPs: multiply-adds count as two ------------------------------------------------------------------------------------


@register_flop_formula(torch.ops.dcnrun.deform_conv2d)
def _forward_flops(input: Shape, offset: Shape, weight: Shape, *more: Any, **options: Any) -> int:
    """The products of the convolution, and the bilinear samples: 4 products and 3 sums each."""
    return _products(offset, weight) + 7 * _samples(input, offset, weight)


@register_flop_formula(torch.ops.dcnrun.deform_conv2d_backward)
def _backward_flops(grad_output: Shape, input: Shape, offset: Shape, weight: Shape, *more: Any, **options: Any) -> int:
    """Two products of the convolution's size; each sample again, spread (8) and multiplied with its gradient (8)."""
    return 2 * _products(offset, weight) + 23 * _samples(input, offset, weight)


def _products(offset: Shape, weight: Shape) -> int:
    out_channels, channels_per_group, kernel_height, kernel_width = weight
    return 2 * offset[0] * offset[2] * offset[3] * out_channels * channels_per_group * kernel_height * kernel_width


def _samples(input: Shape, offset: Shape, weight: Shape) -> int:
    return offset[0] * offset[2] * offset[3] * input[1] * weight[2] * weight[3]
