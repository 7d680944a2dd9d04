"""Shapes of labelme as boxes and masks: polygons, rectangles, circles and pictures of pixels; what others draw likewise uses its parts."""

import base64
import io
from collections.abc import Sequence
from math import dist
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from dcnrun.config.schema import Rectangles
from dcnrun.data.box_files import AnnotatedObject, Box
from dcnrun.data.coco_masks import RunLengths, area, encode, is_number, run_lengths, union
from dcnrun.data.files import MOST_PIXELS, why_unreadable, width_x_height

NO_OBJECTS = ("point", "points", "line", "linestrip")
_POLYGONS = ("polygon", "rotation", "oriented_rectangle", "quadrilateral")
"""Shapes that are the points around them: labelme's, and those that X-AnyLabeling adds."""
_POINTS = {"rectangle": "two corners, or four", "circle": "its centre and one on its edge", "mask": "two corners"}
"""What the points of other shapes are."""
_MASK_MODES = ("1", "L", "P")

_Size = tuple[int, int]
_Point = tuple[float, float]


class Part(NamedTuple):
    """A shape as a part of an object."""

    box: Box
    mask: RunLengths | None
    """None: not known."""


def kind_of(shape: dict[str, Any]) -> Any:
    """Return a shape's type; files of labelme's first versions have polygons alone and don't say so."""
    return shape.get("shape_type") or "polygon"


def joined(title: str, label: int, parts: Sequence[Part]) -> AnnotatedObject:
    """Return the object that shapes make up; its mask is known where that of each is."""
    lefts, tops, rights, bottoms = zip(*(part.box for part in parts), strict=True)
    known = [part.mask for part in parts if part.mask is not None]
    mask = union(known) if len(known) == len(parts) else None
    pixels = (area(mask) or None) if mask else None
    return AnnotatedObject(title, label, (min(lefts), min(tops), max(rights), max(bottoms)), area=pixels, mask=mask)


def read_part(shape: dict[str, Any], size: _Size | None, rectangles: Rectangles) -> Part:
    """Return a shape's box, and its mask where the image's size is known; ValueError saying what is wrong with it."""
    if size is not None and size[0] * size[1] > MOST_PIXELS:
        raise ValueError(f"its image is listed as {width_x_height(size)}, more than {MOST_PIXELS:,} pixels")
    kind, points = kind_of(shape), points_of(shape.get("points"))
    if kind == "rectangle" and len(points) in (2, 4):
        return _rectangle(points, size if rectangles is Rectangles.masks else None)
    if kind == "circle" and len(points) == 2:
        return _circle(points[0], points[1], size)
    if kind == "mask" and len(points) == 2:
        return _mask(shape.get("mask"), points, size)
    if kind in _POLYGONS and len(points) >= 3:
        return _polygon(points, size)
    if kind not in (*_POLYGONS, *_POINTS):
        raise ValueError(f"its shape_type is {kind!r}; expected polygon, rectangle, circle or mask")
    raise ValueError(f"it is a {kind} of {len(points)} points; expected {_POINTS.get(kind, 'three or more')}")


def points_of(points: Any) -> list[_Point]:
    """Return a list of points as a file has it; ValueError unless each is a pair of finite numbers."""
    if isinstance(points, list) and all(
        isinstance(point, list) and len(point) == 2 and all(map(is_number, point)) for point in points
    ):
        return [(x, y) for x, y in points]
    raise ValueError("its points are not a list of pairs of finite numbers")


def _rectangle(points: Sequence[_Point], size: _Size | None) -> Part:
    """Return what is between two corners, in whatever order, or four."""
    if len(points) == 2:
        (x1, y1), (x2, y2) = points
        points = [(x1, y1), (x2, y1), (x2, y2), (x1, y2)]
    return _polygon(points, size)


def _polygon(points: Sequence[_Point], size: _Size | None) -> Part:
    xs, ys = zip(*points, strict=True)
    mask = run_lengths([[float(side) for point in points for side in point]], size) if size else None
    return Part((min(xs), min(ys), max(xs), max(ys)), mask)


def _circle(centre: _Point, edge: _Point, size: _Size | None) -> Part:
    """Return the pixels whose middle is in a disc, which may end beyond the image."""
    (x, y), radius = centre, dist(centre, edge)
    x1, y1, x2, y2 = x - radius, y - radius, x + radius, y + radius
    if size is None:
        return Part((x1, y1, x2, y2), None)
    height, width = size
    rows, columns = np.arange(height)[:, None] + 0.5, np.arange(width) + 0.5
    if x1 < width and y1 < height and x2 > 0 and y2 > 0:
        x1, y1, x2, y2 = max(x1, 0.0), max(y1, 0.0), min(x2, float(width)), min(y2, float(height))
    return Part((x1, y1, x2, y2), encode((columns - x) ** 2 + (rows - y) ** 2 <= radius**2))


def _mask(text: Any, corners: Sequence[_Point], size: _Size | None) -> Part:
    """Return the pixels of a picture that lies between two corners, both of which are pixels in it."""
    (x1, x2), (y1, y2) = (sorted(int(corner[axis]) for corner in corners) for axis in (0, 1))
    return placed(_picture(text, (y2 - y1 + 1, x2 - x1 + 1)), (x1, y1), size, "mask")


def placed(inside: NDArray[np.bool_], origin: tuple[int, int], size: _Size | None, what: str) -> Part:
    """Return the pixels of a picture whose upper left one is at an origin, x and y; ValueError where `what` has none."""
    rows, columns = np.nonzero(inside)
    if not len(rows):
        raise ValueError(f"its {what} has no pixel")
    rows, columns = rows + origin[1], columns + origin[0]
    box = float(columns.min()), float(rows.min()), float(columns.max() + 1), float(rows.max() + 1)
    if size is None:
        return Part(box, None)
    whole = np.zeros(size, np.bool_)
    is_there = (rows >= 0) & (rows < size[0]) & (columns >= 0) & (columns < size[1])
    whole[rows[is_there], columns[is_there]] = True
    return Part(box, encode(whole))


def _picture(text: Any, size: _Size) -> NDArray[np.bool_]:
    """Decode the PNG of a mask; ValueError unless it has the size of its corners, or one less as some tools count."""
    try:
        with Pillow.open(io.BytesIO(base64.b64decode(text, validate=True)), formats=("PNG",)) as picture:
            shape, mode = picture.size[::-1], picture.mode
            if shape in (size, (size[0] - 1, size[1] - 1)) and mode in _MASK_MODES:
                return np.array(picture, np.bool_)
    except Exception as error:  # damaged files make Pillow's decoders raise almost anything
        raise ValueError(f"its mask {why_unreadable(error)}; expected a PNG in base64") from None
    raise ValueError(
        f"its mask is a picture of {width_x_height(shape)} in mode {mode}; expected a grey one of {width_x_height(size)},"
        " from corner to corner (width x height)"
    )
