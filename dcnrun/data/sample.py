"""What a data set gives: samples of an image and its labels, which are a class per pixel or boxes, and batches of them."""

from abc import abstractmethod
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Literal, NamedTuple, TypedDict, TypeVar, cast

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad
from torch.utils.data import Dataset
from torchvision.tv_tensors import BoundingBoxes, Image, Mask

from dcnrun.config.schema import DataConfig
from dcnrun.data.mosaic import Mosaic
from dcnrun.errors import DataError

Split = Literal["train", "val"]

Rule = tuple[str, bool, str]
"""A setting of a data set, whether its value will do, and what is expected of it."""

IGNORE = 255
"""The mask value that is neither trained on nor scored, whatever a data set's files call it."""
BACKGROUND_NAMES = ("background", "_background_", "__background__")
"""What data sets call the class of pixels that show no object: the second is labelme's."""
MOST_CLASSES = IGNORE
"""Classes that a mask can number: 0 to 254."""
_OVERSHOOT = 0.25
"""How far numbers of the scale from 0 to 1 may lie outside: resampling by cubic curves overshoots."""


class ImageSample(TypedDict):
    """One image, as its file (or its generator) gives it; kinds of samples add their labels."""

    image: Image
    """(C, H, W): uint8, RGB or the bands of data.bands; or float32 where files have other numbers than 8 bits."""
    name: str
    """Unique within the data set; for a person to find the image again."""


class Sample(ImageSample):
    """One image and the class of each of its pixels."""

    mask: Mask
    """uint8 (H, W), the class of every pixel or IGNORE."""


class BoxSample(ImageSample):
    """One image and the n objects in it."""

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
    """uint8 (n, H, W), 1 where the object is visible, nowhere if only its box is known; None unless they were asked for
    and the source has any."""


class Size(NamedTuple):
    """The size of an image, in pixels."""

    height: int
    width: int


class Batch(TypedDict):
    """Several samples as a network sees them; kinds of samples add their labels.

    Every tensor is (B, ..., H, W), padded as the images are; every list has an item for each image.
    """

    image: Tensor
    """float32 (B, C, H, W), normalised, padded on the right and below with 0, the mean colour"""
    sizes: list[Size]
    """The size of each image without the padding."""
    index: list[int]
    """The samples' indices in their data set."""
    name: list[str]


SampleT = TypeVar("SampleT", bound=ImageSample)
PreparedT = TypeVar("PreparedT")
BatchT = TypeVar("BatchT")


@dataclass(frozen=True)
class Preparation(Generic[SampleT, PreparedT, BatchT]):
    """How samples become a batch: each is transformed by itself, then they are put together. Runs in workers."""

    transform: Callable[[SampleT], PreparedT]
    """Its randomness is that of torch's CPU generator alone."""
    collate: Callable[[Sequence[PreparedT], list[int], list[str]], BatchT]
    """Makes the batch of prepared samples, their indices in the data set and their names."""
    multiple: int = 1
    """The sides of a batch's images are multiples of this."""
    mosaic: Mosaic[SampleT] | None = None
    """What makes one sample of four, before it is transformed."""

    def batch_of_one(self, sample: SampleT, index: int = 0) -> BatchT:
        """Make a batch of a single sample."""
        return self.batch([(sample, 0)], [index])

    def batch(self, samples: Iterable[tuple[SampleT, int]], index: list[int]) -> BatchT:
        """Make a batch of samples, each with the seed of its augmentation, and of their indices in the data set."""
        prepared, names = [], []
        for sample, seed in samples:
            with torch.random.fork_rng(devices=[]):
                # torch.manual_seed would also reset the generators of CUDA devices, which fork_rng does not restore here.
                torch.default_generator.manual_seed(seed)
                prepared.append(self.transform(sample))
            names.append(sample["name"])
        return self.collate(prepared, index, names)


def batches_of_one_size(batch: BatchT, multiple: int) -> Iterator[BatchT]:
    """Split a batch where its images differ in size: each part is padded to a `multiple` alone, as an image by itself is.

    So what a network answers for an image does not depend on the others.
    """
    members: dict[Size, list[int]] = defaultdict(list)
    columns = cast(dict[str, Any], batch)
    for index, size in enumerate(columns["sizes"]):
        members[Size(*(round_up(side, multiple) for side in size))].append(index)
    if len(members) == 1:
        yield batch
        return
    for (height, width), chosen in members.items():
        part = {
            key: value[chosen, ..., :height, :width]
            if isinstance(value, Tensor)
            else value and [value[i] for i in chosen]
            for key, value in columns.items()
        }
        yield cast(BatchT, part)


def round_up(side: int, multiple: int) -> int:
    """Return the least multiple that is no smaller than a side."""
    return -(-side // multiple) * multiple


def padded(tensor: Tensor, height: int, width: int, value: int) -> Tensor:
    """Return the tensor (..., h, w) as (..., height, width), padded on the right and below."""
    return pad(tensor, (0, width - tensor.shape[-1], 0, height - tensor.shape[-2]), value=value)


def in_one_block(tensors: list[Tensor]) -> list[Tensor]:
    """Return the tensors as parts of one block of memory: each block that a worker hands over costs a file descriptor."""
    return list(torch.split(torch.cat(tensors), [len(tensor) for tensor in tensors]))


class LabelledDataset(Dataset[SampleT], Generic[SampleT, BatchT]):
    """Base of all data sets: a fixed list of samples, the same at every reading, with labels from `classes`."""

    classes: tuple[str, ...]
    flaws: Sequence[object] = ()
    """What is wrong with its files, a text each, as far as it showed when they were opened; `verify` says what it makes of it."""
    bands: Sequence[int] = ()
    """Bands that are taken of image files, counted from 0; (): those that `read_image` takes unasked."""
    notes: Sequence[str] = ()
    """What its files were taken for where they can be read in two ways: how many of what, and the setting that forces it."""
    settled: Mapping[str, Any] = {}
    """Settings that the config leaves to its files, with the values that these have."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def __getitem__(self, index: int) -> SampleT:
        """Read the sample at `index`; DataError if its files can't be used, IndexError beyond the end."""

    @abstractmethod
    def name(self, index: int) -> str:
        """Return the name of the sample at `index`, without reading it."""

    def file(self, index: int) -> Path | None:
        """Return the file of the image at `index`; None where images are generated."""
        return None

    def label_content(self, index: int) -> bytes:
        """Return bytes that are others where the labels of the sample at `index` are, without reading its image; none of generated ones."""
        return b""

    @staticmethod
    @abstractmethod
    def training(config: DataConfig) -> Preparation[SampleT, Any, BatchT]:
        """Return what makes batches to train on: augmented, as the settings say."""

    @staticmethod
    @abstractmethod
    def evaluation(config: DataConfig) -> Preparation[SampleT, Any, BatchT]:
        """Return what makes batches to evaluate on, with all that scores need."""

    @staticmethod
    @abstractmethod
    def unlabelled(image: Image, name: str) -> SampleT:
        """Return a sample of an image of which nothing is known."""

    def verify(self) -> None:
        """Raise DataError if the data set can't be used, as far as that shows without reading the images."""

    def require_every_class(self) -> None:
        """Raise DataError if there is a class that can't be learnt; asked before the first step of a run."""

    def image_id(self, index: int) -> int:
        """Return the id of the image at `index` in its source, for files of results."""
        return index + 1

    def category_id(self, label: int) -> int:
        """Return the id of a class in its source, for files of results."""
        return label + 1


def even_indices(length: int, wanted: int) -> list[int]:
    """Return `wanted` indices, evenly over `length` items; all of them where there are no more."""
    return [int(index) for index in np.linspace(0, length - 1, min(length, wanted)).round()]


def require_numbers(image: Tensor, config: DataConfig, name: str) -> None:
    """Raise DataError where an image, not yet normalised, has numbers of another scale than those that a run's settings are for.

    To its network all of the image would be one colour, as bright or as dark as none that it has learnt.
    """
    if image.dtype == torch.uint8:
        if any(not 0 <= value <= 1 for value in config.mean):
            raise DataError(
                f"{name!r}: its numbers are of 8 bits, which count from 0 to 1, but the training images have others (data.mean={config.mean})"
            )
    elif not config.bands and not (image.min() >= -_OVERSHOOT and image.max() <= 1 + _OVERSHOOT):  # they are of 8 bits
        raise DataError(
            f"{name!r}: its numbers go from {image.min():g} to {image.max():g}, but the training images are of 8 bits, which count from 0 to 1;"
            " expected 8 bits, unsigned integers of more, or numbers from 0 to 1"
        )
