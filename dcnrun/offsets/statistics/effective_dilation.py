"""Effective dilation: how far apart a filter's sampling points lie (Dai et al. 2017, section 3.2 and table 2)."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from dcnrun.offsets.layers import Layer
from dcnrun.offsets.objects import Objects, SizeClass, Thresholds
from dcnrun.offsets.statistics.correlation import Correlation, rank_correlation
from dcnrun.statistics import Floats, Integers


def effective_dilation(layer: Layer) -> Tensor:
    """Return the mean distance of adjacent sampling points of each filter, (Ho, Wo) float64, in pixels of the input feature map.

    Sampling points are adjacent if they are neighbours in a row or a column of the kernel: 12 pairs in a 3x3. The mean is
    over the pairs of all offset groups, without regard to the mask, as in the paper. Without offsets it is exactly the
    dilation; if that differs along y and x, the mean of both, weighted by the pairs in columns and in rows. A 1x1 kernel has
    no pairs: NaN.
    """
    # From the offsets (G, K, 2, Ho, Wo) alone: without the filter's position nothing is rounded.
    offset = layer.offset.double()
    moved = offset.reshape(len(offset), *layer.kernel_size, *offset.shape[2:])
    down = moved[:, 1:] - moved[:, :-1] + offset.new_tensor([layer.dilation[0], 0])[:, None, None]
    right = moved[:, :, 1:] - moved[:, :, :-1] + offset.new_tensor([0, layer.dilation[1]])[:, None, None]
    pairs = torch.cat([down.flatten(0, 2), right.flatten(0, 2)])
    distances: Tensor = torch.linalg.vector_norm(pairs, dim=1)
    return distances.mean(0)


def plain_dilation(layer: Layer) -> float:
    """Return the effective dilation without offsets."""
    return float(effective_dilation(replace(layer, offset=torch.zeros(1, layer.num_points, 2, 1, 1))))


@dataclass(frozen=True)
class Spread:
    """Mean and deviation of the effective dilation of filters, in pixels of the feature map; NaN without filters."""

    mean: float
    std: float
    """The deviation of the filters themselves: squares are divided by their number."""
    count: int


class DilationStatistics:
    """Accumulates one layer's effective dilation over images, by the size of the object that a filter belongs to."""

    def __init__(self, plain: float, thresholds: Thresholds) -> None:
        self.plain = plain
        self._thresholds = thresholds
        # Sums of the difference to the plain dilation, so that without offsets the mean is exact and the deviation 0.
        self._sums = np.zeros((3, len(SizeClass)))  # powers 0, 1 and 2
        self._per_object: list[tuple[int, float, float]] = []
        self._images = 0

    def add(self, layer: Layer, objects: Objects) -> None:
        """Add the filters of one image."""
        deviation = (effective_dilation(layer) - self.plain).flatten().numpy()
        owner = objects.owners(layer.output_grid, layer.output_size).flatten().numpy()
        background = len(SizeClass) - 1
        size_of = np.append(self._thresholds.classify(objects.area).numpy(), [background])  # [-1]: no object
        known = owner >= -1
        sizes, deviation, owner = size_of[owner[known]], deviation[known], owner[known]
        self._sums += [np.bincount(sizes, deviation**power, minlength=len(SizeClass)) for power in (0, 1, 2)]
        for i in np.unique(owner[owner >= 0]):
            self._per_object.append((self._images, float(objects.area[i]), self.plain + deviation[owner == i].mean()))
        self._images += 1

    def spread(self, size: SizeClass) -> Spread:
        """Return mean and deviation over all filters of a size class so far."""
        count, first, second = self._sums[:, list(SizeClass).index(size)]
        if not count:
            return Spread(float("nan"), float("nan"), 0)
        variance = max(second / count - (first / count) ** 2, 0.0)
        return Spread(self.plain + first / count, variance**0.5, int(count))

    def per_object(self) -> "ObjectDilations":
        """Return the mean effective dilation of each object that owns a filter."""
        image, area, dilation = np.array(self._per_object).reshape(-1, 3).T
        return ObjectDilations(image.astype(np.int64), area, dilation)


@dataclass(frozen=True)
class ObjectDilations:
    """The mean effective dilation of each object's filters in one layer. Objects that own no filter are not in it."""

    image: Integers
    """int64 (n,): the number of the object's image, in the order in which they were added."""
    area: Floats
    """float64 (n,): pixels of the image."""
    dilation: Floats
    """float64 (n,): pixels of the feature map."""

    def correlation(self) -> Correlation:
        """Return the rank correlation of size and effective dilation."""
        return rank_correlation(self.area, self.dilation, self.image)
