"""Samples with their labels drawn on them, for a person to see whether they are right."""

from collections.abc import Sequence
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.patches import Patch, Rectangle
from numpy.typing import NDArray

from dcnrun.data.sample import IGNORE, BoxSample, Sample, even_indices
from dcnrun.plotting import new_figure, save_png

_COLUMNS = 4
_INCHES = 3.6
_MOST_IN_LEGEND = 24
_MOST_OBJECTS = 300
"""Objects of an image that are drawn: of more, an even sample."""
_LONGEST_TITLE = 40
_MOST_NAMED = 60
"""Objects of an image up to which each has its class written beside it: of more, the names would hide them."""
_LETTERS_IN_COLUMN = 56
"""Letters of a legend's font in the width of an image."""
_MOST_SIDE = 1200
"""Pixels of an image's side that are drawn."""
_MASK_STRENGTH = 0.5
_OBJECT_MASK_STRENGTH = 0.35
_OUTLINE_WIDTH = 0.8
"""Points."""
_IGNORED, _STRIPE = (1.0, 1.0, 1.0), (0.55, 0.55, 0.55)
_STYLES: dict[str, dict[str, Any]] = {
    "crowd": {"linestyle": "--", "hatch": "//"},
    "difficult": {"linestyle": ":", "hatch": ".."},
}
"""How objects that are set aside are drawn, so that they differ by more than colour."""


def draw_samples(samples: Sequence[Any], classes: Sequence[str], path: Path) -> None:
    """Write a PNG with every Sample, its mask in colours, or BoxSample, its boxes in lines and hatches of their kind and
    its objects' masks in colours and outlines.

    The legend has crowds, difficult objects and ignored pixels where there are any. RunError where that can't be done.
    """
    rows, columns = ceil(len(samples) / _COLUMNS), min(len(samples), _COLUMNS)
    figure = new_figure((_INCHES * columns, _INCHES * rows + 0.6))
    shown: set[int] = set()
    for axes, sample in zip(figure.subplots(rows, columns, squeeze=False).flat, samples, strict=False):
        sample = _reduced(sample)
        shown |= _draw_boxes(axes, sample, classes) if "boxes" in sample else _draw_mask(axes, sample, len(classes))
        count = len(sample.get("boxes", ()))
        more = f" ({_MOST_OBJECTS} of {count:,} objects)" if count > _MOST_OBJECTS else ""
        axes.set_title(short_name(sample["name"]) + more, fontsize=7, parse_math=False)
    for axes in figure.axes:
        axes.axis("off")
    handles = [Patch(color=class_colour(label), label=" ") for label in sorted(shown)[:_MOST_IN_LEGEND]]
    names = [short_name(classes[label]) for label in sorted(shown)[:_MOST_IN_LEGEND]]
    for kind, style in _STYLES.items():
        if any(sample[kind].any() for sample in samples if "boxes" in sample):
            handles.append(Patch(facecolor="none", edgecolor="black", label=" ", **style))
            names.append(f"{kind} (not learnt from)")
    if any((sample["mask"] == IGNORE).any() for sample in samples if "mask" in sample):
        handles.append(Patch(facecolor=_IGNORED, edgecolor=_STRIPE, hatch="////", label=" "))
        names.append("ignored")
    columns_of_legend = max(1, int(columns * _LETTERS_IN_COLUMN / (max(map(len, names), default=0) + 8)))
    figure.legend(handles=handles, loc="outside lower center", ncols=columns_of_legend, fontsize=7, handleheight=1.2)
    for text, name in zip(figure.legends[0].get_texts(), names, strict=True):
        text.set_parse_math(False)
        text.set_text(name)
    save_png(figure, path)


def _reduced(sample: Any) -> Any:
    """Return a sample with every second pixel alone, or every third, and so on, where its image is larger than can be seen."""
    step = -(-max(sample["image"].shape[1:]) // _MOST_SIDE)
    if step == 1:
        return sample
    pixels = {
        key: sample[key][..., ::step, ::step] for key in ("image", "mask", "masks") if sample.get(key) is not None
    }
    return {**sample, **pixels} | ({"boxes": sample["boxes"] / step} if "boxes" in sample else {})


def _draw_boxes(axes: Axes, sample: BoxSample, classes: Sequence[str]) -> set[int]:
    pixels = _pixels(sample)
    labels = sample["labels"].tolist()
    drawn = even_indices(len(labels), _MOST_OBJECTS)
    masks = [] if sample["masks"] is None else [sample["masks"][index].numpy() > 0 for index in drawn]
    for index, mask in zip(drawn, masks, strict=False):
        pixels[mask] += _OBJECT_MASK_STRENGTH * (np.array(class_colour(labels[index])) - pixels[mask])
    axes.imshow(pixels)
    for index, mask in zip(drawn, masks, strict=False):
        _draw_outline(axes, mask, class_colour(labels[index]))
    set_aside = {"crowd": sample["crowd"], "difficult": sample["difficult"]}
    for index in drawn:
        (x1, y1, x2, y2), label = sample["boxes"][index].tolist(), labels[index]
        style = next((style for kind, style in _STYLES.items() if set_aside[kind][index]), {})
        # imshow has the centre of the first pixel at 0, boxes have its corner there
        corner, colour = (x1 - 0.5, y1 - 0.5), class_colour(label)
        axes.add_patch(Rectangle(corner, x2 - x1, y2 - y1, fill=False, edgecolor=colour, linewidth=1, **style))
        if len(classes) > 1 and len(drawn) <= _MOST_NAMED:
            is_right = x1 + x2 > pixels.shape[1]  # so that long names don't run out of the image
            axes.annotate(
                short_name(classes[label]),
                (x2 - 0.5, y1 - 0.5) if is_right else corner,
                horizontalalignment="right" if is_right else "left",
                fontsize=5,
                color="white",
                parse_math=False,
                bbox={"facecolor": colour, "edgecolor": "none", "pad": 0.6},
            )
    return {labels[index] for index in drawn}


def _draw_outline(axes: Axes, mask: NDArray[np.bool_], colour: tuple[float, float, float]) -> None:
    """Draw the line between the pixels of a mask (H, W) and the others."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return
    around = np.pad(mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1], 1)
    y, x = np.arange(around.shape[0]) + rows[0] - 1, np.arange(around.shape[1]) + columns[0] - 1
    axes.contour(x, y, around, levels=[0.5], colors=[colour], linewidths=_OUTLINE_WIDTH)


def _draw_mask(axes: Axes, sample: Sample, classes: int) -> set[int]:
    pixels, mask = _pixels(sample), sample["mask"].numpy()
    colours = np.array([class_colour(label) for label in range(classes)])
    width = max(max(mask.shape) // 60, 1)
    is_stripe = np.add.outer(np.arange(mask.shape[0]), np.arange(mask.shape[1])) // width % 3 == 0
    ignored = np.where(is_stripe[..., None], _STRIPE, _IGNORED)
    axes.imshow(np.where((mask == IGNORE)[..., None], ignored, pixels))
    known = mask < classes
    shown = np.zeros((*mask.shape, 4))
    shown[known] = [*[0] * 3, _MASK_STRENGTH]
    shown[known, :3] = colours[mask[known]]
    axes.imshow(shown)
    return set(torch.unique(sample["mask"]).tolist()) - {IGNORE}


def _pixels(sample: Any) -> NDArray[np.float64]:
    return shown_colours(sample["image"].numpy()) / 255


def shown_colours(image: NDArray[Any]) -> NDArray[np.uint8]:
    """Return an image (C, H, W) as RGB (H, W, 3) for a person to see: RGB of 8 bits as it is.

    Of others the first three bands are shown, or the first one in grey, each stretched between its percentiles 2 and 98.
    """
    colours = image[:3] if len(image) >= 3 else image[:1].repeat(3, 0)
    if image.dtype != np.uint8 or len(image) != 3:
        low, high = np.percentile(colours, (2, 98), axis=(1, 2), keepdims=True)
        colours = 255 * (colours - low) / np.maximum(high - low, 1e-9)
    return np.clip(np.round(colours), 0, 255).astype(np.uint8).transpose(1, 2, 0)


def class_colour(label: int) -> tuple[float, float, float]:
    """One of twenty, as far apart as they go for the first ten."""
    red, green, blue, _ = colormaps["tab20"]((2 * label) % 20 + (label // 10) % 2)
    return red, green, blue


def short_name(name: str) -> str:
    """A name in one line of printable letters."""
    readable = "".join(letter if letter.isprintable() else "?" for letter in name)
    return readable if len(readable) <= _LONGEST_TITLE else f"{readable[: _LONGEST_TITLE - 1]}…"
