"""Are a layer's offsets and masks of use? What can go wrong in training, as numbers and in words."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from math import isfinite
from statistics import fmean

import torch
from torch import Tensor

from dcnrun.models.sampling import RUNAWAY_SHARE, outside
from dcnrun.offsets.geometry import points_everywhere
from dcnrun.offsets.layers import Layer

# An offset below this, in pixels of the map, changes a sample by less than a tenth of the difference of two neighbouring
# pixels: the tap hardly moves.
HARDLY_MOVES = 0.1
# Where all but one in a hundred taps hardly move, the layer is the plain convolution that it started as.
NEVER_LEFT_ZERO = 0.99
# A tap counts as gone where offsets take it out of the map at more of its places than training warns of.
GONE = RUNAWAY_SHARE
# 1 is the same offsets, 0 unrelated ones. Groups that differ by a few percent of their size share one pattern.
GROUPS_ALIKE = 0.95
# A mask below this takes away nearly all of a sample.
MASK_IS_ZERO = 0.05
# Masks that vary by less, for nine taps in ten, scale a sample by about the same everywhere: weights can do that.
MASK_IS_CONSTANT = 0.1

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
_OFFSET_EDGES = torch.logspace(-4, 4, 801)  # 2.3 % apart, so the quantiles are right to that; below 0.0001 px is 0
_LARGEST_MASK = 2.0  # of a layer that starts at 1
_MASK_EDGES = torch.linspace(0, _LARGEST_MASK, 2001, dtype=torch.float64)
MASK_BINS = 20


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


@dataclass(frozen=True)
class MaskHealth:
    """The modulation of one layer."""

    quantiles: dict[float, float]
    """By share, right to 0.001."""
    histogram: list[float]
    """Shares of the masks in MASK_BINS equal bins from 0 to 2."""
    widest_tap: float
    """The range of nine in ten masks of one tap, from its 5 % to its 95 % quantile: that of the tap where it is widest."""


@dataclass(frozen=True)
class LayerHealth:
    """One layer over some images. A tap is one of a filter's samples, counted in every offset group and at every place."""

    name: str
    offset_quantiles: dict[float, float]
    """Of the offsets' lengths in pixels of the map, by share; right to 2.3 %."""
    offset_max: float
    """NaN where an offset is no number."""
    outside: float
    """Share of the taps with no pixel of the map under them: they read zeros and get no gradient."""
    plain_outside: float
    """The same without offsets."""
    lost: float
    """Of the taps that are on the map without offsets, the share that offsets take out of it. (The difference of the two
    shares above would hide these behind the plain grid's taps right beside the map, which any movement may bring in.)"""
    gone_taps: int
    """Taps (of a filter, over its groups) that are so taken out of it at more than GONE of their places."""
    taps: int
    """Of a filter, over its groups."""
    still: float
    """Share of the taps that move by less than HARDLY_MOVES."""
    group_similarity: float | None
    """How alike two offset groups' offsets are, the mean over pairs: 2 a.b / (a.a + b.b), 1 where they are the same. None for
    one group, or without offsets."""
    mask: MaskHealth | None
    """None without modulation."""


class HealthStatistics:
    """Gathers one layer's offsets and masks over images."""

    def __init__(self, layer: Layer) -> None:
        self._name = layer.name
        self._lengths = Histogram(_OFFSET_EDGES)
        self._masks = None if layer.mask is None else Histogram(_MASK_EDGES)
        self._masks_of_taps = [Histogram(_MASK_EDGES) for _ in range(layer.offset_groups * layer.taps)]
        self._max = torch.zeros((), dtype=torch.float64)
        self._still = self._places = 0
        per_tap = (layer.offset_groups, layer.taps)
        self._outside = torch.zeros(per_tap, dtype=torch.int64)
        self._plain_outside = torch.zeros(per_tap, dtype=torch.int64)
        self._lost = torch.zeros(per_tap, dtype=torch.int64)
        self._products = torch.zeros(layer.offset_groups, layer.offset_groups, dtype=torch.float64)

    def add(self, layer: Layer) -> None:
        """Count the taps of one image."""
        length = torch.linalg.vector_norm(layer.offset.double(), dim=2)
        self._lengths.add(length)
        self._max = torch.maximum(self._max, length.max())  # which keeps a NaN
        self._still += int((length < HARDLY_MOVES).sum())
        self._places += layer.output_size[0] * layer.output_size[1]
        outside, plain_outside = _outside(layer), _outside(replace(layer, offset=torch.zeros_like(layer.offset)))
        self._outside += outside.sum((2, 3))
        self._plain_outside += plain_outside.sum((2, 3))
        self._lost += (outside & ~plain_outside).sum((2, 3))
        by_group = layer.offset.double().flatten(1)
        self._products += by_group @ by_group.T
        if self._masks is not None and layer.mask is not None:
            self._masks.add(layer.mask)
            for of_tap, mask in zip(self._masks_of_taps, layer.mask.flatten(0, 1), strict=True):
                of_tap.add(mask)

    def result(self) -> LayerHealth:
        """The health of all that was added."""
        on_map = self._places - self._plain_outside
        gone = self._lost > GONE * on_map
        taps = gone.numel()
        total = max(taps * self._places, 1)
        return LayerHealth(
            name=self._name,
            offset_quantiles=self._lengths.quantiles(QUANTILES),
            offset_max=float(self._max),
            outside=int(self._outside.sum()) / total,
            plain_outside=int(self._plain_outside.sum()) / total,
            lost=int(self._lost.sum()) / max(int(on_map.sum()), 1),
            gone_taps=int(gone.sum()),
            taps=taps,
            still=self._still / total,
            group_similarity=_similarity(self._products),
            mask=None if self._masks is None else _mask_health(self._masks, self._masks_of_taps),
        )


def _outside(layer: Layer) -> Tensor:
    """bool (G, taps, Ho, Wo): whether a tap has no pixel of the map under it."""
    return outside(*points_everywhere(layer), layer.input_size)


def _similarity(products: Tensor) -> float | None:
    """From the groups' scalar products (G, G), the mean over pairs; pairs that never move are left out."""
    pairs = [
        2 * float(products[a, b]) / float(products[a, a] + products[b, b])
        for a, b in combinations(range(len(products)), 2)
        if products[a, a] + products[b, b] != 0
    ]
    return fmean(pairs) if pairs else None


def _mask_health(masks: Histogram, of_taps: Sequence[Histogram]) -> MaskHealth:
    edges = torch.linspace(0, _LARGEST_MASK, MASK_BINS + 1, dtype=torch.float64)[:-1]
    ranges = [quantiles[0.95] - quantiles[0.05] for quantiles in (tap.quantiles((0.05, 0.95)) for tap in of_taps)]
    return MaskHealth(masks.quantiles(QUANTILES), masks.shares_between(edges), max(ranges))


def warnings(health: LayerHealth, offset_lr_mult: float) -> list[str]:
    """What is wrong with a layer, each a line with what to turn; `offset_lr_mult` is that of its run."""
    return [f"{health.name}: {line}" for line in (*_of_offsets(health, offset_lr_mult), *_of_masks(health.mask))]


def _of_offsets(health: LayerHealth, offset_lr_mult: float) -> Iterator[str]:
    if not isfinite(health.offset_max):
        yield (
            "some offsets are infinite or no numbers: training has diverged. A lower optim.lr or optim.offset_lr_mult (now "
            f"{offset_lr_mult:g}) may keep them finite."
        )
    if health.still >= NEVER_LEFT_ZERO:
        yield (
            f"the offsets never left 0: {health.still:.1%} of the taps move by less than {HARDLY_MOVES} px, so it is still a "
            f"plain convolution. A higher optim.offset_lr_mult (now {offset_lr_mult:g}) or longer training may move them."
        )
        return
    if health.gone_taps:
        yield (
            f"{health.gone_taps} of {health.taps} taps are gone from the image: offsets take them off the map at more than "
            f"{GONE:.0%} of their places, where they read zeros and learn nothing. A lower optim.offset_lr_mult (now "
            f"{offset_lr_mult:g}) keeps them in."
        )
    if health.group_similarity is not None and health.group_similarity > GROUPS_ALIKE:
        yield (
            f"the offset groups all do the same (similarity {health.group_similarity:.2f}): a lower conv.offset_groups "
            "would give the same for less."
        )


def _of_masks(mask: MaskHealth | None) -> Iterator[str]:
    if mask is None:
        return
    low, middle, high = (mask.quantiles[share] for share in (0.05, 0.5, 0.95))
    if high < MASK_IS_ZERO:
        yield (
            f"the masks are all about 0 (95 % below {MASK_IS_ZERO}): next to nothing gets through the layer. A lower "
            "optim.lr may keep it open."
        )
    elif high - low < MASK_IS_CONSTANT:
        yield (
            f"the masks are all about {middle:.2f} (nine in ten from {low:.2f} to {high:.2f}): modulation does nothing here. "
            "conv=deformable would give the same for less."
        )
    elif mask.widest_tap < MASK_IS_CONSTANT:
        yield (
            f"each tap's mask is about the same everywhere (nine in ten within {mask.widest_tap:.2f}): it does what a weight "
            "can do. conv=deformable would give the same for less."
        )
