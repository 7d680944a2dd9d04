"""Data sets, and batches of them: `build_dataset` (masks), `build_box_dataset` or `build_instance_dataset`, then `train_batches` and `eval_batches`.

Knows nothing of models.
"""

from dcnrun.data.box_batches import BoxBatch, BoxDataset, BoxTruth
from dcnrun.data.loaders import eval_batches, train_batches
from dcnrun.data.mask_batches import MaskBatch, SegmentationDataset
from dcnrun.data.registry import build_box_dataset, build_dataset, build_instance_dataset, labels_of, problems
from dcnrun.data.sample import IGNORE, Batch, BoxSample, LabelledDataset, Sample

__all__ = [
    "IGNORE",
    "Batch",
    "BoxBatch",
    "BoxDataset",
    "BoxSample",
    "BoxTruth",
    "LabelledDataset",
    "MaskBatch",
    "Sample",
    "SegmentationDataset",
    "build_box_dataset",
    "build_dataset",
    "build_instance_dataset",
    "eval_batches",
    "labels_of",
    "problems",
    "train_batches",
]
