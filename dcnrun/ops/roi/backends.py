"""What computes deformable RoI pooling: our kernel where it can, else the definition in plain PyTorch."""

import functools
import logging
import os

import torch
from torch import Tensor

from dcnrun.errors import UsageError
from dcnrun.ops.backends import BACKENDS
from dcnrun.ops.cpu_call import DTYPES
from dcnrun.ops.jit import KernelUnavailable, load_cpu
from dcnrun.ops.roi import cpu_kernel
from dcnrun.ops.roi.operands import Operands
from dcnrun.ops.roi.reference import deform_roi_pool_backward_reference, deform_roi_pool_reference

KERNELS = {"cpu": cpu_kernel}

_log = logging.getLogger("dcnrun")


def backend_for(device: torch.device | str, dtype: torch.dtype) -> str:
    """Which implementation computes tensors of this kind: "kernel" or "reference".

    Set DCNRUN_BACKEND to force one, as for the convolution: see `dcnrun.ops.backends`. "torchvision", which has no such
    operator, leaves the choice here. Where our kernel can't be had, one line in the log says so, once.
    """
    asked, device = os.environ.get("DCNRUN_BACKEND", "auto"), torch.device(device)
    if asked not in BACKENDS:
        raise UsageError(f"DCNRUN_BACKEND is {asked!r}: it must be one of {', '.join(BACKENDS)}")
    if asked == "kernel" or (asked == "cuda" and device.type == "cuda"):
        if not _has_kernel(device, dtype):
            raise UsageError(f"DCNRUN_BACKEND={asked}, but there is no kernel for {dtype} on {device.type}")
        load_cpu("deform_roi_pool", dtype)
        return "kernel"
    if asked != "reference" and _has_kernel(device, dtype) and _kernel_loads(dtype):
        return "kernel"
    return "reference"


def _has_kernel(device: torch.device, dtype: torch.dtype) -> bool:
    return device.type in KERNELS and dtype in DTYPES


@functools.cache
def _kernel_loads(dtype: torch.dtype) -> bool:
    try:
        load_cpu("deform_roi_pool", dtype)
    except KernelUnavailable as problem:
        _log.warning(
            "dcnrun: deformable RoI pooling runs RoI by RoI in plain PyTorch, many times slower, since %s; %s",
            problem.reason,
            problem.remedy,
        )
        return False
    return True


def forward(operands: Operands, output: Tensor) -> None:
    """Write the pooled RoIs of checked operands to `output`."""
    if not output.numel():
        return
    if backend_for(output.device, output.dtype) == "kernel":
        KERNELS[output.device.type].deform_roi_pool(operands, output)
    else:
        output.copy_(deform_roi_pool_reference(operands))


def backward(grad_output: Tensor, operands: Operands, grads: list[Tensor | None]) -> None:
    """Write the gradients of input, offset and mask to those of `grads` that are tensors."""
    if not grad_output.numel():
        for grad in grads:
            if grad is not None:
                grad.zero_()
        return
    if backend_for(grad_output.device, grad_output.dtype) == "kernel":
        KERNELS[grad_output.device.type].deform_roi_pool_backward(grad_output, operands, grads)
        return
    for grad, values in zip(grads, deform_roi_pool_backward_reference(grad_output, operands), strict=True):
        if grad is not None and values is not None:
            grad.copy_(values)
