"""The scores of single images: on which all variants are bad, and on which they differ."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np

from dcnrun.compare.results import Comparison
from dcnrun.scores import Floats

_AFFORDABLE_WORK = 5e9  # of all runs, to score their images one by one: seconds of one core


@dataclass(frozen=True)
class ImageScores:
    """The comparison's metric of N images, each alone, mean over the seeds of V variants."""

    names: tuple[str, ...]
    variants: tuple[int, ...]
    """Which of the comparison's variants these are, by index: those that have results on each image."""
    scores: Floats
    """(V, N), NaN for an image with nothing to score."""

    def only(self, variants: Collection[int]) -> "ImageScores":
        """Return the scores of these variants, by index in the comparison, alone."""
        kept = [row for row, variant in enumerate(self.variants) if variant in variants]
        return replace(self, variants=tuple(self.variants[row] for row in kept), scores=self.scores[kept])

    def lowest(self, most: int) -> list[int]:
        """Return the images with the lowest means over the variants, the lowest first."""
        return self._ranked(self.scores.mean(axis=0))[:most]

    def furthest_apart(self, most: int) -> list[int]:
        """Return the images on which the best and the worst variant differ most, without those on which they don't."""
        spread = self.spread()
        return [image for image in self._ranked(-spread)[:most] if spread[image] > 0]

    def spread(self) -> Floats:
        """Return the difference (N,) of the best and the worst variant."""
        spread: Floats = np.ptp(self.scores, axis=0)
        return spread

    def _ranked(self, values: Floats) -> list[int]:
        order: list[int] = np.argsort(values, kind="stable").tolist()
        return [image for image in order if not np.isnan(values[image])]


def image_scores(comparison: Comparison) -> ImageScores | str:
    """Return the scores, or in words why there are none: runs kept no results per image, or to score each alone takes too long."""
    metric = comparison.metric
    results = [
        [run.images for run in variant.runs if run.images and metric in run.images.metrics]
        for variant in comparison.variants
    ]
    there = [index for index, of_variant in enumerate(results) if of_variant]
    every = [images for of_variant in results for images in of_variant]
    if not every:
        return f"no run has results per image that give {metric}."
    if any(images.names != every[0].names for images in every):
        return "the runs were not validated on the same images."
    count = len(every[0].names)
    if sum(images.work(metric) for images in every) * count > _AFFORDABLE_WORK:
        return f"to score each of {count:,} images of {len(every)} runs alone takes too long. A comparison of fewer runs shows them."
    means: Sequence[Floats] = [np.mean([each.by_image(metric) for each in results[index]], axis=0) for index in there]
    return ImageScores(every[0].names, tuple(there), np.array(means))
