"""Quantiles from counts against those of the numbers themselves."""

import pytest
import torch

from dcnrun.offsets.statistics.histogram import Histogram

SHARES = (0.05, 0.5, 0.95)


def test_quantiles_are_right_to_a_bin_whatever_the_batches():
    values = torch.rand(10_000, generator=torch.Generator().manual_seed(0)) ** 3
    histogram = Histogram(torch.linspace(0.01, 0.9, 90))
    for part in values.split(777):
        histogram.add(part.reshape(-1, 1))
    for share, found in histogram.quantiles(SHARES).items():
        true = torch.quantile(values, share, interpolation="lower").item()
        assert true - 0.01 - 1e-6 <= found <= true


def test_ends_and_nothing():
    histogram = Histogram(torch.tensor([1.0, 2.0]))
    assert all(value != value for value in histogram.quantiles(SHARES).values())
    histogram.add(torch.tensor([0.0, 0.5, float("inf"), float("nan")]))
    assert histogram.quantiles((0.25, 0.5, 0.75, 1.0)) == {0.25: 0, 0.5: 0, 0.75: 2, 1.0: 2}


def test_a_value_on_an_edge_is_in_the_bin_above_it():
    """As decimals are in float32, too, where 0.9 is a little less than 0.9."""
    fine, coarse = (torch.linspace(0, 2, edges, dtype=torch.float64) for edges in (2001, 21))
    for place, value in enumerate(i / 10 for i in range(20)):
        histogram = Histogram(fine)
        histogram.add(torch.tensor([value]))
        assert histogram.shares_between(coarse[:-1]).index(1.0) == place
        assert histogram.quantiles((0.5,))[0.5] == pytest.approx(value)


def test_shares_of_coarser_bins():
    histogram = Histogram(torch.linspace(0, 2, 21))
    histogram.add(torch.tensor([0.0, 0.31, 0.5, 0.99, 1.0, 1.9, 2.0, 7.0]))
    assert histogram.shares_between(torch.tensor([0.0, 0.5, 1.0, 1.5])) == pytest.approx([0.25, 0.25, 0.125, 0.375])
