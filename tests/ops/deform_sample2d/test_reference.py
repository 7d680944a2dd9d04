"""The definition in plain PyTorch: against torchvision, and its written-out backward against autograd."""

import pytest
import torch
import torchvision.ops
from hypothesis import given

from dcnrun.ops.deform_sample2d.arguments import Operands
from dcnrun.ops.deform_sample2d.reference import deform_sample2d_backward_reference, deform_sample2d_reference
from tests.ops.conformance import assert_close
from tests.ops.deform_sample2d.factories import as_convolution, make_problem, problems, results
from tests.ops.factories import examples, random_like

SMALL = [1, 2, 3, 5]


def defined(**problem):
    return deform_sample2d_reference(Operands(**problem))


@examples(15)
@given(problem=problems(channels=SMALL))
def test_equals_torchvisions_convolution_with_weights_of_one(problem):
    assert_close(results(problem, defined), results(problem, as_convolution(torchvision.ops.deform_conv2d)), 1e-10)


@examples(15)
@given(problem=problems(channels=SMALL))
def test_the_backward_written_out_equals_autograd(problem):
    grad_output = random_like(defined(**problem))
    grads = deform_sample2d_backward_reference(grad_output, Operands(**problem))
    got = dict(zip(("input", "offset", "mask"), grads, strict=True))
    assert (got["mask"] is None) == (problem["mask"] is None)
    wanted = results(problem, defined, grad_output)
    assert_close(got, wanted, 1e-10, [name for name in got if got[name] is not None])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_backward_written_out_has_the_operands_dtypes(dtype):
    problem = make_problem(dtype=dtype, softmax=True)
    problem["offset"] = problem["offset"].float()
    operands = Operands(**problem)
    output = deform_sample2d_reference(operands)
    grads = deform_sample2d_backward_reference(random_like(output), operands)
    assert output.dtype == dtype
    assert [grad.dtype for grad in grads] == [dtype, torch.float32, dtype]
