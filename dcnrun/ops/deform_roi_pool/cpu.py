"""Calls of `kernels/cpu/deform_roi_pool.cpp`: tensors in, its one argument structure out."""

import ctypes
from ctypes import c_double, c_int64

import torch
from torch import Tensor

from dcnrun.ops.common.cpu_call import CPU, Arguments, View, call, computed, copy_back
from dcnrun.ops.common.cpu_call import DTYPES as DTYPES
from dcnrun.ops.deform_roi_pool.arguments import Operands, regions
from dcnrun.ops.jit import load_cpu


class _Pooling(Arguments):
    """`struct Pooling`."""

    _fields_ = (
        *((name, View) for name in ("input", "offset", "mask", "regions", "output")),
        *((name, View) for name in ("grad_input", "grad_offset", "grad_mask")),
        *((name, c_int64) for name in ("batch", "height", "width")),
        *((name, c_int64) for name in ("rois", "channels", "bins_high", "bins_wide", "planes", "groups", "threads")),
        ("gamma", c_double),
    )


def load(dtype: torch.dtype, device: torch.device = CPU) -> ctypes.CDLL:
    """Return the library of the kernels for tensors of one dtype; KernelUnavailable where it can't be had."""
    return load_cpu("deform_roi_pool", dtype)


def forward(operands: Operands, output: Tensor) -> None:
    """Write the pooled RoIs of checked operands to `output`, of any strides."""
    pooling = _pooling(operands, {"output": output})
    call(load(output.dtype), "dcnrun_deform_roi_pool_forward", pooling)


def backward(grad_output: Tensor, operands: Operands, grads: list[Tensor | None]) -> None:
    """Write the gradients of input, offset and mask to those of `grads` that are tensors, of any strides."""
    dtype = grad_output.dtype
    grad_input, grad_offset, grad_mask = grads
    computed_offset, computed_mask = computed(grad_offset, dtype), computed(grad_mask, dtype)
    written = {
        "output": grad_output,
        "grad_input": grad_input,
        "grad_offset": computed_offset,
        "grad_mask": computed_mask,
    }
    call(load(dtype), "dcnrun_deform_roi_pool_backward", _pooling(operands, written))
    copy_back(grad_offset, computed_offset)
    copy_back(grad_mask, computed_mask)


def _pooling(operands: Operands, more: dict[str, Tensor | None]) -> _Pooling:
    input = operands.input
    batch, _, height, width = input.shape
    rois, channels, bins_high, bins_wide = operands.output_shape
    pooling = _Pooling(
        batch=batch,
        height=height,
        width=width,
        rois=rois,
        channels=channels,
        bins_high=bins_high,
        bins_wide=bins_wide,
        planes=operands.planes,
        groups=operands.groups,
        threads=torch.get_num_threads(),
        gamma=operands.gamma,
    )
    where = regions(operands)
    tensors = {
        "input": input,
        "offset": computed(operands.offset, input.dtype),
        "mask": computed(operands.mask, input.dtype),
        "regions": torch.cat([where.image.unsqueeze(1), where.start, where.size, where.grid], 1),
        **more,
    }
    pooling.view(tensors)
    return pooling
