"""The scores of single images, beside those that each run's results give."""

import numpy as np

from dcnrun.compare import image_scores as module
from dcnrun.compare.image_scores import image_scores
from dcnrun.compare.results import compare
from dcnrun.tasks.segmentation.scores import mean_iou
from tests.compare.factories import confusions, per_image, variant, without_runs


def test_scores_are_means_over_seeds_of_each_image_alone(comparison):
    found = image_scores(comparison)
    expected = np.array(
        [np.mean([mean_iou(run.images.confusion) for run in each.runs], axis=0) for each in comparison.variants]
    )
    np.testing.assert_allclose(found.scores, expected)
    assert found.variants == (0, 1, 2)
    means, spread = expected.mean(axis=0), expected.max(axis=0) - expected.min(axis=0)
    assert found.lowest(4) == np.argsort(means)[:4].tolist()
    assert found.furthest_apart(4) == np.argsort(-spread)[:4].tolist()
    two = found.only([0, 2])
    assert two.variants == (0, 2)
    assert two.furthest_apart(3) == np.argsort(-abs(expected[0] - expected[2]))[:3].tolist()


def test_images_without_a_score_or_a_difference_are_not_ranked(tmp_path):
    matrices = confusions(0)
    matrices[3] = 0  # nothing is labelled
    same = [variant(tmp_path, name, ["conv=standard"], (0,), images=per_image(matrices)) for name in ("a", "b")]
    found = image_scores(compare(same))
    assert np.isnan(found.scores[:, 3]).all()
    assert len(found.lowest(100)) == 11
    assert found.furthest_apart(100) == []


def test_a_variant_without_results_is_left_out(tmp_path):
    variants = [variant(tmp_path, "a", ["conv=standard"], (0,)), without_runs(tmp_path / "b", "b", ["conv=dilated"])]
    assert image_scores(compare(variants)).variants == (0,)


def test_words_say_why_there_are_none(tmp_path, comparison, monkeypatch):
    bare = compare([variant(tmp_path, "bare", ["conv=standard"], (0,), with_images=False)])
    assert image_scores(bare) == "no run has results per image that give val/miou."
    others = [
        variant(tmp_path, f"{count}", ["conv=standard"], (0,), images=per_image(confusions(0, images=count)))
        for count in (5, 6)
    ]
    assert image_scores(compare(others)) == "the runs were not validated on the same images."
    monkeypatch.setattr(module, "_AFFORDABLE_WORK", 1000)
    assert "each of 12 images of 8 runs alone takes too long" in image_scores(comparison)
