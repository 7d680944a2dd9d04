"""What follows from a sampling's arguments."""

import pytest
import torch

from dcnrun.ops.deform_conv2d.reference import sampling_points
from dcnrun.ops.deform_sample2d.arguments import Operands
from tests.ops.deform_sample2d.factories import make_problem


@pytest.mark.parametrize(("remove_center", "points"), [(False, 15), (True, 14)])
def test_points_groups_and_shape(remove_center, points):
    settings = {"kernel": (3, 5), "stride": (2, 1), "padding": (0, 2), "dilation": (1, 3), "size": (9, 11)}
    operands = Operands(**make_problem(channels=6, groups=3, remove_center=remove_center, **settings))
    assert (operands.points, operands.groups) == (points, 3)
    plain = torch.nn.functional.conv2d(operands.input, torch.zeros(6, 6, 3, 5).double(), None, (2, 1), (0, 2), (1, 3))
    assert operands.output_shape == plain.shape


def test_the_grid_is_what_sampling_points_take():
    operands = Operands(**make_problem(size=(3, 3), groups=1, offset_scale=2.0, remove_center=True))
    y, x = sampling_points(torch.zeros_like(operands.offset), *operands.grid)
    assert y[0, :, 1, 1].tolist() == [-1, -1, -1, 1, 1, 3, 3, 3]
    assert x[0, :, 1, 1].tolist() == [-1, 1, 3, -1, 3, -1, 1, 3]


def test_settings_are_all_but_the_tensors():
    problem = make_problem(softmax=True)
    operands = Operands(**problem)
    assert operands.settings == tuple(problem.values())[3:]
