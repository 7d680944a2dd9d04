"""Matches of boxes and masks per image, of which scores of any resample are computed, against the library."""

import dataclasses
from functools import partial

import numpy as np
import pytest

from dcnrun.tasks.detection.coco import coco_match, coco_scores
from dcnrun.tasks.detection.matches import match, match_by, voc_match
from dcnrun.tasks.instances.evaluator import InstanceEvaluation
from dcnrun.tasks.instances.scores import MASK_RULES, InstanceMatchesPerImage
from tests.tasks.detection.factories import CLASS_NAMES, category_id
from tests.tasks.detection.test_evaluator import Made
from tests.tasks.instances.factories import results


@pytest.mark.parametrize("seed", range(4))
def test_matches_give_the_scores_of_the_library(seed):
    images = results(seed)
    evaluation = InstanceEvaluation(images, Made(images))
    assert type(evaluation.images) is InstanceMatchesPerImage
    for metric in evaluation.images.metrics:
        assert evaluation.images.score(metric) == pytest.approx(evaluation.metrics[metric], abs=1e-12)
    of_boxes = match(images, CLASS_NAMES)
    assert all(of_boxes.score(metric) == evaluation.images.score(metric) for metric in of_boxes.metrics)


def test_a_resample_is_scored_as_the_images_are_that_often():
    images = [
        dataclasses.replace(image, scores=np.argsort(np.argsort(image.scores, kind="stable")) / 100)
        for image in results(5, images=5)
    ]
    matchings = coco_match, voc_match, partial(coco_match, shape="segm")
    matches = match_by(matchings, InstanceMatchesPerImage, images, CLASS_NAMES)
    counts = np.array([[2, 0, 1, 3, 1], [0, 1, 1, 0, 2]])
    for row, metric in ((row, metric) for row in range(2) for metric in MASK_RULES):
        copies = [
            dataclasses.replace(image, image_id=100 * image.image_id + copy, name=f"{image.name} {copy}")
            for image, count in zip(images, counts[row], strict=True)
            for copy in range(count)
        ]
        expected = coco_scores(copies, CLASS_NAMES, category_id, "segm").metrics[metric]
        assert matches.resampled(metric, counts)[row] == pytest.approx(expected, abs=1e-12)


def test_matches_are_read_as_they_were_saved(tmp_path):
    images = results(6)
    matches = InstanceEvaluation(images, Made(images)).images
    matches.save(tmp_path / "images.npz")
    again = InstanceMatchesPerImage.load(tmp_path / "images.npz")
    assert all(again.score(metric) == matches.score(metric) for metric in matches.metrics)
    match(images, CLASS_NAMES).save(tmp_path / "boxes.npz")
    assert InstanceMatchesPerImage.load(tmp_path / "boxes.npz") is None
