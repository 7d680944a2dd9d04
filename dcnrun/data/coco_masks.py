"""Masks as COCO's files hold them: polygons, or run lengths as numbers or as compressed text.

Whatever the decoder is given is checked first: it reads four numbers as a box, and never returns where one is not finite.
"""

from collections import defaultdict
from collections.abc import Sequence
from itertools import chain, islice
from typing import Any

import numpy as np
from faster_coco_eval.core import mask as coco_mask
from numpy.typing import NDArray

from dcnrun.data.files import MOST_PIXELS, width_x_height

FARTHEST = 1e9
"""Numbers beyond this are no positions in pixels."""

RunLengths = dict[str, Any]
"""The decoder's own form of a mask: its size and compressed counts."""


def run_lengths(segmentation: Any, size: tuple[int, int]) -> RunLengths:
    """Encode a mask of an image of (height, width) for `decode`; ValueError saying what is wrong with it."""
    height, width = size
    _require_drawable(size)
    match segmentation:
        case [_, *_]:
            for polygon in segmentation:
                _require_polygon(polygon, size)
            return dict(coco_mask.merge(coco_mask.frPyObjects(segmentation, height, width)))
        case {"counts": list(counts)}:
            _require_size(segmentation, size)
            if not all(type(count) is int and count >= 0 for count in counts) or sum(counts) != height * width:
                raise ValueError(f"its run lengths are not integers that make up {height * width} pixels")
            return dict(coco_mask.frPyObjects({"size": [height, width], "counts": counts}, height, width))
        case {"counts": str(counts)}:
            _require_size(segmentation, size)
            lengths = {"size": [height, width], "counts": counts.encode()}
            try:
                coco_mask.decode(lengths)
            except RuntimeError as error:
                raise ValueError(str(error)) from error
            return lengths
        case _:
            raise ValueError("it is neither a list of polygons nor run lengths with size and counts")


def run_lengths_of(masks: Sequence[Any], sizes: Sequence[tuple[int, int] | None]) -> list[RunLengths | None]:
    """Encode the masks of many objects, each of an image of (height, width), as `run_lengths` does, many polygons at once.

    The coordinates of polygons are floats. None where there is no mask, or the size of the image is not known; ValueError
    if any is wrong.
    """
    found: list[RunLengths | None] = [None] * len(masks)
    rows_of: dict[tuple[int, int], list[int]] = defaultdict(list)
    for row, (mask, size) in enumerate(zip(masks, sizes, strict=True)):
        if mask and size is not None:
            if isinstance(mask, list):
                rows_of[size].append(row)
            else:
                found[row] = run_lengths(mask, size)
    for size, rows in rows_of.items():
        _require_drawable(size)
        polygons = list(chain.from_iterable(masks[row] for row in rows))
        _require_polygons(polygons, size)
        encoded = iter(coco_mask.frPyObjects(polygons, *size))
        for row in rows:
            parts = list(islice(encoded, len(masks[row])))
            found[row] = dict(parts[0] if len(parts) == 1 else coco_mask.merge(parts))
    return found


def with_extent(segmentation: Any) -> Any:
    """Return a segmentation without polygons of fewer than three points, which cover nothing."""
    if not isinstance(segmentation, list):
        return segmentation
    return [part for part in segmentation if not (isinstance(part, list) and len(part) in (0, 2, 4))]


def encode(inside: NDArray[np.bool_]) -> RunLengths:
    """Encode a mask (H, W)."""
    return dict(coco_mask.encode(np.asfortranarray(inside, np.uint8)))


def encode_each(numbers: NDArray[Any]) -> dict[int, RunLengths]:
    """Encode the mask of each number but 0 in an array of integers (H, W), in ascending order."""
    height, width = numbers.shape
    flat = numbers.ravel(order="F")  # as run lengths go, column by column
    starts = np.flatnonzero(np.concatenate([[True], flat[1:] != flat[:-1]]))
    ends = np.concatenate([starts[1:], [flat.size]])
    values = flat[starts]
    order = np.argsort(values, kind="stable")
    distinct, firsts = np.unique(values[order], return_index=True)
    found: dict[int, RunLengths] = {}
    for value, runs in zip(distinct.tolist(), np.split(order, firsts[1:]), strict=True):
        if value:
            borders = np.concatenate([[0], np.column_stack([starts[runs], ends[runs]]).ravel(), [flat.size]])
            lengths = np.diff(borders).tolist()
            counts = {"size": [height, width], "counts": lengths if lengths[-1] else lengths[:-1]}
            found[value] = dict(coco_mask.frPyObjects(counts, height, width))
    return found


def as_json(mask: RunLengths) -> dict[str, Any]:
    """Return a mask as COCO's files have it."""
    return {"size": list(mask["size"]), "counts": mask["counts"].decode()}


def union(masks: Sequence[RunLengths]) -> RunLengths:
    """Return the mask of all pixels that are in any of the masks of one image."""
    return dict(coco_mask.merge(list(masks)))


def decode(masks: Sequence[RunLengths | None], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Return the masks (n, H, W), 1 inside; 0 all over where there is none."""
    decoded = np.zeros((len(masks), *size), np.uint8)
    known = [number for number, mask in enumerate(masks) if mask is not None]
    if known:
        decoded[known] = coco_mask.decode([masks[number] for number in known]).transpose(2, 0, 1)
    return decoded


def area(mask: RunLengths) -> float:
    """Return the number of pixels in a mask."""
    return float(coco_mask.area(mask))


def areas(masks: Sequence[RunLengths | None]) -> NDArray[np.float64]:
    """Return the number of pixels in each of many masks, 0 where there is none."""
    found = np.zeros(len(masks))
    known = [number for number, mask in enumerate(masks) if mask is not None]
    found[known] = coco_mask.area([masks[number] for number in known])
    return found


def bounds(mask: RunLengths) -> list[float]:
    """Return the box around a mask: x, y, width, height."""
    return [float(value) for value in coco_mask.toBbox(mask)]


def is_number(value: Any) -> bool:
    """Whether a value of a JSON file is a finite number (booleans are none) small enough to be a position in pixels."""
    return type(value) in (int, float) and abs(value) < FARTHEST


def _require_drawable(size: tuple[int, int]) -> None:
    if size[0] * size[1] > MOST_PIXELS:
        raise ValueError(f"its image is listed as {width_x_height(size)}, more than {MOST_PIXELS:,} pixels")


def _require_polygon(polygon: Any, size: tuple[int, int]) -> None:
    if not isinstance(polygon, list) or len(polygon) < 6 or len(polygon) % 2:
        raise ValueError("a polygon is not a list x1, y1, x2, y2, ... of at least three points")
    if not all(map(is_number, polygon)):
        raise ValueError("a polygon has a coordinate that is no finite number")
    longest = max(size)
    if not all(-longest <= value <= 2 * longest for value in polygon):  # the decoder walks along every edge
        raise ValueError("a polygon reaches far beyond the image")


def _require_polygons(polygons: Sequence[list[float]], size: tuple[int, int]) -> None:
    """Raise ValueError unless `_require_polygon` would accept each; they hold floats."""
    counts = np.fromiter(map(len, polygons), np.int64, len(polygons))
    numbers = np.fromiter(chain.from_iterable(polygons), np.float64, int(counts.sum()))
    longest = max(size)
    is_near = (numbers >= -longest) & (numbers <= 2 * longest) & (abs(numbers) < FARTHEST)
    if (counts < 6).any() or (counts % 2).any() or not is_near.all():
        raise ValueError(
            "a polygon has fewer than three points, or one that is no finite number or far beyond the image"
        )


def _require_size(segmentation: RunLengths, size: tuple[int, int]) -> None:
    if segmentation.get("size") != list(size):
        raise ValueError(f"its size is {segmentation.get('size')}, its image's {list(size)} (height, width)")
