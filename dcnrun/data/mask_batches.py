"""Data sets of images with masks, and batches of them."""

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2

from dcnrun.config.schema import DataConfig
from dcnrun.data.mosaic import Mosaic, draw_parts, join_images, join_masks
from dcnrun.data.sample import (
    IGNORE,
    Batch,
    LabelledDataset,
    Preparation,
    Sample,
    Size,
    in_one_block,
    padded,
    require_numbers,
)
from dcnrun.data.transforms import augmentation, evaluation_size, normalised, require_bands


class MaskBatch(Batch):
    """Images with their masks, stacked."""

    mask: Tensor
    """int64 (B, H, W), classes or IGNORE"""
    truth: list[Tensor]
    """In evaluation, uint8 (h, w) for each image: its mask as the data set has it, whatever was done to the image."""


class _Prepared(NamedTuple):
    image: Tensor
    mask: Tensor
    truth: Tensor


class Transform:
    """Steps of transforms.v2 in a row, then normalisation."""

    def __init__(self, steps: list[Any], config: DataConfig) -> None:
        kinds = {tv_tensors.Image: torch.float32, tv_tensors.Mask: torch.int64}
        self._steps = v2.Compose([*steps, v2.ToDtype(kinds, scale=True)])
        self._config = config

    def __call__(self, sample: Sample) -> _Prepared:
        """The image, normalised, float32 (C, H, W); its mask, int64 (H, W); and the mask as it was, uint8."""
        require_numbers(sample["image"], self._config, sample["name"])
        image, mask = self._steps(sample["image"], sample["mask"])
        image = normalised(image, self._config, sample["name"])
        return _Prepared(image.as_subclass(Tensor), mask.as_subclass(Tensor), sample["mask"].as_subclass(Tensor))


def training_transform(config: DataConfig) -> Transform:
    """Augmentation, then normalisation; what a crop adds to an image is ignored."""
    return Transform(augmentation(config, mask_padding=IGNORE), config)


def evaluation_transform(config: DataConfig) -> Transform:
    """Normalisation; image and mask are resized before if the settings say so."""
    return Transform(evaluation_size(config), config)


class SegmentationDataset(LabelledDataset[Sample, MaskBatch]):
    """Images with masks."""

    def mask(self, index: int) -> tv_tensors.Mask:
        """Read the mask of the sample at `index`; sources that can leave its image closed."""
        return self[index]["mask"]

    @staticmethod
    def training(config: DataConfig) -> Preparation[Sample, _Prepared, MaskBatch]:  # noqa: D102
        mosaic = Mosaic(config.mosaic, partial(join_samples, config)) if config.mosaic else None
        return Preparation(training_transform(config), collate, mosaic=mosaic)

    @staticmethod
    def evaluation(config: DataConfig) -> Preparation[Sample, _Prepared, MaskBatch]:  # noqa: D102
        return Preparation(evaluation_transform(config), collate_for_evaluation)

    @staticmethod
    def unlabelled(image: tv_tensors.Image, name: str) -> Sample:  # noqa: D102
        nothing = torch.full(image.shape[-2:], IGNORE, dtype=torch.uint8)
        return {"image": image, "mask": tv_tensors.Mask(nothing), "name": name}


def join_samples(config: DataConfig, samples: Sequence[Sample], rng: np.random.Generator) -> Sample:
    """Return the mosaic of four samples, with the name of the first; what no image covers is ignored. DataError where bands differ."""
    parts = draw_parts([sample["image"].shape[-2:] for sample in samples], rng)
    for sample in samples:
        require_bands(sample["image"], config, sample["name"])
    return {
        "image": join_images([sample["image"] for sample in samples], parts, config.mean),
        "mask": join_masks([sample["mask"] for sample in samples], parts, IGNORE),
        "name": samples[0]["name"],
    }


def collate(prepared: Sequence[_Prepared], index: list[int], name: list[str]) -> MaskBatch:
    """Stack images and masks; smaller ones are padded on the right and below, masks by IGNORE."""
    height = max(item.mask.shape[0] for item in prepared)
    width = max(item.mask.shape[1] for item in prepared)
    return {
        "image": torch.stack([padded(item.image, height, width, 0) for item in prepared]),
        "mask": torch.stack([padded(item.mask, height, width, IGNORE) for item in prepared]),
        "sizes": [Size(*item.mask.shape) for item in prepared],
        "truth": [],
        "index": index,
        "name": name,
    }


def collate_for_evaluation(prepared: Sequence[_Prepared], index: list[int], name: list[str]) -> MaskBatch:
    """Stack images and masks, and add the masks as they were: predictions are scored at the images' own sizes."""
    shapes = [item.truth.shape for item in prepared]
    truth = in_one_block([item.truth.flatten() for item in prepared])
    return {
        **collate(prepared, index, name),
        "truth": [labels.view(shape) for labels, shape in zip(truth, shapes, strict=True)],
    }
