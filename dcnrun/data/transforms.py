"""From a sample to what the network sees: augmentation in training, normalisation always; image and mask in step."""

from typing import Any

import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2

from dcnrun.config.schema import DataConfig
from dcnrun.data.sample import IGNORE, Sample


class Transform:
    """Steps of transforms.v2 in a row; their randomness is that of torch's CPU generator."""

    def __init__(self, steps: list[Any]) -> None:
        self._steps = v2.Compose(steps)

    def __call__(self, sample: Sample) -> tuple[Tensor, Tensor]:
        """The image, normalised, float32 (3, H, W); and its mask, int64 (H, W)."""
        image, mask = self._steps(sample["image"], sample["mask"])
        return image.as_subclass(Tensor), mask.as_subclass(Tensor)


def training_transform(config: DataConfig) -> Transform:
    """Random resize, crop, flips and colours, then normalisation.

    Where a crop reaches beyond the image, the image is padded by the mean colour and the mask by IGNORE.
    """
    steps: list[Any] = []
    if (config.scale_min, config.scale_max) != (1, 1):
        steps.append(RandomScale(config.scale_min, config.scale_max))
    if config.crop_size:
        mean_colour = [round(255 * value) for value in config.mean]
        padding = {tv_tensors.Image: mean_colour, tv_tensors.Mask: IGNORE}
        steps.append(v2.RandomCrop(config.crop_size, pad_if_needed=True, fill=padding))
    if config.flip:
        steps.append(v2.RandomHorizontalFlip(config.flip))
    if config.vertical_flip:
        steps.append(v2.RandomVerticalFlip(config.vertical_flip))
    if config.color_jitter:
        strength = config.color_jitter
        steps.append(v2.ColorJitter(brightness=strength, contrast=strength, saturation=strength))
    return Transform([*steps, *_normalisation(config)])


def evaluation_transform(config: DataConfig) -> Transform:
    """Normalisation only."""
    return Transform(_normalisation(config))


class RandomScale:
    """Resizes image and mask by one random factor from `smallest` to `largest`; the mask by nearest neighbour."""

    def __init__(self, smallest: float, largest: float) -> None:
        self._smallest = smallest
        self._largest = largest

    def __call__(self, image: tv_tensors.Image, mask: tv_tensors.Mask) -> tuple[tv_tensors.Image, tv_tensors.Mask]:
        """Both, resized."""
        factor = torch.empty(()).uniform_(self._smallest, self._largest).item()
        size = [max(1, round(factor * side)) for side in image.shape[-2:]]
        return v2.functional.resize(image, size), v2.functional.resize(mask, size)


def _normalisation(config: DataConfig) -> list[Any]:
    kinds = {tv_tensors.Image: torch.float32, tv_tensors.Mask: torch.int64}
    return [v2.ToDtype(kinds, scale=True), v2.Normalize(config.mean, config.std)]
