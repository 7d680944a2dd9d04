"""Calls of `kernels/cpu/deform_conv2d.cpp`: tensors in, its one argument structure out."""

import ctypes
from ctypes import c_int64

import torch
from torch import Tensor

from dcnrun.ops.common.cpu_call import CPU, Arguments, View, call, computed, view
from dcnrun.ops.common.dispatch import write_gradients
from dcnrun.ops.common.forms import once_a_form
from dcnrun.ops.deform_conv2d.arguments import Operands
from dcnrun.ops.jit import load_cpu
from dcnrun.ops.jit.build_spec import CPU_DTYPES
from dcnrun.ops.jit.units import choose

DTYPES = CPU_DTYPES


class _Problem(Arguments):
    """`struct Problem`."""

    _fields_ = (
        *((name, View) for name in ("input", "offset", "mask", "weight", "bias", "output")),
        *((name, View) for name in ("grad_input", "grad_offset", "grad_mask", "grad_weight")),
        *((name, c_int64) for name in ("batch", "channels", "height", "width")),
        *((name, c_int64) for name in ("out_channels", "out_height", "out_width", "kernel_height", "kernel_width")),
        *((name, c_int64 * 2) for name in ("stride", "padding", "dilation")),
        *((name, c_int64) for name in ("groups", "offset_groups", "threads")),
    )


def load(dtype: torch.dtype, device: torch.device = CPU) -> ctypes.CDLL:
    """Return the library of the kernels for tensors of one dtype; KernelUnavailable where it can't be had."""
    return choose("deform_conv2d").loaded.library if dtype is torch.bfloat16 else load_cpu("deform_conv2d", dtype)


def forward(operands: Operands, output: Tensor) -> None:
    """Write the deformable convolution of checked operands to `output`, of any strides."""
    problem = _problem(operands, output=output)
    call(load(output.dtype), "dcnrun_deform_conv2d_forward", problem)


def backward(grad_output: Tensor, operands: Operands, grads: list[Tensor | None]) -> None:
    """Write the gradients of input, offset, weight and mask to those of `grads` that are tensors, of any strides."""
    grad_input, grad_offset, grad_weight, grad_mask = grads
    slopes = computed(grad_offset), computed(grad_mask)
    written = {"grad_input": grad_input, "grad_weight": grad_weight, "grad_offset": slopes[0], "grad_mask": slopes[1]}
    call(load(grad_output.dtype), "dcnrun_deform_conv2d_backward", _problem(operands, output=grad_output, **written))
    write_gradients((grad_offset, grad_mask), slopes)


def _problem(operands: Operands, **results: Tensor | None) -> _Problem:
    input, offset, weight, bias, _, _, _, mask = operands
    problem = _plan(operands).of(input=input, offset=computed(offset), mask=computed(mask), weight=weight, bias=bias)
    problem.view(**results)
    problem.threads = torch.get_num_threads()
    return problem


@once_a_form
def _plan(operands: Operands) -> _Problem:
    input, offset, weight, bias, _, _, _, mask = operands
    batch, channels, height, width = input.shape
    out_channels, _, kernel_height, kernel_width = weight.shape
    return _Problem(
        input=view(input),
        offset=view(computed(offset)),
        mask=view(computed(mask)),
        weight=view(weight),
        bias=view(bias),
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
    )
