"""Checks of the arguments of deformable convolution, done before any memory is touched."""

from torch import Tensor

from dcnrun.ops.common.checks import check_dtype, check_sides, check_tensor
from dcnrun.ops.deform_conv2d.arguments import Operands, Pair


def check_deform_conv2d(operands: Operands) -> None:
    """Raise ValueError or TypeError naming the argument and both values when the operands don't fit together."""
    input, offset, weight, bias, _, padding, dilation, mask = operands
    optional = {"bias": bias, "mask": mask}
    # The weight first: of a layer it is what users know, and the offsets are computed in its dtype.
    present = {"weight": weight, "offset": offset} | {name: t for name, t in optional.items() if t is not None}
    check_tensor("input", input, input, 4)
    for name, tensor in present.items():
        check_tensor(name, tensor, input, 1 if name == "bias" else 4)
    for name, tensor in present.items():
        check_dtype(name, tensor, input, positions=name in ("offset", "mask"))

    channels = input.shape[1]
    out_channels, channels_per_group, kernel_h, kernel_w = weight.shape
    if 0 in (channels, out_channels, channels_per_group, kernel_h, kernel_w):
        raise ValueError(
            f"input of shape {tuple(input.shape)} and weight of shape {tuple(weight.shape)} must have no empty channel or kernel"
        )
    if channels % channels_per_group:
        raise ValueError(
            f"weight has {channels_per_group} input channels per group, which does not divide input's {channels} channels"
        )
    if out_channels % operands.groups:
        raise ValueError(f"weight has {out_channels} output channels, which {operands.groups} groups do not divide")
    if bias is not None and bias.shape[0] != out_channels:
        raise ValueError(f"bias has {bias.shape[0]} elements, but weight has {out_channels} output channels")

    points = kernel_h * kernel_w
    if offset.shape[1] == 0 or offset.shape[1] % (2 * points):
        raise ValueError(
            f"offset has {offset.shape[1]} channels, but a {kernel_h}x{kernel_w} kernel needs a multiple of {2 * points} (2 x {points} sampling points)"
        )
    offset_groups = operands.offset_groups
    check_sides(input)
    if channels % offset_groups:
        raise ValueError(f"offset has {offset_groups} offset groups, which do not divide input's {channels} channels")

    size = operands.output_shape[2:]
    check_positions(input, offset, mask, size, (kernel_h, kernel_w), padding, dilation, points)


def check_positions(
    input: Tensor,
    offset: Tensor,
    mask: Tensor | None,
    size: Pair,
    kernel_size: Pair,
    padding: Pair,
    dilation: Pair,
    points: int,
) -> None:
    """Raise ValueError unless offsets, and masks if there are any, fit an output of `size` and each other.

    Args:
        input: (N, C, H, W).
        offset: its channels are a multiple of 2 * `points`.
        mask: factors of the samples.
        size: height and width of the output.
        kernel_size: of the kernel, as are the next two.
        padding: for messages.
        dilation: for messages.
        points: sampling points of one output pixel in a group.
    """
    batch, _, height, width = input.shape
    # Without min(), which would tie a compiled graph to the longer side of its first feature map.
    if size[0] < 0 or size[1] < 0 or (0 in size and 0 not in (height, width)):
        raise ValueError(
            f"input of {height}x{width} with padding {padding} is smaller than the kernel {kernel_size[0]}x{kernel_size[1]} with dilation {dilation}"
        )
    for name, tensor in (("offset", offset), ("mask", mask)):
        if tensor is None:
            continue
        if tensor.shape[0] != batch:
            raise ValueError(f"{name} has batch size {tensor.shape[0]}, but input has {batch}")
        if tuple(tensor.shape[2:]) != size:
            raise ValueError(f"{name} is {tensor.shape[2]}x{tensor.shape[3]}, but the output is {size[0]}x{size[1]}")
    groups = offset.shape[1] // (2 * points)
    if mask is not None and mask.shape[1] != groups * points:
        raise ValueError(
            f"mask has {mask.shape[1]} channels, but offset's {groups} groups x {points} sampling points need {groups * points}"
        )
