"""The steps from a sample to what the network sees, for images with labels of any kind, which move in step.

All are transforms.v2, whose randomness is that of torch's CPU generator.
"""

from collections.abc import Sequence
from math import cos, radians, sin
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import interpolate
from torchvision import tv_tensors
from torchvision.transforms import v2

from dcnrun.config.schema import DataConfig
from dcnrun.errors import DataError, UsageError

LEAST_SHARE = 0.25
"""An object of which a smaller share is left in the image is none to be found, and is dropped."""

_MASKS_AT_ONCE = 8
"""Masks of objects that are moved together: each takes 4 bytes for a pixel meanwhile."""


def needs_masks(config: DataConfig) -> bool:
    """Whether objects are moved so that only their masks say where their boxes are: by any angle, or out of shape."""
    return bool(config.random_rotation or config.elastic)


def augmentation(config: DataConfig, *, mask_padding: int) -> list[Any]:
    """Random resize, rotation and deformation, crop, flips, quarter turns and colours.

    What lies beyond the image is the mean colour, and `mask_padding` in masks.
    """
    steps: list[Any] = []
    if config.short_sides:
        steps.append(ShortSide(config.short_sides, config.long_side_max))
    if (config.scale_min, config.scale_max) != (1, 1):
        steps.append(RandomScale(config.scale_min, config.scale_max))
    if needs_masks(config):
        steps.append(RandomWarp(config.random_rotation, config.elastic, config.mean, mask_padding))
    if config.crop_size:
        steps.append(RandomCrop(config.crop_size, config.mean, mask_padding))
    if config.flip:
        steps.append(v2.RandomHorizontalFlip(config.flip))
    if config.vertical_flip:
        steps.append(v2.RandomVerticalFlip(config.vertical_flip))
    if config.quarter_turns:
        steps.append(QuarterTurns())
    if config.color_jitter:
        strength = config.color_jitter
        steps.append(v2.ColorJitter(brightness=strength, contrast=strength, saturation=strength))
    return steps


def evaluation_size(config: DataConfig) -> list[Any]:
    """The resize of evaluated images, if there is one."""
    return [ShortSide([config.eval_short_side], config.long_side_max)] if config.eval_short_side else []


def normalised(image: torch.Tensor, config: DataConfig, name: str) -> torch.Tensor:
    """Return an image of float32 normalised; DataError, with its name, where it has other bands than the settings."""
    require_bands(image, config, name)
    result: torch.Tensor = v2.functional.normalize(image, config.mean, config.std)
    return result


def require_bands(image: torch.Tensor, config: DataConfig, name: str) -> None:
    """Raise DataError, with the image's name, where it has other bands than the settings."""
    if image.shape[0] != len(config.mean):
        raise DataError(
            f"{name!r}: the image has {image.shape[0]} band{'s'[: image.shape[0] > 1]}, but the training images have {len(config.mean)};"
            " data.bands chooses those that all have"
        )


class RandomCrop(v2.RandomCrop):  # type: ignore[misc]
    """Crops squares; images that are smaller are padded by the mean colour, masks by `mask_padding`."""

    def __init__(self, side: int, mean: Sequence[float], mask_padding: int) -> None:
        self._mean = list(mean)
        fill = {tv_tensors.Image: in_bytes(mean), tv_tensors.Mask: mask_padding}
        super().__init__(side, pad_if_needed=True, fill=fill)

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        """The image, masks or boxes, padded and cropped."""
        if isinstance(inpt, tv_tensors.Image) and inpt.is_floating_point() and params["needs_pad"]:
            inpt = v2.functional.pad(inpt, params["padding"], self._mean)
            params = {**params, "needs_pad": False}
        return super().transform(inpt, params)


class QuarterTurns(v2.Transform):  # type: ignore[misc]
    """Turns by 0, 90, 180 or 270 degrees, each as often as the others; no pixel is computed anew and boxes stay exact."""

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        """The number of turns to the left, as of `numpy.rot90`."""
        return {"turns": int(torch.randint(4, ()))}

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        """The image, masks or boxes, turned."""
        if isinstance(inpt, tv_tensors.BoundingBoxes):
            return _turned_boxes(inpt, params["turns"])
        return tv_tensors.wrap(torch.rot90(inpt.as_subclass(Tensor), params["turns"], (-2, -1)), like=inpt)


class RandomWarp(v2.Transform):  # type: ignore[misc]
    """Rotates about the centre, by up to `degrees` either way, and deforms; pixels are sampled once for both.

    The deformation is U-Net's (Ronneberger et al. 2015, section 3.1): displacements of 3 x 3 points, evenly over the image, are drawn from
    a normal distribution whose deviation is `pixels`, and those between are interpolated bicubically.

    A moved object's box is that around its moved mask: torchvision moves the corners of boxes, which no longer enclose the objects
    then. Of objects that mostly left the image, mask and box are empty.
    """

    def __init__(self, degrees: float, pixels: float, mean: Sequence[float], mask_padding: int) -> None:
        super().__init__()
        self._degrees = degrees
        self._pixels = pixels
        self._mean = list(mean)
        self._mask_padding = mask_padding

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        """The displacement, and the mask or masks that it moved; UsageError where there are boxes without masks."""
        (image,) = (item for item in flat_inputs if isinstance(item, tv_tensors.Image))
        masks = [item for item in flat_inputs if isinstance(item, tv_tensors.Mask)]
        if not masks and any(isinstance(item, tv_tensors.BoundingBoxes) and len(item) for item in flat_inputs):
            raise UsageError(
                "data.random_rotation and data.elastic need the masks of objects, and there are boxes only"
            )
        angle = torch.empty(()).uniform_(-self._degrees, self._degrees).item() if self._degrees else 0.0
        points = self._pixels * torch.randn(2, 3, 3) if self._pixels else torch.zeros(2, 3, 3)
        moving = displacement(image.shape[-2], image.shape[-1], angle, points)
        return {"displacement": moving, "masks": [self._moved(mask.as_subclass(Tensor), moving) for mask in masks]}

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        """The image or masks, moved; or the boxes around moved masks."""
        if isinstance(inpt, tv_tensors.Image):
            fill = self._mean if inpt.is_floating_point() else in_bytes(self._mean)
            return v2.functional.elastic(inpt, params["displacement"], fill=fill)
        if not params["masks"]:
            return inpt  # no boxes
        (masks,) = params["masks"]
        return tv_tensors.wrap(masks if isinstance(inpt, tv_tensors.Mask) else boxes_around(masks), like=inpt)

    def _moved(self, mask: Tensor, moving: Tensor) -> Tensor:
        parts = torch.split(mask.reshape(-1, *mask.shape[-2:]), _MASKS_AT_ONCE)
        filled = [v2.functional.elastic_mask(part, moving, fill=self._mask_padding) for part in parts]
        moved = torch.cat(filled).reshape(mask.shape)
        if mask.ndim == 3:  # of objects
            before, after = (pixels.flatten(1).count_nonzero(1) for pixels in (mask, moved))
            moved *= (after >= LEAST_SHARE * before)[:, None, None]
        return moved


def displacement(height: int, width: int, degrees: float, points: Tensor) -> Tensor:
    """Return where pixels come from when an image turns to the left and its points are displaced.

    Args:
        height, width: the image's size, in pixels.
        degrees: how far it turns about its centre.
        points: (2, n, n), displacements along x and y in pixels of n x n points evenly over the image, its corners among them.

    Returns:
        (1, height, width, 2): along x and y, in units of half the image's sides, as torchvision's `elastic` takes it.
    """
    angle = radians(degrees)
    y, x = torch.meshgrid(
        *(torch.arange(side, dtype=torch.float32) - (side - 1) / 2 for side in (height, width)), indexing="ij"
    )
    between = interpolate(points[None], size=(height, width), mode="bicubic", align_corners=True)[0]
    along_x = x * cos(angle) - y * sin(angle) - x + between[0]
    along_y = x * sin(angle) + y * cos(angle) - y + between[1]
    return torch.stack([along_x * 2 / width, along_y * 2 / height], -1)[None]


def boxes_around(masks: Tensor) -> Tensor:
    """Return the boxes, float32 (n, 4), xyxy and half-open, around what is not 0 in masks (n, H, W); zeros where all is."""
    columns, rows = (masks > 0).any(1), (masks > 0).any(2)
    first = [inside.int().argmax(1) for inside in (columns, rows)]
    last = [inside.shape[1] - inside.flip(1).int().argmax(1) for inside in (columns, rows)]
    return (torch.stack([*first, *last], 1) * rows.any(1, keepdim=True)).float()


def _turned_boxes(boxes: tv_tensors.BoundingBoxes, turns: int) -> tv_tensors.BoundingBoxes:
    height, width = boxes.canvas_size
    corners = boxes.as_subclass(Tensor)
    for _ in range(turns):  # (x, y) comes to (y, width - x)
        x1, y1, x2, y2 = corners.unbind(1)
        corners = torch.stack([y1, width - x2, y2, width - x1], 1)
        height, width = width, height
    return tv_tensors.wrap(corners, like=boxes, canvas_size=(height, width))


def in_bytes(mean: Sequence[float]) -> list[int]:
    """Return a mean colour, 0 to 1, as images of 8 bits have it."""
    return [round(255 * value) for value in mean]


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
