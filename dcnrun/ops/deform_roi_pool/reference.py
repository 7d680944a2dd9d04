"""Deformable RoI pooling as defined, in plain PyTorch: any dtype and device, differentiable.

The oracle that every faster kernel is checked against, and what runs where none of them can. One RoI after the other,
so that its memory is that of one.
"""

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from dcnrun.ops.deform_roi_pool.arguments import Operands, regions


def deform_roi_pool_reference(operands: Operands) -> Tensor:
    """Pool checked operands.

    y(bin) = m(bin) * mean over the bin's sampling points p of x(p + gamma * size * offset(bin)), x sampled bilinearly (Dai
    et al. 2017, eq. 5 to 7; the mask m: Zhu et al. 2018, eq. 2). At the border the rule is that of
    `torchvision.ops.roi_align`: a sample more than one pixel outside the feature map is zero, a nearer one has the border's
    value. A RoI of an image that does not exist is zero. Half precision is computed in fp32.
    """
    pooled = [roi.output() for roi in _each_roi(operands)]
    output = torch.stack(pooled) if pooled else operands.input.new_zeros(operands.output_shape)
    return output.to(operands.input.dtype)


def deform_roi_pool_backward_reference(
    grad_output: Tensor, operands: Operands
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Gradients of input, offset and mask (None without one), themselves differentiable."""
    input, _, offset, mask = operands[:4]
    of_images = [torch.zeros_like(image, dtype=_precision(input)) for image in input]
    of_offset, of_mask = [], []
    for grad, roi in zip(grad_output, _each_roi(operands), strict=True):
        grad = grad.to(_precision(input))
        if roi.image is not None:
            of_images[roi.image] = of_images[roi.image] + roi.grad_image(grad)
        of_offset.append(roi.grad_offset(grad))
        of_mask.append(roi.grad_mask(grad))
    return (
        _stacked(of_images, input),
        None if offset is None else _stacked(of_offset, offset),
        None if mask is None else _stacked(of_mask, mask),
    )


def _precision(input: Tensor) -> torch.dtype:
    return torch.promote_types(input.dtype, torch.float32)


def _stacked(grads: list[Tensor], like: Tensor) -> Tensor:
    return torch.stack(grads).to(like.dtype) if grads else torch.zeros_like(like)


class _Points(NamedTuple):
    """Sampling points along one axis, each between two lines (rows or columns) of the feature map.

    All are (M, Q, 2K), for M feature maps with Q bins each and K points in a bin.
    """

    line: Tensor  # which
    inside: Tensor  # whether the point is on the feature map or less than a pixel outside; further off a sample is zero
    weight: Tensor  # the line's, in the sample
    slope: Tensor  # the derivative of the weight


class _Roi(NamedTuple):
    """One RoI. Its feature maps are those of groups of offsets and, in each, of planes: M = G * planes, with Q = bins / planes."""

    operands: Operands
    image: int | None
    reach: Tensor  # (2,): what an offset of 1 moves a bin by, along y and x
    samples: Tensor | float  # in each bin, (M, 1, Q) where they differ
    rows: _Points
    columns: _Points
    pixels: Tensor  # (M, 1, Q * 2Ky * 2Kx): where sampled pixels are in the feature map, row by row
    values: Tensor  # (M, C, Q, 2Ky, 2Kx): what they hold
    factor: Tensor | float  # (M, 1, Q): the mask

    def output(self) -> Tensor:
        """(Co, ph, pw)."""
        pooled = self.mean(self.rows.weight, self.columns.weight) * self.factor
        return _merge_groups(pooled, self.operands, self.operands.output_shape[1:])

    def grad_image(self, grad: Tensor) -> Tensor:
        """(C, H, W)."""
        weighted_grad = _split_groups(grad, self.operands) * self.factor / self.samples
        weights = self.rows.weight.unsqueeze(-1) * self.columns.weight.unsqueeze(-2)
        inside = self.rows.inside.unsqueeze(-1) & self.columns.inside.unsqueeze(-2)
        scattered = torch.where(inside.unsqueeze(1), weighted_grad[..., None, None] * weights.unsqueeze(1), 0)
        image = self.operands.input.shape[1:]
        features = weighted_grad.new_zeros(*weighted_grad.shape[:2], image[1] * image[2])
        features = features.scatter_add(2, self.pixels.expand(-1, features.shape[1], -1), scattered.flatten(2))
        return _merge_groups(features, self.operands, image)

    def grad_offset(self, grad: Tensor) -> Tensor:
        """(2G, ph, pw)."""
        weighted_grad = _split_groups(grad, self.operands) * self.factor
        along_y = (weighted_grad * self.mean(self.rows.slope, self.columns.weight)).sum(1) * self.reach[0]
        along_x = (weighted_grad * self.mean(self.rows.weight, self.columns.slope)).sum(1) * self.reach[1]
        return torch.stack([self._per_bin(along_y), self._per_bin(along_x)], 1).flatten(0, 1)

    def grad_mask(self, grad: Tensor) -> Tensor:
        """(G, ph, pw)."""
        products = _split_groups(grad, self.operands) * self.mean(self.rows.weight, self.columns.weight)
        return self._per_bin(products.sum(1))

    def mean(self, of_rows: Tensor, of_columns: Tensor) -> Tensor:
        """Return the mean of the samples for these weights of their pixels, (M, C, Q)."""
        along_rows = (self.values * of_columns[:, None, :, None, :]).sum(-1)
        return (along_rows * of_rows[:, None]).sum(-1) / self.samples

    def _per_bin(self, features: Tensor) -> Tensor:
        """(M, Q) as (G, ph, pw)."""
        return features.reshape(self.operands.groups, *self.operands.output_size)


def _split_groups(channels: Tensor, operands: Operands) -> Tensor:
    """The channels of an image or of a RoI's bins, as (M, C, pixels or Q)."""
    groups, planes = operands.groups, operands.planes
    split = channels.reshape(groups, operands.output_shape[1] // groups, planes, -1)
    return split.transpose(1, 2).flatten(0, 1)


def _merge_groups(features: Tensor, operands: Operands, shape: tuple[int, ...]) -> Tensor:
    return features.reshape(operands.groups, operands.planes, *features.shape[1:]).transpose(1, 2).reshape(shape)


def _each_roi(operands: Operands) -> Iterator[_Roi]:
    where = regions(operands)
    images = operands.input.to(_precision(operands.input)).unbind(0)
    nothing = where.start.new_zeros(operands.input.shape[1:])
    numbers = torch.cat([where.image.unsqueeze(1), where.grid], 1).tolist()
    for r, (number, *grid) in enumerate(numbers):
        image = int(number) if 0 <= number < len(images) else None
        reach = operands.gamma * where.size[r]
        offset = None if operands.offset is None else operands.offset[r].to(reach.dtype)
        rows, columns = (
            _points(_starts(operands, where.start[r], where.size[r], offset, axis), where.size[r], grid, operands, axis)
            for axis in range(2)
        )
        pixels = rows.line.unsqueeze(-1) * operands.input.shape[3] + columns.line.unsqueeze(-2)
        inside = rows.inside.unsqueeze(-1) & columns.inside.unsqueeze(-2)
        features = _split_groups(nothing if image is None else images[image], operands)
        index = pixels.flatten(1).unsqueeze(1)
        values = features.gather(2, index.expand(-1, features.shape[1], -1)).reshape(
            *features.shape[:2], *pixels.shape[1:]
        )
        values = torch.where(inside.unsqueeze(1), values, 0)
        factor = 1.0 if operands.mask is None else operands.mask[r].to(reach.dtype).reshape(features.shape[0], 1, -1)
        samples = _points_inside(rows, columns) if operands.authors else max(math.prod(grid), 1)
        yield _Roi(operands, image, reach, samples, rows, columns, index, values, factor)


def _points_inside(rows: _Points, columns: _Points) -> Tensor:
    """Return how many sampling points of each bin lie on the feature map or close to it, at least 1, as (M, 1, Q)."""
    along_y, along_x = (axis.inside.sum(-1) // 2 for axis in (rows, columns))  # each is there twice
    return (along_y * along_x).clamp(min=1).to(rows.weight.dtype).unsqueeze(1)


def _starts(operands: Operands, start: Tensor, size: Tensor, offset: Tensor | None, axis: int) -> Tensor:
    """Return where bins start along an axis, (M, Q)."""
    bins = operands.output_size[axis]
    along = torch.arange(bins, device=start.device, dtype=start.dtype) * (size[axis] / bins)
    starts = start[axis] + (along[:, None] if axis == 0 else along)
    shifts = starts.new_zeros(()) if offset is None else offset[axis::2] * (operands.gamma * size[axis])
    every = (starts + shifts).expand(operands.groups, *operands.output_size)
    return every.reshape(operands.groups * operands.planes, -1)


def _points(starts: Tensor, size: Tensor, grid: list[float], operands: Operands, axis: int) -> _Points:
    """Return the sampling points along an axis of bins that start here; those far outside the feature map are left out."""
    length, points = operands.input.shape[2 + axis], grid[axis]
    bin = size[axis] / operands.output_size[axis]
    position = starts.unsqueeze(-1) + (_near(starts, bin, points, length) + operands.first_point) * bin / points

    near = position.clamp(0, length - 1)  # whose gradient is 1 at both ends
    low = near.detach().floor()
    weight, inside = near - low, (position >= -operands.beyond) & (position <= length - 1 + operands.beyond)
    moves = torch.where(weight.isnan(), weight, (near == position).to(weight.dtype))
    lines = torch.stack([low, (low + 1).clamp(max=length - 1)], -1)
    insides = torch.stack([inside, inside], -1)
    kept = insides | weight.isnan().unsqueeze(-1)
    return _Points(
        line=torch.where(insides, lines, 0).long().flatten(2),
        inside=insides.flatten(2),
        weight=torch.where(kept, torch.stack([1 - weight, weight], -1), 0).flatten(2),
        slope=torch.where(kept, torch.stack([-moves, moves], -1), 0).flatten(2),
    )


def _near(starts: Tensor, bin: Tensor, points: float, length: int) -> Tensor:
    """Return the indices of a bin's points that may lie on the feature map, (M, Q, K): all, unless bins are larger than it."""
    step = float(bin) / points if points else 0.0
    count = min(points, (length + 1) // step + 4) if step > 0 else points
    first = ((-1 - starts.detach()) / step - 0.5).floor() - 1 if count < points else torch.zeros_like(starts)
    return first.clamp(0, points - count).unsqueeze(-1) + torch.arange(int(count), device=starts.device)
