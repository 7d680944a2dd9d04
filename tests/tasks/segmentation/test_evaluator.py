"""Predictions of batches and processes become confusion matrices, one for each image."""

import os

import numpy as np
import pytest
import torch
from sklearn.metrics import confusion_matrix

from dcnrun.data import IGNORE, SegmentationDataset
from dcnrun.tasks.segmentation.evaluator import SegmentationEvaluator, confusion_matrices

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
    return [
        confusion_matrix(true[true != IGNORE], found[true != IGNORE], labels=range(len(CLASSES)))
        for found, true in zip(prediction, truth, strict=True)
    ]


def add(evaluator, prediction, truth, places):
    evaluator.update(prediction[places], {"mask": truth[places], "index": places})


def test_equals_scikit_learn():
    np.testing.assert_array_equal(confusion_matrices(*made(5), len(CLASSES)), expected(*made(5)))


def test_images_without_a_label_count_nothing():
    prediction, truth = made(2)
    truth[0] = IGNORE
    matrices = confusion_matrices(prediction, truth, len(CLASSES))
    assert not matrices[0].any()
    np.testing.assert_array_equal(matrices[1:], expected(prediction[1:], truth[1:]))


def test_batches_in_any_order_and_an_image_twice():
    prediction, truth = made(6)
    evaluator = SegmentationEvaluator(Made(6))
    for places in ([4, 5], [1, 0], [3, 1, 2]):
        add(evaluator, prediction, truth, places)
    result = evaluator.result()
    np.testing.assert_array_equal(result.images.confusion, expected(prediction, truth))
    assert result.images.names == tuple(f"image-{i}" for i in range(6))
    assert result.per_class["val/miou"].keys() == set(CLASSES)


@pytest.mark.slow
def test_processes_of_which_one_has_no_image_score_all_together(tmp_path):
    torch.multiprocessing.spawn(_of_a_process, (str(tmp_path),), nprocs=2)
    for rank in range(2):
        np.testing.assert_array_equal(np.load(tmp_path / f"{rank}.npy"), expected(*made(2)))


def _of_a_process(rank, folder):
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    evaluator = SegmentationEvaluator(Made(2))
    if rank == 0:
        add(evaluator, *made(2), [0, 1])
    np.save(f"{folder}/{rank}.npy", evaluator.result().images.confusion)
    torch.distributed.destroy_process_group()
