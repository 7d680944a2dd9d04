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
from dcnrun.ops.proof.verdict import Work

KERNELS: dict[str, Kernels[Operands]] = {"cpu": cpu, "cuda": cuda}

DISPATCHER = Dispatcher(
    "deform_conv2d", KERNELS, "deformable convolution runs on torchvision's {device} operator, several times slower"
)


def backend_for(device: torch.device | str, dtype: torch.dtype) -> Backend:
    """Return which implementation computes tensors of this kind, where it is not the slower: KERNEL, TORCHVISION or REFERENCE.

    The environment variable DCNRUN_BACKEND may force one: see `dcnrun.ops.common.dispatch`.
    """
    return DISPATCHER.backend_for(device, dtype, torchvision=True)


def forward(operands: Operands, output: Tensor) -> None:
    """Write the deformable convolution of checked operands to `output`."""
    if _is_empty(operands, output):
        _write_bias(operands, output)
    elif kernels := DISPATCHER.trusted(output):
        kernels.forward(operands, output)
    else:
        forward_on(_backend_of(operands, backward=False), operands, output)


def backward(grad_output: Tensor, operands: Operands, grads: list[Tensor | None]) -> None:
    """Write the gradients of input, offset, weight and mask to those of `grads` that are tensors."""
    if _is_empty(operands, grad_output):
        write_zeros(grads)
    else:
        backward_on(_backend_of(operands, backward=True), grad_output, operands, grads)


def forward_on(backend: Backend, operands: Operands, output: Tensor) -> None:
    """Compute `forward`, where there is something to compute, by one of the implementations."""
    match backend:
        case Backend.KERNEL:
            KERNELS[output.device.type].forward(operands, output)
        case Backend.TORCHVISION if not _torchvision_fails_at(operands.offset):
            output.copy_(torch.ops.torchvision.deform_conv2d(*_torchvision_arguments(operands)))
        case _:
            output.copy_(deform_conv2d_reference(*operands))


def backward_on(backend: Backend, grad_output: Tensor, operands: Operands, grads: list[Tensor | None]) -> None:
    """Compute `backward` likewise."""
    match backend:
        case Backend.KERNEL:
            KERNELS[grad_output.device.type].backward(grad_output, operands, grads)
            return
        case Backend.TORCHVISION if not _torchvision_fails_at(operands.offset):
            wide = for_torchvision(grad_output), *_torchvision_arguments(operands)
            grad_input, grad_weight, grad_offset, grad_mask, _ = torch.ops.torchvision._deform_conv2d_backward(*wide)
            computed = grad_input, _without_slopes_outside(grad_offset, operands), grad_weight, grad_mask
        case _:
            computed = deform_conv2d_backward_reference(grad_output, operands)
    write_gradients(grads, computed)


def _backend_of(operands: Operands, backward: bool) -> Backend:
    def work() -> Work:
        n, _, height, width = operands.offset.shape
        return Work.of(backward, operands.input.shape[1], n * height * width)

    return DISPATCHER.backend_for(operands.input.device, operands.input.dtype, torchvision=True, work=work)


def _is_empty(operands: Operands, output: Tensor) -> bool:
    return not (operands.input.numel() and output.numel())


def _write_bias(operands: Operands, output: Tensor) -> None:
    output.copy_(torch.zeros(()) if operands.bias is None else operands.bias.reshape(-1, 1, 1))


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
