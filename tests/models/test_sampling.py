"""The sampling points of layers, against what the layers read; what lies outside a feature map."""

import math

import pytest
import torch
from torch import nn

from dcnrun.models.conv import DeformConv2d, ModulatedDeformConv2d
from dcnrun.models.roi_pool import DeformRoIPool, ModulatedDeformRoIPool
from dcnrun.models.sampling import outside, sampling_layers

INF, NAN = math.inf, math.nan


@pytest.mark.parametrize(
    ("y", "x", "is_outside"),
    [
        (0, 0, False),
        (4, 6, False),
        (-0.999, 6.999, False),
        (4.999, -0.999, False),
        (-1, 3, True),
        (5, 3, True),
        (2, -1, True),
        (2, 7, True),
        (INF, 3, True),
        (2, -INF, True),
        (NAN, 3, True),
        (2, NAN, True),
        (NAN, NAN, True),
    ],
)
def test_outside_a_feature_map_of_5_by_7(y, x, is_outside):
    y, x = torch.tensor([y], dtype=torch.float64), torch.tensor([x], dtype=torch.float64)
    assert outside(y, x, (5, 7)).tolist() == [is_outside]
    if y.isfinite() and x.isfinite():  # grid_sample, with positions scaled to -1 to 1, on a map of ones
        grid = torch.stack([(2 * x + 1) / 7 - 1, (2 * y + 1) / 5 - 1], -1)[None, None]
        read = nn.functional.grid_sample(torch.ones(1, 1, 5, 7, dtype=torch.float64), grid, align_corners=False)
        assert bool(read > 1e-9) != is_outside


def test_sizes_may_differ_from_point_to_point():
    sizes = torch.tensor([3, 9, 3]), torch.tensor([9, 9, 4])
    assert outside(torch.full((3,), 3.0), torch.full((3,), 4.0), sizes).tolist() == [True, False, True]


def ramps(height: int, width: int) -> torch.Tensor:
    """A feature map (2, H, W) that holds its own rows and columns: what is read tells where."""
    rows, columns = torch.arange(float(height)), torch.arange(float(width))
    return torch.stack(torch.meshgrid(rows, columns, indexing="ij"))


@pytest.mark.parametrize("kind", [DeformConv2d, ModulatedDeformConv2d])
def test_a_convolution_reads_at_its_sampling_points(kind):
    """One weight of 1 at a time; points within the feature map, where bilinear samples of ramps are exact."""
    torch.manual_seed(0)
    layer = kind(2, 2, (2, 3), stride=(2, 1), padding=(1, 2), dilation=(3, 2), bias=False)
    nn.init.normal_(layer.offset_branch.weight, std=0.03)
    nn.init.normal_(layer.offset_branch.bias)
    x = ramps(12, 13)[None]
    points = layer.sampling(x)
    within = (points.y > 0) & (points.y < 11) & (points.x > 0) & (points.x < 12)
    assert 0.3 < within.float().mean() < 1
    mask = torch.ones_like(points.y) if points.mask is None else points.mask
    for point in range(6):
        layer.weight.data.zero_()
        for channel in range(2):
            layer.weight.data[channel, channel].view(-1)[point] = 1
        read = layer(x)[0] / mask[0, point]
        kept = within[0, point]
        torch.testing.assert_close(read[:, kept], torch.stack([points.y, points.x])[:, 0, point][:, kept])
    given = layer.sampling(x, branch=layer.offset_branch(x))
    assert torch.equal(given.y, points.y)
    torch.testing.assert_close(points.y - points.plain_y, points.offset[:, 0::2])
    torch.testing.assert_close(points.x - points.plain_x, points.offset[:, 1::2])


@pytest.mark.parametrize("kind", [DeformRoIPool, ModulatedDeformRoIPool])
@pytest.mark.parametrize("aligned", [False, True])
def test_roi_pooling_reads_at_the_centres_of_bins(kind, aligned):
    """With one sample per bin, over a pyramid of ramps; each region on its own level."""
    torch.manual_seed(0)
    pool = kind(["a", "b"], (2, 3), 1, canonical_scale=128, channels=2, hidden=(), gamma=0.2, aligned=aligned)
    nn.init.normal_(pool.offset_branch[-1].bias)
    maps = {"a": ramps(32, 24)[None].expand(2, -1, -1, -1), "b": ramps(16, 12)[None].expand(2, -1, -1, -1)}
    boxes = [
        torch.tensor([[20.0, 30.0, 40.0, 50.0], [20.0, 10.0, 80.0, 100.0]]),
        torch.tensor([[9.0, 60.0, 30.0, 70.0]]),
    ]
    arguments = maps, boxes, [(128, 96)] * 2
    read = pool(*arguments)
    points = pool.sampling(*arguments)
    mask = torch.ones(3, 1, 2, 3) if points.mask is None else points.mask
    assert pool.regions(boxes).level.tolist() == [0, 1, 0]
    torch.testing.assert_close(read / mask, torch.stack([points.y, points.x], 1))
    torch.testing.assert_close(torch.stack([points.y - points.plain_y, points.x - points.plain_x], 1), points.offset)
    assert [size.flatten().tolist() for size in points.size] == [[32, 16, 32], [24, 12, 24]]


def test_layers_are_found_by_name():
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Sequential(DeformConv2d(4, 4, 3), ModulatedDeformConv2d(4, 4, 1)))
    assert list(sampling_layers(network)) == ["1.0", "1.1"]
    assert list(sampling_layers(network[1][0])) == [""]
