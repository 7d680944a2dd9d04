"""Layers with offsets that a test knows, without a network."""

import torch

from dcnrun.offsets.grid import Grid
from dcnrun.offsets.layers import Layer
from dcnrun.offsets.statistics.health import HealthStatistics

SHAPE = (1, 9, 2, 6, 7)


def hand_made(
    offset=None,
    *,
    kernel_size=(3, 3),
    stride=(1, 1),
    padding=(1, 1),
    dilation=(1, 1),
    input_size=(6, 7),
    offset_groups=1,
    mask=None,
    name="conv",
    grid=None,
):
    """A layer on the image itself, or on a map with `grid`; without offsets unless they are given."""
    output_size = tuple(
        (n + 2 * p - d * (k - 1) - 1) // s + 1
        for n, k, s, p, d in zip(input_size, kernel_size, stride, padding, dilation, strict=True)
    )
    num_points = kernel_size[0] * kernel_size[1]
    if offset is None:
        offset = torch.zeros(offset_groups, num_points, 2, *output_size)
    assert offset.shape == (offset_groups, num_points, 2, *output_size)
    input_grid = grid or Grid()
    return Layer(
        name=name,
        kernel_size=kernel_size,
        stride=stride,
        padding=padding,
        dilation=dilation,
        groups=1,
        offset_groups=offset_groups,
        input_size=input_size,
        output_size=output_size,
        offset=offset,
        mask=mask,
        point_weight=torch.ones(offset_groups, num_points),
        deformable=True,
        input_grid=input_grid,
        output_grid=input_grid.windows(kernel_size, stride, padding, dilation),
        source=None,
    )


def noise(*shape, scale=1.0, seed=0):
    return scale * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def health(*layers):
    statistics = HealthStatistics(layers[0])
    for layer in layers:
        statistics.add(layer)
    return statistics.result()


def moved(point, y, x=0.0, scale=0.5):
    """Noise, but one point that goes far."""
    offset = noise(*SHAPE, scale=scale)
    offset[0, point, 0] += y
    offset[0, point, 1] += x
    return offset


def masked(mask):
    return hand_made(noise(*SHAPE), mask=mask)


def between(low, high):
    """Masks that go from one to the other over the map, in every point."""
    return torch.linspace(low, high, 42 * 9).reshape(6, 7, 9).permute(2, 0, 1)[None].contiguous()
