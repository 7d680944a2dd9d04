"""Batches of images with masks."""

from collections.abc import Sequence
from typing import Any, NamedTuple, TypedDict

import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2

from dcnrun.config.schema import DataConfig
from dcnrun.data.preparation import Preparation, Size, in_one_block, padded
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


class EvaluationBatch(Batch):
    """Samples to be scored: what is predicted in images of any size is compared with the data set's own masks."""

    sizes: list[Size]
    """Of each image without the padding."""
    truth: list[Tensor]
    """uint8 (h, w) for each image, classes or IGNORE, as the data set has them, whatever was done to the image."""


class _Prepared(NamedTuple):
    image: Tensor
    mask: Tensor
    truth: Tensor


class Transform:
    """Steps of transforms.v2 in a row, then normalisation."""

    def __init__(self, steps: list[Any], config: DataConfig) -> None:
        kinds = {tv_tensors.Image: torch.float32, tv_tensors.Mask: torch.int64}
        self._steps = v2.Compose([*steps, v2.ToDtype(kinds, scale=True), v2.Normalize(config.mean, config.std)])

    def __call__(self, sample: Sample) -> _Prepared:
        """The image, normalised, float32 (3, H, W); its mask, int64 (H, W); and the mask as it was, uint8."""
        image, mask = self._steps(sample["image"], sample["mask"])
        return _Prepared(image.as_subclass(Tensor), mask.as_subclass(Tensor), sample["mask"].as_subclass(Tensor))


def training_transform(config: DataConfig) -> Transform:
    """Augmentation, then normalisation; what a crop adds to an image is ignored."""
    return Transform(augmentation(config, mask_padding=IGNORE), config)


def evaluation_transform(config: DataConfig) -> Transform:
    """Normalisation; image and mask are resized before if the settings say so."""
    return Transform(evaluation_size(config), config)


def training(config: DataConfig) -> Preparation[Sample, _Prepared, Batch]:
    """What training sees."""
    return Preparation(training_transform(config), collate)


def evaluation(config: DataConfig) -> Preparation[Sample, _Prepared, EvaluationBatch]:
    """What evaluation sees, and what it is scored against."""
    return Preparation(evaluation_transform(config), collate_for_evaluation)


def collate(prepared: Sequence[_Prepared], index: list[int], name: list[str]) -> Batch:
    """One batch; smaller images are padded on the right and below, by the mean colour, their masks by IGNORE."""
    height = max(item.mask.shape[0] for item in prepared)
    width = max(item.mask.shape[1] for item in prepared)
    return {
        "image": torch.stack([padded(item.image, height, width, 0) for item in prepared]),
        "mask": torch.stack([padded(item.mask, height, width, IGNORE) for item in prepared]),
        "index": index,
        "name": name,
    }


def collate_for_evaluation(prepared: Sequence[_Prepared], index: list[int], name: list[str]) -> EvaluationBatch:
    """The same with what scores need."""
    shapes = [item.truth.shape for item in prepared]
    truth = in_one_block([item.truth.flatten() for item in prepared])
    return {
        **collate(prepared, index, name),
        "sizes": [Size(*item.mask.shape) for item in prepared],
        "truth": [labels.view(shape) for labels, shape in zip(truth, shapes, strict=True)],
    }
