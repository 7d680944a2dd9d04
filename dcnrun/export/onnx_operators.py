"""dcnrun's operators as nodes of the ONNX standard: DeformConv, or GridSample for readers that have no DeformConv.

The functions are translations as `torch.onnx.export` calls them: operands are symbols of the graph, None where there are none.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from dcnrun.errors import DcnrunError


def _constant(values: ArrayLike, dtype: DTypeLike = np.int64) -> Any:
    from onnx import numpy_helper
    from onnxscript import opset18

    return opset18.Constant(value=numpy_helper.from_array(np.asarray(values, dtype)))


# DeformConv ----------------------------------------------------------------------------------------------------------


def deform_conv(
    input: Any,
    offset: Any,
    weight: Any,
    bias: Any,
    stride: list[int],
    padding: list[int],
    dilation: list[int],
    mask: Any,
) -> Any:
    """Translate `dcnrun::deform_conv2d` to DeformConv, which has the same order of offsets and masks."""
    from onnxscript import FLOAT, opset19

    operands = [input, weight, offset, bias, mask]
    # Offsets may be wider than the input; a node's operands have one type.
    mixed = any(operand is not None and operand.dtype != input.dtype for operand in operands)
    if mixed:
        operands = [None if operand is None else opset19.Cast(operand, to=FLOAT.dtype) for operand in operands]
    _, channels_per_group, *kernel = weight.shape
    output = opset19.DeformConv(
        *operands,
        kernel_shape=kernel,
        strides=stride,
        pads=[*padding, *padding],
        dilations=dilation,
        group=input.shape[1] // channels_per_group,
        offset_group=offset.shape[1] // (2 * kernel[0] * kernel[1]),
    )
    return opset19.Cast(output, to=input.dtype) if mixed else output


def deform_sample(
    input: Any,
    offset: Any,
    mask: Any,
    kernel_size: list[int],
    stride: list[int],
    padding: list[int],
    dilation: list[int],
    offset_scale: float,
    softmax: bool,
    remove_center: bool,
) -> Any:
    """Translate `dcnrun::deform_sample2d` to DeformConv with as many groups as channels, and weights of one."""
    from onnxscript import FLOAT, opset19

    stored = input.dtype
    if mixed := any(operand is not None and operand.dtype != stored for operand in (offset, mask)):
        input, offset, mask = (
            None if operand is None else opset19.Cast(operand, to=FLOAT.dtype) for operand in (input, offset, mask)
        )
    number = (FLOAT.dtype if mixed else stored).numpy()

    high, wide = kernel_size
    channels, all_points = int(input.shape[1]), high * wide
    kept = [point for point in range(all_points) if not remove_center or point != all_points // 2]
    groups = int(offset.shape[1]) // (2 * len(kept))
    weight = np.zeros(all_points)
    weight[kept] = 1
    if softmax:
        by_group = opset19.Reshape(mask, _constant([0, groups, len(kept), -1]))
        mask = opset19.Reshape(opset19.Softmax(by_group, axis=2), opset19.Shape(mask))
    if offset_scale != 1:
        lines = np.stack(np.divmod(kept, wide), 1) * dilation
        steps = lines - [distance * (side - 1) // 2 for distance, side in zip(dilation, kernel_size, strict=True)]
        moves = np.tile((offset_scale - 1) * steps.ravel(), groups).reshape(1, -1, 1, 1)
        offset = opset19.Add(opset19.Mul(offset, _constant(offset_scale, number)), _constant(moves, number))
    if remove_center:  # its weight is zero: any point may stand for it
        taken = np.array([min(point - (point > all_points // 2), len(kept) - 1) for point in range(all_points)])
        of_groups = (np.arange(groups)[:, None] * len(kept) + taken).ravel()
        offset = opset19.Gather(offset, _constant((2 * of_groups[:, None] + [0, 1]).ravel()), axis=1)
        mask = None if mask is None else opset19.Gather(mask, _constant(of_groups), axis=1)
    output = opset19.DeformConv(
        input,
        _constant(np.tile(weight.reshape(1, 1, high, wide), (channels, 1, 1, 1)), number),
        offset,
        None,
        mask,
        kernel_shape=kernel_size,
        strides=stride,
        pads=[*padding, *padding],
        dilations=dilation,
        group=channels,
        offset_group=groups,
    )
    return opset19.Cast(output, to=stored) if mixed else output


# Objects: non-maximum suppression, and pooling of regions ---------------------------------------------------------------


def suppress(boxes: Any, scores: Any, most_overlap: float, above: Any) -> Any:
    """Translate `dcnrun::suppress` to NonMaxSuppression, each group of boxes as an image of one class."""
    from onnxscript import BOOL

    op = _operators()
    most = op.Shape(scores, start=1, end=2)
    chosen = op.NonMaxSuppression(
        boxes, op.Unsqueeze(scores, _constant([1])), most, _constant([most_overlap], np.float32), above
    )
    places = op.Gather(chosen, _constant([0, 2]), axis=1)
    ones = op.Expand(_constant([1], np.float32), op.Shape(chosen, start=0, end=1))
    return op.Cast(op.ScatterND(op.ConstantOfShape(op.Shape(scores)), places, ones), to=BOOL.dtype)


def deform_roi_pool(
    input: Any,
    rois: Any,
    offset: Any,
    mask: Any,
    output_size: list[int],
    spatial_scale: float,
    sampling_ratio: int,
    gamma: float,
    aligned: bool,
    position_sensitive: bool,
    authors: bool = False,
) -> Any:
    """Translate `dcnrun::deform_roi_pool` of one image to RoiAlign; with offsets, which the standard lacks, to GridSample.

    With offsets it is written of one group of them and a given number of samples, as the layers of detectors have.
    """
    op = _operators()
    corners = op.Slice(rois, _constant([1]), _constant([5]), _constant([1]))
    if offset is None:
        image = op.Cast(
            op.Reshape(op.Slice(rois, _constant([0]), _constant([1]), _constant([1])), _constant([-1])), to=7
        )
        pooled = op.RoiAlign(
            input,
            corners,
            image,
            coordinate_transformation_mode="half_pixel" if aligned else "output_half_pixel",
            spatial_scale=spatial_scale,
            output_height=output_size[0],
            output_width=output_size[1],
            sampling_ratio=sampling_ratio,
        )
        return pooled if mask is None else op.Mul(pooled, mask)
    if position_sensitive or authors or sampling_ratio == 0 or int(offset.shape[1]) != 2 or int(input.shape[0]) != 1:
        raise DcnrunError(
            "Deformable RoI pooling is written of one image and one group of offsets, with a given number of samples, not position-sensitive."
        )
    ends, counts = [], []
    one, half, two = (_constant(value, np.float32) for value in (1, 0.5, 2))
    samples = _constant([sampling_ratio])
    shape = op.Concat(op.Shape(rois, start=0, end=1), _constant(output_size), samples, samples, axis=0)
    for axis, name in enumerate("yx"):
        low, high = (
            op.Sub(
                op.Mul(
                    op.Slice(corners, _constant([at]), _constant([at + 1]), _constant([1])),
                    _constant(spatial_scale, np.float32),
                ),
                _constant(0.5 if aligned else 0, np.float32),
            )
            for at in (1 - axis, 3 - axis)
        )
        side = op.Sub(high, low)
        if not aligned:
            side = op.Max(side, one)
        bins = output_size[axis]
        # Where points lie along the side of a region without offsets, as shares of it.
        shares = (np.arange(bins)[:, None] + (np.arange(sampling_ratio) + 0.5) / sampling_ratio) / bins
        shares = shares.reshape((1, bins, 1, sampling_ratio, 1) if name == "y" else (1, 1, bins, 1, sampling_ratio))
        column = _constant([-1, 1, 1, 1, 1])
        moved = op.Slice(offset, _constant([axis]), _constant([axis + 1]), _constant([1]))
        moved = op.Mul(op.Reshape(moved, _constant([-1, *output_size, 1, 1])), _constant(gamma, np.float32))
        along = op.Mul(op.Reshape(side, column), op.Add(moved, _constant(shares, np.float32)))
        position = op.Add(op.Reshape(low, column), along)
        length = op.Cast(op.Shape(input, start=2 + axis, end=3 + axis), to=1)
        near = op.And(op.GreaterOrEqual(position, op.Neg(one)), op.LessOrEqual(position, length))
        counts.append(op.Cast(near, to=1))
        ends.append(op.Expand(op.Sub(op.Div(op.Mul(op.Add(position, half), two), length), one), shape))
    points = _constant([1, -1, sampling_ratio**2, 1])
    grid = op.Concat(op.Reshape(ends[1], points), op.Reshape(ends[0], points), axis=3)
    values = op.GridSample(input, grid, align_corners=0, mode="bilinear", padding_mode="border")
    values = op.Mul(values, op.Reshape(op.Mul(*counts), _constant([1, 1, -1, sampling_ratio**2])))
    means = op.ReduceMean(values, _constant([3]), keepdims=0)
    by_bin = op.Reshape(means, _constant([int(input.shape[1]), -1, *output_size]))
    pooled = op.Transpose(by_bin, perm=[1, 0, 2, 3])
    return pooled if mask is None else op.Mul(pooled, mask)


# GridSample ----------------------------------------------------------------------------------------------------------


def _operators() -> Any:
    """The first version that PyTorch's exporter writes; in later ones the exporter renames what was renamed."""
    from onnxscript import opset18

    return opset18


def grid_deform_conv(
    input: Any,
    offset: Any,
    weight: Any,
    bias: Any,
    stride: list[int],
    padding: list[int],
    dilation: list[int],
    mask: Any,
) -> Any:
    """Translate `dcnrun::deform_conv2d` to GridSample, and a 1x1 convolution of the samples of all points as channels."""
    op = _operators()
    outputs, channels_per_group, high, wide = map(int, weight.shape)
    channels, points = int(input.shape[1]), high * wide
    at = np.stack(np.divmod(np.arange(points), wide), 1) * dilation
    samples = _samples(input, offset, mask, at, stride, padding)
    size = op.Shape(offset, start=2)
    columns = op.Reshape(samples, op.Concat(_constant([-1, channels * points]), size, axis=0))
    kernels = op.Reshape(weight, _constant([outputs, channels_per_group * points, 1, 1]))
    return op.Conv(columns, kernels, bias, group=channels // channels_per_group)


def grid_deform_sample(
    input: Any,
    offset: Any,
    mask: Any,
    kernel_size: list[int],
    stride: list[int],
    padding: list[int],
    dilation: list[int],
    offset_scale: float,
    softmax: bool,
    remove_center: bool,
) -> Any:
    """Translate `dcnrun::deform_sample2d` to GridSample, and the sum over the points."""
    op = _operators()
    high, wide = kernel_size
    points = np.arange(high * wide)
    if remove_center:
        points = np.delete(points, len(points) // 2)
    at = np.stack(np.divmod(points, wide), 1) * np.array(dilation)
    center = np.array([distance * (side - 1) // 2 for distance, side in zip(dilation, kernel_size, strict=True)])
    at = center + offset_scale * (at - center)
    samples = _samples(input, offset, mask, at, stride, padding, offset_scale, softmax)
    size = op.Shape(offset, start=2)
    total = op.ReduceSum(samples, _constant([2]), keepdims=0)
    return op.Reshape(total, op.Concat(_constant([-1, int(input.shape[1])]), size, axis=0))


def _samples(
    input: Any,
    offset: Any,
    mask: Any,
    at: Any,
    stride: Sequence[int],
    padding: Sequence[int],
    offset_scale: float = 1.0,
    softmax: bool = False,
) -> Any:
    """Return what P sampling points see, times the mask: (N*G, C/G, P, Ho*Wo), for G groups with offsets of their own.

    GridSample with zeros around and align_corners=0 has the border rule of deformable convolution: -1 and 1 are the outer edges of the
    map's first and last pixel. With align_corners=1 a map of one row or column would divide by 0. Positions are of fp32.

    Args:
        input: (N, C, H, W).
        offset: (N, 2*G*P, Ho, Wo), y and x of each point.
        mask: (N, G*P, Ho, Wo), or None.
        at: (P, 2), where the points of the first output pixel lie in the padded input, y and x.
        stride: pixels of the input from one output pixel to the next.
        padding: lines of zeros above and to the left.
        offset_scale: what offsets are multiplied with.
        softmax: whether the mask is normalised over the points.
    """
    from onnxscript import FLOAT

    op = _operators()
    points = len(at)
    groups = int(offset.shape[1]) // (2 * points)
    high, wide = (op.Shape(offset, start=axis, end=axis + 1) for axis in (2, 3))
    area = op.Mul(high, wide)

    def positions(along: Any, axis: int) -> Any:
        """The positions of pixels (Ho, 1) or (1, Wo) along an axis, as (1, 1, Ho*Wo, 1)."""
        steps = op.Range(_constant(0), op.Squeeze(along), _constant(1))
        column = op.Unsqueeze(steps, _constant([1 - axis]))
        all_pixels = op.Expand(column, op.Concat(high, wide, axis=0))
        lines = op.Sub(op.Mul(all_pixels, _constant(stride[axis])), _constant(padding[axis]))
        return op.Cast(op.Reshape(lines, op.Concat(_constant([1, 1]), area, _constant([1]), axis=0)), to=FLOAT.dtype)

    moves = op.Reshape(op.Cast(offset, to=FLOAT.dtype), op.Concat(_constant([-1, points, 2]), area, axis=0))
    if offset_scale != 1:
        moves = op.Mul(moves, _constant(offset_scale, np.float32))
    moves = op.Transpose(moves, perm=[0, 1, 3, 2])
    ends = []
    for axis, along in enumerate((high, wide)):
        moved = op.Gather(moves, _constant([axis]), axis=3)
        point = _constant(np.reshape(at[:, axis], (1, points, 1, 1)), np.float32)
        position = op.Add(op.Add(moved, positions(along, axis)), point)
        side = op.Cast(op.Shape(input, start=2 + axis, end=3 + axis), to=FLOAT.dtype)
        middle = op.Add(op.Mul(position, _constant(2, np.float32)), _constant(1, np.float32))
        ends.append(op.Sub(op.Div(middle, side), _constant(1, np.float32)))
    grid = op.Concat(ends[1], ends[0], axis=3)
    by_group = op.Concat(_constant([-1, int(input.shape[1]) // groups]), op.Shape(input, start=2), axis=0)
    samples = op.GridSample(op.Reshape(input, by_group), grid, align_corners=0, mode="bilinear", padding_mode="zeros")
    if mask is None:
        return samples
    factors = op.Reshape(op.Cast(mask, to=input.dtype), op.Concat(_constant([-1, 1, points]), area, axis=0))
    return op.Mul(samples, op.Softmax(factors, axis=2) if softmax else factors)
