"""What computes deformable RoI pooling: our kernel where it can, else the definition in plain PyTorch.

GPUs without our kernel take torchvision's `roi_align` where it computes the same: without offsets and masks, and with a
fixed number of samples, since its adaptive ones of a RoI far larger than the feature map take it forever.
"""

import torch
import torchvision  # noqa: F401  (makes torch.ops.torchvision.roi_align)
from torch import Tensor

from dcnrun.ops.common.dispatch import Backend, Dispatcher, Kernels, for_torchvision, write_gradients, write_zeros
from dcnrun.ops.deform_roi_pool import cpu, cuda
from dcnrun.ops.deform_roi_pool.arguments import Operands
from dcnrun.ops.deform_roi_pool.reference import deform_roi_pool_backward_reference, deform_roi_pool_reference
from dcnrun.ops.proof.verdict import Work

KERNELS: dict[str, Kernels[Operands]] = {"cpu": cpu, "cuda": cuda}

DISPATCHER = Dispatcher(
    "deform_roi_pool", KERNELS, "deformable RoI pooling runs RoI by RoI in plain PyTorch, many times slower"
)


def backend_for(device: torch.device | str, dtype: torch.dtype) -> Backend:
    """Return which implementation computes tensors of this kind, with offsets: KERNEL or REFERENCE.

    The environment variable DCNRUN_BACKEND may force one: see `dcnrun.ops.common.dispatch`. torchvision has no such operator.
    """
    return DISPATCHER.backend_for(device, dtype, torchvision=False)


def forward(operands: Operands, output: Tensor) -> None:
    """Write the pooled RoIs of checked operands to `output`."""
    if not output.numel():
        return
    if (kernels := DISPATCHER.trusted(output)) and not operands.authors:
        kernels.forward(operands, output)
    else:
        forward_on(backend_of(operands, backward=False), operands, output)


def backward(grad_output: Tensor, operands: Operands, grads: list[Tensor | None]) -> None:
    """Write the gradients of input, offset and mask to those of `grads` that are tensors."""
    if grad_output.numel():
        backward_on(backend_of(operands, backward=True), grad_output, operands, grads)
    else:
        write_zeros(grads)


def forward_on(backend: Backend, operands: Operands, output: Tensor) -> None:
    """Compute `forward`, where there is something to compute, by one of the implementations."""
    match backend:
        case Backend.KERNEL:
            KERNELS[output.device.type].forward(operands, output)
        case Backend.TORCHVISION:
            roi_align_forward(operands, output)
        case _:
            output.copy_(deform_roi_pool_reference(operands))


def backward_on(backend: Backend, grad_output: Tensor, operands: Operands, grads: list[Tensor | None]) -> None:
    """Compute `backward` likewise."""
    match backend:
        case Backend.KERNEL:
            KERNELS[grad_output.device.type].backward(grad_output, operands, grads)
        case Backend.TORCHVISION:
            write_gradients(grads, (roi_align_backward(grad_output, operands), None, None))
        case _:
            write_gradients(grads, deform_roi_pool_backward_reference(grad_output, operands))


def backend_of(operands: Operands, backward: bool) -> Backend:
    """Return which implementation computes a pass of the pooling of these operands."""
    input = operands.input
    if operands.authors and input.device.type == "cuda":  # whose kernels have no registers left for its rules
        return Backend.REFERENCE
    plain = operands.offset is None and operands.mask is None
    as_torchvision = plain and not operands.position_sensitive and operands.sampling_ratio > 0 and not operands.authors
    # On the CPU its operator reads out of bounds in RoIs with NaN coordinates.
    as_torchvision = as_torchvision and input.device.type == "cuda"

    def work() -> Work:
        return Work.of(backward, input.shape[1], len(operands.rois) * operands.bins)

    return DISPATCHER.backend_for(input.device, input.dtype, torchvision=as_torchvision, work=work)


def roi_align_forward(operands: Operands, output: Tensor) -> None:
    """Write torchvision's RoIAlign to `output`; RoIs of images that don't exist are zero."""
    valid, rois = _valid(operands)
    pooled = torch.ops.torchvision.roi_align(for_torchvision(operands.input), rois, *_torchvision_settings(operands))
    output.copy_(torch.where(valid, pooled, 0))


def roi_align_backward(grad_output: Tensor, operands: Operands) -> Tensor:
    """Return the gradient of the input, by torchvision's RoIAlign."""
    valid, rois = _valid(operands)
    grad_output = torch.where(valid, for_torchvision(grad_output), 0)
    scale, *bins, ratio, aligned = _torchvision_settings(operands)
    sizes = *bins, *operands.input.shape, ratio, aligned
    grad_input: Tensor = torch.ops.torchvision._roi_align_backward(grad_output, rois, scale, *sizes)
    return grad_input


def _torchvision_settings(operands: Operands) -> tuple[float, int, int, int, bool]:
    return operands.spatial_scale, *operands.output_size, operands.sampling_ratio, operands.aligned


def _valid(operands: Operands) -> tuple[Tensor, Tensor]:
    """Which RoIs are of an image that exists, (R, 1, 1, 1), and the RoIs with zeros in place of the others.

    torchvision would read the memory of whatever image a RoI names.
    """
    image = operands.rois[:, :1]
    valid = (image >= 0) & (image < operands.input.shape[0])
    rois = torch.where(valid, for_torchvision(operands.rois), 0)
    return valid[..., None, None], rois.to(for_torchvision(operands.input).dtype)
