"""A data set's images as evaluation gives them to a network, one at a time, with the objects in them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from torchvision.tv_tensors import Image

from dcnrun.config.schema import DataConfig
from dcnrun.data import IGNORE, Batch, BoxBatch, BoxDataset, LabelledDataset, build_box_dataset, labels_of
from dcnrun.data.sample import BACKGROUND_NAMES, BatchT, SampleT
from dcnrun.offsets.objects import Objects, objects_of_boxes, objects_of_mask


@dataclass(frozen=True)
class Example:
    """One image and the objects in it."""

    name: str
    image: Tensor
    """float32 (3, H, W), normalised, resized as in evaluation; for detectors padded on the right and below."""
    objects: Objects
    """The objects in pixels of the image; their `size` is without the padding."""


class ExampleDataset:
    """The images of a data set in order, with objects from its boxes if it has them, for segmentation too."""

    def __init__(self, dataset: LabelledDataset[Any, Any], config: DataConfig, split: Literal["train", "val"]) -> None:
        """`dataset` is the task's data set of the same config and split."""
        self._dataset = dataset
        self._config = config
        self._boxes = dataset if isinstance(dataset, BoxDataset) else None
        if self._boxes is None and "boxes" in labels_of(config):
            self._boxes = build_box_dataset(config, split)

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, index: int) -> Example:
        """Return the image at `index`; DataError if its files can't be used."""
        if isinstance(self._dataset, BoxDataset):
            boxes = _batch(self._dataset, self._config, index)
            return Example(boxes["name"][0], boxes["image"][0], _objects(boxes, self._dataset.classes))
        masks = _batch(self._dataset, self._config, index)
        if self._boxes is None:
            first, *_ = BACKGROUND_NAMES  # which gives no objects
            classes = [first if name.lower() in BACKGROUND_NAMES else name for name in self._dataset.classes]
            objects = objects_of_mask(masks["mask"][0], classes, IGNORE)
        else:
            objects = _objects(_batch(self._boxes, self._config, index), self._boxes.classes)
        return Example(masks["name"][0], masks["image"][0], objects)

    def of_image(self, image: Image, name: str) -> Example:
        """Return an image that is none of them as evaluation gives it to a network; nothing is known of its objects.

        DataError where it has other bands than the network sees, or numbers of another scale.
        """
        batch: Batch = self._dataset.evaluation(self._config).batch_of_one(self._dataset.unlabelled(image, name))
        return Example(name, batch["image"][0], objects_of_mask(torch.full(batch["sizes"][0], IGNORE), (), IGNORE))

    @property
    def names(self) -> list[str]:
        """Names of all images."""
        return [self._dataset.name(index) for index in range(len(self))]

    @property
    def objects_from(self) -> str:
        """Where the objects come from, in words."""
        return "connected pieces of each class in the masks" if self._boxes is None else "the data set's boxes"


def _batch(dataset: LabelledDataset[SampleT, BatchT], config: DataConfig, index: int) -> BatchT:
    return dataset.evaluation(config).batch_of_one(dataset[index], index)


def _objects(batch: BoxBatch, classes: Sequence[str]) -> Objects:
    """Return the objects of a batch of one image; the data set's areas are those before the resize."""
    size, truth = batch["sizes"][0], batch["truth"][0]
    enlarged = size.height * size.width / (truth["size"].height * truth["size"].width)
    names = [classes[label] for label in truth["labels"].tolist()]
    return objects_of_boxes(
        batch["boxes"][0], truth["area"] * enlarged, names, truth["crowd"], (size.height, size.width)
    )
