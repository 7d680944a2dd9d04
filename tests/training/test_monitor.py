"""What is said of offsets while a network trains."""

import pytest
import torch

from dcnrun.models.conv import DeformConv2d
from dcnrun.training.monitor import OffsetMonitor


def watched(offset_groups: int, move: float) -> tuple[OffsetMonitor, dict[str, float]]:
    """A layer on a 6 x 6 map whose taps all move by `move` pixels to the right, after a measured step."""
    layer = torch.nn.Sequential(DeformConv2d(4, 4, 3, padding=1, offset_groups=offset_groups))
    monitor = OffsetMonitor(layer)
    monitor.measure = True
    with torch.no_grad():
        layer[0].offset_branch.bias[1::2] = move
    layer(torch.randn(2, 4, 6, 6))
    return monitor, monitor.values()


@pytest.mark.parametrize("offset_groups", [1, 2])
def test_taps_that_come_into_the_map_make_up_for_none_that_are_lost(offset_groups):
    """Moved by 4 px, taps that read columns 2 to 5 are lost, and one left of the map comes in.

    Of 18 pairs of an output and a tap along a row, the plain grid has 16 in the map: columns 0 and 5 are read twice, the others
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
    """Of the columns that 6 outputs read with 3 taps each, the share beyond the map."""
    columns = [output + tap - 1 + move for output in range(6) for tap in range(3)]
    return sum(not 0 <= column < 6 for column in columns) / len(columns)
