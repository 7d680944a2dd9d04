"""Sampling points of an output location, through one layer or a chain of them; exact, without rounding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import torch
from torch import Tensor

from dcnrun.errors import UsageError
from dcnrun.models.sampling import outside
from dcnrun.offsets.grid import Grid
from dcnrun.offsets.layers import Capture, Layer
from dcnrun.ops.deform_conv2d.reference import sampling_points

LIMIT = 9**3
"""The most points that are kept of a chain: all those of three 3x3 layers with one offset group."""


@dataclass(frozen=True)
class Points:
    """The sampling points of one output location: one for each path of sampling points through the layers of a chain."""

    y: Tensor
    """(P,) float64, in pixels of the input feature map of the chain's first layer."""
    x: Tensor
    """(P,) float64, likewise."""
    strength: Tensor
    """(P,): the product of |mask| x point_weight along the path; sums to 1."""
    group: Tensor
    """(P, n): the offset group at each layer, from the last (the output's) to the first."""
    path: Tensor
    """(P, n): the index of the sampling point in the kernel at each layer, in the same order."""
    inside: Tensor
    """(P,): False where the point, or one on its path, reads only padding."""
    grid: Grid
    """The feature map in the image."""

    def in_image(self) -> Tensor:
        """Return the positions (P, 2), y and x, in the image."""
        return self.grid.to_image(torch.stack([self.y, self.x], -1))

    def __len__(self) -> int:
        return len(self.y)


def layer_points(layer: Layer, y: int, x: int) -> tuple[Tensor, Tensor]:
    """Return the positions y and x, (offset_groups, K), that a layer reads for its output pixel (y, x), in input pixels."""
    _check_location(layer, y, x)
    every_y, every_x = points_everywhere(layer)
    return every_y[:, :, y, x], every_x[:, :, y, x]


def points_everywhere(layer: Layer) -> tuple[Tensor, Tensor]:
    """Return the positions y and x, (offset_groups, K, Ho, Wo), that a layer reads for each output pixel, in input pixels."""
    offset = layer.offset.flatten(0, 2)[None]
    return sampling_points(offset, layer.kernel_size, layer.stride, layer.padding, layer.dilation)


def chain_to(capture: Capture, name: str, length: int) -> tuple[Layer, ...]:
    """Return the chain of layers that ends in `name`: each computes the next one's input feature map.

    It has `length` layers, or fewer if no captured layer comes before. `Layer.source` says what happens where paths join.
    """
    if length < 1:
        raise ValueError(f"length={length} must be at least 1")
    chain = [capture.layer(name)]
    while len(chain) < length and (source := chain[0].source) is not None:
        chain.insert(0, capture.layer(source))
    return tuple(chain)


def compose(chain: Sequence[Layer], y: float, x: float, limit: int | None = LIMIT) -> Points:
    """Return the points that output location (y, x) of the chain's last layer reads on the input feature map of its first.

    Each layer turns a point into offset_groups x K points. A point between pixels takes the offsets and masks of the layer
    below by bilinear interpolation; one outside the feature map takes those of the nearest pixel. If there are more than
    `limit` paths, each layer keeps the strongest so far, and those that read only padding last; None keeps all.

    A point is the centre of what the network reads along its path: the centroid of the gradient of the output with respect
    to the feature map along that path. This is exact for one layer and for two, whatever their offsets. Masks that vary
    from pixel to pixel, and in longer chains offsets that do, make it approximate unless points on the way fall on pixels.
    Each group of a layer is assumed to read the output of all groups of the layer below, which holds unless weights are
    grouped.

    Raises:
        UsageError: no layers, layers that do not follow each other, or a location outside the output.
    """
    if not chain:
        raise UsageError("A chain must have at least one layer.")
    for below, above in pairwise(chain):
        if above.source != below.name:
            computed_by = above.source or "no captured layer"
            raise UsageError(
                f"{above.name} can't follow {below.name}: its input feature map is computed by {computed_by}."
            )
    last = chain[-1]
    _check_location(last, y, x)
    points = Points(
        y=torch.tensor([y], dtype=torch.float64),
        x=torch.tensor([x], dtype=torch.float64),
        strength=torch.ones(1, dtype=torch.float64),
        group=torch.empty(1, 0, dtype=torch.long),
        path=torch.empty(1, 0, dtype=torch.long),
        inside=torch.ones(1, dtype=torch.bool),
        grid=last.output_grid,
    )
    for layer in reversed(chain):
        points = _strongest(_through(layer, _on_output(layer, points)), limit)
    total = points.strength.sum()
    return replace(points, strength=points.strength / total if total > 0 else points.strength)


def _on_output(layer: Layer, points: Points) -> Points:
    """Convert points on another layer's input to points on this layer's output: the two differ by padding or cropping."""
    y, x = points.y, points.x
    if points.grid != layer.output_grid:
        y, x = layer.output_grid.to_map(points.in_image()).unbind(-1)
    inside = points.inside & ~outside(y, x, layer.output_size)
    return replace(points, y=y, x=x, inside=inside, grid=layer.output_grid)


def _through(layer: Layer, points: Points) -> Points:
    """Map points on a layer's output to all points that the layer reads for them."""
    groups, count = layer.offset_groups, layer.num_points
    offset_y, offset_x = (_interpolate(layer.offset[:, :, axis], points) for axis in (0, 1))  # (P, G, K)
    index = torch.arange(count)
    y = points.y[:, None, None] * layer.stride[0] - layer.padding[0] + index // layer.kernel_size[1] * layer.dilation[0]
    x = points.x[:, None, None] * layer.stride[1] - layer.padding[1] + index % layer.kernel_size[1] * layer.dilation[1]
    y, x = y + offset_y, x + offset_x
    strength = points.strength[:, None, None] * layer.point_weight
    if layer.mask is not None:
        strength = strength * _interpolate(layer.mask, points).abs()

    def for_each(column: Tensor, new: Tensor) -> Tensor:
        """Append this layer's column to those (P, n) of the path so far."""
        so_far = column[:, None, None].expand(-1, groups, count, -1)
        return torch.cat([so_far, new.expand(len(column), groups, count)[..., None]], -1).flatten(0, 2)

    return Points(
        y=y.flatten(),
        x=x.flatten(),
        strength=strength.flatten(),
        group=for_each(points.group, torch.arange(groups)[:, None]),
        path=for_each(points.path, index),
        inside=(points.inside[:, None, None] & ~outside(y, x, layer.input_size)).flatten(),
        grid=layer.input_grid,
    )


def _interpolate(values: Tensor, points: Points) -> Tensor:
    """Interpolate values (G, K, H, W) at P points, those outside at the nearest pixel: (P, G, K) float64."""
    height, width = values.shape[-2:]
    y = points.y.nan_to_num().clamp(0, height - 1)
    x = points.x.nan_to_num().clamp(0, width - 1)
    top, left = y.floor().long(), x.floor().long()
    bottom, right = (top + 1).clamp(max=height - 1), (left + 1).clamp(max=width - 1)
    below, beside = y - top, x - left
    upper = values[..., top, left] * (1 - beside) + values[..., top, right] * beside
    lower = values[..., bottom, left] * (1 - beside) + values[..., bottom, right] * beside
    return (upper * (1 - below) + lower * below).movedim(-1, 0)


def _strongest(points: Points, limit: int | None) -> Points:
    if limit is None or len(points) <= limit:
        return points
    # Where offsets run away most paths read only padding, and would crowd out those that read the feature map.
    rank = torch.where(points.inside, points.strength, points.strength - points.strength.max())
    kept = rank.topk(limit).indices.sort().values
    columns = {name: getattr(points, name)[kept] for name in ("y", "x", "strength", "group", "path", "inside")}
    return replace(points, **columns)


def _check_location(layer: Layer, y: float, x: float) -> None:
    height, width = layer.output_size
    if not (0 <= y <= height - 1 and 0 <= x <= width - 1):
        raise UsageError(f"({y:g}, {x:g}) is outside the output of {layer.name}, which is {height} x {width} pixels.")
