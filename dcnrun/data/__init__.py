"""Data sets, and batches of them: `build_dataset`, then `train_batches` and `eval_batches`. Knows nothing of models."""

from dcnrun.data.build import build_dataset, problems
from dcnrun.data.loaders import Batch, eval_batches, train_batches
from dcnrun.data.sample import IGNORE, Sample, SegmentationDataset

__all__ = [
    "IGNORE",
    "Batch",
    "Sample",
    "SegmentationDataset",
    "build_dataset",
    "eval_batches",
    "problems",
    "train_batches",
]
