"""Calls of `kernels/cpu/deform_sample2d.cpp`: tensors in, its one argument structure out."""

import ctypes
from ctypes import c_double, c_int64

import torch
from torch import Tensor

from dcnrun.ops.common.cpu_call import CPU, Arguments, View, call, computed, view
from dcnrun.ops.common.dispatch import write_gradients
from dcnrun.ops.common.forms import once_a_form
from dcnrun.ops.deform_sample2d.arguments import Operands
from dcnrun.ops.jit import load_cpu
from dcnrun.ops.jit.build_spec import CPU_DTYPES

DTYPES = CPU_DTYPES


class _Sampling(Arguments):
    """`struct Sampling`."""

    _fields_ = (
        *((name, View) for name in ("input", "offset", "mask", "output")),
        *((name, View) for name in ("grad_input", "grad_offset", "grad_mask")),
        *((name, c_int64) for name in ("batch", "channels", "height", "width", "out_height", "out_width")),
        *((name, c_int64 * 2) for name in ("kernel", "stride", "padding", "dilation")),
        *((name, c_int64) for name in ("groups", "softmax", "remove_center", "threads")),
        ("offset_scale", c_double),
    )


def load(dtype: torch.dtype, device: torch.device = CPU) -> ctypes.CDLL:
    """Return the library of the kernels for tensors of one dtype; KernelUnavailable where it can't be had."""
    return load_cpu("deform_sample2d", dtype)


def forward(operands: Operands, output: Tensor) -> None:
    """Write the deformable sampling of checked operands to `output`, of any strides."""
    call(load(output.dtype), "dcnrun_deform_sample2d_forward", _sampling(operands, output=output))


def backward(grad_output: Tensor, operands: Operands, grads: list[Tensor | None]) -> None:
    """Write the gradients of input, offset and mask to those of `grads` that are tensors, of any strides."""
    grad_input, grad_offset, grad_mask = grads
    slopes = computed(grad_offset), computed(grad_mask)
    written = {"grad_input": grad_input, "grad_offset": slopes[0], "grad_mask": slopes[1]}
    call(
        load(grad_output.dtype),
        "dcnrun_deform_sample2d_backward",
        _sampling(operands, output=grad_output, **written),
    )
    write_gradients((grad_offset, grad_mask), slopes)


def _sampling(operands: Operands, **results: Tensor | None) -> _Sampling:
    input, offset, mask = operands[:3]
    sampling = _plan(operands).of(input=input, offset=computed(offset), mask=computed(mask))
    sampling.view(**results)
    sampling.threads = torch.get_num_threads()
    return sampling


@once_a_form
def _plan(operands: Operands) -> _Sampling:
    input, offset, mask = operands[:3]
    batch, channels, height, width = input.shape
    return _Sampling(
        input=view(input),
        offset=view(computed(offset)),
        mask=view(computed(mask)),
        batch=batch,
        channels=channels,
        height=height,
        width=width,
        out_height=offset.shape[2],
        out_width=offset.shape[3],
        kernel=tuple(operands.kernel_size),
        stride=tuple(operands.stride),
        padding=tuple(operands.padding),
        dilation=tuple(operands.dilation),
        groups=operands.groups,
        softmax=operands.softmax,
        remove_center=operands.remove_center,
        offset_scale=operands.offset_scale,
    )
