"""What computes a deformable sampling: our kernel where it can, else the definition in plain PyTorch."""

import torch
from torch import Tensor

from dcnrun.ops.common.dispatch import Backend, Dispatcher, Kernels, write_gradients, write_zeros
from dcnrun.ops.deform_sample2d import cpu, cuda
from dcnrun.ops.deform_sample2d.arguments import Operands
from dcnrun.ops.deform_sample2d.reference import deform_sample2d_backward_reference, deform_sample2d_reference

KERNELS: dict[str, Kernels[Operands]] = {"cpu": cpu, "cuda": cuda}
# Architectures on which all cases of `make parity` have passed, and the file that says so. Without them GPUs run the definition.
PARITY: dict[str, str] = {}

DISPATCHER = Dispatcher(KERNELS, PARITY, "deformable sampling runs in plain PyTorch, many times slower")


def backend_for(device: torch.device | str, dtype: torch.dtype) -> Backend:
    """Return which implementation computes tensors of this kind: KERNEL or REFERENCE.

    The environment variable DCNRUN_BACKEND may force one: see `dcnrun.ops.common.dispatch`.
    """
    return DISPATCHER.backend_for(device, dtype, torchvision=False)


def forward(operands: Operands, output: Tensor) -> None:
    """Write the deformable sampling of checked operands to `output`."""
    input = operands.input
    if not (input.numel() and output.numel()):
        output.zero_()
    elif backend_for(input.device, input.dtype) is Backend.KERNEL:
        KERNELS[input.device.type].forward(operands, output)
    else:
        output.copy_(deform_sample2d_reference(operands))


def backward(grad_output: Tensor, operands: Operands, grads: list[Tensor | None]) -> None:
    """Write the gradients of input, offset and mask to those of `grads` that are tensors."""
    input = operands.input
    if not (input.numel() and grad_output.numel()):
        write_zeros(grads)
    elif backend_for(input.device, input.dtype) is Backend.KERNEL:
        KERNELS[input.device.type].backward(grad_output, operands, grads)
    else:
        write_gradients(grads, deform_sample2d_backward_reference(grad_output, operands))
