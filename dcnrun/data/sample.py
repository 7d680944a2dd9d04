"""What a data set gives: samples of an image and its labels, which are a class per pixel or boxes."""

from abc import abstractmethod
from typing import Literal, TypedDict, TypeVar

import numpy as np
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.tv_tensors import BoundingBoxes, Image, Mask

Labels = Literal["masks", "boxes"]
"""What a data set may give of an image beside its pixels."""

Split = Literal["train", "val"]

Rule = tuple[str, bool, str]
"""A setting of a data set, whether its value will do, and what is expected of it."""

IGNORE = 255
"""The mask value that is neither trained on nor scored, whatever a data set's files call it."""


class Sample(TypedDict):
    """One labelled image, as its files (or its generator) give it."""

    image: Image
    """uint8 (3, H, W), RGB."""
    mask: Mask
    """uint8 (H, W), the class of every pixel or IGNORE."""
    name: str
    """Unique within the data set; for a person to find the image again."""


class BoxSample(TypedDict):
    """One image and the n objects in it, as its files (or its generator) give them."""

    image: Image
    """uint8 (3, H, W), RGB."""
    boxes: BoundingBoxes
    """float32 (n, 4), xyxy in pixels from 0 and half-open: (0, 0, W, H) is the whole image."""
    labels: Tensor
    """int64 (n,), indices into the data set's `classes`, which have no background."""
    crowd: Tensor
    """bool (n,), regions of many objects: not trained on, and what is found in them is not counted as false."""
    difficult: Tensor
    """bool (n,): not trained on, and neither right nor wrong to find."""
    area: Tensor
    """float32 (n,), pixels of the object: of its mask where there is one, else of its box."""
    masks: Mask | None
    """uint8 (n, H, W), 1 where the object is visible; None unless they were asked for and the source has any."""
    name: str
    """Unique within the data set; for a person to find the image again."""


SampleT = TypeVar("SampleT", Sample, BoxSample)


class LabelledDataset(Dataset[SampleT]):
    """Base of all data sets: a fixed list of samples, the same at every reading, with labels from `classes`."""

    classes: tuple[str, ...]

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def __getitem__(self, index: int) -> SampleT:
        """Read the sample at `index`; DataError if its files can't be used, IndexError beyond the end."""

    @abstractmethod
    def name(self, index: int) -> str:
        """Return the name of the sample at `index`, without reading it."""

    def verify(self) -> None:
        """Raise DataError if the data set can't be used, as far as that shows without reading the images."""


class SegmentationDataset(LabelledDataset[Sample]):
    """Images with masks."""


class BoxDataset(LabelledDataset[BoxSample]):
    """Images with boxes."""

    def image_id(self, index: int) -> int:
        """Return the id of the image at `index` in its source, for files of results."""
        return index + 1

    def category_id(self, label: int) -> int:
        """Return the id of a class in its source, for files of results."""
        return label + 1


def even_indices(length: int, wanted: int) -> list[int]:
    """Return `wanted` indices, evenly over `length` items; all of them where there are no more."""
    return [int(index) for index in np.linspace(0, length - 1, min(length, wanted)).round()]
