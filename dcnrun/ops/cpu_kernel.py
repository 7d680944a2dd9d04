"""Calls of `kernels/cpu/deform_conv2d.cpp`: tensors in, its one argument structure out."""

import ctypes
from ctypes import c_int64
from typing import Any

import torch
from torch import Tensor

from dcnrun.ops.jit import load_cpu

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
    """`struct Problem`."""

    _fields_ = [
        *((name, _View) for name in ("input", "offset", "mask", "weight", "bias", "output")),
        *((name, _View) for name in ("grad_input", "grad_offset", "grad_mask", "grad_weight")),
        *((name, c_int64) for name in ("batch", "channels", "height", "width")),
        *((name, c_int64) for name in ("out_channels", "out_height", "out_width", "kernel_height", "kernel_width")),
        *((name, c_int64 * 2) for name in ("stride", "padding", "dilation")),
        *((name, c_int64) for name in ("groups", "offset_groups", "threads")),
    ]


def deform_conv2d(
    input: Tensor,
    offset: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: tuple[int, int],
    padding: tuple[int, int],
    dilation: tuple[int, int],
    mask: Tensor | None,
    output: Tensor,
) -> None:
    """Write the deformable convolution of checked operands to `output`, of any strides."""
    tensors = {
        "input": input,
        "offset": _computed(offset, input.dtype),
        "mask": _computed(mask, input.dtype),
        "weight": weight,
        "bias": bias,
        "output": output,
    }
    _call("dcnrun_deform_conv2d_forward", _problem(tensors, stride, padding, dilation), input.dtype)


def deform_conv2d_backward(
    grad_output: Tensor,
    input: Tensor,
    offset: Tensor,
    weight: Tensor,
    mask: Tensor | None,
    stride: tuple[int, int],
    padding: tuple[int, int],
    dilation: tuple[int, int],
    grads: list[Tensor | None],
) -> None:
    """Write the gradients of input, offset, weight and mask to those of `grads` that are tensors, of any strides."""
    grad_input, grad_offset, grad_weight, grad_mask = grads
    tensors = {
        "input": input,
        "offset": _computed(offset, input.dtype),
        "mask": _computed(mask, input.dtype),
        "weight": weight,
        "output": grad_output,
        "grad_input": grad_input,
        "grad_offset": _computed(grad_offset, input.dtype),
        "grad_mask": _computed(grad_mask, input.dtype),
        "grad_weight": grad_weight,
    }
    _call("dcnrun_deform_conv2d_backward", _problem(tensors, stride, padding, dilation), input.dtype)
    for name, grad in (("grad_offset", grad_offset), ("grad_mask", grad_mask)):
        computed = tensors[name]
        if grad is not None and computed is not None and computed is not grad:
            grad.copy_(computed)


def _computed(tensor: Tensor | None, dtype: torch.dtype) -> Tensor | None:
    """Positions and their gradients in the dtype that is computed with."""
    return None if tensor is None else tensor.to(DTYPES[dtype])


def _problem(
    tensors: dict[str, Any], stride: tuple[int, int], padding: tuple[int, int], dilation: tuple[int, int]
) -> _Problem:
    input, offset, weight = tensors["input"], tensors["offset"], tensors["weight"]
    batch, channels, height, width = input.shape
    out_channels, channels_per_group, kernel_height, kernel_width = weight.shape
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
        stride=tuple(stride),
        padding=tuple(padding),
        dilation=tuple(dilation),
        groups=channels // channels_per_group,
        offset_groups=offset.shape[1] // (2 * kernel_height * kernel_width),
        threads=torch.get_num_threads(),
    )
    for name, tensor in tensors.items():
        if tensor is not None:
            strides = tensor.stride()
            setattr(problem, name, _View(tensor.data_ptr(), strides if len(strides) == 4 else (*strides, 0, 0, 0)))
    return problem


def _call(function: str, problem: _Problem, dtype: torch.dtype) -> None:
    if getattr(load_cpu("deform_conv2d", dtype), function)(ctypes.byref(problem)):
        raise MemoryError(f"{function}: not enough memory for its work space")
