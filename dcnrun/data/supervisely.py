"""Boxes and masks of objects in Supervisely's format, in which Dataset Ninja offers its public sets: a .json file for each image."""

import base64
import io
import json
import os
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow
from PIL import ImageDraw

from dcnrun.config.schema import SuperviselyConfig
from dcnrun.data.box_files import AnnotatedImage, AnnotatedObject, BoxFileDataset, Flaw, ListedImage, listed, records_of
from dcnrun.data.coco_masks import encode
from dcnrun.data.files import (
    IMAGE_SUFFIXES,
    MOST_PIXELS,
    existing_root,
    first_few,
    image_size,
    read_bytes,
    require_below,
    stated_size,
    walk,
    why_unreadable,
    width_x_height,
)
from dcnrun.data.labelme_shapes import Part, joined, placed, points_of
from dcnrun.data.sample import Rule, Split
from dcnrun.data.splits import named_split
from dcnrun.errors import DataError, UsageError

META = "meta.json"
"""The file that lists the classes."""
ANNOTATIONS, IMAGES = "ann", "img"
"""The folders of a data set."""
_BITMAPS = ("bitmap", "alpha_mask")
_MOST_BYTES = 2**28
"""Of a bitmap when it is unpacked: a file of a few bytes may claim any number."""

_Size = tuple[int, int]


def rules(config: SuperviselyConfig) -> Iterator[Rule]:
    """Yield the rules that the settings of such a data set must keep beside their ranges."""
    yield "root", config.root is not None, f"the folder of a project, with {META}"
    yield "classes", len(set(config.classes)) == len(config.classes), "every name once"


class SuperviselyDataset(BoxFileDataset):
    """Objects drawn as rectangles, polygons or bitmaps; points, lines and other figures are none.

    A project has a file of its classes, and folders of data sets, which are the splits; folders may lie below these:

        root/meta.json
        root/train/img/cat.jpg
        root/train/ann/cat.jpg.json

    Corners are pixels of a figure, so that a rectangle from 10 to 13 is 4 pixels wide; of a rectangle only the box is known.

    Source: developer.supervisely.com, "Supervisely JSON format".
    """

    def __init__(self, config: SuperviselyConfig, split: Split, masks: bool = False) -> None:
        """UsageError if there are no such files; DataError if a list of images does not fit them, or the classes can't be read."""
        root = Path(os.path.normpath(existing_root(config, f"the data sets and {META}").absolute()))
        setting = named_split(split, config)
        part = config.train if setting == "train" else config.val
        folder = (
            root
            if part.endswith(".txt")
            else require_below(root, root, part, Path(f"data.{setting}"), config.allow_outside)
        )
        if not folder.is_dir():
            raise UsageError(
                f"data.root={root} with data.{setting}={part}: {folder} is not there; expected a folder with {IMAGES} and {ANNOTATIONS} in it,"
                " or a .txt list of images; or, if the project has no split, data.train=. data.val_share=0.2"
            )
        classes = config.classes or classes_of(root / META)
        files, bare = _files(folder)
        if not files:
            raise UsageError(
                f"data.root={root}: there are no .json files in {folder}/{ANNOTATIONS} for images in {folder}/{IMAGES}, nor in folders below; expected"
                " one for each image"
            )
        left_out: Counter[str] = Counter()
        images = [
            _read(file, image, root, number, classes, left_out)
            for number, (image, file) in enumerate(files.items(), start=1)
        ]
        has_masks = masks and any(item.mask for entry in images for item in entry.objects)
        records, flaws = records_of(images, config.tolerance, has_masks=has_masks)
        if part.endswith(".txt"):
            records = listed(records, root / part)
        notes = [*_notes(left_out, bare, len(files))]
        super().__init__(config, split, classes, records, flaws, notes=notes)


def classes_of(meta: Path) -> list[str]:
    """Return the names of the classes of a project; DataError where its file of them can't be read, or has none."""
    try:
        titles = [entry["title"] for entry in json.loads(read_bytes(meta))["classes"]]
    except FileNotFoundError:
        raise DataError(f"{meta}: no such file; expected that of a project of Supervisely, or data.classes") from None
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        why = why_unreadable(error) if isinstance(error, OSError | ValueError) else "has no list of classes with titles"
        raise DataError(f"{meta}: it {why}; expected that of a project of Supervisely, or data.classes") from None
    if not titles or not all(isinstance(title, str) and title for title in titles) or len(set(titles)) < len(titles):
        raise DataError(
            f"{meta}: its classes are {first_few([repr(title) for title in titles]) or 'none'}; expected names, each once"
        )
    return titles


def _files(folder: Path) -> tuple[dict[Path, Path], list[Path]]:
    """Return the annotation of each image in a folder and below it, and the images without one."""
    found: dict[Path, Path] = {}
    bare: list[Path] = []
    for place, names in walk(folder):
        annotations = place.with_name(ANNOTATIONS)
        if place.name == IMAGES and annotations.is_dir():
            for image in (place / name for name in names if name.lower().endswith(IMAGE_SUFFIXES)):
                ways = (annotations / f"{image.name}.json", annotations / f"{image.stem}.json")
                if file := next((way for way in ways if way.is_file()), None):
                    found[image] = file
                else:
                    bare.append(image)
    return found, bare


def _notes(left_out: Counter[str], bare: Sequence[Path], count: int) -> Iterator[str]:
    if left_out:
        kinds = ", ".join(f"{number} {kind}" for kind, number in sorted(left_out.items()))
        yield f"{left_out.total()} figures are no objects and are left out: {kinds}"
    if bare:
        yield f"{len(bare)} of {len(bare) + count} images have no .json file in {ANNOTATIONS}, such as {bare[0].name}: left out"


def _read(
    file: Path, image: Path, root: Path, number: int, classes: Sequence[str], left_out: Counter[str]
) -> AnnotatedImage:
    """Return an image with its objects, and what is wrong with others."""
    name = (image.relative_to(root) if image.is_relative_to(root) else image).as_posix()
    try:
        document = json.loads(read_bytes(file))
        figures, extent = document["objects"], document.get("size") or {}
        size = stated_size(extent.get("height"), extent.get("width")) or image_size(image)
        if not isinstance(figures, list) or size is None or size[0] * size[1] > MOST_PIXELS:
            raise ValueError(f"its size is {extent}, and its objects are no list, or the image is too large")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        why = (
            why_unreadable(error) if isinstance(error, OSError | ValueError) else "has no list 'objects', or no 'size'"
        )
        what = f"it {why}; expected an annotation of Supervisely"
        return AnnotatedImage(ListedImage(name, image, None, number, file), [], [Flaw(file, what, is_bad_box=False)])
    objects: list[AnnotatedObject] = []
    flaws: list[Flaw] = []
    for place, figure in enumerate(figures, start=1):
        title = figure.get("classTitle") if isinstance(figure, dict) else None
        called = f"object {place} ({title!r})"
        try:
            if title not in classes:
                raise ValueError(f"it is none of the classes {first_few(classes, 30)} (data.classes)")
            kind = _kind(figure)
            if kind not in ("rectangle", "polygon", *_BITMAPS):
                left_out[kind] += 1
                continue
            drawn = _drawn(figure, kind, size)
        except ValueError as error:
            flaws.append(Flaw(file, f"{called}: {error}", is_bad_box=True))
        else:
            objects.append(joined(called, classes.index(title), [drawn]))
    return AnnotatedImage(ListedImage(name, image, size, number, file), objects, flaws)


def _kind(figure: dict[str, Any]) -> str:
    """Return a figure's type; in old files, which don't say it, by what it has."""
    kind = figure.get("geometryType") or figure.get("shape")
    if kind:
        return str(kind)
    if figure.get("bitmap"):
        return "bitmap"
    points = figure.get("points")
    exterior = points.get("exterior") if isinstance(points, dict) else None
    return "rectangle" if isinstance(exterior, list) and len(exterior) == 2 else "polygon"


def _drawn(figure: dict[str, Any], kind: str, size: _Size) -> Part:
    """Return a figure's box and mask; ValueError saying what is wrong with it."""
    if kind in _BITMAPS:
        return _bitmap(figure.get(kind) or figure.get("bitmap"), size)
    points = figure.get("points")
    if not isinstance(points, dict):
        raise ValueError("it has no points")
    exterior, interior = points_of(points.get("exterior")), points.get("interior") or []
    if not isinstance(interior, list):
        raise ValueError("its interior is no list of holes")
    if len(exterior) < (2 if kind == "rectangle" else 3):
        raise ValueError(f"it is a {kind} of {len(exterior)} points")
    (left, right), (top, bottom) = ((min(axis), max(axis)) for axis in zip(*exterior, strict=True))
    box = float(left), float(top), float(right + 1), float(bottom + 1)
    if kind == "rectangle":
        return Part(box, None)
    picture = Pillow.new("1", size[::-1])
    ImageDraw.Draw(picture).polygon(exterior, fill=1, outline=1)
    for hole in interior:
        if len(corners := points_of(hole)) > 2:
            ImageDraw.Draw(picture).polygon(corners, fill=0, outline=0)
    return Part(box, encode(np.array(picture)))


def _bitmap(bitmap: Any, size: _Size) -> Part:
    if not isinstance(bitmap, dict):
        raise ValueError("it has no bitmap")
    ((x, y),) = points_of([bitmap.get("origin")])
    return placed(_unpacked(bitmap.get("data")), (int(x), int(y)), size, "bitmap")


def _unpacked(text: Any) -> NDArray[np.bool_]:
    """Decode a bitmap: a PNG, by whose alpha or grey a pixel is in it, packed by zlib, in base64."""
    try:
        unpack = zlib.decompressobj()
        content = unpack.decompress(base64.b64decode(text, validate=True), _MOST_BYTES)
        if unpack.unconsumed_tail:
            raise ValueError("it is too large")
        with Pillow.open(io.BytesIO(content), formats=("PNG",)) as picture:
            if picture.size[0] * picture.size[1] > MOST_PIXELS:
                raise ValueError(f"it is {width_x_height(picture.size[::-1])}")
            channel = picture.getchannel("A") if "A" in picture.mode else picture.convert("L")
            return np.array(channel) > 0
    except Exception as error:  # damaged files make Pillow's decoders raise almost anything
        raise ValueError(f"its bitmap {why_unreadable(error)}; expected a PNG, packed by zlib, in base64") from None
