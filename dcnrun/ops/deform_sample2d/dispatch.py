"""What computes a deformable sampling: our kernel where it can, else the definition in plain PyTorch."""

import torch
from torch import Tensor

from dcnrun.ops.common.dispatch import Backend, Dispatcher, Kernels, write_gradients, write_zeros
from dcnrun.ops.deform_sample2d import cpu, cuda
from dcnrun.ops.deform_sample2d.arguments import Operands
from dcnrun.ops.deform_sample2d.reference import deform_sample2d_backward_reference, deform_sample2d_reference

KERNELS: dict[str, Kernels[Operands]] = {"cpu": cpu, "cuda": cuda}

DISPATCHER = Dispatcher("deform_sample2d", KERNELS, "deformable sampling runs in plain PyTorch, many times slower")


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
    elif kernels := DISPATCHER.trusted(output):
        kernels.forward(operands, output)
    else:
        forward_on(backend_for(input.device, input.dtype), operands, output)


def backward(grad_output: Tensor, operands: Operands, grads: list[Tensor | None]) -> None:
    """Write the gradients of input, offset and mask to those of `grads` that are tensors."""
    input = operands.input
    if not (input.numel() and grad_output.numel()):
        write_zeros(grads)
    else:
        backward_on(backend_for(input.device, input.dtype), grad_output, operands, grads)


def forward_on(backend: Backend, operands: Operands, output: Tensor) -> None:
    """Compute `forward`, where there is something to compute, by one of the implementations."""
    if backend is Backend.KERNEL:
        KERNELS[output.device.type].forward(operands, output)
    else:
        output.copy_(deform_sample2d_reference(operands))


def backward_on(backend: Backend, grad_output: Tensor, operands: Operands, grads: list[Tensor | None]) -> None:
    """Compute `backward` likewise."""
    if backend is Backend.KERNEL:
        KERNELS[grad_output.device.type].backward(grad_output, operands, grads)
    else:
        write_gradients(grads, deform_sample2d_backward_reference(grad_output, operands))
