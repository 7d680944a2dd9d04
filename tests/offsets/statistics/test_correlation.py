"""Rank correlation against scipy, and its interval against simulated repetition."""

import numpy as np
import pytest
from scipy import stats

from dcnrun.offsets.statistics.correlation import FEWEST_IMAGES, rank_correlation, weighted_spearman


def test_counts_are_repetitions():
    random = np.random.default_rng(0)
    x, y = random.integers(0, 8, 40).astype(float), random.normal(size=40)
    counts = random.integers(0, 4, (5, 40))
    found = weighted_spearman(x, y, counts.astype(float))
    for row, value in zip(counts, found, strict=True):
        repeated = stats.spearmanr(np.repeat(x, row), np.repeat(y, row)).statistic
        assert value == pytest.approx(repeated)


def images_of(random, images, related):
    """Three objects in each image, which share the image's mood: it makes values alike, not related to size."""
    image = np.repeat(np.arange(images), 3)
    size = random.normal(size=images)[image] + 0.3 * random.normal(size=len(image))
    mood = random.normal(size=images)[image] + 0.3 * random.normal(size=len(image))
    return size, related * size + mood, image


def test_monotone_is_one_whatever_the_scale():
    random = np.random.default_rng(1)
    x = random.uniform(1, 9, 30)
    for y, wanted in ((np.exp(x), 1), (x**0.5, 1), (-(x**3), -1)):
        found = rank_correlation(x, y, np.arange(30))
        assert (found.value, found.interval.low, found.interval.high) == pytest.approx((wanted, wanted, wanted))


def test_the_interval_knows_that_objects_of_an_image_go_together():
    """Its width follows the spread of the correlation over new draws of the images; objects alone would be too sure."""
    random = np.random.default_rng(2)
    repeated = [rank_correlation(*images_of(random, 40, 0.0)[:2], np.zeros(120, int)).value for _ in range(400)]
    true_width = np.quantile(repeated, 0.975) - np.quantile(repeated, 0.025)
    size, value, image = images_of(random, 40, 0.0)
    over_images = rank_correlation(size, value, image)
    over_objects = rank_correlation(size, value, np.arange(len(image)))
    assert over_images.images == 40
    assert over_images.interval.high - over_images.interval.low == pytest.approx(true_width, rel=0.3)
    assert over_objects.interval.high - over_objects.interval.low < 0.75 * true_width


def test_a_real_relation_is_found_and_its_interval_is_always_the_same():
    sample = images_of(np.random.default_rng(3), 40, 1.0)
    found = rank_correlation(*sample)
    assert 0 < found.interval.low < found.value < found.interval.high < 1
    assert found == rank_correlation(*sample)


def test_what_never_varies_has_no_correlation():
    assert np.isnan(rank_correlation(np.arange(6.0), np.ones(6), np.arange(6)).value)


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_what_is_no_number_has_no_rank(wrong):
    x = np.arange(20.0)
    y = x.copy()
    y[3] = wrong
    for found in (rank_correlation(x, y, np.arange(20)), rank_correlation(y, x, np.arange(20))):
        assert np.isnan(found.value)
        assert found.interval is None
        assert found.objects == 20


def test_too_few_images_have_no_interval():
    random = np.random.default_rng(5)
    few = rank_correlation(*images_of(random, FEWEST_IMAGES - 1, 1.0))
    assert few.value > 0
    assert few.interval is None
    assert rank_correlation(*images_of(random, FEWEST_IMAGES, 1.0)).interval.low > -1


def test_the_interval_of_the_fewest_images_holds_the_truth_nine_times_in_ten():
    random = np.random.default_rng(6)
    x, y, _ = images_of(random, 50_000, 0.5)
    truth = stats.spearmanr(x, y).statistic
    found = [rank_correlation(*images_of(random, FEWEST_IMAGES, 0.5), resamples=200).interval for _ in range(200)]
    assert sum(one.low <= truth <= one.high for one in found) > 0.85 * len(found)
