"""The classes of a data set in another order: labels that have other numbers elsewhere are matched by name."""

from collections.abc import Sequence
from itertools import count
from pathlib import Path
from typing import Any

import torch
from torchvision.tv_tensors import Mask

from dcnrun.data.box_batches import BoxBatch, BoxDataset
from dcnrun.data.mask_batches import MaskBatch, SegmentationDataset
from dcnrun.data.sample import IGNORE, BatchT, BoxSample, LabelledDataset, Sample, SampleT


def in_order_of(
    dataset: LabelledDataset[SampleT, BatchT], classes: Sequence[str]
) -> LabelledDataset[SampleT, BatchT] | None:
    """Return the data set with its labels numbered as `classes`, by name; None where it has others than these."""
    if dataset.classes == tuple(classes):
        return dataset
    if not set(dataset.classes) <= set(classes):
        return None
    renumbered: Any = _RenumberedBoxes if isinstance(dataset, BoxDataset) else _RenumberedMasks
    result: LabelledDataset[SampleT, BatchT] = renumbered(dataset, classes)
    return result


class _Renumbered(LabelledDataset[SampleT, BatchT]):
    """All but the numbers of the labels is the data set's own."""

    def __init__(self, dataset: LabelledDataset[SampleT, BatchT], classes: Sequence[str]) -> None:
        self.classes = tuple(classes)
        self.notes = dataset.notes
        self._dataset = dataset
        self._numbers = [self.classes.index(name) for name in dataset.classes]
        ids = {number: dataset.category_id(label) for label, number in enumerate(self._numbers)}
        unused = count(max(ids.values()) + 1)  # for classes that the files lack
        self._category_ids = [ids[label] if label in ids else next(unused) for label in range(len(self.classes))]

    def __len__(self) -> int:
        return len(self._dataset)

    def name(self, index: int) -> str:
        return self._dataset.name(index)

    def file(self, index: int) -> Path | None:
        return self._dataset.file(index)

    def label_content(self, index: int) -> bytes:
        return self._dataset.label_content(index)

    def require_every_class(self) -> None:
        self._dataset.require_every_class()

    def image_id(self, index: int) -> int:
        return self._dataset.image_id(index)

    def category_id(self, label: int) -> int:
        return self._category_ids[label]


class _RenumberedMasks(_Renumbered[Sample, MaskBatch], SegmentationDataset):
    def __getitem__(self, index: int) -> Sample:
        sample = self._dataset[index]
        return {**sample, "mask": self._renumbered(sample["mask"])}

    def mask(self, index: int) -> Mask:
        assert isinstance(self._dataset, SegmentationDataset)
        return self._renumbered(self._dataset.mask(index))

    def _renumbered(self, mask: Mask) -> Mask:
        numbers = torch.tensor(self._numbers + [IGNORE] * (IGNORE + 1 - len(self._numbers)), dtype=torch.uint8)
        return Mask(numbers[mask.long()])


class _RenumberedBoxes(_Renumbered[BoxSample, BoxBatch], BoxDataset):
    def __getitem__(self, index: int) -> BoxSample:
        sample = self._dataset[index]
        return {**sample, "labels": torch.tensor(self._numbers)[sample["labels"]]}

    def areas(self, index: int) -> torch.Tensor:
        assert isinstance(self._dataset, BoxDataset)
        return self._dataset.areas(index)
