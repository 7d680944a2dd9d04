"""Data sets, and batches of them: `build_dataset` (masks) or `build_box_dataset`, then `train_batches` and `eval_batches`.

Knows nothing of models.
"""

from dcnrun.data.box_batches import BoxBatch, BoxTruth
from dcnrun.data.loaders import eval_batches, train_batches
from dcnrun.data.mask_batches import Batch, EvaluationBatch
from dcnrun.data.registry import build_box_dataset, build_dataset, labels_of, problems
from dcnrun.data.sample import IGNORE, BoxDataset, BoxSample, LabelledDataset, Sample, SegmentationDataset

__all__ = [
    "IGNORE",
    "Batch",
    "BoxBatch",
    "BoxDataset",
    "BoxSample",
    "BoxTruth",
    "EvaluationBatch",
    "LabelledDataset",
    "Sample",
    "SegmentationDataset",
    "build_box_dataset",
    "build_dataset",
    "eval_batches",
    "labels_of",
    "problems",
    "train_batches",
]
