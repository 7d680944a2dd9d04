"""COCO's JSON file: what of it is read, with the types that it should have or as whatever it has instead."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias, TypeVar

import msgspec

from dcnrun.data.coco_masks import is_number
from dcnrun.data.files import read_bytes, why_unreadable
from dcnrun.errors import DataError

_EMPTY = msgspec.Raw(b"null")

EntryT = TypeVar("EntryT", bound=msgspec.Struct)


class Image(msgspec.Struct, gc=False):
    """An image as the file lists it."""

    id: Any = None
    file_name: Any = None
    height: Any = None
    width: Any = None
    coco_url: Any = None

    def __post_init__(self) -> None:
        """Take folder and name from the address where the file has no other name, as LVIS 1.0's have none."""
        if self.file_name is None and isinstance(self.coco_url, str):
            self.file_name = "/".join(self.coco_url.split("/")[-2:])


class Category(msgspec.Struct, gc=False):
    """A class as the file lists it."""

    id: Any = None
    name: Any = None
    supercategory: Any = None


class PlainAnnotation(msgspec.Struct, gc=False):
    """An object with all that is needed of it, in the right types."""

    image_id: int
    category_id: int
    bbox: tuple[float, float, float, float]
    area: Annotated[float, msgspec.Meta(gt=0)]
    id: Any = None
    iscrowd: Literal[0, 1] = 0
    segmentation: msgspec.Raw = _EMPTY
    ignore: Literal[0] = 0


class LooseAnnotation(msgspec.Struct, gc=False):
    """An object with whatever the file has."""

    image_id: Any = None
    category_id: Any = None
    bbox: Any = msgspec.UNSET
    area: Any = None
    id: Any = None
    iscrowd: Any = None
    segmentation: Any = _EMPTY
    """Raw, or decoded already."""
    ignore: Any = None


Mask: TypeAlias = list[list[float]] | dict[str, Any] | None
"""Polygons, or an object of run lengths."""

AnyAnnotation: TypeAlias = PlainAnnotation | LooseAnnotation


@dataclass(frozen=True)
class Document:
    """The lists of a file."""

    images: list[Image]
    categories: list[Category]
    annotations: Sequence[AnyAnnotation]


class _Plain(msgspec.Struct):
    images: list[Image]
    categories: list[Category]
    annotations: list[PlainAnnotation]


class _RawAnnotation(LooseAnnotation, gc=False):
    segmentation: msgspec.Raw = _EMPTY


class _Loose(msgspec.Struct):
    images: list[Image]
    categories: list[Category]
    annotations: list[_RawAnnotation]


class CategoryOf(msgspec.Struct, gc=False):
    """An object of which only the class is looked at."""

    category_id: Any = None


class Outline(msgspec.Struct):
    """What is known of a file without its objects."""

    images: list[Image]
    categories: list[Category]
    annotations: list[CategoryOf]


_OUTLINE = msgspec.json.Decoder(Outline)
_MASK: msgspec.json.Decoder[Mask] = msgspec.json.Decoder(Mask)
_DECODERS: tuple[msgspec.json.Decoder[_Plain] | msgspec.json.Decoder[_Loose], ...] = (
    msgspec.json.Decoder(_Plain),
    msgspec.json.Decoder(_Loose),
)


def read(file: Path) -> Document:
    """Read a file; DataError if it has no images, annotations and categories.

    Masks stay undecoded, see `mask_of`. What `msgspec` refuses is read by the standard library, which allows NaN and says
    what is wrong in words of its own.
    """
    try:
        content = read_bytes(file)
    except OSError as error:
        raise _unreadable(file, error) from error
    for decoder in _DECODERS:
        try:
            found = decoder.decode(content)
        except (msgspec.DecodeError, RecursionError):
            continue
        _require_some(found.categories, "categories", file)
        _require_some(found.images, "images", file)
        return Document(found.images, found.categories, found.annotations)
    try:
        document = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise _unreadable(file, error) from error
    annotations = _entries(document, "annotations", LooseAnnotation, file)
    categories = _entries(document, "categories", Category, file)
    _require_some(categories, "categories", file)
    images = _entries(document, "images", Image, file)
    _require_some(images, "images", file)
    return Document(images, categories, annotations)


def read_outline(file: Path) -> Outline | None:
    """Read a file's images, its categories and which of these objects have; None if it is not like COCO's."""
    try:
        return _OUTLINE.decode(read_bytes(file))
    except (OSError, msgspec.DecodeError, RecursionError):
        pass
    try:
        document = read(file)  # which reads more, such as NaN
    except DataError:
        return None
    annotations = [CategoryOf(entry.category_id) for entry in document.annotations]
    return Outline(document.images, document.categories, annotations)


def plain_mask_of(annotation: AnyAnnotation) -> Mask:
    """Return the annotation's segmentation, decoded; ValueError if it is neither polygons nor an object."""
    mask: Mask = _MASK.decode(annotation.segmentation)  # msgspec's error is a ValueError
    return mask


def mask_of(annotation: AnyAnnotation) -> Any:
    """Return the annotation's segmentation, decoded; the corners of a polygon alone, as the VGG Image Annotator writes them, as its one polygon."""
    segmentation = annotation.segmentation
    found = msgspec.json.decode(segmentation) if isinstance(segmentation, msgspec.Raw) else segmentation
    return [found] if isinstance(found, list) and found and is_number(found[0]) else found


def has_mask(annotation: AnyAnnotation) -> bool:
    """Whether an annotation has a segmentation that isn't empty."""
    segmentation = annotation.segmentation
    if isinstance(segmentation, msgspec.Raw):
        return len(memoryview(segmentation)) > len(b"null")
    return bool(segmentation)


def has_run_lengths(annotation: AnyAnnotation) -> bool:
    """Whether an annotation's mask is of run lengths, rather than of polygons."""
    segmentation = annotation.segmentation
    if isinstance(segmentation, msgspec.Raw):
        return memoryview(segmentation)[0] == ord("{")
    return isinstance(segmentation, dict)


def is_marked(annotation: AnyAnnotation) -> bool:
    """Whether an annotation has iscrowd=1, as a number, a text or true; ValueError if it says neither that nor 0."""
    return _is_set(annotation.iscrowd, "iscrowd")


def is_ignored(annotation: AnyAnnotation) -> bool:
    """Whether an annotation has ignore=1, likewise: mmdetection and what is written for it leave such objects out."""
    return _is_set(annotation.ignore, "ignore")


def _is_set(value: Any, key: str) -> bool:
    text = str(value).lower() if isinstance(value, str | int | float) else value
    if text in (None, "", "0", "0.0", "false"):
        return False
    if text in ("1", "1.0", "true"):
        return True
    raise ValueError(f"its {key} is {value!r}; expected 0 or 1")


def _unreadable(file: Path, error: Exception) -> DataError:
    return DataError(f"{file}: {why_unreadable(error)}; expected a JSON file like COCO's")


def _entries(document: Any, key: str, kind: type[EntryT], file: Path) -> list[EntryT]:
    entries = document.get(key) if isinstance(document, dict) else None
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise DataError(f"{file}: it has no list {key!r}; expected images, annotations and categories, as COCO's have")
    names = set(kind.__struct_fields__)
    return [kind(**{name: value for name, value in entry.items() if name in names}) for entry in entries]


def _require_some(entries: Sequence[object], key: str, file: Path) -> None:
    if not entries:
        raise DataError(f"{file}: its list {key!r} is empty")
