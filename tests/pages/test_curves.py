"""Curves with fewer points."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dcnrun.pages.curves import averaged, columns, mean_curve, thinned

values = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=120)


@given(values, st.integers(4, 40))
def test_a_thinned_curve_keeps_ends_and_extremes(numbers, most):
    curve = list(enumerate(numbers))
    kept = thinned(curve, most)
    assert len(kept) <= most or kept == tuple(curve)
    assert set(kept) <= set(curve)
    assert list(kept) == sorted(kept)
    assert (kept[0], kept[-1]) == (curve[0], curve[-1])
    assert {min(v for _, v in kept), max(v for _, v in kept)} == {min(numbers), max(numbers)}


@given(values, st.integers(1, 40))
def test_an_averaged_curve_has_the_means_of_its_stretches(numbers, most):
    curve = list(enumerate(numbers))
    kept = averaged(curve, most)
    assert len(kept) == min(most, len(curve))
    ends = [-1, *(step for step, _ in kept)]
    for before, (step, value) in zip(ends, kept, strict=False):
        assert value == pytest.approx(np.mean(numbers[before + 1 : step + 1]), abs=1e-6)


def test_the_mean_is_at_the_steps_that_all_have():
    assert mean_curve([[(10, 1.0), (20, 3.0), (30, 5.0)], [(20, 5.0), (30, 6.0)]]) == ((20, 4.0), (30, 5.5))
    assert mean_curve([]) == ()


def test_columns_hold_finite_numbers_of_a_few_digits():
    curve = [(1, 0.123456), (2, math.nan), (3, math.inf), (4, 0.5)]
    assert columns(curve, 100) == [[1, 4], [12.35, 50.0]]
