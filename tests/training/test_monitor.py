"""What is said of offsets while a network trains."""

import math

import pytest
import torch
from torch import nn

from dcnrun.config.compose import compose
from dcnrun.models.conv import DeformConv2d, ModulatedDeformConv2d
from dcnrun.models.roi_pool import DeformRoIPool, ModulatedDeformRoIPool
from dcnrun.training.monitor import OffsetMonitor, first_layer_not_finite, suggest_fixes

BOXES = [torch.tensor([[2.0, 2.0, 10.0, 6.0], [-30.0, 1.0, 10.0, 11.0]]), torch.tensor([[0.0, 0.0, 40.0, 60.0]])]
SHAPES = [(64, 64), (64, 64)]


def watched(offset_groups: int, move: float) -> tuple[OffsetMonitor, dict[str, float]]:
    """A layer on a 6 x 6 feature map whose sampling points all move by `move` pixels to the right, after a measured step."""
    layer = nn.Sequential(DeformConv2d(4, 4, 3, padding=1, offset_groups=offset_groups))
    monitor = OffsetMonitor(layer)
    monitor.measure = True
    with torch.no_grad():
        layer[0].offset_branch.bias[1::2] = move
    layer(torch.randn(2, 4, 6, 6))
    return monitor, monitor.values()


@pytest.mark.parametrize("offset_groups", [1, 2])
def test_points_that_come_into_the_feature_map_make_up_for_none_that_are_lost(offset_groups):
    """Moved by 4 px, points that read columns 2 to 5 are lost, and one left of the feature map comes in.

    Of 18 pairs of an output and a point along a row, the plain grid has 16 inside: columns 0 and 5 are read twice, the others
    three times. Of these 3 + 3 + 3 + 2 = 11 are lost.
    """
    monitor, values = watched(offset_groups, 4.0)
    assert values["train/offset_outside"] == pytest.approx(1 - (16 / 18) * (1 - outside_share(4)))
    assert monitor.runaway_layers() == {"0": pytest.approx(11 / 16)}
    assert monitor.runaway_layers() == {}, "said twice"


def test_a_tiny_move_loses_nothing():
    monitor, _ = watched(1, 0.001)
    assert monitor.runaway_layers() == {}


def outside_share(move: int) -> float:
    """Of the columns that 6 outputs read with 3 points each, the share beyond the feature map."""
    columns = [output + point - 1 + move for output in range(6) for point in range(3)]
    return sum(not 0 <= column < 6 for column in columns) / len(columns)


# RoI pooling.


class Pooling(nn.Module):
    """A RoI pooling under a name, over two feature maps of 16 and 8 pixels, with one sample per bin: its centre."""

    def __init__(self, kind: type[DeformRoIPool], bias: torch.Tensor | float) -> None:
        super().__init__()
        self.pool = kind(["fine", "coarse"], 2, 1, canonical_scale=32, channels=3, hidden=(), gamma=0.5)
        self.pool.offset_branch[-1].weight.data.normal_(std=0.02)
        self.pool.offset_branch[-1].bias.data[:8] = bias

    def forward(self, maps):
        return self.pool(maps, BOXES, SHAPES)


def feature_maps(make):
    return {"fine": make(2, 3, 16, 16), "coarse": make(2, 3, 8, 8)}


@pytest.mark.parametrize("kind", [DeformRoIPool, ModulatedDeformRoIPool])
def test_bins_outside_are_those_that_read_nothing(kind):
    """A map of ones pools to zero where the one sample of a bin is outside the feature map, and nowhere else."""
    torch.manual_seed(0)
    network = Pooling(kind, torch.randn(8))
    monitor = OffsetMonitor(network)
    monitor.measure = True
    read = network(feature_maps(torch.ones))[:, 0] > 0
    values = monitor.values()
    assert 0 < read.float().mean() < 1
    assert values["offset_outside/pool"] == pytest.approx(1 - float(read.float().mean()))
    assert values["train/roi_offset_outside"] == values["offset_outside/pool"]
    plain = network.requires_grad_(False).apply(forget)(feature_maps(torch.ones))[:, 0] > 0
    lost = float((plain & ~read).float().mean() / plain.float().mean())
    assert monitor.runaway_layers() == ({"pool": pytest.approx(lost)} if lost > 0.5 else {})


def forget(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        module.weight.zero_()
        module.bias.zero_()


def test_offsets_of_bins_are_in_pixels_of_the_regions_feature_map():
    """Offsets of 1 along x and none along y: half of each region's width, which is 8, 40 and 40 image pixels.

    Of 64 image pixels the feature maps have 16 and 8. By equation 1 of Lin et al. 2017, floor(4 + log2(sqrt(area) / 32)), the
    first region is of level 2 (the fine map) or below, the others of level 3 or above.
    """
    network = Pooling(DeformRoIPool, torch.tensor([0.0] * 4 + [1.0] * 4))
    network.pool.offset_branch[-1].weight.data.zero_()
    monitor = OffsetMonitor(network)
    monitor.measure = True
    network(feature_maps(torch.randn))
    along_x = [0.5 * 8 / 4, 0.5 * 40 / 8, 0.5 * 40 / 8]
    assert monitor.values()["train/roi_offset_abs"] == pytest.approx(sum(along_x) / 3 / 2)


def test_runaway_bins_are_said_once():
    network = Pooling(DeformRoIPool, 100.0)
    monitor = OffsetMonitor(network)
    monitor.measure = True
    for _ in range(2):
        network(feature_maps(torch.randn))
        assert monitor.values()["offset_outside/pool"] == 1
    assert monitor.runaway_layers() == {"pool": 1.0}
    assert monitor.runaway_layers() == {}


def test_means_are_of_convolutions_and_of_roi_pooling_apart():
    class Both(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = DeformConv2d(3, 3, 1), ModulatedDeformConv2d(3, 3, 1)
            self.regions = Pooling(DeformRoIPool, 1.0)

        def forward(self, maps):
            return self.regions({name: self.second(self.first(map)) for name, map in maps.items()})

    network = Both()
    with torch.no_grad():
        network.first.offset_branch.bias += 0.25
    monitor = OffsetMonitor(network)
    monitor.measure = True
    network(feature_maps(torch.randn))
    values = monitor.values()
    assert values["train/offset_abs"] == pytest.approx((0.25 + 0) / 2)
    assert values["train/roi_offset_abs"] == values["offset_abs/regions.pool"] > 0


# Not finite.


@pytest.mark.parametrize("name", ["conv", "pool"])
def test_the_first_layer_whose_offsets_are_not_finite(name):
    network = nn.ModuleDict({"conv": DeformConv2d(3, 3, 1), "pool": Pooling(DeformRoIPool, 0.0).pool})
    monitor = OffsetMonitor(network)

    def forward():
        return network["pool"]({n: network["conv"](map) for n, map in feature_maps(torch.ones).items()}, BOXES, SHAPES)

    forward()
    assert monitor.first_not_finite() is None
    with torch.no_grad():
        *_, last = network[name].offset_branch.parameters()
        last[1] = math.inf
    forward()
    assert monitor.first_not_finite() == name
    assert monitor.with_branch(first_layer_not_finite(network, forward)) == name
    monitor.close()


def test_no_branch_is_found_where_only_its_input_is_not_finite():
    network = nn.Sequential(nn.Conv2d(3, 3, 1), DeformConv2d(3, 3, 1))
    network[0].weight.data[0] = math.nan
    monitor = OffsetMonitor(network)
    network(torch.ones(1, 3, 4, 4))
    assert monitor.first_not_finite() == "1"
    first = first_layer_not_finite(network, lambda: network(torch.ones(1, 3, 4, 4)))
    assert first == "0"
    assert monitor.with_branch(first) is None
    assert monitor.with_branch("1.offset_branch") == "1"
    assert OffsetMonitor(network[1]).with_branch("offset_branch") == ""


def test_advice_names_the_multiplier_of_the_layer():
    config = compose(["conv=deformable", "model=faster_rcnn", "data=treecrowns", "model.roi_pool=deformable"])
    conv, pool = DeformConv2d(3, 3, 1), Pooling(DeformRoIPool, 0.0).pool
    assert "a lower optim.offset_lr_mult (now 1), or a lower optim.lr" in suggest_fixes(config, conv)
    assert "a lower optim.roi_offset_lr_mult (now 0.01), or a lower optim.lr" in suggest_fixes(config, pool)
    config.optim.roi_offset_lr_mult = 0.5
    assert "a lower optim.roi_offset_lr_mult (now 0.5)" in suggest_fixes(config, pool)
    assert "offset_lr_mult" not in suggest_fixes(config)


def test_measuring_changes_nothing():
    torch.manual_seed(0)
    network, maps = Pooling(ModulatedDeformRoIPool, torch.randn(8)), feature_maps(torch.randn)

    def gradients():
        network.zero_grad()
        network(maps).square().sum().backward()
        return [parameter.grad.clone() for parameter in network.parameters()]

    alone = gradients()
    monitor = OffsetMonitor(network)
    monitor.measure = True
    assert all(torch.equal(a, b) for a, b in zip(alone, gradients(), strict=True))
    assert len(monitor.values()) == 4


def test_a_step_without_a_region_to_pool_measures_nothing_there():
    """As where no image has an object, whose mask would be learnt."""
    network, maps = Pooling(DeformRoIPool, 0.5), feature_maps(torch.ones)
    monitor = OffsetMonitor(network)
    monitor.measure = True
    network(maps)
    assert monitor.values()["train/roi_offset_abs"] > 0
    network.pool(maps, [torch.zeros(0, 4)], [(64, 64)])
    assert monitor.values() == {}
    assert monitor.runaway_layers() == {}
    assert monitor.first_not_finite() is None
