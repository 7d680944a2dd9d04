"""Data sets of images with boxes, and batches of them; the images may differ in size."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypedDict

import numpy as np
import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.ops import box_area, clip_boxes_to_image
from torchvision.transforms import v2

from dcnrun.config.schema import DataConfig
from dcnrun.data.coco_masks import RunLengths, encode
from dcnrun.data.mosaic import Mosaic, draw_parts, join_boxes, join_images, join_object_masks
from dcnrun.data.sample import (
    Batch,
    BoxSample,
    LabelledDataset,
    Preparation,
    Size,
    in_one_block,
    padded,
    require_numbers,
    round_up,
)
from dcnrun.data.transforms import LEAST_SHARE, augmentation, evaluation_size, normalised, require_bands

MULTIPLE = 32
"""Batches of images have sides that are multiples of this, the largest stride of a ResNet."""

_LEAST_SIDE = 1.0
"""Smaller boxes, in pixels of the image that the network sees, are dropped."""


class BoxTruth(TypedDict):
    """All objects of an image, as the data set has them; for scoring."""

    boxes: Tensor
    """float32 (n, 4), xyxy in pixels of the original image"""
    labels: Tensor
    """int64 (n,)"""
    crowd: Tensor
    """bool (n,)"""
    difficult: Tensor
    """bool (n,)"""
    area: Tensor
    """float32 (n,), pixels"""
    masks: list[RunLengths] | None
    """Of each object, in pixels of the original image; None unless the data set gives masks, and in training."""
    size: Size
    """The original image's."""


class BoxBatch(Batch):
    """Images with the objects in them."""

    boxes: list[Tensor]
    """float32 (n, 4) for each image, xyxy in its pixels; in training only those of objects to learn from."""
    labels: list[Tensor]
    """int64 (n,) for each image, places in `classes`"""
    masks: list[Tensor] | None
    """uint8 (n, h, w) for each image, unpadded, in training where the data set gives masks; else None."""
    truth: list[BoxTruth]
    """The objects of each image as the data set has them, whatever was done to the image."""


@dataclass(frozen=True)
class _Prepared:
    image: Tensor
    boxes: Tensor
    labels: Tensor
    masks: Tensor | None
    truth: BoxTruth


class Transform:
    """Steps of transforms.v2 in a row, then normalisation."""

    def __init__(self, steps: list[Any], config: DataConfig) -> None:
        to_float = v2.ToDtype({tv_tensors.Image: torch.float32, "others": None}, scale=True)
        self._steps = v2.Compose([*steps, to_float])
        self._config = config

    def __call__(self, sample: BoxSample) -> _Prepared:
        """The image, normalised, with all objects."""
        require_numbers(sample["image"], self._config, sample["name"])
        image, boxes, masks = self._steps(sample["image"], sample["boxes"], sample["masks"])
        image = normalised(image, self._config, sample["name"])
        return _Prepared(
            image=image.as_subclass(Tensor),
            boxes=boxes.as_subclass(Tensor),
            labels=sample["labels"],
            masks=None if masks is None else masks.as_subclass(Tensor),
            truth={
                "boxes": sample["boxes"].as_subclass(Tensor),
                "labels": sample["labels"],
                "crowd": sample["crowd"],
                "difficult": sample["difficult"],
                "area": sample["area"],
                "masks": None,
                "size": Size(*sample["image"].shape[-2:]),
            },
        )


class TrainingTransform(Transform):
    """Augmentation as well; only objects to learn from are left: not crowds, not difficult, not cropped to next to nothing."""

    def __init__(self, config: DataConfig) -> None:
        super().__init__(augmentation(config, mask_padding=0), config)

    def __call__(self, sample: BoxSample) -> _Prepared:
        """The image, normalised, with the objects to learn from."""
        # boxes are clipped in the end only, to know how much of each is left
        unclipped = tv_tensors.wrap(sample["boxes"], like=sample["boxes"], clamping_mode=None)
        prepared = super().__call__({**sample, "boxes": unclipped})
        height, width = prepared.image.shape[-2:]
        boxes = clip_boxes_to_image(prepared.boxes, (height, width))
        left = box_area(boxes) >= LEAST_SHARE * box_area(prepared.boxes)
        sides = boxes[:, 2:] - boxes[:, :2]
        kept = ~(sample["crowd"] | sample["difficult"]) & left & (sides >= _LEAST_SIDE).all(1)
        if prepared.masks is not None:
            kept &= prepared.masks.flatten(1).any(1).bool()
        return replace(
            prepared,
            boxes=boxes[kept],
            labels=prepared.labels[kept],
            masks=None if prepared.masks is None else prepared.masks[kept],
        )


class EvaluationTransform(Transform):
    """Normalisation; image and boxes are resized before if the settings say so. Masks are part of the truth alone."""

    def __init__(self, config: DataConfig) -> None:
        super().__init__(evaluation_size(config), config)

    def __call__(self, sample: BoxSample) -> _Prepared:
        """The image, normalised, with all objects."""
        prepared, masks = super().__call__({**sample, "masks": None}), sample["masks"]
        if masks is None:
            return prepared
        return replace(prepared, truth={**prepared.truth, "masks": [encode(mask.numpy() > 0) for mask in masks]})


class BoxDataset(LabelledDataset[BoxSample, BoxBatch]):
    """Images with boxes."""

    def require_masks(self) -> None:
        """See to it that every object of every sample has a mask, where the data set was opened with masks.

        Objects of which only the box is known become difficult, with a mask that fills the box. UsageError where no object
        has a mask.
        """

    def without_mask(self) -> int:
        """Return how many objects to be found have no mask, where the data set was opened with masks."""
        return 0

    def areas(self, index: int) -> Tensor:
        """Return the areas (n,), in pixels, of the objects to be found at `index`: neither crowds nor difficult ones."""
        sample = self[index]
        return sample["area"][~(sample["crowd"] | sample["difficult"])]

    @staticmethod
    def training(config: DataConfig) -> Preparation[BoxSample, _Prepared, BoxBatch]:  # noqa: D102
        mosaic = Mosaic(config.mosaic, partial(join_samples, config)) if config.mosaic else None
        return Preparation(TrainingTransform(config), collate, MULTIPLE, mosaic)

    @staticmethod
    def evaluation(config: DataConfig) -> Preparation[BoxSample, _Prepared, BoxBatch]:  # noqa: D102
        return Preparation(EvaluationTransform(config), collate, MULTIPLE)

    @staticmethod
    def unlabelled(image: tv_tensors.Image, name: str) -> BoxSample:  # noqa: D102
        size = image.shape[-2], image.shape[-1]
        return {
            "image": image,
            "boxes": tv_tensors.BoundingBoxes(torch.zeros(0, 4), format="XYXY", canvas_size=size),
            "labels": torch.zeros(0, dtype=torch.int64),
            "crowd": torch.zeros(0, dtype=torch.bool),
            "difficult": torch.zeros(0, dtype=torch.bool),
            "area": torch.zeros(0),
            "masks": None,
            "name": name,
        }


def join_samples(config: DataConfig, samples: Sequence[BoxSample], rng: np.random.Generator) -> BoxSample:
    """Return the mosaic of four samples, with the name of the first, without objects of which next to nothing is left.

    DataError where bands differ.
    """
    sizes = [(sample["image"].shape[-2], sample["image"].shape[-1]) for sample in samples]
    parts = draw_parts(sizes, rng)
    for sample in samples:
        require_bands(sample["image"], config, sample["name"])
    boxes, left = join_boxes([sample["boxes"].as_subclass(Tensor) for sample in samples], parts)
    masks = [sample["masks"] for sample in samples if sample["masks"] is not None]
    joined = None
    if len(masks) == len(samples):
        joined = join_object_masks([each.as_subclass(Tensor) for each in masks], parts)
    return {
        "image": join_images([sample["image"] for sample in samples], parts, config.mean),
        "boxes": tv_tensors.BoundingBoxes(boxes[left], format="XYXY", canvas_size=sizes[0]),
        "labels": torch.cat([sample["labels"] for sample in samples])[left],
        "crowd": torch.cat([sample["crowd"] for sample in samples])[left],
        "difficult": torch.cat([sample["difficult"] for sample in samples])[left],
        "area": torch.cat([sample["area"] for sample in samples])[left],
        "masks": None if joined is None else tv_tensors.Mask(joined[left]),
        "name": samples[0]["name"],
    }


def collate(prepared: Sequence[_Prepared], index: list[int], name: list[str]) -> BoxBatch:
    """Put images, padded on the right and below to a common size, and their objects together."""
    sizes = [Size(*item.image.shape[-2:]) for item in prepared]
    height, width = (round_up(max(sides), MULTIPLE) for sides in zip(*sizes, strict=True))
    masks = [item.masks for item in prepared if item.masks is not None]
    return {
        "image": torch.stack([padded(item.image, height, width, 0) for item in prepared]),
        "sizes": sizes,
        "boxes": in_one_block([item.boxes for item in prepared]),
        "labels": in_one_block([item.labels for item in prepared]),
        "masks": masks if len(masks) == len(prepared) else None,
        "truth": _truths([item.truth for item in prepared]),
        "index": index,
        "name": name,
    }


def _truths(truths: list[BoxTruth]) -> list[BoxTruth]:
    columns = (
        in_one_block([truth[key] for truth in truths]) for key in ("boxes", "labels", "crowd", "difficult", "area")
    )
    return [
        {
            "boxes": boxes,
            "labels": labels,
            "crowd": crowd,
            "difficult": difficult,
            "area": area,
            "masks": truth["masks"],
            "size": truth["size"],
        }
        for boxes, labels, crowd, difficult, area, truth in zip(*columns, truths, strict=True)
    ]
