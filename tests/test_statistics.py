"""The bootstrap against the distribution that theory gives."""

import numpy as np
import pytest
from scipy import stats

from dcnrun.statistics import LEVEL, Interval, affordable_resamples, bootstrap


def mean_of(values):
    return lambda counts: counts @ values / counts.sum(axis=1)


def test_the_interval_of_a_mean_is_that_of_the_normal_distribution():
    values = np.random.default_rng(0).normal(5.0, 2.0, 400)
    found = bootstrap(mean_of(values), [400], 4000, 500)
    half = stats.norm.ppf((1 + LEVEL) / 2) * values.std() / np.sqrt(len(values))
    assert (found.low, found.high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.02)


def test_samples_are_drawn_independently():
    """The variances of two means add up in their difference."""
    first, second = np.random.default_rng(1).normal(0.0, 1.0, (2, 300))

    def difference(counts, other_counts):
        return mean_of(first)(counts) - mean_of(second)(other_counts)

    found = bootstrap(difference, [300, 300], 4000, 500)
    half = stats.norm.ppf((1 + LEVEL) / 2) * np.sqrt((first.var() + second.var()) / 300)
    assert found.high - found.low == pytest.approx(2 * half, rel=0.06)


def test_chunks_have_the_wanted_sizes_and_the_interval_is_always_the_same():
    sizes = []

    def statistic(counts):
        sizes.append(counts.shape)
        assert (counts.sum(axis=1) == 7).all()
        return counts[:, 0].astype(float)

    first = bootstrap(statistic, [7], 25, 10)
    assert sizes == [(10, 7), (10, 7), (5, 7)]
    assert bootstrap(statistic, [7], 25, 10) == first


def test_resamples_without_a_value_are_left_out():
    def statistic(counts):
        return np.where(counts[:, 0] > 0, 3.0, np.nan)

    assert bootstrap(statistic, [4], 200, 50) == Interval(3.0, 3.0)


@pytest.mark.parametrize(
    ("interval", "excludes"), [((0.1, 0.2), True), ((-2, -1), True), ((-1, 1), False), ((0, 1), False)]
)
def test_whether_an_interval_excludes_zero(interval, excludes):
    assert Interval(*interval).excludes_zero is excludes


def test_resamples_fit_the_budget_within_bounds():
    assert affordable_resamples(10, 5000, 100, 1000) == 500
    assert affordable_resamples(1000, 5000, 100, 1000) == 100
    assert affordable_resamples(0, 5000, 100, 1000) == 1000
