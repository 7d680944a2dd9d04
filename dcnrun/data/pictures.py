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
_MOST_SIDE = 1200
"""Pixels of an image's side that are drawn."""
_MASK_STRENGTH = 0.5
_OBJECT_MASK_STRENGTH = 0.35
_IGNORED = (1.0, 1.0, 1.0)


def draw_samples(samples: Sequence[Any], classes: Sequence[str], path: Path) -> None:
    """Write a PNG with every Sample, its mask in colours, or BoxSample, its boxes dashed where they are set aside.

    RunError where that can't be done.
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
    figure.legend(
        handles=[Patch(color=_colour(label), label=" ") for label in sorted(shown)[:_MOST_IN_LEGEND]],
        loc="outside lower center",
        ncols=2 * columns,
        fontsize=7,
    )
    for text, label in zip(figure.legends[0].get_texts(), sorted(shown), strict=False):
        text.set_parse_math(False)
        text.set_text(short_name(classes[label]))
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
    if sample["masks"] is not None:
        for index in drawn:
            mask = sample["masks"][index].numpy() > 0
            pixels[mask] += _OBJECT_MASK_STRENGTH * (np.array(_colour(labels[index])) - pixels[mask])
    axes.imshow(pixels)
    set_aside = sample["crowd"] | sample["difficult"]
    for index in drawn:
        (x1, y1, x2, y2), label, is_dashed = sample["boxes"][index].tolist(), labels[index], bool(set_aside[index])
        # imshow has the centre of the first pixel at 0, boxes have its corner there
        corner, colour, style = (x1 - 0.5, y1 - 0.5), _colour(label), "--" if is_dashed else "-"
        axes.add_patch(Rectangle(corner, x2 - x1, y2 - y1, fill=False, edgecolor=colour, linewidth=1, linestyle=style))
        if len(classes) > 1:
            axes.annotate(
                short_name(classes[label]),
                corner,
                fontsize=5,
                color="white",
                parse_math=False,
                bbox={"facecolor": colour, "edgecolor": "none", "pad": 0.6},
            )
    return {labels[index] for index in drawn}


def _draw_mask(axes: Axes, sample: Sample, classes: int) -> set[int]:
    pixels, mask = _pixels(sample), sample["mask"].numpy()
    colours = np.array([_colour(label) for label in range(classes)])
    axes.imshow(np.where((mask == IGNORE)[..., None], _IGNORED, pixels))
    known = mask < classes
    shown = np.zeros((*mask.shape, 4))
    shown[known] = [*[0] * 3, _MASK_STRENGTH]
    shown[known, :3] = colours[mask[known]]
    axes.imshow(shown)
    return set(torch.unique(sample["mask"]).tolist()) - {IGNORE}


def _pixels(sample: Any) -> NDArray[np.float64]:
    pixels: NDArray[np.uint8] = sample["image"].permute(1, 2, 0).numpy()
    return pixels / 255


def _colour(label: int) -> tuple[float, float, float]:
    """One of twenty, as far apart as they go for the first ten."""
    red, green, blue, _ = colormaps["tab20"]((2 * label) % 20 + (label // 10) % 2)
    return red, green, blue


def short_name(name: str) -> str:
    """A name in one line of printable letters."""
    readable = "".join(letter if letter.isprintable() else "?" for letter in name)
    return readable if len(readable) <= _LONGEST_TITLE else f"{readable[: _LONGEST_TITLE - 1]}…"
