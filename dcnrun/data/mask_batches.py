"""Batches of images with masks."""

from collections.abc import Sequence
from typing import Any, TypedDict

import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2

from dcnrun.config.schema import DataConfig
from dcnrun.data.preparation import Preparation, padded
from dcnrun.data.sample import IGNORE, Sample
from dcnrun.data.transforms import augmentation, evaluation_size


class Batch(TypedDict):
    """Samples of one step, stacked."""

    image: Tensor
    """float32 (B, 3, H, W), normalised"""
    mask: Tensor
    """int64 (B, H, W), classes or IGNORE"""
    index: list[int]
    """Of the samples in their data set."""
    name: list[str]


_Prepared = tuple[Tensor, Tensor]


class Transform:
    """Steps of transforms.v2 in a row, then normalisation."""

    def __init__(self, steps: list[Any], config: DataConfig) -> None:
        kinds = {tv_tensors.Image: torch.float32, tv_tensors.Mask: torch.int64}
        self._steps = v2.Compose([*steps, v2.ToDtype(kinds, scale=True), v2.Normalize(config.mean, config.std)])

    def __call__(self, sample: Sample) -> _Prepared:
        """The image, normalised, float32 (3, H, W); and its mask, int64 (H, W)."""
        image, mask = self._steps(sample["image"], sample["mask"])
        return image.as_subclass(Tensor), mask.as_subclass(Tensor)


def training_transform(config: DataConfig) -> Transform:
    """Augmentation, then normalisation; what a crop adds to an image is ignored."""
    return Transform(augmentation(config, mask_padding=IGNORE), config)


def evaluation_transform(config: DataConfig) -> Transform:
    """Normalisation; image and mask are resized before if the settings say so."""
    return Transform(evaluation_size(config), config)


def training(config: DataConfig) -> Preparation[Sample, _Prepared, Batch]:
    """What training sees."""
    return Preparation(training_transform(config), collate)


def evaluation(config: DataConfig) -> Preparation[Sample, _Prepared, Batch]:
    """What evaluation sees."""
    return Preparation(evaluation_transform(config), collate)


def collate(prepared: Sequence[_Prepared], index: list[int], name: list[str]) -> Batch:
    """One batch; smaller images are padded on the right and below, by the mean colour, their masks by IGNORE."""
    height = max(mask.shape[0] for _, mask in prepared)
    width = max(mask.shape[1] for _, mask in prepared)
    return {
        "image": torch.stack([padded(image, height, width, 0) for image, _ in prepared]),
        "mask": torch.stack([padded(mask, height, width, IGNORE) for _, mask in prepared]),
        "index": index,
        "name": name,
    }
