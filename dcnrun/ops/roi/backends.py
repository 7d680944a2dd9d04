"""What computes deformable RoI pooling: our kernel where it can, else the definition in plain PyTorch.

GPUs without our kernel take torchvision's `roi_align` where it computes the same: without offsets and masks, and with a
fixed number of samples, since its adaptive ones of a RoI far larger than the map take it forever.
"""

import torch
import torchvision  # noqa: F401  (makes torch.ops.torchvision.roi_align)
from torch import Tensor

from dcnrun.ops import gradients
from dcnrun.ops.choice import Choice
from dcnrun.ops.precision import for_torchvision
from dcnrun.ops.roi import cpu_kernel, cuda_kernel
from dcnrun.ops.roi.operands import Operands
from dcnrun.ops.roi.reference import deform_roi_pool_backward_reference, deform_roi_pool_reference

KERNELS = {"cpu": cpu_kernel, "cuda": cuda_kernel}
# As for the convolution: architectures on which our CUDA kernels have passed `make parity`, and the file that says so.
PARITY: dict[str, str] = {}

_choice = Choice(
    "deform_roi_pool",
    KERNELS,
    PARITY,
    "deformable RoI pooling runs RoI by RoI in plain PyTorch, many times slower",
)


def backend_for(device: torch.device | str, dtype: torch.dtype) -> str:
    """Which implementation computes tensors of this kind, with offsets: "kernel" or "reference".

    The environment variable DCNRUN_BACKEND may force one: see `dcnrun.ops.choice`. "torchvision" has no such operator.
    """
    return _choice.backend_for(device, dtype, torchvision=False)


def forward(operands: Operands, output: Tensor) -> None:
    """Write the pooled RoIs of checked operands to `output`."""
    if not output.numel():
        return
    match _backend_of(operands):
        case "kernel":
            KERNELS[output.device.type].deform_roi_pool(operands, output)
        case "torchvision":
            known, rois = _known(operands)
            input, settings = for_torchvision(operands.input), _torchvision_settings(operands)
            pooled = torch.ops.torchvision.roi_align(input, rois, *settings)
            output.copy_(torch.where(known, pooled, 0))
        case _:
            output.copy_(deform_roi_pool_reference(operands))


def backward(grad_output: Tensor, operands: Operands, grads: list[Tensor | None]) -> None:
    """Write the gradients of input, offset and mask to those of `grads` that are tensors."""
    if not grad_output.numel():
        gradients.write_zeros(grads)
        return
    computed: tuple[Tensor | None, ...]
    match _backend_of(operands):
        case "kernel":
            KERNELS[grad_output.device.type].deform_roi_pool_backward(grad_output, operands, grads)
            return
        case "torchvision":
            known, rois = _known(operands)
            given = torch.where(known, for_torchvision(grad_output), 0)
            scale, *bins, ratio, aligned = _torchvision_settings(operands)
            sizes = *bins, *operands.input.shape, ratio, aligned
            computed = torch.ops.torchvision._roi_align_backward(given, rois, scale, *sizes), None, None
        case _:
            computed = deform_roi_pool_backward_reference(grad_output, operands)
    gradients.write(grads, computed)


def _backend_of(operands: Operands) -> str:
    input = operands.input
    plain = operands.offset is None and operands.mask is None
    as_torchvision = plain and not operands.position_sensitive and operands.sampling_ratio > 0
    # On the CPU its operator reads outside of memory in RoIs that are no numbers.
    return _choice.backend_for(input.device, input.dtype, torchvision=as_torchvision and input.device.type == "cuda")


def _torchvision_settings(operands: Operands) -> tuple[float, int, int, int, bool]:
    return operands.spatial_scale, *operands.output_size, operands.sampling_ratio, operands.aligned


def _known(operands: Operands) -> tuple[Tensor, Tensor]:
    """Which RoIs are of an image that is there, (R, 1, 1, 1), and RoIs that all are: torchvision reads whatever they say."""
    image = operands.rois[:, :1]
    known = (image >= 0) & (image < operands.input.shape[0])
    return known[..., None, None], torch.where(known, for_torchvision(operands.rois), 0).to(
        for_torchvision(operands.input).dtype
    )
