"""The definition in plain PyTorch: against torchvision, and its written-out backward against autograd."""

import pytest
import torch
import torchvision.ops
from hypothesis import given

from dcnrun.ops.deform_conv2d.arguments import Operands
from dcnrun.ops.deform_conv2d.reference import (
    deform_conv2d_backward_reference,
    deform_conv2d_reference,
    sampling_points,
)
from tests.ops.conformance import assert_close
from tests.ops.deform_conv2d.factories import make_problem, problems, results
from tests.ops.factories import examples, random_like

SMALL = [1, 2, 3, 5]
SETTINGS = ("stride", "padding", "dilation")


@examples(40)
@given(problem=problems(channels=SMALL))
def test_equals_torchvision(problem):
    assert_close(results(problem, deform_conv2d_reference), results(problem, torchvision.ops.deform_conv2d), 1e-10)


def written_out(problem, grad_output):
    return deform_conv2d_backward_reference(grad_output, Operands(**problem))


@examples(40)
@given(problem=problems(channels=SMALL))
def test_the_backward_written_out_equals_autograd(problem):
    grad_output = random_like(deform_conv2d_reference(**problem))
    got = dict(zip(("input", "offset", "weight", "mask"), written_out(problem, grad_output), strict=True))
    assert (got["mask"] is None) == (problem["mask"] is None)
    wanted = results(problem, deform_conv2d_reference, grad_output)
    assert_close(got, wanted, 1e-10, [name for name in got if got[name] is not None])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_the_backward_written_out_has_the_operands_dtypes(dtype):
    problem = make_problem(dtype=dtype)
    problem["offset"] = problem["offset"].float()
    grads = written_out(problem, random_like(deform_conv2d_reference(**problem)))
    assert [grad.dtype for grad in grads] == [dtype, torch.float32, dtype, dtype]


@pytest.mark.parametrize("masked", [True, False])
def test_differentiable_twice(masked):
    problem = away_from_integer_positions(masked)
    names = [name for name in ("input", "offset", "weight", "bias", "mask") if problem[name] is not None]
    leaves = [problem[name].requires_grad_() for name in names]

    def convolution(*leaves):
        return deform_conv2d_reference(**problem | dict(zip(names, leaves, strict=True)))

    assert torch.autograd.gradcheck(convolution, leaves)
    assert torch.autograd.gradgradcheck(convolution, leaves)


def away_from_integer_positions(masked):
    """A small problem without samples near the kinks of the bilinear kernel."""
    problem = make_problem(1, 2, 2, (3, 3), (2, 2), padding=(0, 0), masked=masked)
    problem["offset"] = problem["offset"].sigmoid() * 0.6 + 0.2
    return problem


def test_sampling_points_of_a_case_worked_out_by_hand():
    offset = torch.zeros(1, 2 * 2 * 3, 2, 1)
    offset[0, 2 * 4 + 0, 1, 0] = 0.25  # y of point 4 (second row, second column) at output row 1
    offset[0, 2 * 4 + 1, 1, 0] = -3.5
    y, x = sampling_points(offset, (2, 3), stride=(2, 1), padding=(1, 0), dilation=(3, 2))
    assert y.shape == x.shape == (1, 6, 2, 1)
    assert y[0, :, 0, 0].tolist() == [-1, -1, -1, 2, 2, 2]
    assert y[0, :, 1, 0].tolist() == [1, 1, 1, 4, 4.25, 4]
    assert x[0, :, 1, 0].tolist() == [0, 2, 4, 0, -1.5, 4]
