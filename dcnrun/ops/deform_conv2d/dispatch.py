"""What computes a deformable convolution: our kernel where it can, else torchvision's, else the definition in plain PyTorch."""

from typing import Any

import torch
import torchvision  # noqa: F401  (makes torch.ops.torchvision.deform_conv2d)
from torch import Tensor

from dcnrun.ops.common.dispatch import Backend, Dispatcher, Kernels, for_torchvision, write_gradients, write_zeros
from dcnrun.ops.deform_conv2d import cpu, cuda
from dcnrun.ops.deform_conv2d.arguments import Operands
from dcnrun.ops.deform_conv2d.reference import (
    deform_conv2d_backward_reference,
    deform_conv2d_reference,
    outside,
    sampling_points,
)

KERNELS: dict[str, Kernels[Operands]] = {"cpu": cpu, "cuda": cuda}
# Architectures, such as "sm_90", on which our CUDA kernels have passed `make parity`, and the file that says so. On others
# they run only where they are asked for.
PARITY: dict[str, str] = {}

DISPATCHER = Dispatcher(
    KERNELS, PARITY, "deformable convolution runs on torchvision's {device} operator, several times slower"
)


def backend_for(device: torch.device | str, dtype: torch.dtype) -> Backend:
    """Return which implementation computes tensors of this kind: KERNEL, TORCHVISION or REFERENCE.

    The environment variable DCNRUN_BACKEND may force one: see `dcnrun.ops.common.dispatch`.
    """
    return DISPATCHER.backend_for(device, dtype, torchvision=True)


def forward(operands: Operands, output: Tensor) -> None:
    """Write the deformable convolution of checked operands to `output`."""
    input, bias = operands.input, operands.bias
    if not (input.numel() and output.numel()):
        output.copy_(torch.zeros(()) if bias is None else bias.reshape(-1, 1, 1))
        return
    match backend_for(input.device, input.dtype):
        case Backend.KERNEL:
            KERNELS[input.device.type].forward(operands, output)
        case Backend.TORCHVISION if not _torchvision_fails_at(operands.offset):
            output.copy_(torch.ops.torchvision.deform_conv2d(*_torchvision_arguments(operands)))
        case _:
            output.copy_(deform_conv2d_reference(*operands))


def backward(grad_output: Tensor, operands: Operands, grads: list[Tensor | None]) -> None:
    """Write the gradients of input, offset, weight and mask to those of `grads` that are tensors."""
    input = operands.input
    if not (input.numel() and grad_output.numel()):
        write_zeros(grads)
        return
    match backend_for(input.device, input.dtype):
        case Backend.KERNEL:
            KERNELS[input.device.type].backward(grad_output, operands, grads)
            return
        case Backend.TORCHVISION if not _torchvision_fails_at(operands.offset):
            wide = for_torchvision(grad_output), *_torchvision_arguments(operands)
            grad_input, grad_weight, grad_offset, grad_mask, _ = torch.ops.torchvision._deform_conv2d_backward(*wide)
            computed = grad_input, _without_slopes_outside(grad_offset, operands), grad_weight, grad_mask
        case _:
            computed = deform_conv2d_backward_reference(grad_output, operands)
    write_gradients(grads, computed)


def _torchvision_fails_at(offset: Tensor) -> bool:
    # On the CPU its operator reads out of bounds at NaN positions, and has no derivative at infinite ones.
    return offset.device.type == "cpu" and not bool(offset.isfinite().all())


def _without_slopes_outside(grad_offset: Tensor, operands: Operands) -> Tensor:
    """Make the offsets' gradient zero where a sample is: torchvision's has a slope at exactly -1, where the sample is zero."""
    kernel_height, kernel_width = operands.weight.shape[2:]
    height, width = operands.input.shape[2:]
    y, x = sampling_points(operands.offset, (kernel_height, kernel_width), *operands.settings)
    still = outside(y, x, (height, width)).reshape(operands.offset.shape[0], -1, *operands.offset.shape[2:])
    return grad_offset.masked_fill_(still.repeat_interleave(2, 1), 0)


def _torchvision_arguments(operands: Operands) -> list[Any]:
    """The arguments of torchvision's operator, where bias and mask are never absent."""
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
