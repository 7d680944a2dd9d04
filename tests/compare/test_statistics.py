import json
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from dcnrun.compare import statistics
from dcnrun.compare.notes import COVERAGE
from dcnrun.compare.statistics import (
    Scores,
    bootstrap_interval,
    paired_difference,
    student_interval,
)
from dcnrun.statistics import Interval
from dcnrun.tasks.detection.scores import MatchesPerImage
from dcnrun.tasks.segmentation.scores import mean_iou
from tests.compare.factories import confusions, matches, per_image

MIOU = "val/miou"
RESULT = Path(__file__).parents[2] / "benchmarks" / "results" / "interval_coverage.json"


def scores(seed: int, skill: float, images: int = 12, with_images: bool = True) -> Scores:
    matrices = confusions(seed, skill, images)
    return Scores(seed, float(mean_iou(matrices.sum(0))), per_image(matrices) if with_images else None)


def test_student_interval_is_that_of_scipy():
    differences = np.array([0.01, 0.03, -0.005, 0.02])
    expected = stats.ttest_1samp(differences, 0).confidence_interval(0.95)
    interval = student_interval(differences)
    assert (interval.low, interval.high) == pytest.approx((expected.low, expected.high))
    assert student_interval(differences[:1]) is None


def bootstrap(reference, variant, resamples=None):
    """Of matrices (S, N, C, C)."""
    return bootstrap_interval([*map(per_image, reference)], [*map(per_image, variant)], MIOU, resamples)


def test_bootstrap_agrees_with_resampling_one_by_one():
    reference = np.stack([confusions(seed, 0.7) for seed in range(3)])
    variant = np.stack([confusions(seed, 0.72) for seed in range(3)])
    rng, means = np.random.default_rng(5), []
    for _ in range(4000):
        seeds, images = rng.integers(3, size=3), rng.integers(12, size=12)
        means.append(
            np.mean([mean_iou(variant[s][images].sum(0)) - mean_iou(reference[s][images].sum(0)) for s in seeds])
        )
    interval = bootstrap(reference, variant)
    assert (interval.low, interval.high) == pytest.approx(np.quantile(means, [0.025, 0.975]), abs=6e-4)


@pytest.mark.parametrize("metric", ["val/map", "val/map_50", "val/voc07_50"])
def test_bootstrap_of_detections_agrees_with_resampling_one_by_one(metric):
    reference, variant = [[matches(seed, skill) for seed in range(3)] for skill in (0.6, 0.7)]
    rng = np.random.default_rng(5)
    draws = [(rng.integers(3, size=3), np.bincount(rng.integers(12, size=12), minlength=12)) for _ in range(2000)]
    images = np.stack([images for _, images in draws])
    gains = [
        after.resampled(metric, images) - before.resampled(metric, images)
        for before, after in zip(reference, variant, strict=True)
    ]
    assert gains[0][7] == variant[0].resampled(metric, images[7:8]) - reference[0].resampled(metric, images[7:8])
    means = [np.mean([gains[seed][draw] for seed in seeds]) for draw, (seeds, _) in enumerate(draws)]
    interval = bootstrap_interval(reference, variant, metric)
    assert (interval.low, interval.high) == pytest.approx(np.quantile(means, [0.025, 0.975]), abs=0.01)


def test_resamples_without_any_object_are_left_out():
    first_alone = np.array([[1, 0, 0]])
    few, others = matches(0, 0.6, images=1), matches(1, 0.9, images=1)
    runs = [
        MatchesPerImage(
            ["0", "1", "2"],
            run.classes,
            run.objects * first_alone.T,
            *(getattr(run, name) for name in ("image", "label", "detection_score", "matched", "ignored")),
        )
        for run in (few, others)
    ]
    interval = bootstrap_interval(runs[:1], runs[1:], "val/map")
    assert np.isfinite([interval.low, interval.high]).all()


def test_a_metric_that_results_per_image_do_not_give_is_judged_by_seeds():
    runs = [Scores(seed, 0.5 + seed / 10, per_image(confusions(seed))) for seed in range(3)]
    assert paired_difference(runs, runs, "val/map").without_images == "results per image don't give val/map"


def test_bootstrap_leaves_out_classes_that_a_resample_lacks():
    reference, variant = confusions(0, 0.7), confusions(0, 0.8)
    for matrices in (reference, variant):
        matrices[1:, 2, :] = matrices[1:, :, 2] = 0  # the star is on one image alone
        matrices[0, :2, :] = 0
    interval = bootstrap(reference[None], variant[None])
    assert np.isfinite([interval.low, interval.high]).all()


def test_the_interval_is_the_same_every_time_and_whatever_the_order_of_the_seeds():
    reference, variant = [scores(s, 0.7) for s in range(3)], [scores(s, 0.75) for s in range(3)]
    first = paired_difference(reference, variant, MIOU)
    assert paired_difference(reference, variant, MIOU) == first
    again = paired_difference(reference[::-1], variant, MIOU)
    assert again.per_seed == first.per_seed
    assert again.interval == first.interval


def test_runs_are_paired_by_their_seeds():
    reference = [Scores(0, 0.5), Scores(1, 0.6), Scores(7, 0.9)]
    variant = [Scores(1, 0.7), Scores(0, 0.55), Scores(8, 0.1)]
    difference = paired_difference(reference, variant, MIOU)
    assert difference.per_seed == pytest.approx({0: 0.05, 1: 0.1})
    assert difference.mean == pytest.approx(0.075)
    assert paired_difference(reference, [Scores(3, 0.5)], MIOU) is None


@pytest.mark.parametrize(("skill", "verdict"), [(0.85, "higher"), (0.55, "lower"), (0.7, "not significant")])
def test_a_verdict_needs_a_difference_beyond_chance(skill, verdict):
    reference = [scores(seed, 0.7, 40) for seed in range(4)]
    variant = [scores(seed + (100 if skill == 0.7 else 0), skill, 40) for seed in range(4)]
    variant = [Scores(seed, run.score, run.images) for seed, run in enumerate(variant)]
    assert paired_difference(reference, variant, MIOU).verdict == verdict


def test_both_intervals_must_exclude_zero():
    difference = statistics.Difference({0: 0.1, 1: 0.2}, 0.15, Interval(0.1, 0.2), Interval(-0.01, 0.3), None)
    assert difference.interval == Interval(-0.01, 0.3)
    assert difference.verdict == "not significant"


def test_equal_runs_are_not_told_apart():
    runs = [scores(seed, 0.7) for seed in range(3)]
    difference = paired_difference(runs, runs, MIOU)
    assert (difference.mean, difference.interval) == (0.0, Interval(0.0, 0.0))
    assert difference.verdict == "not significant"


def test_one_seed_is_never_judged():
    difference = paired_difference([scores(0, 0.5)], [scores(0, 0.9)], MIOU)
    assert difference.interval.excludes_zero
    assert difference.student is None
    assert difference.verdict == "one seed: not judged"


def test_without_results_per_image_only_seeds_are_judged():
    reference = [scores(seed, 0.5, with_images=seed != 1) for seed in range(3)]
    difference = paired_difference(reference, [scores(seed, 0.9) for seed in range(3)], MIOU)
    assert difference.bootstrap is None
    assert "missing" in difference.without_images
    assert difference.interval == difference.student
    assert difference.verdict == "higher"


def test_results_on_other_images_are_not_resampled_together():
    other_images = paired_difference([scores(0, 0.5, images=11)], [scores(0, 0.9)], MIOU)
    assert "different images" in other_images.without_images
    relabelled = scores(0, 0.5)
    relabelled.images.confusion[3] = relabelled.images.confusion[3].T
    assert "different truths" in paired_difference([relabelled], [scores(0, 0.9)], MIOU).without_images


def relabel(run: Scores) -> None:
    """Take background for the first class in the truth of an image, and the other way round."""
    run.images.confusion[3] = run.images.confusion[3][[1, 0, 2]]


def test_runs_that_were_validated_on_other_images_are_not_judged():
    """As where labels were mended between them, or of another folder of the same name."""
    reference, variant = ([scores(seed, skill) for seed in range(3)] for skill in (0.5, 0.9))
    for run in reference:
        relabel(run)
    difference = paired_difference(reference, variant, MIOU)
    assert difference.interval is None
    assert difference.verdict == "other images: not judged"
    for run in variant:
        relabel(run)
    mended = paired_difference(reference, variant, MIOU)
    assert (mended.without_images, mended.verdict) == (None, "higher")


def test_pairs_on_images_of_their_own_are_judged_by_seeds():
    reference, variant = ([scores(seed, skill) for seed in range(3)] for skill in (0.5, 0.9))
    for runs in (reference, variant):
        relabel(runs[0])
    difference = paired_difference(reference, variant, MIOU)
    assert "different truths" in difference.without_images
    assert (difference.interval, difference.verdict) == (difference.student, "higher")


@pytest.mark.parametrize("seeds", [3, 10])
def test_coverage_where_seeds_matter_most(seeds):
    """The t interval holds the true difference, 0, as often as it says; a bootstrap over 3 seeds does not."""
    rng, held = np.random.default_rng(0), {"student": 0, "bootstrap": 0, "both": 0}
    truth = rng.multinomial(1000, [0.6, 0.3, 0.1], size=8)
    repeats = 300
    for _ in range(repeats):
        right = np.clip(rng.normal(0.7, 0.05, (2, seeds, 1, 1)), 0, 1)
        hits = rng.binomial(truth, np.broadcast_to(right, (2, seeds, *truth.shape)))
        same = np.eye(3, dtype=np.int64)
        matrices = hits[..., None] * same + (truth - hits)[..., None] * np.roll(same, 1, axis=1)
        runs = mean_iou(matrices.sum(axis=2))
        student = student_interval(runs[1] - runs[0])
        resampled = bootstrap(matrices[0], matrices[1], resamples=400)
        both = statistics.Difference({}, 0.0, resampled, student, None).interval
        for name, interval in (("student", student), ("bootstrap", resampled), ("both", both)):
            held[name] += not interval.excludes_zero
    assert 0.91 <= held["student"] / repeats <= 0.985
    assert 0.91 <= held["both"] / repeats <= 0.985
    low, high = (0.65, 0.85) if seeds == 3 else (0.84, 0.95)
    assert low <= held["bootstrap"] / repeats <= high


def test_what_is_said_about_coverage_is_what_was_measured():
    rows = json.loads(RESULT.read_text())["rows"]
    by_interval = {}
    for seeds in (2, 3, 5, 10):
        for name in ("bootstrap", "student", "both"):
            measured = [100 * row["coverage"][name] for row in rows if row["seeds"] == seeds]
            by_interval[name] = f"{min(measured):.0f} to {max(measured):.0f} %"
        line = f"| {seeds} | {by_interval['bootstrap']} | {by_interval['student']} | {by_interval['both']} |"
        assert line in statistics.__doc__
        if seeds == 3:
            assert f"true difference in {by_interval['both']} of cases" in COVERAGE
            assert f"bootstrap alone in {by_interval['bootstrap']}, t alone in {by_interval['student']}" in COVERAGE


def test_more_data_get_fewer_resamples(monkeypatch):
    reference, variant = confusions(0, 0.7)[None], confusions(0, 0.8)[None]
    assert bootstrap(reference, variant) == bootstrap(reference, variant, resamples=10_000)
    monkeypatch.setattr(statistics, "_AFFORDABLE_WORK", 1.0)
    assert bootstrap(reference, variant) == bootstrap(reference, variant, resamples=1_000)
