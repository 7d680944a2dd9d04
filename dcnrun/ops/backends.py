"""What computes an operator: our kernel where it can, else torchvision's, else the definition in plain PyTorch."""

import functools
import logging
import os
from typing import Any

import torch
import torchvision  # noqa: F401  (makes torch.ops.torchvision.deform_conv2d)
from torch import Tensor

from dcnrun.errors import UsageError
from dcnrun.ops import cpu_kernel, cuda_kernel
from dcnrun.ops.jit import KernelUnavailable, load_cpu, load_cuda
from dcnrun.ops.operands import Operands
from dcnrun.ops.reference import deform_conv2d_backward_reference, deform_conv2d_reference

BACKENDS = ("auto", "kernel", "cuda", "torchvision", "reference")
KERNELS = {"cpu": cpu_kernel, "cuda": cuda_kernel}
# Architectures, such as "sm_90", on which our CUDA kernels have passed `make parity`, and the file that says so. On others
# they run only where they are asked for.
PARITY: dict[str, str] = {}

_log = logging.getLogger("dcnrun")


def backend_for(device: torch.device | str, dtype: torch.dtype) -> str:
    """Which implementation computes tensors of this kind: "kernel", "torchvision" or "reference".

    Set DCNRUN_BACKEND to force one: "kernel" is our kernel on every device, "cuda" is ours on NVIDIA GPUs and changes
    nothing elsewhere. Where our kernel can't be had, one line in the log says so, once.
    """
    asked, device = os.environ.get("DCNRUN_BACKEND", "auto"), torch.device(device)
    if asked not in BACKENDS:
        raise UsageError(f"DCNRUN_BACKEND is {asked!r}: it must be one of {', '.join(BACKENDS)}")
    if asked == "kernel" or (asked == "cuda" and device.type == "cuda"):
        if not _has_kernel(device, dtype):
            raise UsageError(f"DCNRUN_BACKEND={asked}, but there is no kernel for {dtype} on {device.type}")
        _load(device, dtype)
        return "kernel"
    if asked in ("torchvision", "reference"):
        return asked
    if _has_kernel(device, dtype) and (device.type == "cpu" or _passed_parity(device)) and _kernel_loads(device, dtype):
        return "kernel"
    return "torchvision" if device.type == "cuda" or _has_kernel(device, dtype) else "reference"


def _has_kernel(device: torch.device, dtype: torch.dtype) -> bool:
    return device.type in KERNELS and dtype in KERNELS[device.type].DTYPES


@functools.cache
def _passed_parity(device: torch.device) -> bool:
    return torch.cuda.is_available() and "sm_{}{}".format(*torch.cuda.get_device_capability(device)) in PARITY


def _load(device: torch.device, dtype: torch.dtype) -> None:
    if device.type == "cpu":
        load_cpu("deform_conv2d", dtype)
    else:
        load_cuda("deform_conv2d", dtype, device)


@functools.cache
def _kernel_loads(device: torch.device, dtype: torch.dtype) -> bool:
    try:
        _load(device, dtype)
    except KernelUnavailable as problem:
        _log.warning(
            "dcnrun: deformable convolution runs on torchvision's %s operator, several times slower, since %s; %s",
            device.type.upper(),
            problem.reason,
            problem.remedy,
        )
        return False
    return True


def forward(operands: Operands, output: Tensor) -> None:
    """Write the deformable convolution of checked operands to `output`."""
    input, bias = operands.input, operands.bias
    if not (input.numel() and output.numel()):
        output.copy_(torch.zeros(()) if bias is None else bias.reshape(-1, 1, 1))
        return
    match backend_for(input.device, input.dtype):
        case "kernel":
            KERNELS[input.device.type].deform_conv2d(operands, output)
        case "torchvision" if not _torchvision_fails_at(operands.offset):
            output.copy_(torch.ops.torchvision.deform_conv2d(*_for_torchvision(operands)))
        case _:
            output.copy_(deform_conv2d_reference(*operands))


def backward(grad_output: Tensor, operands: Operands, grads: list[Tensor | None]) -> None:
    """Write the gradients of input, offset, weight and mask to those of `grads` that are tensors."""
    input, offset, weight, mask = operands.input, operands.offset, operands.weight, operands.mask
    if not (input.numel() and grad_output.numel()):
        for grad in grads:
            if grad is not None:
                grad.zero_()
        return
    match backend_for(input.device, input.dtype):
        case "kernel":
            KERNELS[input.device.type].deform_conv2d_backward(grad_output, operands, grads)
            return
        case "torchvision" if not _torchvision_fails_at(offset):
            wide = _widened(grad_output), *_for_torchvision(operands)
            of_input, of_weight, of_offset, of_mask, _ = torch.ops.torchvision._deform_conv2d_backward(*wide)
            computed = of_input, of_offset, of_weight, of_mask
        case _:
            computed = deform_conv2d_backward_reference(grad_output, input, offset, weight, mask, *operands.settings)
    for grad, values in zip(grads, computed, strict=True):
        if grad is not None:
            grad.copy_(values)


def _torchvision_fails_at(offset: Tensor) -> bool:
    # Its CPU operator reads outside of memory at positions that are no numbers, and gives no slope at infinite ones.
    return offset.device.type == "cpu" and not bool(offset.isfinite().all())


def _widened(tensor: Tensor) -> Tensor:
    # torchvision rounds positions to fp16, and has no bf16
    return tensor.float() if tensor.dtype.itemsize == 2 else tensor


def _for_torchvision(operands: Operands) -> list[Any]:
    """The arguments of torchvision's operator, which knows no absent bias or mask."""
    input, offset, weight, bias, stride, padding, dilation, mask = operands
    tensors = (
        input,
        weight,
        offset,
        input.new_zeros((input.shape[0], 1)) if mask is None else mask,
        weight.new_zeros(weight.shape[0]) if bias is None else bias,
    )
    numbers = [*stride, *padding, *dilation, operands.groups, operands.offset_groups, mask is not None]
    return [*map(_widened, tensors), *numbers]
