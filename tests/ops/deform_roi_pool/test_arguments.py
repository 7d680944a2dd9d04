"""Where RoIs lie, worked out by hand."""

import math

import pytest
import torch

from dcnrun.ops.deform_roi_pool.arguments import regions
from tests.ops.deform_roi_pool.factories import make_problem, operands_of


def operands_with(rois, **settings):
    rois = torch.tensor(rois, dtype=torch.float64)
    return operands_of(make_problem(rois=len(rois), **settings) | {"rois": rois})


@pytest.mark.parametrize(
    ("aligned", "ratio", "start", "size", "grid"),
    [
        # x 4 to 20 and y 6 to 16 at half the scale: 3 x 2 bins of 5/3 x 4 pixels.
        (True, 0, [2.5, 1.5], [5, 8], [2, 4]),
        (False, 0, [3, 2], [5, 8], [2, 4]),
        (True, 3, [2.5, 1.5], [5, 8], [3, 3]),
    ],
)
def test_a_roi(aligned, ratio, start, size, grid):
    found = regions(operands_with([[1, 4, 6, 20, 16]], aligned=aligned, ratio=ratio))
    assert found.image.tolist() == [1]
    assert (found.start.tolist(), found.size.tolist(), found.grid.tolist()) == ([start], [size], [grid])


def test_odd_rois():
    """Inverted, empty, NaN and infinite ones."""
    rois = [[0, 4, 4, 2, 2], [0, 4, 4, 4, 4], [0, math.nan, 0, 4, 4], [0, 0, 0, math.inf, 4]]
    found = regions(operands_with(rois, scale=1.0))
    assert found.size[0].tolist() == [-2, -2]
    assert found.grid.tolist() == [[0, 0], [0, 0], [2, 1], [2, 1]]
    whole = regions(operands_with(rois[:2], scale=1.0, aligned=False))
    assert whole.size.tolist() == [[1, 1], [1, 1]]


def test_planes_groups_and_shape():
    plain = operands_of(make_problem(channels=6, groups=3, rois=5))
    assert (plain.bins, plain.planes, plain.groups, plain.output_shape) == (6, 1, 3, (5, 6, 3, 2))
    each = operands_of(make_problem(channels=6, groups=2, rois=5, position_sensitive=True))
    assert (each.planes, each.groups, each.output_shape) == (6, 2, (5, 6, 3, 2))
    assert operands_of(make_problem(shifted=False, masked=False)).groups == 1
    assert operands_of(make_problem(shifted=False, groups=2)).groups == 2
