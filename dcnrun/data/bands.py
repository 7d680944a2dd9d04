"""Which bands of the images a network sees, and their mean and deviation where the settings leave them to the images."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import torch

from dcnrun.config.schema import DataConfig
from dcnrun.data.files import image_layout
from dcnrun.data.rasters import Layout
from dcnrun.data.sample import LabelledDataset, even_indices
from dcnrun.errors import DataError, UsageError

ConfigT = TypeVar("ConfigT", bound=DataConfig)

_MOST_IMAGES = 64
"""Training images that are looked at, evenly over the data set."""
_MOST_PIXELS = 2**18
"""Pixels of an image that are measured, evenly over its rows and columns."""


def default_of(key: str) -> list[float]:
    """Return the default of data.mean or data.std, which fits images of three bands with 8 bits."""
    default: list[float] = getattr(DataConfig(), key)
    return default


def settle(config: ConfigT, dataset: LabelledDataset[Any, Any]) -> tuple[ConfigT, list[str]]:
    """Return the config with what the data set has settled, bands, mean and deviation as the training images have them, and notes.

    RGB and grey images of 8 bits leave the config as it is. DataError where images differ in their bands, UsageError where
    settings don't fit them.
    """
    config = replace(config, **dataset.settled)
    layouts = _layouts(dataset)
    bands = list(config.bands) or _common_bands(layouts)
    is_plain = bands in ([], [0, 1, 2]) and not any(layout.is_deep for _, layout in layouts)
    notes = _alpha_note(layouts) if not config.bands else []
    if not config.bands and bands:
        notes.append(f"images have {_bands(len(bands))}, which the network sees (data.bands chooses some)")
    if config.color_jitter and any(layout.is_deep for _, layout in layouts):
        raise UsageError(
            f"data.color_jitter={config.color_jitter:g} is for images of 8 bits with three bands; expected 0"
        )
    settled = replace(config, bands=bands)
    dataset.bands = bands
    wanted = [key for key in ("mean", "std") if not getattr(config, key)]
    wanted += [key for key in ("mean", "std") if not is_plain and getattr(config, key) == default_of(key)]
    if wanted:
        measured = _measured(dataset, settled.channels)
        settled = replace(
            settled,
            mean=measured["mean"] if "mean" in wanted else settled.mean,
            std=measured["std"] if "std" in wanted else settled.std,
        )
        count = min(len(dataset), _MOST_IMAGES)
        numbers = ", ".join(f"data.{key}={measured[key]}" for key in wanted)
        notes.append(f"measured on {count} training image{'s' if count > 1 else ''}: {numbers}")
    for key in ("mean", "std"):
        if len(values := getattr(settled, key)) != settled.channels:
            raise UsageError(
                f"data.{key} has {len(values)} numbers, but images have {_bands(settled.channels)}: give as many, with data.bands={bands}, or auto"
            )
    return settled, notes


def _layouts(dataset: LabelledDataset[Any, Any]) -> list[tuple[Path, Layout]]:
    files = (dataset.file(index) for index in even_indices(len(dataset), _MOST_IMAGES))
    found = ((file, image_layout(file)) for file in files if file is not None)
    return [(file, layout) for file, layout in found if layout is not None]  # others are named when they are read


def _common_bands(layouts: Sequence[tuple[Path, Layout]]) -> list[int]:
    """Return the bands of the images; none where `read_image` takes those of RGB unasked."""
    if not any(layout.is_deep for _, layout in layouts):
        return []
    counts: dict[int, Path] = {}
    for file, layout in layouts:
        counts.setdefault(3 if layout.colours == 1 and not layout.is_deep else layout.colours, file)
    if len(counts) > 1 and set(counts) != {1, 3}:
        (one, file), (two, other) = sorted(counts.items())[:2]
        raise DataError(
            f"images differ in their bands: {file} has {_bands(one)}, {other} has {_bands(two)}; data.bands, such as"
            f" data.bands={list(range(min(one, 3)))}, chooses those that all have"
        )
    return list(range(max(counts)))


def _alpha_note(layouts: Sequence[tuple[Path, Layout]]) -> list[str]:
    having = [layout for _, layout in layouts if layout.bands > layout.colours]
    if not having:
        return []
    bands = list(range(having[0].bands))
    return [
        f"alpha of {len(having)} of {len(layouts)} images looked at: left out (data.bands={bands} takes it for a band)"
    ]


def _measured(dataset: LabelledDataset[Any, Any], channels: int) -> dict[str, list[float]]:
    """Return mean and standard deviation of each band, over the pixels of some images; 1 for a deviation of 0."""
    sums = torch.zeros(2, channels, dtype=torch.float64)
    count = 0
    for index in even_indices(len(dataset), _MOST_IMAGES):
        image = dataset[index]["image"].as_subclass(torch.Tensor)
        step = max(1, round((image[0].numel() / _MOST_PIXELS) ** 0.5))
        pixels = image[:, ::step, ::step].flatten(1).double() / (255 if image.dtype == torch.uint8 else 1)
        if len(pixels) != channels:
            raise DataError(f"{dataset.name(index)}: the image has {_bands(len(pixels))}; expected {channels}")
        sums += torch.stack([pixels.sum(1), pixels.square().sum(1)])
        count += pixels.shape[1]
    mean, square = sums / count
    deviation = (square - mean.square()).clamp(min=0).sqrt()
    deviation[deviation <= 1e-9 * mean.abs()] = 1
    return {
        key: [float(f"{value:.6g}") for value in values.tolist()]
        for key, values in (("mean", mean), ("std", deviation))
    }


def _bands(count: int) -> str:
    return "1 band" if count == 1 else f"{count} bands"
