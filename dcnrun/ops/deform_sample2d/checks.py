"""Checks of the arguments of deformable sampling, done before any memory is touched."""

import math

from dcnrun.ops.common.checks import check_dtype, check_sides, check_tensor
from dcnrun.ops.deform_conv2d.checks import check_positions
from dcnrun.ops.deform_sample2d.arguments import Operands


def check_deform_sample2d(operands: Operands) -> None:
    """Raise ValueError or TypeError naming the argument and both values when the operands don't fit together."""
    input, offset, mask = operands[:3]
    kernel_h, kernel_w = operands.kernel_size
    present = {"offset": offset} | ({} if mask is None else {"mask": mask})
    check_tensor("input", input, input, 4)
    for name, tensor in present.items():
        check_tensor(name, tensor, input, 4)
        check_dtype(name, tensor, input, positions=True)
    channels = input.shape[1]
    if channels == 0:
        raise ValueError(f"input of shape {tuple(input.shape)} must have no empty channel")
    if operands.remove_center and (kernel_h * kernel_w == 1 or not (kernel_h % 2 and kernel_w % 2)):
        raise ValueError(
            f"remove_center=True needs a kernel with a centre and points around it, of odd height and width, but it is {kernel_h}x{kernel_w}"
        )
    if operands.softmax and mask is None:
        raise ValueError("softmax=True makes factors of the mask's logits, but mask is None")
    if not math.isfinite(operands.offset_scale):
        raise ValueError(f"offset_scale must be a finite number, but is {operands.offset_scale}")

    points = operands.points
    without = " without its centre" if operands.remove_center else ""
    if offset.shape[1] == 0 or offset.shape[1] % (2 * points):
        raise ValueError(
            f"offset has {offset.shape[1]} channels, but a {kernel_h}x{kernel_w} kernel{without} needs a multiple of {2 * points} (2 x {points} sampling points)"
        )
    groups = operands.groups
    check_sides(input)
    if channels % groups:
        raise ValueError(f"offset has {groups} groups, which do not divide input's {channels} channels")

    size = operands.output_shape[2:]
    check_positions(input, offset, mask, size, operands.kernel_size, operands.padding, operands.dilation, points)
