"""The steps from a sample to what the network sees, for images with labels of any kind, which move in step.

All are transforms.v2, whose randomness is that of torch's CPU generator.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torchvision import tv_tensors
from torchvision.transforms import v2

from dcnrun.config.schema import DataConfig
from dcnrun.errors import DataError


def augmentation(config: DataConfig, *, mask_padding: int) -> list[Any]:
    """Random resize, crop, flips and colours.

    Where a crop reaches beyond the image, the image is padded by the mean colour and masks by `mask_padding`.
    """
    steps: list[Any] = []
    if config.short_sides:
        steps.append(ShortSide(config.short_sides, config.long_side_max))
    if (config.scale_min, config.scale_max) != (1, 1):
        steps.append(RandomScale(config.scale_min, config.scale_max))
    if config.crop_size:
        steps.append(RandomCrop(config.crop_size, config.mean, mask_padding))
    if config.flip:
        steps.append(v2.RandomHorizontalFlip(config.flip))
    if config.vertical_flip:
        steps.append(v2.RandomVerticalFlip(config.vertical_flip))
    if config.color_jitter:
        strength = config.color_jitter
        steps.append(v2.ColorJitter(brightness=strength, contrast=strength, saturation=strength))
    return steps


def evaluation_size(config: DataConfig) -> list[Any]:
    """The resize of evaluated images, if there is one."""
    return [ShortSide([config.eval_short_side], config.long_side_max)] if config.eval_short_side else []


def normalised(image: torch.Tensor, config: DataConfig, name: str) -> torch.Tensor:
    """Return an image of float32 normalised; DataError, with its name, where it has other bands than the settings."""
    if image.shape[0] != len(config.mean):
        raise DataError(
            f"{name!r}: the image has {image.shape[0]} band{'s'[: image.shape[0] > 1]}, but the training images have {len(config.mean)};"
            " data.bands chooses those that all have"
        )
    result: torch.Tensor = v2.functional.normalize(image, config.mean, config.std)
    return result


class RandomCrop(v2.RandomCrop):  # type: ignore[misc]
    """Crops squares; images that are smaller are padded by the mean colour, masks by `mask_padding`."""

    def __init__(self, side: int, mean: Sequence[float], mask_padding: int) -> None:
        self._mean = list(mean)
        colour = [round(255 * value) for value in mean]
        super().__init__(side, pad_if_needed=True, fill={tv_tensors.Image: colour, tv_tensors.Mask: mask_padding})

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        """The image, masks or boxes, padded and cropped."""
        if isinstance(inpt, tv_tensors.Image) and inpt.is_floating_point() and params["needs_pad"]:
            inpt = v2.functional.pad(inpt, params["padding"], self._mean)
            params = {**params, "needs_pad": False}
        return super().transform(inpt, params)


class Resize(v2.Transform):  # type: ignore[misc]
    """Base of resizes by a factor that depends on the image; masks stay aligned with it (see `_resized_mask`)."""

    def factor(self, height: int, width: int) -> float:
        """Return the factor for an image of this size."""
        raise NotImplementedError

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        """The new size (height, width), the same for an image and all its labels."""
        (image,) = (item for item in flat_inputs if isinstance(item, tv_tensors.Image))
        height, width = image.shape[-2:]
        factor = self.factor(height, width)
        return {"size": [max(1, round(factor * side)) for side in (height, width)]}

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        """The image, masks or boxes, resized."""
        if isinstance(inpt, tv_tensors.Mask):
            return tv_tensors.wrap(_resized_mask(inpt.as_subclass(torch.Tensor), params["size"]), like=inpt)
        return v2.functional.resize(inpt, params["size"])


class RandomScale(Resize):
    """Resizes by one random factor from `smallest` to `largest`."""

    def __init__(self, smallest: float, largest: float) -> None:
        super().__init__()
        self._smallest = smallest
        self._largest = largest

    def factor(self, height: int, width: int) -> float:
        """Draw a factor; its range does not depend on the size."""
        return torch.empty(()).uniform_(self._smallest, self._largest).item()


class ShortSide(Resize):
    """Resizes to a short side drawn from `sides`, or less where the long side would get longer than `longest`."""

    def __init__(self, sides: Sequence[int], longest: int) -> None:
        super().__init__()
        self._sides = list(sides)
        self._longest = longest

    def factor(self, height: int, width: int) -> float:
        """Draw a short side and return the factor that leads to it."""
        short, long = sorted((height, width))
        factor = self._sides[int(torch.randint(len(self._sides), ()))] / short
        return min(factor, self._longest / long) if self._longest else factor


def _resized_mask(mask: torch.Tensor, size: list[int]) -> torch.Tensor:
    """Resize masks (..., H, W) by the nearest centre; torchvision's own takes the pixel above and left of it."""
    resized: torch.Tensor = v2.functional.resize_image(
        mask.reshape(-1, *mask.shape[-2:]), size, interpolation=v2.InterpolationMode.NEAREST_EXACT
    )
    return resized.reshape(*mask.shape[:-2], *size)
