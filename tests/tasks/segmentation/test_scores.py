"""mIoU and pixel accuracy against sets of pixels."""

import numpy as np
import pytest

from dcnrun.tasks.segmentation import scores


def confusion(truth, prediction, classes):
    matrix = np.zeros((classes, classes), dtype=np.int64)
    np.add.at(matrix, (truth.ravel(), prediction.ravel()), 1)
    return matrix


@pytest.mark.parametrize("seed", range(5))
def test_intersections_and_unions_of_sets(seed):
    truth, prediction = np.random.default_rng(seed).integers(0, 4, (2, 2000))
    of_truth, of_prediction = ([set(np.flatnonzero(labels == c)) for c in range(4)] for labels in (truth, prediction))
    iou = [len(a & b) / len(a | b) for a, b in zip(of_truth, of_prediction, strict=True)]
    matrix = confusion(truth, prediction, 4)
    np.testing.assert_allclose(scores.class_iou(matrix), iou)
    assert scores.mean_iou(matrix) == pytest.approx(np.mean(iou))
    assert scores.pixel_accuracy(matrix) == pytest.approx(np.mean(truth == prediction))


def test_by_hand_with_a_class_that_never_occurs():
    matrix = confusion(np.array([0, 0, 0, 1]), np.array([0, 0, 1, 1]), 3)
    np.testing.assert_allclose(scores.class_iou(matrix), [2 / 3, 1 / 2, np.nan])
    assert scores.mean_iou(matrix) == pytest.approx((2 / 3 + 1 / 2) / 2)
    assert scores.pixel_accuracy(matrix) == pytest.approx(3 / 4)


def test_many_matrices_at_once_and_nothing_at_all():
    stack = np.stack([np.eye(2, dtype=np.int64), np.zeros((2, 2), dtype=np.int64)])
    assert scores.mean_iou(stack)[0] == 1
    assert np.isnan(scores.mean_iou(stack)[1])
    assert np.isnan(scores.pixel_accuracy(stack)[1])


def test_classes_that_no_image_has():
    predicted_only = np.array([[3, 0, 1], [2, 4, 0], [0, 0, 0]])
    images = scores.ConfusionPerImage(["b", "a"], np.stack([predicted_only, np.eye(3, 3, 1)]), ("x", "y", "z"))
    assert images.truth_of_class().tolist() == [5, 7, 0]
    assert images.absent_classes == ("z",)
