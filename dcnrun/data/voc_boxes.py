"""Boxes in the layout of Pascal VOC: the challenge's own, and data sets made like it."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from xml.etree import ElementTree

from torchvision.datasets import VOCDetection

from dcnrun.config.messages import nearest
from dcnrun.config.schema import VocConfig
from dcnrun.data.box_files import AnnotatedObject, Box, BoxFileDataset, Flaw, Record, make_record
from dcnrun.data.files import IMAGE_SUFFIXES, first_few, image_size, read_bytes, read_names, require_below, root_folder
from dcnrun.data.sample import Rule, Split
from dcnrun.data.splits import named_split
from dcnrun.data.voc import CLASSES as WITH_BACKGROUND
from dcnrun.errors import DataError, UsageError

CLASSES = WITH_BACKGROUND[1:]

_FETCHED = {
    f"VOC{year}/{image_set}": (year, image_set)
    for year, image_sets in {"2007": ("train", "val", "trainval", "test"), "2012": ("train", "val", "trainval")}.items()
    for image_set in image_sets
}
_MOST_NAMES = 30
"""Class names of a data set that a message lists."""
_CORNERS = ("xmin", "ymin", "xmax", "ymax")
_IMAGE_SETS = "one or more image sets such as VOC2007/trainval, each once"


def rules(config: VocConfig) -> Iterator[Rule]:
    """Yield the rules that the settings of such a data set must keep beside their ranges."""
    yield "root", config.root is not None, "the folder that holds VOCdevkit, or VOC2007 itself"
    yield "classes", len(set(config.classes)) == len(config.classes), "every name once"
    yield "train", _are_image_sets(config.train), _IMAGE_SETS
    yield "val", _are_image_sets(config.val), _IMAGE_SETS


def _are_image_sets(names: list[str]) -> bool:
    are_paths = all(folder and part for folder, _, part in (name.rpartition("/") for name in names))
    return bool(names) and are_paths and len(set(names)) == len(names)


class VocBoxDataset(BoxFileDataset):
    """Image sets such as VOC2007/trainval, one after the other.

    Each FOLDER/SET is `ImageSets/Main/SET.txt`, `JPEGImages` and `Annotations` in root/VOCdevkit/FOLDER, root/FOLDER or
    root itself if that is its name. Corners count from 1 and are inclusive in the files: (1, 1, W, H) is the whole image.

    Source: Everingham et al., "The Pascal Visual Object Classes (VOC) Challenge", IJCV 2010.
    """

    def __init__(self, config: VocConfig, split: Split, masks: bool = False) -> None:
        """UsageError if an image set is not below `config.root`; fetched first if `config.download` says so.

        Also if no training object is of a class in `config.classes`. The files have no `masks` of objects.
        """
        classes = config.classes or CLASSES
        records: list[Record] = []
        flaws: list[Flaw] = []
        class_names: set[str] = set()
        for image_set in config.train if named_split(split, config) == "train" else config.val:
            folder, names = _image_set(config, image_set)
            for name in names:
                record, found, names_in_it = _read(folder, name, classes, len(records) + 1, config.tolerance)
                records += [record] if record else []
                flaws += found
                class_names |= names_in_it
        if split == "train" and all(flaw.is_bad_box or flaw.is_repeated for flaw in flaws):
            _require_classes(config, class_names)
        super().__init__(config, split, classes, records, flaws)


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


def _image_set(config: VocConfig, image_set: str) -> tuple[Path, list[str]]:
    """Return the folder of an image set such as VOC2007/test, and the names in it."""
    root = root_folder(config, "the image sets' folders, or VOCdevkit with them")
    name, _, part = image_set.rpartition("/")
    candidates = [root / "VOCdevkit" / name, root / name, *([root] if root.name == name else [])]
    folder = next((path for path in candidates if _list_of(path, part).is_file()), None)
    if folder is None and config.download and image_set in _FETCHED:
        year, fetched_set = _FETCHED[image_set]
        try:
            VOCDetection(root, year=year, image_set=fetched_set, download=True)
        except (OSError, RuntimeError) as error:
            raise DataError(f"{root}: VOC {year} could not be fetched ({error})") from error
        folder = candidates[0]
    if folder is None or not _list_of(folder, part).is_file():
        hint = "; data.download=true fetches it" if image_set in _FETCHED else ""
        looked_for = " or ".join(str(_list_of(path, part)) for path in candidates)
        raise UsageError(f"data.root={root}: the image set {image_set} is not there, looked for {looked_for}{hint}")
    names = read_names(_list_of(folder, part))
    if not names:
        raise UsageError(f"{_list_of(folder, part)} is empty; expected an image's name a line")
    for image in names:
        require_below(root, folder / "JPEGImages", image, _list_of(folder, part), config.allow_outside)
    return folder, names


def _list_of(folder: Path, image_set: str) -> Path:
    return folder / "ImageSets" / "Main" / f"{image_set}.txt"


def _read(
    folder: Path, name: str, classes: Sequence[str], image_id: int, tolerance: float
) -> tuple[Record | None, list[Flaw], set[str]]:
    """Return an image's record, None where its annotation can't be read; what is wrong; and the classes of all objects."""
    file = folder / "Annotations" / f"{name}.xml"
    try:
        annotation = parse(file)
    except (OSError, ValueError, ElementTree.ParseError) as error:
        flaw = Flaw(file, f"can't be read ({error}); expected an annotation of Pascal VOC", is_bad_box=False)
        return None, [flaw], set()
    objects: list[AnnotatedObject] = []
    flaws: list[Flaw] = []
    class_names: set[str] = set()
    for number, element in enumerate(annotation.findall("object"), start=1):
        class_name = _text(element, "name")
        class_names.add(class_name)
        title = f"object {number} ({class_name!r})"
        try:
            if class_name not in classes:
                raise ValueError(f"it is none of the classes {', '.join(classes)} (data.classes)")
            box = _box(element)
        except ValueError as error:
            flaws.append(Flaw(file, f"{title}: {error}", is_bad_box=True))
        else:
            difficult = _text(element, "difficult") == "1"
            objects.append(AnnotatedObject(title, classes.index(class_name), box, difficult=difficult))
    image = _image(folder, name)
    size = _size(annotation) or image_size(image)
    record, found = make_record(name, image, size, image_id, objects, file, tolerance=tolerance)
    return record, flaws + found, class_names


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


def _box(element: ElementTree.Element) -> Box:
    """Return the box as in BoxSample; ValueError if a corner is missing or no number."""
    corners = []
    for tag in _CORNERS:
        text = _text(element, f"bndbox/{tag}")
        try:
            corners.append(float(text))
        except ValueError:
            raise ValueError(f"its {tag} is {text!r}; expected a number") from None
    x1, y1, x2, y2 = corners
    return x1 - 1, y1 - 1, x2, y2


def _size(annotation: ElementTree.Element) -> tuple[int, int] | None:
    """Return (height, width), where the file states them."""
    height, width = _text(annotation, "size/height"), _text(annotation, "size/width")
    return (int(height), int(width)) if height.isdecimal() and width.isdecimal() and int(height) * int(width) else None


def _image(folder: Path, name: str) -> Path:
    """Return the image's file, the .jpg where there is none."""
    jpeg = folder / "JPEGImages" / f"{name}.jpg"
    files = (jpeg, *(folder / "JPEGImages" / f"{name}{suffix}" for suffix in IMAGE_SUFFIXES))
    return next((file for file in files if file.is_file()), jpeg)
