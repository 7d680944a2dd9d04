"""Calls of `kernels/cpu/deform_roi_pool.cpp`: tensors in, its one argument structure out."""

import ctypes
from ctypes import c_double, c_int64

import torch
from torch import Tensor

from dcnrun.ops.common.cpu_call import CPU, Arguments, View, call, computed, view
from dcnrun.ops.common.dispatch import write_gradients
from dcnrun.ops.common.forms import once_a_form
from dcnrun.ops.deform_roi_pool.arguments import Operands, regions
from dcnrun.ops.jit import load_cpu
from dcnrun.ops.jit.build_spec import CPU_DTYPES

DTYPES = CPU_DTYPES


class _Pooling(Arguments):
    """`struct Pooling`."""

    _fields_ = (
        *((name, View) for name in ("input", "offset", "mask", "regions", "output")),
        *((name, View) for name in ("grad_input", "grad_offset", "grad_mask")),
        *((name, c_int64) for name in ("batch", "height", "width")),
        *((name, c_int64) for name in ("rois", "channels", "bins_high", "bins_wide", "planes", "groups", "threads")),
        ("authors", c_int64),
        *((name, c_double) for name in ("gamma", "first_point", "beyond")),
    )


def load(dtype: torch.dtype, device: torch.device = CPU) -> ctypes.CDLL:
    """Return the library of the kernels for tensors of one dtype; KernelUnavailable where it can't be had."""
    return load_cpu("deform_roi_pool", dtype)


def forward(operands: Operands, output: Tensor) -> None:
    """Write the pooled RoIs of checked operands to `output`, of any strides."""
    call(load(output.dtype), "dcnrun_deform_roi_pool_forward", _pooling(operands, output=output))


def backward(grad_output: Tensor, operands: Operands, grads: list[Tensor | None]) -> None:
    """Write the gradients of input, offset and mask to those of `grads` that are tensors, of any strides."""
    grad_input, grad_offset, grad_mask = grads
    slopes = computed(grad_offset), computed(grad_mask)
    written = {"grad_input": grad_input, "grad_offset": slopes[0], "grad_mask": slopes[1]}
    call(load(grad_output.dtype), "dcnrun_deform_roi_pool_backward", _pooling(operands, output=grad_output, **written))
    write_gradients((grad_offset, grad_mask), slopes)


def _pooling(operands: Operands, **results: Tensor | None) -> _Pooling:
    input, _, offset, mask = operands[:4]
    pooling = _plan(operands).of(input=input, offset=computed(offset), mask=computed(mask))
    where = regions(operands)
    pooling.view(regions=torch.cat([where.image.unsqueeze(1), where.start, where.size, where.grid], 1), **results)
    pooling.threads = torch.get_num_threads()
    return pooling


@once_a_form
def _plan(operands: Operands) -> _Pooling:
    input, _, offset, mask = operands[:4]
    batch, _, height, width = input.shape
    rois, channels, bins_high, bins_wide = operands.output_shape
    return _Pooling(
        input=view(input),
        offset=view(computed(offset)),
        mask=view(computed(mask)),
        batch=batch,
        height=height,
        width=width,
        rois=rois,
        channels=channels,
        bins_high=bins_high,
        bins_wide=bins_wide,
        planes=operands.planes,
        groups=operands.groups,
        authors=operands.authors,
        gamma=operands.gamma,
        first_point=operands.first_point,
        beyond=operands.beyond,
    )
