"""What was found in an image as files of other tools have it: masks as PNG, COCO's annotations, YOLO's labels."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from contourpy import LineType, contour_generator
from numpy.typing import NDArray
from PIL import Image

from dcnrun.data.coco_masks import area, as_json, decode
from dcnrun.drawing.found import PALETTE
from dcnrun.runs import replacing
from dcnrun.tasks.found import Found, FoundObjects

_MOST_IN_BYTE = 255


def mask_png(found: Found) -> bytes:
    """Return a PNG of the image's size: the class of every pixel, with colours; or the number of its object, from 1 and the surest first.

    0 is where no object is. The surer object has the pixels of two. It has 16 bits and no colours beyond 255 objects.
    """
    if found.classes is not None:
        return _png(found.classes, PALETTE)
    assert found.objects is not None
    assert found.objects.masks is not None
    count = len(found.objects)
    numbers = np.zeros(found.size, np.uint8 if count <= _MOST_IN_BYTE else np.uint16)
    for number in range(count, 0, -1):
        numbers[decode([found.objects.masks[number - 1]], found.size)[0] > 0] = number
    return _png(numbers, np.concatenate([np.zeros((1, 3), np.uint8), PALETTE[:-1]]))


def _png(values: NDArray[Any], colours: NDArray[np.uint8]) -> bytes:
    image = Image.fromarray(values)
    if values.dtype == np.uint8:
        image.putpalette(colours.tobytes())
    file = BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def yolo_labels(found: Found) -> str:
    """Return a line for each object: its class, then the centre, width and height of its box, or the points of its outline.

    All are shares of the image's width and height. Of an object in several pieces the line has the largest; one whose mask is
    empty has none.
    """
    assert found.objects is not None
    height, width = found.size
    lines = []
    for i, label in enumerate(found.objects.labels.tolist()):
        if found.objects.masks is None:
            x1, y1, x2, y2 = found.objects.boxes[i]
            points = np.array([[(x1 + x2) / 2, (y1 + y2) / 2], [x2 - x1, y2 - y1]])
        else:
            points = polygon(decode([found.objects.masks[i]], found.size)[0] > 0)
        if len(points):
            lines.append(f"{label} " + " ".join(f"{value:.6f}" for value in (points / [width, height]).reshape(-1)))
    return "".join(f"{line}\n" for line in lines)


def polygon(inside: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the points (n, 2), x and y in pixels, around the largest piece of a mask (H, W); none of an empty one."""
    rows, columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
    if not len(rows):
        return np.zeros((0, 2))
    part = np.pad(inside[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1], 1)
    lines = contour_generator(z=part.astype(np.float64), line_type=LineType.Separate).lines(0.5)
    points = max((np.asarray(line)[:-1] for line in lines), key=_area_within)
    step, before = np.roll(points, -1, 0) - points, points - np.roll(points, 1, 0)
    turns = step[:, 0] * before[:, 1] != step[:, 1] * before[:, 0]
    # pixel i of the padded part, whose centre is at i, is pixel i - 1 there, whose centre is half a pixel further
    corner: NDArray[np.float64] = points[turns] + [columns[0] - 0.5, rows[0] - 0.5]
    return corner


def _area_within(points: NDArray[np.float64]) -> float:
    x, y = points.T
    return abs(float(x @ np.roll(y, 1) - y @ np.roll(x, 1))) / 2


def coco_objects(objects: FoundObjects, category_id: Callable[[int], int]) -> list[dict[str, Any]]:
    """Return the objects of an image as COCO's annotations have them, but for their ids and the image's."""
    found = []
    for i, (x1, y1, x2, y2) in enumerate(objects.boxes.tolist()):
        mask = None if objects.masks is None else objects.masks[i]
        found.append(
            {
                "category_id": category_id(int(objects.labels[i])),
                "bbox": [round(value, 3) for value in (x1, y1, x2 - x1, y2 - y1)],
                "area": round((x2 - x1) * (y2 - y1), 3) if mask is None else area(mask),
                "iscrowd": 0,
                "score": round(float(objects.scores[i]), 6),
                **({} if mask is None else {"segmentation": as_json(mask)}),
            }
        )
    return found


def write_coco(path: Path, categories: Mapping[int, str], images: Callable[[], Iterator[Mapping[str, Any]]]) -> None:
    """Write a file as COCO's annotations are, an image at a time, so that it may be larger than memory.

    Args:
        path: the file.
        categories: the classes' names by id.
        images: yields each image, twice asked: `id`, `file_name`, `size` (height, width) and `objects`, from `coco_objects`.
    """
    with replacing(path) as beside, beside.open("w", encoding="utf-8") as file:
        listed = [{"id": number, "name": name} for number, name in categories.items()]
        file.write(f'{{"categories": {json.dumps(listed)},\n"images": [')
        _write_all(file.write, (_described(image) for image in images()))
        file.write('],\n"annotations": [')
        with_image = ({"image_id": image["id"], **found} for image in images() for found in image["objects"])
        _write_all(file.write, ({"id": number, **found} for number, found in enumerate(with_image, start=1)))
        file.write("]}\n")


def _described(image: Mapping[str, Any]) -> dict[str, Any]:
    height, width = image["size"]
    return {"id": image["id"], "file_name": image["file_name"], "height": height, "width": width}


def _write_all(write: Callable[[str], Any], items: Iterator[Mapping[str, Any]]) -> None:
    for number, item in enumerate(items):
        write((",\n" if number else "\n") + json.dumps(item))


def class_list(classes: Sequence[str]) -> str:
    """Return the names of classes, one a line in the order of their numbers."""
    return "".join(" ".join(name.splitlines()) + "\n" for name in classes)
