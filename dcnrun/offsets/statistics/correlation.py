"""Rank correlation of two quantities of objects that come from images, with an interval over images.

Objects of one image are not independent (they share its scale, its scene and the network's mood about it), images are:
so the bootstrap draws images, with all their objects.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

LEVEL = 0.95
RESAMPLES = 2_000
# In simulations the interval held the true value in 51 to 60 % of cases with 2 images, 88 to 90 % with 4 and 92 % with 10.
FEWEST_IMAGES = 10
_FEWEST_RESAMPLES = 200
# Objects x resamples: a few seconds of one core. Larger data sets get fewer resamples.
_AFFORDABLE_WORK = 2e7
_CHUNK = 50


@dataclass(frozen=True)
class Correlation:
    """Spearman's rank correlation with its 95 % percentile interval.

    All are NaN where one of the quantities never varies or isn't finite, the interval alone with fewer than FEWEST_IMAGES.
    """

    value: float
    low: float
    high: float
    objects: int
    images: int


def rank_correlation(x: Floats, y: Floats, image: Integers) -> Correlation:
    """Spearman's correlation of x and y (n,), the interval by resampling the images (n,) that they belong to.

    It asks only whether more goes with more, so that it does not matter whether size is taken as area, its root or its
    logarithm, and a few runaway offsets do not decide it. Resamples in which a quantity does not vary are left out; the
    generator has a fixed seed.
    """
    _, image = np.unique(image, return_inverse=True)
    images = int(image.max()) + 1 if len(image) else 0
    finite = np.isfinite(x).all() and np.isfinite(y).all()
    value = float(weighted_spearman(x, y, np.ones((1, len(x))))[0]) if finite else float("nan")
    low = high = float("nan")
    if images >= FEWEST_IMAGES and not np.isnan(value):
        low, high = _interval(x, y, image, images)
    return Correlation(value, low, high, objects=len(x), images=images)


def _interval(x: Floats, y: Floats, image: Integers, images: int) -> tuple[float, float]:
    resamples = int(np.clip(_AFFORDABLE_WORK / len(x), _FEWEST_RESAMPLES, RESAMPLES))
    rng = np.random.default_rng(0)
    values = []
    for start in range(0, resamples, _CHUNK):
        counts = rng.multinomial(images, np.full(images, 1 / images), size=min(_CHUNK, resamples - start))
        values.append(weighted_spearman(x, y, counts[:, image].astype(np.float64)))
    low, high = np.nanquantile(np.concatenate(values), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def weighted_spearman(x: Floats, y: Floats, counts: Floats) -> Floats:
    """Spearman's correlation (R,) of the samples in which pair i occurs `counts[r, i]` times, from (R, n) counts."""
    total = counts.sum(axis=1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        of_x, of_y = (
            ranks - (counts * ranks).sum(axis=1, keepdims=True) / total
            for ranks in (_ranks(x, counts), _ranks(y, counts))
        )
        covariance = (counts * of_x * of_y).sum(axis=1)
        spread = (counts * of_x**2).sum(axis=1) * (counts * of_y**2).sum(axis=1)
        return np.where(spread > 0, covariance / np.sqrt(spread), np.nan)


def _ranks(values: Floats, counts: Floats) -> Floats:
    """Ranks (R, n) in such samples; equal values share the mean of their ranks."""
    distinct, place = np.unique(values, return_inverse=True)
    of_distinct = np.zeros((len(counts), len(distinct)))
    for row, weights in zip(of_distinct, counts, strict=True):
        row[:] = np.bincount(place, weights, minlength=len(distinct))
    return (of_distinct.cumsum(axis=1) - (of_distinct - 1) / 2)[:, place]
