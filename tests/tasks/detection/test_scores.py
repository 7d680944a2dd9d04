"""Matches per image beside what is computed of them one by one; the rules themselves are tested where matches are made."""

import numpy as np
import pytest

from dcnrun.tasks.detection import scores
from dcnrun.tasks.detection.scores import MatchesPerImage
from tests.compare.factories import confusions, matches, per_image


def arrays(images):
    return {**images.arrays(), "names": images.names, "classes": images.classes}


def test_the_order_of_images_and_of_detections_changes_nothing():
    images, rng = matches(0), np.random.default_rng(1)
    names, content = rng.permutation(12), arrays(images)
    detections = rng.permutation(len(content["score"]))
    for name in ("image", "label", "score", "matched", "ignored"):
        content[name] = content[name][detections]
    content |= {"names": [images.names[i] for i in names], "objects": content["objects"][names]}
    content["image"] = np.argsort(names)[content["image"]]
    again = MatchesPerImage(**content)
    counts = rng.integers(0, 3, (5, 12))
    for metric in images.metrics:
        np.testing.assert_array_equal(again.resampled(metric, counts), images.resampled(metric, counts))


@pytest.mark.parametrize("chunk", [1, 100])
def test_chunks_of_resamples_change_nothing(monkeypatch, chunk):
    images, counts = matches(0), np.random.default_rng(1).integers(0, 3, (7, 12))
    whole = images.resampled("val/map", counts)
    monkeypatch.setattr(scores, "_CHUNK", chunk)
    np.testing.assert_array_equal(images.resampled("val/map", counts), whole)


def test_twice_each_image_is_scored_as_once():
    images = matches(0)
    for metric in ("val/voc12_50", "val/voc07_70", "val/map_75"):
        np.testing.assert_allclose(images.resampled(metric, np.full((1, 12), 2)), images.score(metric), atol=1e-12)


def test_by_hand():
    """Two objects; found, missed, wrong: recall 1/2 at precision 1, then nothing more."""
    matched = np.zeros((2, 12), dtype=bool)
    matched[0] = True
    images = MatchesPerImage(
        ["a", "b"],
        ["thing"],
        np.array([[1], [1]]),
        np.array([0, 1]),
        np.array([0, 0]),
        np.array([0.9, 0.8]),
        matched,
        np.zeros_like(matched),
    )
    assert images.score("val/map") == pytest.approx(51 / 101)
    assert images.score("val/voc07_50") == pytest.approx(6 / 11)
    assert images.score("val/voc12_70") == pytest.approx(1 / 2)
    assert images.resampled("val/map", np.array([[1, 0], [0, 1], [2, 1]])) == pytest.approx([1, 0, 67 / 101])
    with pytest.raises(KeyError):
        images.score("val/miou")


def test_classes_that_no_image_has():
    content = arrays(matches(0))
    images = MatchesPerImage(**content)
    assert images.truth_of_class().tolist() == [int(content["objects"][:, place].sum()) for place in range(3)]
    assert images.absent_classes == ()
    nothing = {name: content[name][:0] for name in ("image", "label", "score", "matched", "ignored")}
    objects = content["objects"] * [1, 0, 1]
    assert MatchesPerImage(**content | nothing | {"objects": objects}).absent_classes == images.classes[1:2]


def test_truths_differ_by_names_and_objects():
    assert matches(0).has_same_truth(matches(1, 0.2))
    assert not matches(0).has_same_truth(matches(0, images=11))
    other = matches(0)
    other.objects[0, 0] += 1
    assert not matches(0).has_same_truth(other)
    assert not matches(0).has_same_truth(per_image(confusions(0)))


@pytest.mark.parametrize(
    "change",
    [
        {"objects": np.zeros((12, 2))},
        {"objects": np.zeros((12, 3))},  # but some detections match
        {"matched": np.zeros((3, 12), dtype=bool)},
        {"label": lambda label: label + 3},
        {"image": lambda image: image - 1},
        {"confusion": np.zeros((3, 3))},
    ],
)
def test_what_does_not_fit_is_refused(change):
    content = arrays(matches(0))
    changed = {name: value(content[name]) if callable(value) else value for name, value in change.items()}
    with pytest.raises(
        ValueError, match=r"don't fit|in none of|more detections|confusion matrix \(3, 3\) of 3 classes"
    ):
        MatchesPerImage(**content | changed)
