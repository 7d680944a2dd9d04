"""Is one kind of convolution better than another, or is it chance? Intervals for a difference of scores.

Two things vary when an experiment is done again: the seed (initial weights, data order) and the choice of validation
images. No one interval is right about both with the few seeds that one can afford, so there are two:

- a hierarchical bootstrap that resamples seeds and images. It knows of the images, but with S seeds it underrates their
  variance by (S - 1) / S and has no heavier tails for not knowing it, so it is too narrow where seeds matter most;
- Student's t over the S paired differences. It is right about the seeds and knows nothing of the images.

A variant is called higher or lower only where both exclude 0, in other words where the interval that spans both does.

How often each held the true difference over all seeds and images in 1,000 simulated experiments of segmentation (the
range is over three proportions of variance by seed and by image; `benchmarks/interval_coverage.py` makes it,
`benchmarks/results/interval_coverage.json` holds it):

| seeds | bootstrap | Student's t | span of both |
|---|---|---|---|
| 2 | 60 to 95 % | 86 to 96 % | 95 to 98 % |
| 3 | 76 to 95 % | 66 to 95 % | 95 to 97 % |
| 5 | 85 to 95 % | 45 to 95 % | 94 to 95 % |
| 10 | 91 to 95 % | 28 to 94 % | 94 to 95 % |

With many seeds t fails where images matter, since all seeds are scored on the same images.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from dcnrun.scores import PerImage
from dcnrun.statistics import LEVEL, Floats, Integers, Interval, affordable_resamples, bootstrap

RESAMPLES = 10_000
# Of all runs and resamples: a second of one core, or a few. Comparisons with more data get fewer resamples.
_AFFORDABLE_WORK = 4e9
_FEWEST_RESAMPLES = 1_000
_CHUNK = 500


@dataclass(frozen=True)
class Scores:
    """The metric (0 to 1) of one run, and its results per image where they were kept."""

    seed: int
    score: float
    images: PerImage | None = None


class Verdict(StrEnum):
    """Whether a variant's score differs from the reference's by more than chance explains."""

    above = "higher"
    below = "lower"
    not_significant = "not significant"
    not_judged = "one seed: not judged"
    other_images = "other images: not judged"


@dataclass(frozen=True)
class Difference:
    """Variant minus reference, of scores from 0 to 1, over the seeds that both have.

    `interval` spans `bootstrap` and `student` and is the one that the verdict is read from. `without_images` says why
    there is no bootstrap, where there is none. Without `is_of_same_images` a seed's two runs were validated on other images, or by
    other truths: then it is not a difference of the variants, and has no interval.
    """

    per_seed: dict[int, float]
    mean: float
    bootstrap: Interval | None
    student: Interval | None
    without_images: str | None
    is_of_same_images: bool = True

    @property
    def interval(self) -> Interval | None:
        """The narrowest interval that contains both others."""
        both = [interval for interval in (self.bootstrap, self.student) if interval is not None]
        if not both:
            return None
        return Interval(min(i.low for i in both), max(i.high for i in both))

    @property
    def is_judged(self) -> bool:
        """Whether there are enough seeds to judge chance: two that both have."""
        return len(self.per_seed) > 1

    @property
    def verdict(self) -> Verdict:
        """The verdict that the interval gives; one seed is never judged, and neither are scores of other images."""
        if not self.is_of_same_images:
            return Verdict.other_images
        if not self.is_judged or self.interval is None:
            return Verdict.not_judged
        if not self.interval.excludes_zero:
            return Verdict.not_significant
        return Verdict.above if self.interval.low > 0 else Verdict.below


def paired_difference(
    reference_runs: Sequence[Scores], variant_runs: Sequence[Scores], metric: str
) -> Difference | None:
    """Difference of a metric between runs with the same seeds, with its intervals; None if no seed is in both.

    The bootstrap needs results per image of the same images from every run; without them the t interval stands alone.
    """
    reference = {run.seed: run for run in reference_runs}
    pairs = [(reference[run.seed], run) for run in variant_runs if run.seed in reference]
    if not pairs:
        return None
    per_seed = {run.seed: run.score - other.score for other, run in pairs}
    differences = np.array(list(per_seed.values()))
    if why := next(filter(None, (_other_images(own.images, other.images) for other, own in pairs)), None):
        return Difference(per_seed, float(differences.mean()), None, None, why, is_of_same_images=False)
    obstacle = _why_not_per_image(pairs, metric)
    bootstrap = None
    if obstacle is None:
        bootstrap = bootstrap_interval(
            [other.images for other, _ in pairs if other.images is not None],
            [own.images for _, own in pairs if own.images is not None],
            metric,
        )
    return Difference(per_seed, float(differences.mean()), bootstrap, student_interval(differences), obstacle)


def student_interval(differences: Floats) -> Interval | None:
    """Student's t interval for the mean of paired differences (S,), one a seed; None for a single one."""
    count = len(differences)
    if count < 2:
        return None
    from scipy import stats  # takes half a second, and an interval is computed only at a comparison's end

    mean = float(differences.mean())
    half = float(stats.t.ppf((1 + LEVEL) / 2, count - 1) * differences.std(ddof=1) / np.sqrt(count))
    return Interval(mean - half, mean + half)


def bootstrap_interval(
    reference: Sequence[PerImage], variant: Sequence[PerImage], metric: str, resamples: int | None = None
) -> Interval:
    """Percentile interval of the mean difference of a metric, from results (S runs each) paired by seed and image.

    Every resample draws S seeds and N images with replacement, the same for both variants and all runs. Resamples of
    images with nothing to score are left out.
    """
    runs = [*reference, *variant]
    seeds, images = len(reference), len(reference[0].names)
    if resamples is None:
        work = sum(run.work(metric) for run in runs)
        resamples = affordable_resamples(work, _AFFORDABLE_WORK, _FEWEST_RESAMPLES, RESAMPLES)

    def mean_differences(seed_counts: Integers, image_counts: Integers) -> Floats:
        scores = np.stack([run.resampled(metric, image_counts) for run in runs], axis=1).reshape(-1, 2, seeds)
        means: Floats = ((scores[:, 1] - scores[:, 0]) * (seed_counts / seeds)).sum(axis=1)
        return means

    return bootstrap(mean_differences, [seeds, images], resamples, _CHUNK)


def _why_not_per_image(pairs: Sequence[tuple[Scores, Scores]], metric: str) -> str | None:
    """Return the reason that these runs can't be compared image by image, or None."""
    runs = [run.images for pair in pairs for run in pair]
    kept = [images for images in runs if images is not None]
    if len(kept) < len(runs):
        return "results per image are missing"
    if metric not in kept[0].metrics:
        return f"results per image don't give {metric}"
    return next(filter(None, (_other_images(images, kept[0]) for images in kept[1:])), None)


def _other_images(own: PerImage | None, other: PerImage | None) -> str | None:
    """Return how the images differ that two runs were validated on, or None, also where one kept no results of them."""
    if own is None or other is None:
        return None
    if own.names != other.names:
        return "the runs were validated on different images"
    return None if own.has_same_truth(other) else "images of the same name have different truths"
