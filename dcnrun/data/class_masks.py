"""Class masks of objects: segmentation on data sets whose files have a mask for each object."""

from collections.abc import Callable
from math import ceil, floor
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torchvision.tv_tensors import Mask

from dcnrun.config.schema import BoxFilesConfig
from dcnrun.data.box_files import BoxFileDataset, Record
from dcnrun.data.coco_masks import area, decode
from dcnrun.data.mask_batches import SegmentationDataset
from dcnrun.data.sample import IGNORE, MOST_CLASSES, Sample, Split
from dcnrun.errors import UsageError

BACKGROUND = "background"

ConfigT = TypeVar("ConfigT", bound=BoxFilesConfig, contravariant=True)


class _Reader(Protocol[ConfigT]):
    def __call__(self, config: ConfigT, split: Split, masks: bool) -> BoxFileDataset: ...


def of(reader: _Reader[ConfigT]) -> Callable[[ConfigT, Split], SegmentationDataset]:
    """Return what opens the class masks of a source that `reader` opens with boxes and masks of objects."""

    def masks(config: ConfigT, split: Split) -> SegmentationDataset:
        return ClassMaskDataset(reader(config, split, True), f"data={config.source}")

    return masks


class ClassMaskDataset(SegmentationDataset):
    """The images of a data set with boxes; the class of each pixel is that of the object there.

    The first class is the background: whatever no object covers, and objects of a class of that name. Where objects
    overlap, the smaller one is on top (by the pixels of its mask; of two of one size the later in the file). Crowds and
    difficult objects are ignored; so is, where only the box of an object is known, every pixel that the box touches.
    """

    def __init__(self, objects: BoxFileDataset, source: str) -> None:
        """UsageError if no object has a mask, or there are more classes than masks have values for.

        Args:
            objects: the images with boxes, opened with masks of the objects.
            source: what messages call it.
        """
        self.classes = (BACKGROUND, *(name for name in objects.classes if name != BACKGROUND))
        if len(self.classes) > MOST_CLASSES:
            raise UsageError(
                f"{source}: it has {len(self.classes)} classes with the background; masks have {MOST_CLASSES} at most"
            )
        self.flaws = objects.flaws
        self._objects = objects
        self._values = [self.classes.index(name) for name in objects.classes]
        records = [objects.record(index) for index in range(len(objects))]
        total = sum(len(record.boxes) for record in records)
        bare = total - sum(mask is not None for record in records for mask in record.masks or [])
        if total and bare == total:
            raise UsageError(
                f"{source}: none of its {total} objects has a mask, only a box; choose a model that learns from boxes, such as"
                " model=faster_rcnn, or annotations with masks"
            )
        said = [f"{bare} of {total} objects have a box and no mask: what the box covers is ignored"] if bare else []
        self.notes = [*objects.notes, *said]

    def __len__(self) -> int:
        return len(self._objects)

    def __getitem__(self, index: int) -> Sample:
        image = self._objects.image(index, self.bands)
        record = self._objects.record(index)
        mask = _painted(record, self._values, (image.shape[1], image.shape[2]))
        return {"image": image, "mask": Mask(torch.from_numpy(mask)), "name": record.name}

    def name(self, index: int) -> str:
        """Return the name of the sample at `index`, without reading it."""
        return self._objects.name(index)

    def file(self, index: int) -> Path:
        """Return the image's file."""
        return self._objects.file(index)

    def label_content(self, index: int) -> bytes:
        """Return the objects of the image at `index` as bytes."""
        return self._objects.label_content(index)

    def image_id(self, index: int) -> int:
        """Return the id of the image at `index` in its files."""
        return self._objects.image_id(index)

    def verify(self) -> None:
        """Raise DataError for what is wrong with the files, as a data set with boxes does."""
        self._objects.verify()


def _painted(record: Record, values: list[int], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Return the class of each pixel: the objects, the largest first, one over the other."""
    painted = np.zeros(size, np.uint8)
    masks = record.masks or [None] * len(record.boxes)
    pixels = [area(mask) if mask else 0.0 for mask in masks]
    spans = [(floor(x1), floor(y1), ceil(x2), ceil(y2)) for x1, y1, x2, y2 in record.boxes.tolist()]
    sizes = [known or (x2 - x1) * (y2 - y1) for known, (x1, y1, x2, y2) in zip(pixels, spans, strict=True)]
    for number in sorted(range(len(masks)), key=lambda number: -sizes[number]):
        is_ignored = record.crowd[number] or record.difficult[number]
        if pixels[number]:
            (inside,) = decode([masks[number]], size)
            painted[inside > 0] = IGNORE if is_ignored else values[record.labels[number]]
        else:
            x1, y1, x2, y2 = spans[number]
            painted[y1:y2, x1:x2] = IGNORE
    return painted
