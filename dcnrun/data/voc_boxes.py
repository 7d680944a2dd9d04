"""Boxes in the layout of Pascal VOC: the challenge's own, and data sets made like it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PureWindowsPath
from xml.etree import ElementTree

from dcnrun.config.messages import nearest
from dcnrun.config.schema import VocConfig
from dcnrun.data.box_files import AnnotatedImage, AnnotatedObject, Box, BoxFileDataset, Flaw, ListedImage, records_of
from dcnrun.data.files import first_few, image_size, read_bytes, why_unreadable
from dcnrun.data.sample import Rule, Split
from dcnrun.data.splits import named_split
from dcnrun.data.voc import CLASSES as WITH_BACKGROUND
from dcnrun.data.voc_layout import Item, VocLayout
from dcnrun.errors import DataError, UsageError

CLASSES = WITH_BACKGROUND[1:]

_MOST_NAMES = 30
"""Class names of a data set that a message lists."""
_CORNERS = ("xmin", "ymin", "xmax", "ymax")
_TRUE = ("1", "true", "yes")
_FALSE = ("", "0", "false", "no", "unspecified")
_SLIPS = 10
"""How many times as many boxes begin at 1 as at 0 where those at 0 are taken for slips."""


def rules(config: VocConfig) -> Iterator[Rule]:
    """Yield the rules that the settings of such a data set must keep beside their ranges."""
    yield "root", config.root is not None, "the folder that holds VOCdevkit, VOC2007 itself, or folders of .xml files"
    yield "classes", len(set(config.classes)) == len(config.classes), "every name once"
    for key in ("train", "val"):
        entries: list[str] = getattr(config, key)
        is_list = bool(entries) and all(entries) and len(set(entries)) == len(entries)
        is_list &= not any(entry.endswith("/") for entry in entries)  # an image set without its name, VOC2007/
        yield key, is_list, "one or more image sets such as VOC2007/trainval, folders or .txt files, each once"


class VocBoxDataset(BoxFileDataset):
    """The images of image sets such as VOC2007/trainval, of folders, or of lists, one after the other.

    Corners count from 1 and are inclusive in Pascal VOC's files: (1, 1, W, H) is the whole image. Where they count from 0, as
    many tools write them, that is (0, 0, W, H).

    Source: Everingham et al., "The Pascal Visual Object Classes (VOC) Challenge", IJCV 2010.
    """

    def __init__(self, config: VocConfig, split: Split, masks: bool = False) -> None:
        """UsageError if an entry is not below `config.root`; fetched first if `config.download` says so.

        Also if no training object is of a class in `config.classes`. The files have no `masks` of objects.
        """
        classes = config.classes or CLASSES
        layout = VocLayout(config)
        setting = named_split(split, config)
        items, notes = layout.items(config.train if setting == "train" else config.val)
        annotations, bare = _read_all(items)
        _require_pixels(annotations)
        first, note = _first_corner(config, annotations, layout, setting)
        notes += bare + note + _notes_of_names(annotations)
        readable = [annotation for annotation in annotations if annotation.flaw is None]
        images = [_image(annotation, classes, first, number) for number, annotation in enumerate(readable, start=1)]
        records, flaws = records_of(images, config.tolerance)
        flaws = [*(annotation.flaw for annotation in annotations if annotation.flaw), *flaws]
        if split == "train" and all(flaw.is_bad_box or flaw.is_repeated for flaw in flaws):
            _require_classes(config, _names_in(annotations))
        super().__init__(config, split, classes, records, flaws, notes=notes)


def class_names(config: VocConfig) -> list[str]:
    """Return the names of all classes in the files that data.train names."""
    items, _ = VocLayout(config).items(config.train)
    return sorted(_names_in([_read(item) for item in items]) - {""})


def _require_classes(config: VocConfig, there: set[str]) -> None:
    """Raise UsageError for classes of the settings that no object has: there is nothing to learn them from."""
    if absent := [name for name in config.classes if name not in there]:
        others = there - set(config.classes)
        hints = {
            name: f" (did you mean {' or '.join(map(repr, found))}?)"
            for name in absent
            if (found := nearest(name, others))
        }
        raise UsageError(
            f"data.classes={config.classes}: no object in {', '.join(config.train)} is called"
            f" {' or '.join(repr(name) + hints.get(name, '') for name in absent)};"
            f" the names that there are: {first_few([repr(name) for name in sorted(there)], _MOST_NAMES) or 'none'}"
        )


@dataclass
class _Object:
    class_name: str
    corners: Box
    """As in the file."""
    difficult: bool
    problem: str
    """Why it can't be used; "" if it can."""


@dataclass
class _Annotation:
    item: Item
    size: tuple[int, int] | None = None
    """(height, width), where the file states them."""
    file_name: str = ""
    objects: list[_Object] = field(default_factory=list)
    flaw: Flaw | None = None
    """Why the file can't be used."""


def _read_all(items: Sequence[Item]) -> tuple[list[_Annotation], list[str]]:
    """Read annotations, and return a note of the images that have none: tools such as datumaro write no file without objects."""
    bare = {item for item in items if not item.annotation.exists() and item.image.is_file()}
    if len(bare) == len(items):
        bare = set()
    annotations = [_Annotation(item) if item in bare else _read(item) for item in items]
    if not bare:
        return annotations, []
    return annotations, [
        f"{len(bare)} of {len(items)} images have no .xml file, such as {min(item.annotation.name for item in bare)}:"
        " taken as images without objects (an .xml file without objects says so)"
    ]


def _read(item: Item) -> _Annotation:
    try:
        root = parse(item.annotation)
    except (OSError, ValueError, ElementTree.ParseError) as error:
        what = f"{why_unreadable(error)}; expected an annotation of Pascal VOC"
        return _Annotation(item, flaw=Flaw(item.annotation, what, is_bad_box=False))
    objects = []
    for element in root.findall("object"):
        corners, difficult, problem = (0.0, 0.0, 0.0, 0.0), False, ""
        try:
            corners, difficult = _corners(element), _flag(element, "difficult") or _was_crowd(element)
        except ValueError as error:
            problem = str(error)
        objects.append(_Object(_text(element, "name"), corners, difficult, problem))
    return _Annotation(item, _size(root), _text(root, "filename"), objects)


def _image(annotation: _Annotation, classes: Sequence[str], first: int, image_id: int) -> AnnotatedImage:
    """Return an image with its objects, their corners counted from `first`."""
    item = annotation.item
    objects: list[AnnotatedObject] = []
    flaws: list[Flaw] = []
    for number, found in enumerate(annotation.objects, start=1):
        title = f"object {number} ({found.class_name!r})"
        problem = found.problem
        if found.class_name not in classes:
            problem = f"it is none of the classes {', '.join(classes)} (data.classes)"
        if problem:
            flaws.append(Flaw(item.annotation, f"{title}: {problem}", is_bad_box=True))
            continue
        x1, y1, x2, y2 = found.corners
        box = x1 - first, y1 - first, x2, y2
        objects.append(AnnotatedObject(title, classes.index(found.class_name), box, difficult=found.difficult))
    size = annotation.size or image_size(item.image)
    return AnnotatedImage(ListedImage(item.name, item.image, size, image_id, item.annotation), objects, flaws)


def _require_pixels(annotations: Sequence[_Annotation]) -> None:
    """Raise DataError where all corners lie between 0 and 1, as shares of the image do."""
    boxes = [
        (annotation, found.corners) for annotation in annotations for found in annotation.objects if not found.problem
    ]
    corners = [corner for _, box in boxes for corner in box]
    if corners and all(0 <= corner <= 1 for corner in corners) and any(corner % 1 for corner in corners):
        raise DataError(
            f"{boxes[0][0].item.annotation}: this box and all others, {len(boxes)} in all, lie between 0 and 1: they look normalised; expected"
            " corners in pixels: multiply xmin and xmax by the image's width, ymin and ymax by its height"
        )


def _first_corner(
    config: VocConfig, annotations: Sequence[_Annotation], layout: VocLayout, setting: Split
) -> tuple[int, list[str]]:
    """Return the number of an image's first pixel in the files, and a note if that was found by looking at both splits."""
    if config.first_corner != "auto":
        return int(config.first_corner), []
    boxes = [found.corners for found in _whole_objects([*annotations, *_of_other_split(config, layout, setting)])]
    begins = [min((x1, y1), key=abs) for x1, y1, *_ in boxes]
    at_0, at_1 = sum(-1 < corner < 1 for corner in begins), sum(1 <= corner < 2 for corner in begins)
    forced = "data.first_corner=0 or 1 forces it"
    if at_0 == 0:
        note = f"no box begins at 0: corners are taken to count from 1, as Pascal VOC's do ({forced})"
        return 1, [note] if boxes else []
    counted = f"{at_0} of {len(boxes)} boxes begin at 0 and {at_1} at 1"
    if at_1 > _SLIPS * at_0:
        return 1, [f"{counted}: corners are taken to count from 1, and those at 0 for slips ({forced})"]
    return 0, [f"{counted}: corners are taken to count from 0 ({forced})"]


def _of_other_split(config: VocConfig, layout: VocLayout, setting: Split) -> list[_Annotation]:
    """Return the annotations that the other split is read from, as far as they are there."""
    if config.val_share:
        return []
    try:
        items, _ = layout.items(config.val if setting == "train" else config.train, may_fetch=False)
    except (UsageError, DataError):  # said where that split is opened
        return []
    return [_read(item) for item in items]


def _whole_objects(annotations: Sequence[_Annotation]) -> Iterator[_Object]:
    """Yield the objects whose box has an extent: empty ones are often all zeros."""
    for annotation in annotations:
        for found in annotation.objects:
            x1, y1, x2, y2 = found.corners
            if x1 < x2 and y1 < y2:
                yield found


def _notes_of_names(annotations: Sequence[_Annotation]) -> list[str]:
    """Return a note if annotations call their images by another name than they have: some tools keep the name of before."""
    other = [
        f"{annotation.file_name!r} in {annotation.item.annotation.name}"
        for annotation in annotations
        if annotation.file_name
        and annotation.item.annotation.stem
        not in (PureWindowsPath(annotation.file_name).name, PureWindowsPath(annotation.file_name).stem)
    ]
    if not other:
        return []
    return [
        f"{len(other)} of {len(annotations)} annotations have another <filename> than their own name, which counts: {first_few(other, 1)}"
    ]


def _names_in(annotations: Sequence[_Annotation]) -> set[str]:
    return {found.class_name for annotation in annotations for found in annotation.objects}


class _Elements(ElementTree.TreeBuilder):
    def doctype(self, *_: object) -> None:
        """Refuse definitions of entities, which could stand for other files or for endless text."""
        raise ValueError("it has a document type, which annotations have not")


def parse(file: Path) -> ElementTree.Element:
    """Read an annotation; OSError, ValueError or ParseError where the file is none."""
    parser = ElementTree.XMLParser(target=_Elements())
    annotation = ElementTree.fromstring(read_bytes(file), parser)
    if annotation.tag != "annotation":
        raise ValueError(f"its outermost element is {annotation.tag!r}")
    return annotation


def _text(element: ElementTree.Element, tag: str) -> str:
    return (element.findtext(tag) or "").strip()


def _corners(element: ElementTree.Element) -> Box:
    """Return a box's corners as the file has them; ValueError if one is missing or no number."""
    corners = []
    for tag in _CORNERS:
        text = _text(element, f"bndbox/{tag}")
        try:
            corners.append(float(text))
        except ValueError:
            raise ValueError(f"its {tag} is {text!r}; expected a number") from None
    x1, y1, x2, y2 = corners
    return x1, y1, x2, y2


def _flag(element: ElementTree.Element, tag: str) -> bool:
    """Return whether a mark such as <difficult>True</difficult> is set; ValueError if it is neither set nor not."""
    text = _text(element, tag).lower()
    if text not in (*_TRUE, *_FALSE):
        raise ValueError(f"its {tag} is {text!r}; expected 1 or 0, true or false, yes or no")
    return text in _TRUE


def _was_crowd(element: ElementTree.Element) -> bool:
    """Return whether an object was a crowd in COCO's format: datumaro says so in an attribute alone."""
    return any(
        _text(each, "name") == "is_crowd" and _text(each, "value").lower() in _TRUE
        for each in element.iterfind("attributes/attribute")
    )


def _size(annotation: ElementTree.Element) -> tuple[int, int] | None:
    """Return (height, width), where the file states them."""
    height, width = _text(annotation, "size/height"), _text(annotation, "size/width")
    return (int(height), int(width)) if height.isdecimal() and width.isdecimal() and int(height) * int(width) else None
