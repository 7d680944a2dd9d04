"""What a data set gives: samples of an image and its mask."""

from abc import abstractmethod
from typing import TypedDict

from torch.utils.data import Dataset
from torchvision.tv_tensors import Image, Mask

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


class SegmentationDataset(Dataset[Sample]):
    """Base of all data sets: a fixed list of samples, the same at every reading, labelled 0 to len(classes) - 1."""

    classes: tuple[str, ...]

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def __getitem__(self, index: int) -> Sample:
        """The sample at `index`; DataError if its files can't be used, IndexError beyond the end."""

    @abstractmethod
    def name(self, index: int) -> str:
        """Name of the sample at `index`, without reading it."""
