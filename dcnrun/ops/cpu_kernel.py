"""Calls of `kernels/cpu/deform_conv2d.cpp`: tensors in, its one argument structure out."""

import ctypes
from ctypes import c_int64

import torch
from torch import Tensor

from dcnrun.ops.jit import load_cpu
from dcnrun.ops.operands import Operands

# What the kernel computes with, for each dtype that it stores.
DTYPES = {
    torch.float32: torch.float32,
    torch.float64: torch.float64,
    torch.bfloat16: torch.float32,
    torch.float16: torch.float32,
}


class _View(ctypes.Structure):
    """`struct View`: a tensor's memory and its strides in elements; no data where the tensor is absent."""

    _fields_ = [("data", ctypes.c_void_p), ("strides", c_int64 * 4)]


class _Problem(ctypes.Structure):
    """`struct Problem`. It has addresses only, so it keeps the tensors that they are of."""

    tensors: dict[str, Tensor | None]

    _fields_ = [
        *((name, _View) for name in ("input", "offset", "mask", "weight", "bias", "output")),
        *((name, _View) for name in ("grad_input", "grad_offset", "grad_mask", "grad_weight")),
        *((name, c_int64) for name in ("batch", "channels", "height", "width")),
        *((name, c_int64) for name in ("out_channels", "out_height", "out_width", "kernel_height", "kernel_width")),
        *((name, c_int64 * 2) for name in ("stride", "padding", "dilation")),
        *((name, c_int64) for name in ("groups", "offset_groups", "threads")),
    ]


def deform_conv2d(operands: Operands, output: Tensor) -> None:
    """Write the deformable convolution of checked operands to `output`, of any strides."""
    problem = _problem(operands, {"bias": operands.bias, "output": output})
    _call("dcnrun_deform_conv2d_forward", problem, output.dtype)


def deform_conv2d_backward(grad_output: Tensor, operands: Operands, grads: list[Tensor | None]) -> None:
    """Write the gradients of input, offset, weight and mask to those of `grads` that are tensors, of any strides."""
    dtype = grad_output.dtype
    grad_input, grad_offset, grad_weight, grad_mask = grads
    computed_offset, computed_mask = _computed(grad_offset, dtype), _computed(grad_mask, dtype)
    written = {
        "output": grad_output,
        "grad_input": grad_input,
        "grad_offset": computed_offset,
        "grad_mask": computed_mask,
        "grad_weight": grad_weight,
    }
    _call("dcnrun_deform_conv2d_backward", _problem(operands, written), dtype)
    for grad, computed in ((grad_offset, computed_offset), (grad_mask, computed_mask)):
        if grad is not None and computed is not None and computed is not grad:
            grad.copy_(computed)


def _computed(tensor: Tensor | None, dtype: torch.dtype) -> Tensor | None:
    """Positions and their gradients in the dtype that is computed with."""
    return None if tensor is None else tensor.to(DTYPES[dtype])


def _problem(operands: Operands, more: dict[str, Tensor | None]) -> _Problem:
    input, offset, weight = operands.input, operands.offset, operands.weight
    batch, channels, height, width = input.shape
    out_channels, _, kernel_height, kernel_width = weight.shape
    problem = _Problem(
        batch=batch,
        channels=channels,
        height=height,
        width=width,
        out_channels=out_channels,
        out_height=offset.shape[2],
        out_width=offset.shape[3],
        kernel_height=kernel_height,
        kernel_width=kernel_width,
        stride=tuple(operands.stride),
        padding=tuple(operands.padding),
        dilation=tuple(operands.dilation),
        groups=operands.groups,
        offset_groups=operands.offset_groups,
        threads=torch.get_num_threads(),
    )
    tensors = {
        "input": input,
        "offset": _computed(offset, input.dtype),
        "mask": _computed(operands.mask, input.dtype),
        "weight": weight,
        **more,
    }
    problem.tensors = tensors
    for name, tensor in tensors.items():
        if tensor is not None:
            strides = tensor.stride()
            setattr(problem, name, _View(tensor.data_ptr(), strides if len(strides) == 4 else (*strides, 0, 0, 0)))
    return problem


def _call(function: str, problem: _Problem, dtype: torch.dtype) -> None:
    if getattr(load_cpu("deform_conv2d", dtype), function)(ctypes.byref(problem)):
        raise MemoryError(f"{function}: not enough memory for its work space")
