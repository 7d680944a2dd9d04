"""Several runs on one image, or a run and the truth: where what they find differs, and a sheet that shows it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageColor, ImageDraw

from dcnrun.data.pictures import short_name
from dcnrun.drawing.found import Canvas, Picture, Rgb, draw_box, font, legend_of, painted, palette_colour, with_legend
from dcnrun.plotting import COLOURS, VERMILION
from dcnrun.tasks.detection.matches import box_overlaps
from dcnrun.tasks.found import Found, FoundObjects

SAME_OBJECT = 0.5
"""Boxes of one class are the same object from this intersection over union on."""

_PANEL_SIDE = 1024
"""Pixels of a panel's longer side at most."""
_COLUMNS = 3
_GAP = 8
_FAINT = 0.5


@dataclass(frozen=True)
class Difference:
    """Where what several runs found in an image differs."""

    share: float
    """Of the pixels, those that not all runs have in one class; of the objects, those that not all runs found."""
    pixels: NDArray[np.bool_] | None
    """(H, W), True where the classes differ; None of objects."""
    objects: list[NDArray[np.bool_]] | None
    """For each run which of its objects another run did not find; None of classes."""


def difference(found: Sequence[Found]) -> Difference:
    """Return where what two or more runs found in an image differs."""
    classes = [each.classes for each in found if each.classes is not None]
    if classes:
        pixels = np.any([other != classes[0] for other in classes[1:]], axis=0)
        return Difference(float(pixels.mean()), pixels, None)
    objects = [each.objects for each in found if each.objects is not None]
    alone = [np.any([~matched(mine, other) for other in objects if other is not mine], axis=0) for mine in objects]
    count = sum(map(len, objects))
    return Difference(sum(int(each.sum()) for each in alone) / max(count, 1), None, alone)


def matched(mine: FoundObjects, other: FoundObjects) -> NDArray[np.bool_]:
    """Return which objects (n,) of one run are among those of another: the surest first, each taken once."""
    overlaps = box_overlaps(mine.boxes, other.boxes)
    overlaps[mine.labels[:, None] != other.labels] = 0
    result = np.zeros(len(mine), np.bool_)
    for index in range(len(mine) if len(other) else 0):
        best = int(overlaps[index].argmax())
        if overlaps[index, best] >= SAME_OBJECT:
            result[index] = True
            overlaps[:, best] = 0
    return result


def sheet(
    picture: Picture,
    names: Sequence[str],
    found: Sequence[Found],
    differs: Difference,
    classes: Sequence[str],
    columns: int | None = None,
    side: int = _PANEL_SIDE,
) -> Image.Image:
    """Return the image, what each run found in it, and where that differs, side by side.

    Args:
        picture: the image.
        names: the runs'.
        found: what each found.
        differs: where that differs.
        classes: the names of the classes.
        columns: how many pictures stand in a row; as fits their number where it is None.
        side: pixels of a picture's longer side at most.
    """
    canvas = Canvas.of(picture, side)
    titled = panels(canvas, names, found, differs, classes)
    columns = columns or (2 if len(titled) == 4 else min(len(titled), _COLUMNS))
    return with_legend(_in_rows(titled, columns), legend_of_all(found, classes))


def panels(
    canvas: Canvas, names: Sequence[str], found: Sequence[Found], differs: Difference, classes: Sequence[str]
) -> list[tuple[str, Image.Image]]:
    """Return titles and pictures: the image, what each run found in it, and where that differs.

    Args:
        canvas: the image.
        names: the runs'.
        found: what each found.
        differs: where that differs.
        classes: the names of the classes.
    """
    result = [("image", Image.fromarray(canvas.pixels))]
    for number, (name, each) in enumerate(zip(names, found, strict=True)):
        marked = None if differs.objects is None else differs.objects[number]
        result.append((name, painted(canvas, each, classes, marked)))
    title = f"they differ: {100 * differs.share:.1f} %"
    return [*result, (title, _differing(canvas, names, found, differs, classes))]


def legend_of_all(found: Sequence[Found], classes: Sequence[str]) -> list[tuple[Rgb, str]]:
    """Return colour and name of each class that any of them has and that is painted."""
    labels = dict.fromkeys(label for each in found for label, _ in legend_of(each, classes) if label >= 0)
    return [(palette_colour(label), short_name(classes[label])) for label in labels]


def _differing(
    canvas: Canvas, names: Sequence[str], found: Sequence[Found], differs: Difference, classes: Sequence[str]
) -> Image.Image:
    """Return the image in faint grey, with the pixels that differ in one colour, or the objects in that of their run."""
    grey = canvas.pixels.mean(2, keepdims=True).repeat(3, 2)
    pixels = np.round(255 - _FAINT * (255 - grey)).astype(np.uint8)
    if differs.pixels is not None:
        pixels[canvas.fitted(differs.pixels)] = ImageColor.getrgb(VERMILION)
        return Image.fromarray(pixels)
    assert differs.objects is not None
    image = Image.fromarray(pixels)
    draw = ImageDraw.Draw(image)
    for number, (each, alone) in enumerate(zip(found, differs.objects, strict=True)):
        assert each.objects is not None
        colour = run_colour(number)
        for index in np.flatnonzero(alone).tolist():
            box = [float(value) * canvas.scale for value in each.objects.boxes[index]]
            draw_box(draw, canvas, box, colour, short_name(classes[each.objects.labels[index]]))
    return with_legend(image, [(run_colour(number), f"only {short_name(name)}") for number, name in enumerate(names)])


def run_colour(number: int) -> Rgb:
    """Return the colour of a run, by its place in the command."""
    red, green, blue, *_ = ImageColor.getrgb(COLOURS[number % len(COLOURS)])
    return red, green, blue


def _in_rows(panels: Sequence[tuple[str, Image.Image]], columns: int) -> Image.Image:
    """Return pictures with their titles above them, so many in a row."""
    width, height = (max(sides) for sides in zip(*(panel.size for _, panel in panels), strict=True))
    size = max(12, width // 28)
    letters, above = font(size), 2 * size
    rows = -(-len(panels) // columns)
    result = Image.new("RGB", (columns * (width + _GAP) - _GAP, rows * (height + above + _GAP) - _GAP), "white")
    draw = ImageDraw.Draw(result)
    for number, (title, panel) in enumerate(panels):
        x, y = number % columns * (width + _GAP), number // columns * (height + above + _GAP)
        draw.text((x + size // 2, y + above // 2), short_name(title), fill="black", font=letters, anchor="lm")
        result.paste(panel, (x, y + above))
    return result
