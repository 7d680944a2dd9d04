"""mIoU and pixel accuracy against counting pixels and against scikit-learn."""

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, jaccard_score

from dcnrun import scores


def confusion(truth, prediction, classes):
    matrix = np.zeros((classes, classes), dtype=np.int64)
    np.add.at(matrix, (truth.ravel(), prediction.ravel()), 1)
    return matrix


@pytest.mark.parametrize("seed", range(5))
def test_equals_scikit_learn(seed):
    rng = np.random.default_rng(seed)
    truth, prediction = rng.integers(0, 4, (2, 2000))
    matrix = confusion(truth, prediction, 4)
    assert scores.mean_iou(matrix) == pytest.approx(jaccard_score(truth, prediction, average="macro"))
    assert scores.pixel_accuracy(matrix) == pytest.approx(accuracy_score(truth, prediction))


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
