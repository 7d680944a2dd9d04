"""The problems meet what they are meant to meet."""

from functools import partial

import torch

from dcnrun.ops.deform_conv2d.reference import sampling_points
from dcnrun.ops.deform_sample2d.proof import problems
from tests.ops.conformance import SamplingProblemsSuite, named_problem


def places(problem):
    return sampling_points(problem.operands.offset, *problem.operands.grid)


named = partial(named_problem, problems)


class TestSamplingProblems(SamplingProblemsSuite):
    problems = staticmethod(problems)
    places = staticmethod(places)


def test_a_softmax_whose_factors_are_exact():
    operands = named("softmax of equal logits").operands
    factors = operands.mask.unflatten(1, (operands.groups, 8)).softmax(2)
    assert set(factors.unique().tolist()) == {0, 0.25}
    assert torch.equal(factors.sum(2), torch.ones_like(factors[:, :, 0]))


def test_a_softmax_whose_roundings_are_counted():
    problem = named("softmax")
    assert problem.roundings == 110
    assert problem.operands.softmax
    factors = problem.operands.mask.unflatten(1, (problem.operands.groups, 9)).softmax(2)
    assert len(factors.unique()) > 100


def test_every_path_is_met():
    every = [problem.operands for problem in problems(0)]
    assert {operands.mask is None for operands in every} == {True, False}
    assert {operands.remove_center for operands in every} == {True, False}
    assert {operands.offset_scale for operands in every} == {1, 2}
    assert {operands.groups for operands in every} >= {1, 2, 4, 5, 6}
    assert any(operands.input.shape[1] // operands.groups % 8 for operands in every)
    assert not any(problem.peer for problem in problems(0))
