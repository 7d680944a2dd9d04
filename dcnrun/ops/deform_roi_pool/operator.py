"""Deformable RoI pooling as operators of PyTorch: `dcnrun::deform_roi_pool` and `dcnrun::deform_roi_pool_backward`.

Registered with torch.library for every device, so they run under autograd (again and again), autocast, torch.compile,
torch.export and torch.func (vmap, and grad in reverse mode), and count their FLOPs.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.library import Library
from torch.utils.flop_counter import register_flop_formula

from dcnrun.ops.common import operator as common
from dcnrun.ops.common.checks import check_gradient
from dcnrun.ops.common.forms import Made
from dcnrun.ops.common.operator import Shape
from dcnrun.ops.common.shortcuts import empty_strided
from dcnrun.ops.deform_roi_pool import dispatch
from dcnrun.ops.deform_roi_pool.arguments import Operands
from dcnrun.ops.deform_roi_pool.checks import check_deform_roi_pool, check_images
from dcnrun.ops.deform_roi_pool.reference import deform_roi_pool_backward_reference

_OPERANDS = (
    "Tensor input, Tensor rois, Tensor? offset, Tensor? mask, int[2] output_size, float spatial_scale, "
    "int sampling_ratio, float gamma, bool aligned, bool position_sensitive"
)

_library = Library("dcnrun", "FRAGMENT")
_library.define(f"deform_roi_pool({_OPERANDS}, bool authors=False) -> Tensor")
# `wanted` tells which gradients to compute: input, offset, mask. The others are empty tensors.
_library.define(
    f"deform_roi_pool_backward(Tensor grad_output, {_OPERANDS}, bool authors, bool[3] wanted) -> (Tensor, Tensor, Tensor)"
)


# What they compute, and the empty results that a fake tensor wants ---------------------------------------------------


def _empty_output(*arguments: Any, **named: Any) -> Tensor:
    operands = Operands(*arguments, **named)
    check_deform_roi_pool(operands)
    return operands.input.new_empty(operands.output_shape)


_output_of = common.checked_output(_empty_output)


def _forward(*arguments: Any, made: Made | None = None, **named: Any) -> Tensor:
    operands = Operands(*arguments, **named).knowing(made)
    output = empty_strided(operands.input, *_output_of(operands))
    _check_values(operands)
    dispatch.forward(operands, output)
    return output


def _empty_gradients(grad_output: Tensor, *arguments: Any) -> tuple[Tensor, ...]:
    operands, wanted = Operands(*arguments[:-1]), arguments[-1]
    check_deform_roi_pool(operands)
    check_gradient(grad_output, operands.output_shape, operands.input)
    return common.empty_like(_differentiated(operands), wanted, operands.input)


def _backward(grad_output: Tensor, *arguments: Any, made: Made | None = None) -> tuple[Tensor, ...]:
    operands, wanted = Operands(*arguments[:-1]).knowing(made), arguments[-1]
    check_gradient(grad_output, _output_of(operands)[0], operands.input)
    grads = common.empty_like(_differentiated(operands), wanted, operands.input)
    _check_values(operands)
    # A backward pass under autocast computes in the dtypes that the forward had.
    with common.without_autocast(operands.input.device.type):
        dispatch.backward(grad_output, operands, common.wanted_gradients(grads, _differentiated(operands), wanted))
    return grads


def _check_values(operands: Operands) -> None:
    # On an accelerator a look at the RoIs would wait for all work that is under way.
    if operands.rois.device.type == "cpu":
        check_images(operands.rois, operands.input.shape[0])


def _differentiated(operands: Operands) -> tuple[Tensor | None, ...]:
    """What the backward operator computes gradients of, in its order."""
    return operands.input, operands.offset, operands.mask


common.register(_library, "deform_roi_pool", _forward, _backward, _empty_output, _empty_gradients)


# Autograd ------------------------------------------------------------------------------------------------------------


def _save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    operands = Operands(*inputs)
    ctx.save_for_backward(*operands[:4])
    ctx.settings = operands.settings


def _gradients(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, ...]:
    wants_input, _, wants_offset, wants_mask, *_ = ctx.needs_input_grad
    wanted = wants_input, wants_offset, wants_mask
    computed = _differentiate(grad_output, *ctx.saved_tensors, *ctx.settings, wanted)
    of_input, of_offset, of_mask = (grad if want else None for grad, want in zip(computed, wanted, strict=True))
    return of_input, None, of_offset, of_mask, *[None] * (len(ctx.needs_input_grad) - 4)


def _save_for_second(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    grad_output, *arguments, wanted = inputs
    operands = Operands(*arguments)
    ctx.save_for_backward(grad_output, *operands[:4])
    ctx.settings = operands.settings
    ctx.wanted = wanted


def _second_gradients(ctx: Any, *grad_grads: Tensor) -> tuple[Tensor | None, ...]:
    """Gradients of the backward, through the definition in plain PyTorch."""
    grad_output, input, rois, offset, mask = ctx.saved_tensors

    def backward(grad_output: Any, input: Any, offset: Any, mask: Any) -> tuple[Tensor | None, ...]:
        return deform_roi_pool_backward_reference(grad_output, Operands(input, rois, offset, mask, *ctx.settings))

    differentiated = grad_output, input, offset, mask
    first, second, third, fourth = common.second_gradients(backward, differentiated, ctx.wanted, grad_grads)
    return first, second, None, third, fourth, *[None] * (len(ctx.settings) + 1)


torch.library.register_autograd("dcnrun::deform_roi_pool", _gradients, setup_context=_save, lib=_library)
torch.library.register_autograd(
    "dcnrun::deform_roi_pool_backward", _second_gradients, setup_context=_save_for_second, lib=_library
)


# vmap: the mapped dimension becomes more images, and RoIs of their own in them -----------------------------------------


def _vmap_forward(call: Any, info: Any, in_dims: tuple[int | None, ...], *arguments: Any) -> tuple[Tensor, int]:
    size, settings = info.batch_size, arguments[4:]
    output = call(*_folded_operands(size, in_dims[:4], *arguments[:4]), *settings)
    return output.unflatten(0, (size, -1)), 0


def _vmap_backward(
    call: Any, info: Any, in_dims: tuple[int | None, ...], grad_output: Tensor, *arguments: Any
) -> tuple[tuple[Tensor, ...], tuple[int, ...]]:
    size, wanted = info.batch_size, arguments[-1]
    operands = _folded_operands(size, in_dims[1:5], *arguments[:4])
    grads = call(common.folded(grad_output, in_dims[0], size, 0), *operands, *arguments[4:])
    unfolded = (
        grad.unflatten(0, (size, -1)) if want else grad.new_empty(size, 0)
        for grad, want in zip(grads, wanted, strict=True)
    )
    return tuple(unfolded), (0, 0, 0)


def _folded_operands(size: int, in_dims: tuple[int | None, ...], *operands: Tensor | None) -> tuple[Tensor | None, ...]:
    input, rois, offset, mask = (common.folded(*each, size, 0) for each in zip(operands, in_dims, strict=True))
    assert input is not None
    assert rois is not None
    images, per_image = len(input) // size, len(rois) // size
    first = torch.arange(0, len(input), images, device=rois.device).repeat_interleave(per_image)
    numbers, boxes = rois.split([1, 4], dim=1)
    return input, torch.cat([numbers + first[:, None], boxes], dim=1), offset, mask


for _name, _rule in (("deform_roi_pool", _vmap_forward), ("deform_roi_pool_backward", _vmap_backward)):
    torch.library.register_vmap(f"dcnrun::{_name}", partial(_rule, getattr(torch.ops.dcnrun, _name)), lib=_library)


# Autocast: the input in its dtype, positions and masks in fp32 ---------------------------------------------------------


_autocast = common.autocast(lambda *arguments: pool(*arguments), Operands, ("input",), ("rois", "offset", "mask"))
for _key in ("AutocastCPU", "AutocastCUDA"):
    _library.impl("deform_roi_pool", _autocast, _key)


# Calls: recorded by autograd and torch.func, or past all that has nothing to do ----------------------------------------


_compute = common.below_autograd(torch.ops.dcnrun.deform_roi_pool.default, _forward, range(4), range(4, 11))
_compute_backward = common.below_autograd(
    torch.ops.dcnrun.deform_roi_pool_backward.default, _backward, range(5), range(5, 13)
)

_pool_recorded = common.as_function(
    "deform_roi_pool",
    _compute,
    _save,
    _gradients,
    lambda *arguments: _vmap_forward(pool, *arguments),
)
_differentiate_recorded = common.as_function(
    "deform_roi_pool",
    _compute_backward,
    _save_for_second,
    _second_gradients,
    lambda *arguments: _vmap_backward(_differentiate, *arguments),
)

# `torch.ops.dcnrun.deform_roi_pool`, also under the transforms of torch.func; forward mode is refused.
pool: Callable[..., Tensor] = common.differentiable(
    torch.ops.dcnrun.deform_roi_pool.default, _compute, _pool_recorded, _autocast
)
_differentiate: Callable[..., tuple[Tensor, ...]] = common.differentiable(
    torch.ops.dcnrun.deform_roi_pool_backward.default, _compute_backward, _differentiate_recorded
)


# FLOPs: multiply-adds count as two ------------------------------------------------------------------------------------

# Shapes don't tell how large RoIs are: adaptive grids count as the 2 x 2 that detectors have where they fix it.
_ADAPTIVE = 2


@register_flop_formula(torch.ops.dcnrun.deform_roi_pool)
def _forward_flops(*arguments: Any, out_shape: Shape, **options: Any) -> int:
    """The bilinear samples: 4 products and 3 sums each, and a sum for their mean."""
    return 8 * _samples(out_shape, *arguments)


@register_flop_formula(torch.ops.dcnrun.deform_roi_pool_backward)
def _backward_flops(grad_output: Shape, *arguments: Any, **options: Any) -> int:
    """Each sample spread (8), and its pixels multiplied with its gradient (8)."""
    return 16 * _samples(grad_output, *arguments)


def _samples(output: Shape, *arguments: Any) -> int:
    sampling_ratio = arguments[Operands._fields.index("sampling_ratio")]
    return math.prod(output) * (sampling_ratio or _ADAPTIVE) ** 2
