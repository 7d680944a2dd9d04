"""The problems meet what they are meant to meet."""

from functools import partial

import torch

from dcnrun.ops.deform_conv2d.proof import problems, timed
from dcnrun.ops.deform_conv2d.reference import outside, sampling_points
from dcnrun.ops.proof.verdict import EVERY_WORK
from tests.ops.conformance import SamplingProblemsSuite, named_problem


def places(problem):
    operands = problem.operands
    return sampling_points(operands.offset, tuple(operands.weight.shape[2:]), *operands.settings)


named = partial(named_problem, problems)


class TestSamplingProblems(SamplingProblemsSuite):
    problems = staticmethod(problems)
    places = staticmethod(places)


def test_far_outside_there_is_nothing():
    problem = named("far outside")
    assert outside(*places(problem), tuple(problem.operands.input.shape[2:])).all()


def test_every_path_is_met():
    every = problems(0)
    assert {(problem.operands.mask is None) for problem in every} == {True, False}
    assert {problem.operands.groups > 1 for problem in every} == {True, False}
    assert any(problem.operands.groups > 1 < problem.operands.offset_groups for problem in every)
    assert {tuple(problem.operands.weight.shape[2:]) for problem in every} == {(3, 3), (5, 4), (1, 1)}
    assert any(problem.operands.input.shape[1] // problem.operands.offset_groups % 4 for problem in every)
    assert {problem.wanted for problem in every} == {None, ("weight",), ("input",), ("offset",)}
    # torchvision is not asked where its operator is not defined.
    assert [p.name for p in every if not p.peer] == ["far outside", "no numbers"]
    assert [p.name for p in every if not p.operands.offset.isfinite().all()] == ["no numbers"]


def test_operands_lie_in_memory_as_layers_have_them():
    operands = named("other layouts").operands
    assert operands.input.is_contiguous(memory_format=torch.channels_last)
    assert not operands.offset.is_contiguous()
    assert not operands.mask.is_contiguous()
    assert not named("other layouts").grad_output.is_contiguous()


def test_what_is_timed_is_of_its_class():
    for work in EVERY_WORK[:4]:
        operands = timed(work).operands
        n, _, height, width = operands.offset.shape
        assert (operands.input.shape[1], n * height * width) == (work.channels, work.pixels)
