"""Effective dilation: how far apart a filter's sampling points lie (Dai et al. 2017, section 3.2 and table 2)."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from dcnrun.offsets.layers import Layer
from dcnrun.offsets.objects import Objects, SizeClass, Thresholds
from dcnrun.offsets.statistics.correlation import Correlation, rank_correlation
from dcnrun.statistics import Floats, Integers


def effective_dilation(layer: Layer) -> Tensor:
    """Mean distance between adjacent sampling points of each filter, (Ho, Wo) float64, in pixels of the layer's input map.

    Adjacent are taps next to each other in a row or a column of the kernel: 12 pairs in a 3x3. The mean is over the pairs
    of all offset groups; the mask plays no part, as in the paper. Without offsets it is exactly the dilation; if that
    differs along y and x, their mean weighed by the pairs in columns and in rows. A 1x1 kernel has no pairs: NaN.
    """
    return _mean_distance(layer.offset.double(), layer.kernel_size, layer.dilation)


def plain_dilation(layer: Layer) -> float:
    """What `effective_dilation` gives without offsets."""
    return float(_mean_distance(torch.zeros(1, layer.taps, 2, 1, 1).double(), layer.kernel_size, layer.dilation))


def _mean_distance(offset: Tensor, kernel_size: tuple[int, int], dilation: tuple[int, int]) -> Tensor:
    """Of offsets (G, taps, 2, Ho, Wo), over pairs of neighbours. Where the filter stands plays no part, so nothing is rounded."""
    moved = offset.reshape(len(offset), *kernel_size, *offset.shape[2:])
    down = moved[:, 1:] - moved[:, :-1] + offset.new_tensor([dilation[0], 0])[:, None, None]
    right = moved[:, :, 1:] - moved[:, :, :-1] + offset.new_tensor([0, dilation[1]])[:, None, None]
    pairs = torch.cat([down.flatten(0, 2), right.flatten(0, 2)])
    distances: Tensor = torch.linalg.vector_norm(pairs, dim=1)
    return distances.mean(0)


@dataclass(frozen=True)
class Spread:
    """Of the effective dilation of filters, in pixels of the map; NaN where there are none."""

    mean: float
    std: float
    """Of the filters themselves (divided by their number)."""
    count: int


class DilationStatistics:
    """Gathers one layer's effective dilation over images, by what the filters look at."""

    def __init__(self, plain: float, thresholds: Thresholds) -> None:
        self.plain = plain
        self._thresholds = thresholds
        # Of the difference to the plain dilation, so that without offsets the mean is exact and the deviation 0.
        self._sums = np.zeros((3, len(SizeClass)))  # of its powers 0, 1 and 2
        self._per_object: list[tuple[int, float, float]] = []
        self._images = 0

    def add(self, layer: Layer, objects: Objects) -> None:
        """Count the filters of one image."""
        deviation = (effective_dilation(layer) - self.plain).flatten().numpy()
        owner = objects.owners(layer.output_grid, layer.output_size).flatten().numpy()
        background = len(SizeClass) - 1
        size_of = np.append(self._thresholds.places(objects.area).numpy(), [background])  # [-1]: of no object
        known = owner >= -1
        sizes, deviation, owner = size_of[owner[known]], deviation[known], owner[known]
        self._sums += [np.bincount(sizes, deviation**power, minlength=len(SizeClass)) for power in (0, 1, 2)]
        for i in np.unique(owner[owner >= 0]):
            self._per_object.append((self._images, float(objects.area[i]), self.plain + deviation[owner == i].mean()))
        self._images += 1

    def spread(self, size: SizeClass) -> Spread:
        """Over all filters of a size class so far."""
        count, first, second = self._sums[:, list(SizeClass).index(size)]
        if not count:
            return Spread(float("nan"), float("nan"), 0)
        variance = max(second / count - (first / count) ** 2, 0.0)
        return Spread(self.plain + first / count, variance**0.5, int(count))

    def per_object(self) -> "ObjectDilations":
        """One number for each object that is the owner of a filter's centre."""
        image, area, dilation = np.array(self._per_object).reshape(-1, 3).T
        return ObjectDilations(image.astype(np.int64), area, dilation)


@dataclass(frozen=True)
class ObjectDilations:
    """The mean effective dilation of each object's filters in one layer. Objects without a filter's centre are not in it."""

    image: Integers
    """int64 (n,): which of the images it is in, counted as they were added"""
    area: Floats
    """float64 (n,): pixels of the image"""
    dilation: Floats
    """float64 (n,): pixels of the map"""

    def correlation(self) -> Correlation:
        """Of size and effective dilation."""
        return rank_correlation(self.area, self.dilation, self.image)
