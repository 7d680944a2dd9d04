"""Deformable sampling as operators of PyTorch: `dcnrun::deform_sample2d` and `dcnrun::deform_sample2d_backward`.

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
from dcnrun.ops.deform_sample2d import dispatch
from dcnrun.ops.deform_sample2d.arguments import Operands
from dcnrun.ops.deform_sample2d.checks import check_deform_sample2d
from dcnrun.ops.deform_sample2d.reference import deform_sample2d_backward_reference

_OPERANDS = (
    "Tensor input, Tensor offset, Tensor? mask, int[2] kernel_size, int[2] stride, int[2] padding, int[2] dilation, "
    "float offset_scale, bool softmax, bool remove_center"
)

_library = Library("dcnrun", "FRAGMENT")
_library.define(f"deform_sample2d({_OPERANDS}) -> Tensor")
# `wanted` tells which gradients to compute: input, offset, mask. The others are empty tensors.
_library.define(
    f"deform_sample2d_backward(Tensor grad_output, {_OPERANDS}, bool[3] wanted) -> (Tensor, Tensor, Tensor)"
)


# What they compute, and the empty results that a fake tensor wants ---------------------------------------------------


def _empty_output(*arguments: Any, **named: Any) -> Tensor:
    operands = Operands(*arguments, **named)
    check_deform_sample2d(operands)
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
    operands, wanted = Operands(*arguments[:-1]), arguments[-1]
    check_deform_sample2d(operands)
    check_gradient(grad_output, operands.output_shape, operands.input)
    return common.empty_like(operands[:3], wanted, operands.input)


def _backward(grad_output: Tensor, *arguments: Any, made: Made | None = None) -> tuple[Tensor, ...]:
    operands, wanted = Operands(*arguments[:-1]).knowing(made), arguments[-1]
    check_gradient(grad_output, _output_of(operands)[0], operands.input)
    grads = common.empty_like(operands[:3], wanted, operands.input)
    # A backward pass under autocast computes in the dtypes that the forward had.
    with common.without_autocast(operands.input.device.type):
        dispatch.backward(grad_output, operands, common.wanted_gradients(grads, operands[:3], wanted))
    return grads


common.register(_library, "deform_sample2d", _forward, _backward, _empty_output, _empty_gradients)


# Autograd ------------------------------------------------------------------------------------------------------------


def _save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    operands = Operands(*inputs)
    ctx.save_for_backward(*operands[:3])
    ctx.settings = operands.settings


def _gradients(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, ...]:
    wanted = ctx.needs_input_grad[:3]
    computed = _differentiate(grad_output, *ctx.saved_tensors, *ctx.settings, wanted)
    grads = (grad if want else None for grad, want in zip(computed, wanted, strict=True))
    return *grads, *[None] * len(ctx.settings)


def _save_for_second(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    grad_output, *arguments, wanted = inputs
    operands = Operands(*arguments)
    ctx.save_for_backward(grad_output, *operands[:3])
    ctx.settings = operands.settings
    ctx.wanted = wanted


def _second_gradients(ctx: Any, *grad_grads: Tensor) -> tuple[Tensor | None, ...]:
    """Gradients of the backward, through the definition in plain PyTorch."""

    def backward(grad_output: Any, input: Any, offset: Any, mask: Any) -> tuple[Tensor | None, ...]:
        return deform_sample2d_backward_reference(grad_output, Operands(input, offset, mask, *ctx.settings))

    grads = common.second_gradients(backward, ctx.saved_tensors, ctx.wanted, grad_grads)
    return *grads, *[None] * (len(ctx.settings) + 1)


torch.library.register_autograd("dcnrun::deform_sample2d", _gradients, setup_context=_save, lib=_library)
torch.library.register_autograd(
    "dcnrun::deform_sample2d_backward", _second_gradients, setup_context=_save_for_second, lib=_library
)


# vmap: the mapped dimension becomes groups of channels, each with offsets and factors of its own -----------------------


def _vmap_forward(call: Any, info: Any, in_dims: tuple[int | None, ...], *arguments: Any) -> tuple[Tensor, int]:
    tensors = (common.folded(arguments[i], in_dims[i], info.batch_size, 1) for i in range(3))
    return call(*tensors, *arguments[3:]).unflatten(1, (info.batch_size, -1)), 1


def _vmap_backward(
    call: Any, info: Any, in_dims: tuple[int | None, ...], *arguments: Any
) -> tuple[tuple[Tensor, ...], tuple[int, ...]]:
    wanted, size = arguments[-1], info.batch_size
    grads = call(*(common.folded(arguments[i], in_dims[i], size, 1) for i in range(4)), *arguments[4:])
    unfolded = (
        grad.unflatten(1, (size, -1)) if want else grad.new_empty(size, 0)
        for grad, want in zip(grads, wanted, strict=True)
    )
    return tuple(unfolded), tuple(1 if want else 0 for want in wanted)


for _name, _rule in (("deform_sample2d", _vmap_forward), ("deform_sample2d_backward", _vmap_backward)):
    torch.library.register_vmap(f"dcnrun::{_name}", partial(_rule, getattr(torch.ops.dcnrun, _name)), lib=_library)


# Autocast: the input in its dtype, positions and factors in fp32 --------------------------------------------------------


_autocast = common.autocast(lambda *arguments: sample(*arguments), Operands, ("input",), ("offset", "mask"))
for _key in ("AutocastCPU", "AutocastCUDA"):
    _library.impl("deform_sample2d", _autocast, _key)


# Calls: recorded by autograd and torch.func, or past all that has nothing to do ----------------------------------------


_compute = common.below_autograd(torch.ops.dcnrun.deform_sample2d.default, _forward, range(3), range(3, 10))
_compute_backward = common.below_autograd(
    torch.ops.dcnrun.deform_sample2d_backward.default, _backward, range(4), range(4, 12)
)

_sample_recorded = common.as_function(
    "deform_sample2d",
    _compute,
    _save,
    _gradients,
    lambda *arguments: _vmap_forward(sample, *arguments),
)
_differentiate_recorded = common.as_function(
    "deform_sample2d",
    _compute_backward,
    _save_for_second,
    _second_gradients,
    lambda *arguments: _vmap_backward(_differentiate, *arguments),
)

# `torch.ops.dcnrun.deform_sample2d`, also under the transforms of torch.func; forward mode is refused.
sample: Callable[..., Tensor] = common.differentiable(
    torch.ops.dcnrun.deform_sample2d.default, _compute, _sample_recorded, _autocast
)
_differentiate: Callable[..., tuple[Tensor, ...]] = common.differentiable(
    torch.ops.dcnrun.deform_sample2d_backward.default, _compute_backward, _differentiate_recorded
)


# FLOPs: multiply-adds count as two ------------------------------------------------------------------------------------


@register_flop_formula(torch.ops.dcnrun.deform_sample2d)
def _forward_flops(input: Shape, offset: Shape, *more: Any, **options: Any) -> int:
    """The bilinear samples: 4 products and 3 sums each; one more of both to weigh and add them up."""
    return 9 * _samples(input, offset, *more)


@register_flop_formula(torch.ops.dcnrun.deform_sample2d_backward)
def _backward_flops(grad_output: Shape, input: Shape, offset: Shape, *more: Any, **options: Any) -> int:
    """Each sample spread (8), and its pixels multiplied with its gradient (8)."""
    return 16 * _samples(input, offset, *more)


def _samples(input: Shape, offset: Shape, *more: Any) -> int:
    _, kernel_size, _, _, _, _, _, remove_center, *_ = more
    points: int = kernel_size[0] * kernel_size[1] - bool(remove_center)
    return offset[0] * offset[2] * offset[3] * input[1] * points
