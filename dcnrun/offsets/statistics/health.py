"""The health of a layer's offsets and masks: whether they do anything, and what can go wrong with them in training."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from statistics import fmean

import torch
from torch import Tensor

from dcnrun.models.sampling import RUNAWAY_SHARE, outside
from dcnrun.offsets.geometry import points_everywhere
from dcnrun.offsets.layers import Layer

# An offset below this, in pixels of the feature map, changes a sample by less than a tenth of the difference of two
# neighbouring pixels: the sampling point hardly moves.
HARDLY_MOVES = 0.1
# A sampling point counts as lost if offsets move it off the feature map at more of the output pixels than training warns of.
LOST = RUNAWAY_SHARE

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
_OFFSET_EDGES = torch.logspace(-4, 4, 801)  # 2.3 % apart, so the quantiles are right to that; below 0.0001 px is 0
_LARGEST_MASK = 2.0  # of a layer that starts at 1
_MASK_EDGES = torch.linspace(0, _LARGEST_MASK, 2001, dtype=torch.float64)
MASK_BINS = 20


class Histogram:
    """Counts of non-negative values in bins between `edges`; the first bin begins at 0, the last has no upper end.

    Values and edges are compared as float32, in which a value of 0.9 equals the edge 0.9, and so is in the bin above it.
    """

    def __init__(self, edges: Tensor) -> None:
        self._edges = edges.float()
        self._counts = torch.zeros(len(edges) + 1, dtype=torch.int64)

    def add(self, values: Tensor) -> None:
        """Add values; NaN goes to the last bin."""
        bins = torch.bucketize(values.float().flatten(), self._edges, right=True)
        self._counts += bins.bincount(minlength=len(self._counts))

    def quantiles(self, shares: Sequence[float]) -> dict[float, float]:
        """Return the lower end of the bin that contains each quantile; NaN without values."""
        ends = self._counts.cumsum(0)
        if not ends[-1]:
            return dict.fromkeys(shares, float("nan"))
        lower = torch.cat([self._edges.new_zeros(1), self._edges])
        return {share: float(lower[torch.searchsorted(ends, max(1, share * int(ends[-1])))]) for share in shares}

    def shares_between(self, edges: Tensor) -> list[float]:
        """Return the share of the values from each of these edges, which must be among its own, to the next or to infinity."""
        first = torch.searchsorted(self._edges, edges.float(), right=True)
        total = max(int(self._counts.sum()), 1)
        return [float(part.sum()) / total for part in self._counts.tensor_split(first[1:])]


@dataclass(frozen=True)
class MaskHealth:
    """The modulation of one layer, by its size: factors of DCNv4 may be negative."""

    quantiles: dict[float, float]
    """Quantiles by share, accurate to 0.001."""
    histogram: list[float]
    """Share of the masks in each of MASK_BINS equal bins from 0 to 2."""
    widest_point: float
    """The range from the 5 % to the 95 % quantile of one sampling point's masks: the largest over the sampling points."""


@dataclass(frozen=True)
class LayerHealth:
    """The offsets and masks of one layer over some images.

    Shares are of sampling points, counted in every offset group and at every output pixel."""

    name: str
    offset_quantiles: dict[float, float]
    """Quantiles of the offsets' lengths in pixels of the feature map, by share; accurate to 2.3 %."""
    offset_max: float
    """NaN if an offset is NaN."""
    outside: float
    """Share of the sampling points outside the feature map: they read zeros and get no gradient."""
    plain_outside: float
    """The share that would be outside without offsets."""
    lost: float
    """Share that offsets move off the feature map, of the sampling points that are on it without offsets.

    It is more than the difference of the two shares above: any movement brings in some points of the plain grid that are
    right beside the feature map."""
    lost_points: int
    """The kernel's sampling points, over all groups, that are lost at more than LOST of the output pixels."""
    num_points: int
    """The kernel's sampling points over all groups: G x K."""
    still: float
    """Share of the sampling points that move by less than HARDLY_MOVES."""
    group_similarity: float | None
    """Similarity 2 a.b / (a.a + b.b) of two offset groups' offsets, the mean over pairs: 1 if they are equal. None for one
    group, or without offsets."""
    mask: MaskHealth | None
    """None without modulation."""


class HealthStatistics:
    """Accumulates one layer's offsets and masks over images."""

    def __init__(self, layer: Layer) -> None:
        self._name = layer.name
        self._lengths = Histogram(_OFFSET_EDGES)
        self._masks = None if layer.mask is None else Histogram(_MASK_EDGES)
        self._masks_by_point = [Histogram(_MASK_EDGES) for _ in range(layer.offset_groups * layer.num_points)]
        self._max = torch.zeros((), dtype=torch.float64)
        self._still = self._locations = 0
        shape = (layer.offset_groups, layer.num_points)
        self._outside = torch.zeros(shape, dtype=torch.int64)
        self._plain_outside = torch.zeros(shape, dtype=torch.int64)
        self._lost = torch.zeros(shape, dtype=torch.int64)
        self._products = torch.zeros(layer.offset_groups, layer.offset_groups, dtype=torch.float64)

    def add(self, layer: Layer) -> None:
        """Add the sampling points of one image."""
        length = torch.linalg.vector_norm(layer.offset.double(), dim=2)
        self._lengths.add(length)
        self._max = torch.maximum(self._max, length.max())  # keeps NaN
        self._still += int((length < HARDLY_MOVES).sum())
        self._locations += layer.output_size[0] * layer.output_size[1]
        outside, plain_outside = _outside(layer), _outside(replace(layer, offset=torch.zeros_like(layer.offset)))
        self._outside += outside.sum((2, 3))
        self._plain_outside += plain_outside.sum((2, 3))
        self._lost += (outside & ~plain_outside).sum((2, 3))
        by_group = layer.offset.double().flatten(1)
        self._products += by_group @ by_group.T
        if self._masks is not None and layer.mask is not None:
            sizes = layer.mask.abs()
            self._masks.add(sizes)
            for by_point, mask in zip(self._masks_by_point, sizes.flatten(0, 1), strict=True):
                by_point.add(mask)

    def result(self) -> LayerHealth:
        """Return the health over all images that were added."""
        on_map = self._locations - self._plain_outside
        lost = self._lost > LOST * on_map
        num_points = lost.numel()
        total = max(num_points * self._locations, 1)
        return LayerHealth(
            name=self._name,
            offset_quantiles=self._lengths.quantiles(QUANTILES),
            offset_max=float(self._max),
            outside=int(self._outside.sum()) / total,
            plain_outside=int(self._plain_outside.sum()) / total,
            lost=int(self._lost.sum()) / max(int(on_map.sum()), 1),
            lost_points=int(lost.sum()),
            num_points=num_points,
            still=self._still / total,
            group_similarity=_similarity(self._products),
            mask=None if self._masks is None else _mask_health(self._masks, self._masks_by_point),
        )


def _outside(layer: Layer) -> Tensor:
    """Return which sampling points are outside the feature map, bool (G, K, Ho, Wo)."""
    return outside(*points_everywhere(layer), layer.input_size)


def _similarity(products: Tensor) -> float | None:
    """Return the mean similarity over pairs from the groups' scalar products (G, G); pairs that never move are left out."""
    pairs = [
        2 * float(products[a, b]) / float(products[a, a] + products[b, b])
        for a, b in combinations(range(len(products)), 2)
        if products[a, a] + products[b, b] != 0
    ]
    return fmean(pairs) if pairs else None


def _mask_health(masks: Histogram, by_point: Sequence[Histogram]) -> MaskHealth:
    edges = torch.linspace(0, _LARGEST_MASK, MASK_BINS + 1, dtype=torch.float64)[:-1]
    ranges = [quantiles[0.95] - quantiles[0.05] for quantiles in (point.quantiles((0.05, 0.95)) for point in by_point)]
    return MaskHealth(masks.quantiles(QUANTILES), masks.shares_between(edges), max(ranges))
