"""Quantiles of more numbers than one would keep."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor


class Histogram:
    """Counts of values from 0 on in bins between `edges`; the last bin has no upper end, the first begins at 0.

    Values and edges are compared as float32, in which a value of 0.9 is the edge 0.9, and so in the bin above it.
    """

    def __init__(self, edges: Tensor) -> None:
        self._edges = edges.float()
        self._counts = torch.zeros(len(edges) + 1, dtype=torch.int64)

    def add(self, values: Tensor) -> None:
        """Count values; those that are no number go to the last bin."""
        places = torch.bucketize(values.float().flatten(), self._edges, right=True)
        self._counts += places.bincount(minlength=len(self._counts))

    def quantiles(self, shares: Sequence[float]) -> dict[float, float]:
        """The lower end of the bin that holds each quantile; NaN without values."""
        return dict(zip(shares, self._quantiles(shares), strict=True))

    def _quantiles(self, shares: Sequence[float]) -> Iterator[float]:
        ends = self._counts.cumsum(0)
        lower = torch.cat([self._edges.new_zeros(1), self._edges])
        for share in shares:
            wanted = max(1, share * int(ends[-1]))
            yield float(lower[torch.searchsorted(ends, wanted)]) if ends[-1] else float("nan")

    def shares_between(self, edges: Tensor) -> list[float]:
        """Shares of the values from each of these edges, taken from its own, to the next; the last takes all above."""
        first = torch.searchsorted(self._edges, edges.float(), right=True)
        total = max(int(self._counts.sum()), 1)
        return [float(part.sum()) / total for part in self._counts.tensor_split(first[1:])]
