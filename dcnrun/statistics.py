"""Confidence intervals, and the bootstrap that comparisons and the statistics of offsets share. Needs no torch."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

LEVEL = 0.95
"""The confidence level of every interval."""


@dataclass(frozen=True)
class Interval:
    """A closed interval."""

    low: float
    high: float

    @property
    def excludes_zero(self) -> bool:
        """Whether the whole interval lies on one side of 0."""
        return self.low > 0 or self.high < 0


def bootstrap(statistic: Callable[..., Floats], sizes: Sequence[int], resamples: int, chunk_size: int) -> Interval:
    """Return the percentile interval of a statistic under resampling with replacement.

    The generator has a fixed seed, so the same data always give the same interval. Resamples whose statistic is NaN are
    left out.

    Args:
        statistic: takes for each sample the counts (R, n) with which each of its n units was drawn in R resamples, and
            returns its values (R,).
        sizes: the number of units n of each sample.
        resamples: the number of resamples.
        chunk_size: the most resamples that are drawn at a time.
    """
    rng = np.random.default_rng(0)
    values = []
    for start in range(0, resamples, chunk_size):
        count = min(chunk_size, resamples - start)
        values.append(statistic(*(rng.multinomial(size, np.full(size, 1 / size), size=count) for size in sizes)))
    low, high = np.nanquantile(np.concatenate(values), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(float(low), float(high))


def affordable_resamples(work: float, budget: float, fewest: int, most: int) -> int:
    """Return how many resamples of so much work each fit into a budget, at least `fewest` and at most `most`."""
    return int(np.clip(budget / max(work, 1), fewest, most))
