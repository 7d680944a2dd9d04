"""What computes a deformable convolution: our kernel where it can, else torchvision's, else the definition in plain PyTorch."""

from typing import Any

import torch
import torchvision  # noqa: F401  (makes torch.ops.torchvision.deform_conv2d)
from torch import Tensor

from dcnrun.ops import cpu_kernel, cuda_kernel, gradients
from dcnrun.ops.choice import Choice
from dcnrun.ops.operands import Operands
from dcnrun.ops.precision import for_torchvision
from dcnrun.ops.reference import deform_conv2d_backward_reference, deform_conv2d_reference

KERNELS = {"cpu": cpu_kernel, "cuda": cuda_kernel}
# Architectures, such as "sm_90", on which our CUDA kernels have passed `make parity`, and the file that says so. On others
# they run only where they are asked for.
PARITY: dict[str, str] = {}

_choice = Choice(
    "deform_conv2d",
    KERNELS,
    PARITY,
    "deformable convolution runs on torchvision's {device} operator, several times slower",
)


def backend_for(device: torch.device | str, dtype: torch.dtype) -> str:
    """Which implementation computes tensors of this kind: "kernel", "torchvision" or "reference".

    The environment variable DCNRUN_BACKEND may force one: see `dcnrun.ops.choice`.
    """
    return _choice.backend_for(device, dtype, torchvision=True)


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
            output.copy_(torch.ops.torchvision.deform_conv2d(*_torchvision_arguments(operands)))
        case _:
            output.copy_(deform_conv2d_reference(*operands))


def backward(grad_output: Tensor, operands: Operands, grads: list[Tensor | None]) -> None:
    """Write the gradients of input, offset, weight and mask to those of `grads` that are tensors."""
    input, offset, weight, mask = operands.input, operands.offset, operands.weight, operands.mask
    if not (input.numel() and grad_output.numel()):
        gradients.write_zeros(grads)
        return
    match backend_for(input.device, input.dtype):
        case "kernel":
            KERNELS[input.device.type].deform_conv2d_backward(grad_output, operands, grads)
            return
        case "torchvision" if not _torchvision_fails_at(offset):
            wide = for_torchvision(grad_output), *_torchvision_arguments(operands)
            of_input, of_weight, of_offset, of_mask, _ = torch.ops.torchvision._deform_conv2d_backward(*wide)
            computed = of_input, of_offset, of_weight, of_mask
        case _:
            computed = deform_conv2d_backward_reference(grad_output, input, offset, weight, mask, *operands.settings)
    gradients.write(grads, computed)


def _torchvision_fails_at(offset: Tensor) -> bool:
    # Its CPU operator reads outside of memory at positions that are no numbers, and gives no slope at infinite ones.
    return offset.device.type == "cpu" and not bool(offset.isfinite().all())


def _torchvision_arguments(operands: Operands) -> list[Any]:
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
    return [*map(for_torchvision, tensors), *numbers]
