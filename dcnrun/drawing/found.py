"""Pictures of what was found: the image with classes in colours, or objects in boxes and outlines, and a legend below."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from math import ceil
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from dcnrun.data.coco_masks import decode
from dcnrun.data.pictures import class_colour, short_name
from dcnrun.data.sample import BACKGROUND_NAMES
from dcnrun.tasks.found import Found, FoundObjects

Picture = NDArray[np.uint8]
"""RGB, (H, W, 3)."""

Rgb = tuple[int, int, int]

NOT_PAINTED = -1
"""Stands in a legend for the background, which is not painted."""

_LEAST_SIDE, _MOST_SIDE = 480, 4096
"""Pixels of a picture's longer side: smaller images are enlarged, larger ones reduced, by whole factors."""
_ALPHA = 120  # of 256; twice that at the edges of regions
_MASK_ALPHA = 90
_MOST_LABELLED = 60
"""Objects up to which each has its class written at its box: more names would hide what is there."""
_LEGEND_ROWS = 4
_COLOURS = 20


def palette() -> NDArray[np.uint8]:
    """Return a colour for each of 256 classes, (256, 3): the twenty of all pictures, then these again and again a bit darker."""
    shades = [0.93 ** (label // _COLOURS) * np.array(class_colour(label % _COLOURS)) for label in range(256)]
    return np.round(255 * np.array(shades)).astype(np.uint8)


PALETTE = palette()


@dataclass(frozen=True)
class Canvas:
    """A picture of a size for people, and how it follows from the image's: enlarged by a factor or every n-th pixel."""

    pixels: Picture
    enlarged: int
    step: int

    @classmethod
    def of(cls, picture: Picture, most: int = _MOST_SIDE) -> "Canvas":
        """Return the canvas of an image, whose longer side has at most so many pixels."""
        longest = max(picture.shape[:2])
        enlarged, step = max(1, ceil(_LEAST_SIDE / longest)), ceil(longest / most)
        return cls(_scaled(picture, enlarged, step).copy(), enlarged, step)

    @property
    def scale(self) -> float:
        """Pixels here for one of the image."""
        return self.enlarged / self.step

    def fitted(self, plane: NDArray[Any]) -> NDArray[Any]:
        """Return values for the pixels of the image (H, W) as they are here."""
        return _scaled(plane, self.enlarged, self.step)

    @property
    def line(self) -> int:
        """The width of a line, in pixels."""
        longest: int = max(self.pixels.shape[:2])
        return max(2, round(longest / 400))


def _scaled(plane: NDArray[Any], enlarged: int, step: int) -> NDArray[Any]:
    reduced = plane[::step, ::step]
    return reduced.repeat(enlarged, 0).repeat(enlarged, 1) if enlarged > 1 else reduced


def overlay(picture: Picture, found: Found, classes: Sequence[str]) -> Image.Image:
    """Return an image with what was found in it painted on, and a legend of the classes that are there."""
    canvas = Canvas.of(picture)
    legend = [
        (None if label == NOT_PAINTED else palette_colour(label), text) for label, text in legend_of(found, classes)
    ]
    return with_legend(painted(canvas, found, classes), legend)


def painted(
    canvas: Canvas, found: Found, classes: Sequence[str], marked: NDArray[np.bool_] | None = None
) -> Image.Image:
    """Return the canvas with what was found painted on; of objects, those that are `marked` with thicker boxes."""
    pixels = canvas.pixels
    if found.classes is not None:
        alpha = np.full(256, _ALPHA, np.uint16)
        alpha[[*_unpainted(classes), *range(len(classes), 256)]] = 0  # the last: pixels that have no class
        labels = canvas.fitted(found.classes)
        alpha = np.where(edges(labels, canvas.line), 2 * alpha[labels], alpha[labels])
        pixels = _blended(pixels, PALETTE[labels], alpha)
    if found.objects is None:
        return Image.fromarray(pixels)
    pixels = _with_masks(canvas, pixels, found.objects, found.size)
    image = Image.fromarray(pixels)
    draw, objects = ImageDraw.Draw(image), found.objects
    for i in reversed(range(len(objects))):
        box = [float(value) * canvas.scale for value in objects.boxes[i]]
        text = f"{short_name(classes[objects.labels[i]])} {objects.scores[i]:.2f}"
        if len(objects) > _MOST_LABELLED:
            text = ""
        width = 2 if marked is not None and marked[i] else 1
        draw_box(draw, canvas, box, palette_colour(int(objects.labels[i])), text, width)
    return image


def _with_masks(canvas: Canvas, pixels: Picture, objects: FoundObjects, size: tuple[int, int]) -> Picture:
    if objects.masks is None:
        return pixels
    pixels = pixels.copy()
    for i in reversed(range(len(objects))):  # the surest on top
        inside = canvas.fitted(decode([objects.masks[i]], size)[0]) > 0
        colour = PALETTE[objects.labels[i]]
        pixels[inside] = _blended(pixels[inside], colour, np.uint16(_MASK_ALPHA))
        pixels[inside & edges(inside, canvas.line)] = colour
    return pixels


def draw_box(
    draw: ImageDraw.ImageDraw, canvas: Canvas, box: Sequence[float], colour: Rgb, text: str, width: int = 1
) -> None:
    """Draw a box (xyxy on the canvas), with a text at its upper edge, if there is one.

    Args:
        draw: what draws on the canvas.
        canvas: the canvas, whose size says how wide lines are.
        box: xyxy in pixels of the canvas.
        colour: of the box.
        text: what is written, in one line.
        width: of the line, as a multiple of the canvas's.
    """
    corners = (box[0], box[1], max(box[0], box[2] - 1), max(box[1], box[3] - 1))
    around = (corners[0] - 1, corners[1] - 1, corners[2] + 1, corners[3] + 1)
    draw.rectangle(around, outline="black", width=width * canvas.line + 2)  # seen on any colour
    draw.rectangle(corners, outline=colour, width=width * canvas.line)
    if text:
        letters = font(letter_size(canvas.pixels.shape))
        left, top, right, bottom = letters.getbbox(text)
        x = min(max(corners[0], 0), max(0, canvas.pixels.shape[1] - (right - left) - 4))
        y = max(0, corners[1] - (bottom - top) - 4)
        draw.rectangle((x, y, x + right - left + 4, y + bottom - top + 4), fill=colour)
        draw.text((x + 2 - left, y + 2 - top), text, fill=_readable_on(colour), font=letters)


def edges(labels: NDArray[Any], width: int) -> NDArray[np.bool_]:
    """Return the pixels (H, W) that are at most `width` from one of another value, along their row or column."""
    found = np.zeros(labels.shape, np.bool_)
    for step in range(1, width + 1):
        for here, there in ((np.s_[step:, :], np.s_[:-step, :]), (np.s_[:, step:], np.s_[:, :-step])):
            differ = labels[here] != labels[there]
            found[here] |= differ
            found[there] |= differ
    return found


def legend_of(found: Found, classes: Sequence[str]) -> list[tuple[int, str]]:
    """Return the classes that were found, each with its share of the pixels or its number of objects, most of it first.

    One that is not painted is NOT_PAINTED.
    """
    if found.classes is not None:
        counts = np.bincount(found.classes.reshape(-1), minlength=len(classes))[: len(classes)]
        words = [f"{100 * count / found.classes.size:.1f} %" for count in counts]
    else:
        assert found.objects is not None
        counts = np.bincount(found.objects.labels, minlength=len(classes))
        words = [f"({count})" for count in counts]
    there = sorted(np.flatnonzero(counts).tolist(), key=lambda label: -counts[label])
    unpainted = _unpainted(classes) if found.classes is not None else []
    return [
        (NOT_PAINTED if label in unpainted else label, f"{short_name(classes[label])} {words[label]}")
        for label in there
    ]


def _unpainted(classes: Sequence[str]) -> list[int]:
    return [label for label, name in enumerate(classes) if name.lower() in BACKGROUND_NAMES]


def with_legend(image: Image.Image, entries: Sequence[tuple[Rgb | None, str]]) -> Image.Image:
    """Return the image with a legend below: a colour, white for none, and a text for each entry, in a few rows."""
    size = letter_size(image.size)
    letters, pad = font(size), size // 2
    rows: list[list[tuple[int, Rgb | None, str]]] = [[]]
    x = pad
    for colour, text in entries or [(None, "nothing found")]:
        width = round(letters.getlength(text)) + 2 * size + pad
        if rows[-1] and x + width > image.width:
            rows.append([])
            x = pad
        rows[-1].append((x, colour, text))
        x += width
    rows = rows[:_LEGEND_ROWS]
    row_height = size + pad
    result = Image.new("RGB", (image.width, image.height + row_height * len(rows) + pad), "white")
    result.paste(image)
    draw = ImageDraw.Draw(result)
    for number, row in enumerate(rows):
        y = image.height + pad + number * row_height
        for x, colour, text in row:
            draw.rectangle((x, y, x + size, y + size), fill=colour or "white", outline="#444444")
            draw.text((x + size + pad, y + size // 2), text, fill="black", font=letters, anchor="lm")
    return result


def letter_size(size: Sequence[int]) -> int:
    """Return the height of letters, in pixels, on a picture whose sides come first in `size`."""
    return max(11, round(max(size[:2]) / 60))


@cache
def font(size: int) -> ImageFont.FreeTypeFont:
    """Return the letters of all figures in a size, in pixels."""
    return ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf", size)


def palette_colour(label: int) -> Rgb:
    """Return the colour of a class."""
    red, green, blue = PALETTE[label].tolist()
    return red, green, blue


def _readable_on(colour: Rgb) -> str:
    red, green, blue = colour
    return "black" if 0.299 * red + 0.587 * green + 0.114 * blue > 140 else "white"


def _blended(pixels: NDArray[np.uint8], colours: NDArray[np.uint8], alpha: Any) -> NDArray[np.uint8]:
    """Return pixels (..., 3) with colours over them, as opaque as alpha of 256 says."""
    share = np.asarray(alpha, np.uint16)[..., None]
    mixed: NDArray[np.uint16] = pixels * (np.uint16(256) - share) + colours * share
    return (mixed >> np.uint16(8)).astype(np.uint8)
