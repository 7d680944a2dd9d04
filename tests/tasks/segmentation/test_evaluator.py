"""Predictions of batches become confusion matrices, one for each image."""

import numpy as np
import torch

from dcnrun.data import IGNORE, SegmentationDataset
from dcnrun.tasks.segmentation.evaluator import SegmentationEvaluator, confusion_matrix

CLASSES = ("background", "road", "tree")


class Made(SegmentationDataset):
    """A data set that knows its images' names only."""

    classes = CLASSES

    def __init__(self, count):
        self.count = count

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        raise AssertionError("what is there comes with the batch")

    def name(self, index):
        return f"image-{index}"


def made(count, seed=0):
    """Predicted and true classes of some images, some of whose pixels have no label."""
    draw = torch.Generator().manual_seed(seed)
    truth = torch.randint(len(CLASSES), (count, 7, 9), generator=draw)
    truth[torch.rand(truth.shape, generator=draw) < 0.2] = IGNORE
    return torch.randint(len(CLASSES), (count, 7, 9), generator=draw), truth


def expected(prediction, truth):
    """Counted pixel by pixel."""
    matrices = np.zeros((len(truth), len(CLASSES), len(CLASSES)), dtype=np.int64)
    for image in range(len(truth)):
        for true, found in zip(truth[image].flatten().tolist(), prediction[image].flatten().tolist(), strict=True):
            if true != IGNORE:
                matrices[image, true, found] += 1
    return matrices


def add(evaluator, prediction, truth, places):
    evaluator.update([*prediction[places]], {"truth": [*truth[places].byte()], "index": places})


def test_counts_the_pixels():
    matrices = [confusion_matrix(found, true.byte(), len(CLASSES)) for found, true in zip(*made(5), strict=True)]
    np.testing.assert_array_equal(matrices, expected(*made(5)))


def test_the_largest_label_fits():
    matrix = confusion_matrix(torch.tensor([[254, 0]]), torch.tensor([[254, 254]], dtype=torch.uint8), 255)
    assert torch.nonzero(matrix).tolist() == [[254, 0], [254, 254]]


def test_an_image_without_a_label_counts_nothing():
    (prediction,), (truth,) = made(1)
    assert not confusion_matrix(prediction, torch.full_like(truth, IGNORE), len(CLASSES)).any()


def test_batches_in_any_order_and_an_image_twice():
    prediction, truth = made(6)
    evaluator = SegmentationEvaluator(Made(6))
    for places in ([4, 5], [1, 0], [3, 1, 2]):
        add(evaluator, prediction, truth, places)
    result = evaluator.result()
    np.testing.assert_array_equal(result.images.confusion, expected(prediction, truth))
    assert result.images.names == tuple(f"image-{i}" for i in range(6))
    assert result.per_class["val/miou"].keys() == set(CLASSES)
