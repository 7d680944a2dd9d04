"""What comparisons resample, against the library and the development kit on images that occur several times."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dcnrun.tasks.detection.coco import coco_scores
from dcnrun.tasks.detection.matches import match
from tests.tasks.detection.factories import CLASS_NAMES, category_id, results
from tests.tasks.detection.fakes import kit_scores

LIBRARYS = ("val/map", "val/map_50", "val/map_75")


def without_ties(image):
    """Its detections with distinct scores, which are still those of detections in other images."""
    return dataclasses.replace(image, scores=np.argsort(np.argsort(image.scores, kind="stable")) / 100)


def as_often(images, counts):
    """Image i `counts[i]` times, its copies beside each other in the order of ids."""
    return [
        dataclasses.replace(image, image_id=100 * image.image_id + copy, name=f"{image.name} {copy}")
        for image, count in zip(images, counts, strict=True)
        for copy in range(count)
    ]


@pytest.mark.parametrize("seed", range(12))
def test_matches_give_the_scores_of_the_library(seed):
    images = results(seed, many=seed % 4 == 0)
    scores, matches = coco_scores(images, CLASS_NAMES, category_id), match(images, CLASS_NAMES)
    for metric in LIBRARYS:
        assert matches.score(metric) == pytest.approx(scores.metrics[metric], abs=1e-12)


@pytest.mark.parametrize("seed", range(12))
def test_matches_give_the_scores_of_the_development_kit(seed):
    images = results(seed, many=seed % 4 == 0)
    expected, matches = kit_scores(images, len(CLASS_NAMES)), match(images, CLASS_NAMES)
    assert {metric: matches.score(metric) for metric in expected} == pytest.approx(expected, abs=1e-12)


def test_of_equal_overlaps_coco_takes_the_last_object():
    """The first detection lies between both objects; the second is on the first of them."""
    image = dataclasses.replace(
        results(0, images=1)[0],
        boxes=np.array([[2, 0, 12, 10], [0, 0, 10, 10.0]]),
        scores=np.array([0.9, 0.8]),
        labels=np.zeros(2, np.int64),
        object_boxes=np.array([[0, 0, 10, 10], [4, 0, 14, 10.0]]),
        object_labels=np.zeros(2, np.int64),
        object_areas=np.array([100.0, 100.0]),
        crowd=np.zeros(2, np.bool_),
        difficult=np.zeros(2, np.bool_),
    )
    assert coco_scores([image], CLASS_NAMES, category_id).metrics["val/map_50"] == pytest.approx(1)
    assert match([image], CLASS_NAMES).score("val/map_50") == pytest.approx(1)
    assert match([image], CLASS_NAMES).score("val/voc12_50") == pytest.approx(1 / 2)


def test_nothing_to_find_and_nothing_found():
    images = results(1)
    empty = [
        dataclasses.replace(image, boxes=image.boxes[:0], scores=image.scores[:0], labels=image.labels[:0])
        for image in images
    ]
    matches = match(empty, CLASS_NAMES)
    assert [matches.score(metric) for metric in matches.metrics] == [0] * len(matches.metrics)
    nowhere = np.zeros((1, len(images)), dtype=np.int64)
    assert np.isnan([matches.resampled(metric, nowhere) for metric in matches.metrics]).all()


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 1000), data=st.data())
def test_a_resample_is_scored_as_the_images_are_that_often(seed, data):
    # of equal scores in one image, the order of copies is not the library's: a, a, b, b in place of a, b, a, b
    images = [without_ties(image) for image in results(seed, images=5)]
    counts = np.array([data.draw(st.lists(st.integers(0, 3), min_size=5, max_size=5)) for _ in range(2)])
    matches = match(images, CLASS_NAMES)
    for row, *scores in zip(counts, *(matches.resampled(metric, counts) for metric in matches.metrics), strict=True):
        copies = as_often(images, row)
        expected = {**coco_scores(copies, CLASS_NAMES, category_id).metrics, **kit_scores(copies, len(CLASS_NAMES))}
        np.testing.assert_allclose(scores, [expected[metric] for metric in matches.metrics], rtol=0, atol=1e-12)


@pytest.mark.parametrize("metric", ["val/map_50", "val/map_75"])
def test_curves_of_precision_and_recall_have_the_librarys_area(metric):
    images = results(3, 30)
    curves = match(images, CLASS_NAMES).precision_recall(metric)
    assert curves.keys() == set(CLASS_NAMES) - {"never there"}
    scores = coco_scores(images, CLASS_NAMES, category_id)
    areas = {name: curve.at(np.linspace(0, 1, 101)).mean() for name, curve in curves.items()}
    assert np.mean(list(areas.values())) == pytest.approx(scores.metrics[metric], abs=1e-9)
    if metric in scores.per_class:
        assert areas == pytest.approx({name: scores.per_class[metric][name] for name in areas}, abs=1e-9)
