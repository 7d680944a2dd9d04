"""Checks of the operands of deformable RoI pooling, done before any memory is touched."""

import math

import torch
from torch import Tensor

from dcnrun.ops.common.checks import check_dtype, check_sides, check_tensor
from dcnrun.ops.deform_roi_pool.arguments import Operands

MOST_SAMPLES = 4096  # per bin and axis, where the number is given


def check_deform_roi_pool(operands: Operands) -> None:
    """Raise ValueError or TypeError naming the argument and both values when the operands don't fit together.

    The image numbers in `rois` are not looked at, since a compiled graph has shapes only: see `check_images`.
    """
    input, rois, offset, mask = operands[:4]
    present = {name: t for name, t in (("offset", offset), ("mask", mask)) if t is not None}
    check_tensor("input", input, input, 4)
    check_tensor("rois", rois, input, 2)
    for name, tensor in present.items():
        check_tensor(name, tensor, input, 4)
    for name, tensor in {"rois": rois, **present}.items():
        check_dtype(name, tensor, input, positions=True)
    if rois.shape[1] != 5:
        raise ValueError(f"rois must be (R, 5): image, x1, y1, x2, y2; but has shape {tuple(rois.shape)}")
    scale, ratio, gamma = operands.spatial_scale, operands.sampling_ratio, operands.gamma
    for name, value in (("spatial_scale", scale), ("gamma", gamma)):
        if not math.isfinite(value):
            raise ValueError(f"{name} must be a finite number, but is {value}")
    if not 0 <= ratio <= MOST_SAMPLES:
        raise ValueError(
            f"sampling_ratio must be from 1 to {MOST_SAMPLES}, or 0 or -1 (as many samples as pixels), but is {ratio}"
        )
    if operands.authors and ratio == 0:
        raise ValueError(
            "sampling_ratio must be given with authors=True, whose code has a fixed number (4 in the paper)"
        )

    _, channels, height, width = input.shape
    if 0 in (channels, height, width):
        raise ValueError(f"input of shape {tuple(input.shape)} must have no empty channel or feature map")
    check_sides(input)
    size = tuple(operands.output_size)
    if channels % operands.planes:
        raise ValueError(
            f"input has {channels} channels, but position-sensitive pooling to {size[0]}x{size[1]} needs a multiple of {operands.planes}"
        )
    for name, tensor in present.items():
        if tensor.shape[0] != rois.shape[0]:
            raise ValueError(f"{name} is of {tensor.shape[0]} RoIs, but rois has {rois.shape[0]}")
        if tuple(tensor.shape[2:]) != size:
            raise ValueError(f"{name} is {tensor.shape[2]}x{tensor.shape[3]}, but the output is {size[0]}x{size[1]}")
    if offset is not None and (offset.shape[1] == 0 or offset.shape[1] % 2):
        raise ValueError(f"offset has {offset.shape[1]} channels, but needs y and x for each group")
    groups, out_channels = operands.groups, channels // operands.planes
    if groups == 0 or out_channels % groups:
        raise ValueError(
            f"{'mask' if offset is None else 'offset'} has {groups} groups, which do not divide the output's {out_channels} channels"
        )
    if mask is not None and mask.shape[1] != groups:
        raise ValueError(f"mask has {mask.shape[1]} channels, but offset has {groups} groups")


def check_images(rois: Tensor, images: int) -> None:
    """Raise ValueError naming the first RoI of an image that does not exist. It reads the RoIs, so it is for the CPU."""
    image = rois[:, 0].double()  # since half precision would round the number of images
    if images and torch.equal(image, image.floor().clamp(0, images - 1)):
        return
    wrong = ~((image >= 0) & (image < images) & (image == image.floor()))
    if bool(wrong.any()):
        first = int(wrong.nonzero()[0])
        raise ValueError(
            f"rois[{first}] is of image {image[first].item():g}, but input has {images} images, counted from 0"
        )


def as_rois(rois: Tensor | list[Tensor], images: int) -> Tensor:
    """Return (R, 5) RoIs, image first, from those or from one (Ri, 4) tensor per image."""
    if isinstance(rois, Tensor):
        return rois
    if len(rois) != images:
        raise ValueError(f"rois is a list of {len(rois)}, but input has {images} images: one tensor of boxes for each")
    for i, boxes in enumerate(rois):
        if not isinstance(boxes, Tensor) or boxes.dim() != 2 or boxes.shape[1] != 4:
            shape = tuple(boxes.shape) if isinstance(boxes, Tensor) else type(boxes).__name__
            raise ValueError(f"rois[{i}] must be boxes (R, 4): x1, y1, x2, y2; but is {shape}")
    if not rois:
        raise ValueError("rois is an empty list: it must have one tensor of boxes for each image")
    return torch.cat([torch.cat([torch.full_like(boxes[:, :1], i), boxes], 1) for i, boxes in enumerate(rois)])
