"""The problems meet what they are meant to meet."""

from functools import partial

import torch

from dcnrun.ops.deform_roi_pool.arguments import regions
from dcnrun.ops.deform_roi_pool.proof import problems, timed
from dcnrun.ops.proof.verdict import EVERY_WORK
from tests.ops.conformance import named_problem

named = partial(named_problem, problems)


def test_corners_and_means_are_exact():
    """On multiples of 1/32, and over as many points as a power of two."""
    for problem in problems(0):
        where = regions(problem.operands)
        for values in (where.start, where.size):
            finite = values[values.isfinite()]
            assert torch.equal(finite * 32, (finite * 32).round())
        points = where.grid.prod(1)
        assert torch.equal(points[points > 0].log2(), points[points > 0].log2().round())


def test_rois_that_nobody_wants():
    where = regions(named("inverted, empty, outside and far too large").operands)
    assert (where.size[:2] < 0).all()
    assert (where.size[2:4, 1] == 0).all()
    assert (where.start[4:6] > 100).all()
    assert (where.size[6:] > 400).all()
    images = named("images that are not there").operands.rois[:, 0]
    assert not (((images >= 0) & (images < 2))[::2]).any()
    assert not named("no numbers").operands.rois.isfinite().all()


def test_every_path_is_met():
    every = [problem.operands for problem in problems(0)]
    assert {operands.position_sensitive for operands in every} == {True, False}
    assert {operands.aligned for operands in every} == {True, False}
    assert {operands.sampling_ratio for operands in every} == {0, 2, 4, 16}
    assert {operands.offset is None for operands in every} == {True, False}
    assert {operands.mask is None for operands in every} == {True, False}
    # torchvision is asked for what it computes too.
    assert [problem.name for problem in problems(0) if problem.peer] == ["7x7 without offsets"]


def test_what_is_timed_is_of_its_class():
    for work in EVERY_WORK:
        problem = timed(work)
        operands = problem.operands
        assert (operands.input.shape[1], len(operands.rois) * operands.bins) == (work.channels, work.pixels)
        assert problem.peer
