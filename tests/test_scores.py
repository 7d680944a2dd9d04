"""Results per image in files: what was written is read, and nothing else."""

import math

import numpy as np
import pytest

from dcnrun.scores import as_percent, in_percent
from dcnrun.tasks.detection.scores import MatchesPerImage
from dcnrun.tasks.segmentation.scores import ConfusionPerImage, class_iou
from tests.compare.factories import confusions, matches, per_image


def shuffled():
    order = [2, 0, 1]
    return ConfusionPerImage(["b", "c", "a"], confusions(0, images=3)[order], ("sky", "tree", "road"))


def test_results_are_in_the_order_of_the_sorted_names():
    images = shuffled()
    assert images.names == ("a", "b", "c")
    np.testing.assert_array_equal(images.confusion, confusions(0, images=3)[[1, 2, 0]])


def test_confusions_are_read_as_written(tmp_path):
    shuffled().save(tmp_path / "images.npz")
    read = ConfusionPerImage.load(tmp_path / "images.npz")
    assert (read.names, read.classes) == (shuffled().names, shuffled().classes)
    assert read.score("val/pixel_acc") == shuffled().score("val/pixel_acc")
    assert read.has_same_truth(shuffled())
    assert not list(tmp_path.glob(".*"))


def test_matches_are_read_as_written(tmp_path):
    images = matches(3)
    images.save(tmp_path / "images.npz")
    read = MatchesPerImage.load(tmp_path / "images.npz")
    assert (read.names, read.classes) == (images.names, images.classes)
    counts = np.random.default_rng(0).integers(0, 3, (4, 12))
    for metric in images.metrics:
        np.testing.assert_array_equal(read.resampled(metric, counts), images.resampled(metric, counts))


def test_files_of_older_runs_are_read(tmp_path):
    names = np.array([f"{i:02d}" for i in range(12)])
    np.savez(tmp_path / "old.npz", confusion=confusions(0), names=names, classes=np.array(["a", "b", "c"]))
    np.testing.assert_array_equal(ConfusionPerImage.load(tmp_path / "old.npz").confusion, confusions(0))
    assert MatchesPerImage.load(tmp_path / "old.npz") is None


CONTENT = {"kind": "confusion", "names": ["a", "b"], "classes": ["x", "y", "z"], "confusion": confusions(0, images=2)}


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "something else"},
        {"kind": "matches"},
        {"names": ["a", "a"]},
        {"names": ["a"]},
        {"names": []},
        {"classes": ["x"]},
        {"names": np.array([{}, {}], dtype=object)},
        {"confusion": np.array([{}], dtype=object)},
        {"more": 1},
    ],
)
def test_what_is_not_whole_is_not_read(tmp_path, change):
    np.savez(tmp_path / "images.npz", **CONTENT)
    assert ConfusionPerImage.load(tmp_path / "images.npz") is not None
    np.savez(tmp_path / "images.npz", **CONTENT | change)
    assert ConfusionPerImage.load(tmp_path / "images.npz") is None


def test_missing_torn_and_foreign_files_are_not_read(tmp_path):
    file = tmp_path / "images.npz"
    assert ConfusionPerImage.load(file) is None
    np.savez(file, **CONTENT)
    for content in (file.read_bytes()[:300], b"", b"text", b"\x93NUMPY"):
        file.write_bytes(content)
        assert ConfusionPerImage.load(file) is None
    np.save(file.open("wb"), np.zeros(3))
    assert ConfusionPerImage.load(file) is None


def test_scores_are_in_percent_for_people():
    assert [as_percent(score) for score in (0.71234, 0.0, 1.0, math.nan, None)] == [
        "71.2 %",
        "0.0 %",
        "100.0 %",
        "-",
        "-",
    ]
    assert [in_percent(score, "+") for score in (0.0126, -0.0126, -0.0001)] == ["+1.3", "-1.3", "+0.0"]


@pytest.mark.parametrize(("images", "metric"), [(per_image(confusions(0)), "val/miou"), (matches(0), "val/map_50")])
def test_each_image_alone_is_scored_as_a_set_of_one(images, metric):
    alone = images.by_image(metric)
    for i in range(12):
        counts = np.zeros((1, 12), np.int64)
        counts[0, i] = 3  # as often as one likes
        np.testing.assert_allclose(images.resampled(metric, counts)[0], alone[i], atol=1e-12)
    worst = images.worst_images(metric, 5)
    assert [score for _, score in worst] == sorted(alone[~np.isnan(alone)])[:5]
    assert all(alone[images.names.index(name)] == score for name, score in worst)


def test_many_images_are_scored_in_parts():
    images = per_image(confusions(1, images=600))
    of_classes = [class_iou(matrix) for matrix in images.confusion]
    np.testing.assert_allclose(images.by_image("val/miou"), np.nanmean(of_classes, axis=1), atol=1e-12)
