"""dcnrun's operators in terms of PyTorch's own, for programs that run without dcnrun.

Each function has the arguments of the operator that it stands for, and gives its numbers up to rounding; only at positions that are
no numbers, infinite or beyond 2**24, where fp32 has no odd numbers left, a sample may be another. They are made of `grid_sample`:
torchvision's `deform_conv2d` gives the same numbers in more time (`benchmarks/results/deployment.json`), and has to be installed.
"""

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import functional as F

from dcnrun.errors import DcnrunError
from dcnrun.export import detectors  # noqa: F401  defines dcnrun::suppress
from dcnrun.ops.deform_conv2d.arguments import Pair
from dcnrun.ops.deform_conv2d.reference import sampling_points
from dcnrun.ops.deform_roi_pool.arguments import Operands, regions


def grid_sampled(input: Tensor, y: Tensor, x: Tensor, mask: Tensor | None) -> Tensor:
    """Return bilinear samples (N*G, C/G, P, Ho, Wo) of (N, C, H, W) at positions (N*G, P, Ho, Wo) in pixels, times a mask.

    By `grid_sample`, which with `align_corners=False` and zeros around the map has the rule of deformable convolution at its
    border, also of maps of one row or column.
    """
    images, points, high, wide = y.shape
    grid = _grid(input, y, x).reshape(images, points * high, wide, 2)
    groups = input.reshape(images, -1, *input.shape[2:])
    samples = F.grid_sample(groups, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    samples = samples.reshape(images, -1, points, high, wide)
    return samples if mask is None else samples * mask.reshape(images, 1, points, high, wide)


def _grid(input: Tensor, y: Tensor, x: Tensor) -> Tensor:
    """Return positions (..., 2), x first, as `grid_sample` takes them with `align_corners=False`; y and x are in pixels."""
    height, width = input.shape[2:]
    return torch.stack([(2 * x + 1) / width - 1, (2 * y + 1) / height - 1], -1)


def _deform_conv2d(
    input: Tensor,
    offset: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
    mask: Tensor | None,
) -> Tensor:
    """Samples, and a convolution of 1x1 over the channels of all points."""
    n, channels = input.shape[:2]
    y, x = sampling_points(offset, weight.shape[2:], stride, padding, dilation)  # type: ignore[arg-type]
    columns = grid_sampled(input, y, x, mask).reshape(n, -1, *offset.shape[2:])
    return F.conv2d(columns, weight.flatten(1)[:, :, None, None], bias, groups=channels // weight.shape[1])


def _deform_sample2d(
    input: Tensor,
    offset: Tensor,
    mask: Tensor | None,
    kernel_size: Pair,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
    offset_scale: float,
    softmax: bool,
    remove_center: bool,
) -> Tensor:
    """Samples, and their sum over the points."""
    y, x = sampling_points(offset, kernel_size, stride, padding, dilation, offset_scale, remove_center)
    if mask is not None and softmax:
        mask = mask.reshape(y.shape).softmax(1)
    return grid_sampled(input, y, x, mask).sum(2).reshape(*input.shape[:2], *offset.shape[2:])


def _deform_roi_pool(*arguments: Any) -> Tensor:
    """Samples with the border's values around the map, zero further than a pixel outside, and their mean in each bin."""
    operands = Operands(*arguments)
    input, _, offset, mask, (high, wide), _, ratio, gamma, *_ = operands
    if ratio <= 0 or operands.position_sensitive or operands.authors or operands.groups > 1 or len(input) > 1:
        raise DcnrunError(
            "RoI pooling is written of one image and one group of offsets, with a given number of samples, not position-sensitive."
        )
    where = regions(operands)
    positions: list[Tensor] = []
    inside = torch.ones((), dtype=torch.bool)
    for axis, bins in enumerate((high, wide)):
        shares = ((torch.arange(bins * ratio) + 0.5) / (bins * ratio)).reshape(bins, 1, ratio, 1)
        if axis == 1:
            shares = shares.transpose(0, 1).transpose(2, 3)
        moved = shares if offset is None else shares + gamma * offset[:, axis, :, :, None, None]
        start, side = (each[:, axis, None, None, None, None] for each in (where.start, where.size))
        position = (start + side * moved).expand(-1, high, wide, ratio, ratio)
        inside = inside & (position >= -operands.beyond) & (position <= input.shape[2 + axis] - 1 + operands.beyond)
        positions.append(position)
    points = 1, -1, ratio**2
    grid = _grid(input, *positions).reshape(*points, 2)
    samples = F.grid_sample(input, grid, mode="bilinear", padding_mode="border", align_corners=False)
    means = (samples * inside.reshape(points)).mean(-1)
    pooled = means.reshape(input.shape[1], -1, high, wide).transpose(0, 1)
    return pooled if mask is None else pooled * mask


def _suppress(boxes: Tensor, scores: Tensor, most_overlap: float, above: Tensor) -> Tensor:
    """Of each group keep the best box and strike what overlaps it, until none is left.

    A matrix of all overlaps would need fewer steps, and the square of the boxes in memory, of each class.
    """

    def some_are_left(left: Tensor, kept: Tensor, boxes: Tensor, areas: Tensor) -> Tensor:
        return (left > -torch.inf).any()

    def keep_the_best(left: Tensor, kept: Tensor, boxes: Tensor, areas: Tensor) -> tuple[Tensor, Tensor]:
        score, place = left.max(1, keepdim=True)
        best = boxes.gather(1, place[..., None].expand(-1, -1, 4))
        sides = torch.minimum(boxes[..., 2:], best[..., 2:]) - torch.maximum(boxes[..., :2], best[..., :2])
        shared = sides.clamp(min=0).prod(-1)
        is_best = torch.arange(left.shape[1]) == place
        struck = is_best | (shared / (areas.gather(1, place) + areas - shared) > most_overlap)
        return torch.where(struck, -torch.inf, left), kept | (is_best & (score > -torch.inf))

    areas = (boxes[..., 2:] - boxes[..., :2]).prod(-1)
    left = torch.where(scores > above, scores, -torch.inf)
    start = left, torch.zeros_like(scores, dtype=torch.bool)
    _, kept = torch.ops.higher_order.while_loop(some_are_left, keep_the_best, start, (boxes, areas))
    return cast(Tensor, kept)


DECOMPOSITIONS: dict[Any, Callable[..., Tensor]] = {
    torch.ops.dcnrun.deform_conv2d.default: _deform_conv2d,
    torch.ops.dcnrun.deform_sample2d.default: _deform_sample2d,
    torch.ops.dcnrun.deform_roi_pool.default: _deform_roi_pool,
    torch.ops.dcnrun.suppress.default: _suppress,
}
"""By operator, as `torch.export.ExportedProgram.run_decompositions` takes them."""
