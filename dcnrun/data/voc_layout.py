"""Where the annotations and images of Pascal VOC's layout are, and of the layouts that labelling tools make of it.

An entry of data.train or data.val is an image set (VOC2007/trainval), a folder of .xml files, or a list of names
(train.txt).
"""

import os
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from torchvision.datasets import VOCDetection

from dcnrun.config.schema import VocConfig
from dcnrun.data.files import (
    IMAGE_SUFFIXES,
    first_few,
    is_file,
    read_bytes,
    read_names,
    require_below,
    root_folder,
    walk,
)
from dcnrun.errors import DataError, UsageError

_FETCHED = {
    f"VOC{year}/{image_set}": (year, image_set)
    for year, image_sets in {"2007": ("train", "val", "trainval", "test"), "2012": ("train", "val", "trainval")}.items()
    for image_set in image_sets
}
_PREFERRED = (".jpg", *IMAGE_SUFFIXES)
"""Endings of images, from the one that counts where several images have the same name."""
_WORDS = frozenset(
    [
        "annotations",
        "annotation",
        "anns",
        "ann",
        "xmls",
        "xml",
        "labels",
        "label",
        "bboxes",
        "boxes",
        "jpegimages",
        "images",
        "image",
        "imgs",
        "img",
        "pictures",
        "photos",
    ]
)
"""Names of folders that say what is in them, but not which part of the data."""
_SECOND_COLUMN = re.compile(r"\s+(-?[01]|\S+\.xml)$")


class Item(NamedTuple):
    """One image and its annotation; either file may be missing."""

    name: str
    annotation: Path
    image: Path


class VocLayout:
    """The annotations and images below a data set's root."""

    def __init__(self, config: VocConfig) -> None:
        """UsageError if no root is set."""
        self._config = config
        self._root = root_folder(config, "the image sets' folders, VOCdevkit with them, or folders of .xml files")

    def items(self, entries: Sequence[str], *, may_fetch: bool = True) -> tuple[list[Item], list[str]]:
        """Return the images of several entries, and notes of what was passed over.

        UsageError where an entry is not there, DataError where a list of names can't be used.
        """
        of_sets: list[Item] = []
        others: list[Item] = []
        notes: list[str] = []
        for entry in entries:
            if in_set := self._of_image_set(entry, may_fetch, notes):
                of_sets += in_set
            else:
                others += self._of_list(entry, notes) or self._of_folder(entry, notes)
        return [*of_sets, *_without_common_folder(others)], notes

    def _of_image_set(self, entry: str, may_fetch: bool, notes: list[str]) -> list[Item]:
        folders = self._folders_of(entry)
        file = next((file for folder in folders if (file := _list_of(folder, entry)).is_file()), None)
        if file is None and may_fetch and self._config.download and entry in _FETCHED:
            self._fetch(entry)
            file = _list_of(folders[0], entry)
        if file is None:
            return []
        folder = file.parents[2]
        annotations, pictures = _annotations_in(folder / "Annotations", notes), folder / "JPEGImages"
        names = _names(file, lambda name: (annotations / f"{name}.xml").is_file(), notes)
        for name in names:
            require_below(self._root, pictures, name, file, self._config.allow_outside)
        images = {place: _images_in(pictures / place) for place in {PurePosixPath(name).parent for name in names}}
        if not pictures.is_dir():  # one for each split, as DIOR has them
            several = sorted(place for place in folder.glob("JPEGImages*") if place.is_dir())
            images |= {PurePosixPath(): {stem: file for place in several for stem, file in _images_in(place).items()}}
        return [
            Item(
                name,
                annotations / f"{name}.xml",
                images[(path := PurePosixPath(name)).parent].get(path.name, pictures / f"{name}.jpg"),
            )
            for name in names
        ]

    def _folders_of(self, entry: str) -> list[Path]:
        """Return the folders that an image set such as VOC2007/test may be in; `test` alone is in the root."""
        name, root = entry.rpartition("/")[0], self._root
        is_it = name in (root.name, root.resolve().name)  # the second of a root that is `.`
        return [root / "VOCdevkit" / name, root / name, *([root] if is_it else [])] if name else [root]

    def _fetch(self, entry: str) -> None:
        year, image_set = _FETCHED[entry]
        try:
            VOCDetection(self._root, year=year, image_set=image_set, download=True)
        except (OSError, RuntimeError) as error:
            raise DataError(f"{self._root}: VOC {year} could not be fetched ({error})") from error

    def _of_list(self, entry: str, notes: list[str]) -> list[Item]:
        file = self._root / entry
        if not entry.endswith(".txt") or not file.is_file():
            return []
        by_name: dict[str, set[Item]] = defaultdict(set)
        for item in self._everything:
            image = self._place(item.image).with_suffix("")
            for name in (item.name, str(image), image.name):
                by_name[name].add(item)
        names = _names(file, by_name.__contains__, notes)
        if absent := [name for name in names if name not in by_name]:
            raise DataError(
                f"{file}: {len(absent)} names have no .xml file below {self._root}: {first_few(absent)};"
                " expected an image's name a line"
            )
        if unclear := [name for name in names if len(by_name[name]) > 1]:
            raise DataError(
                f"{file}: {len(unclear)} names are of several .xml files: {first_few(unclear)}; add the folder"
            )
        return [item for name in names for item in by_name[name]]

    def _of_folder(self, entry: str, notes: list[str]) -> list[Item]:
        """Return the images of all annotations in a folder and below, or whose images are.

        Folders of one part of the data may also be two: `train` is annotations/train with images/train.
        """
        folder = PurePosixPath(entry)
        places = [(item, self._place(item.annotation), self._place(item.image)) for item in self._everything]
        chosen = (
            [item for item, annotation, _ in places if annotation.is_relative_to(folder)]
            or [item for item, _, image in places if image.is_relative_to(folder)]
            or [item for item, annotation, _ in places if part_of(annotation).is_relative_to(folder)]
        )
        if not chosen:
            lists = [str(_list_of(path, entry)) for path in self._folders_of(entry)]
            hint = "; data.download=true fetches it" if entry in _FETCHED else ""
            raise UsageError(
                f"data.root={self._root}: {entry} is not there, looked for .xml files in {self._root / entry} or for the"
                f" image set {' or '.join(lists)}{hint}"
            )
        notes += self._notes_of(chosen)
        return chosen

    def _notes_of(self, items: Sequence[Item]) -> Iterator[str]:
        annotated = {item.image for item in self._everything}
        images = [image for folder in {item.image.parent for item in items} for image in _images_in(folder).values()]
        if bare := sum(image not in annotated for image in images):
            yield f"{bare} of {len(images)} images have no .xml file and are left out"
        elsewhere = sum(
            part_of(self._place(item.annotation)).parent != part_of(self._place(item.image)).parent for item in items
        )
        if elsewhere:
            yield f"{elsewhere} of {len(items)} images were found by their names alone, in other folders than their .xml files"

    def _place(self, file: Path) -> PurePosixPath:
        return PurePosixPath(file.relative_to(self._root))

    @cached_property
    def _everything(self) -> list[Item]:
        """All annotations below the root, each with its image: beside it, in the folder that is named like its own, or the only one."""
        annotations: list[Path] = []
        beside: dict[Path, Path] = {}
        alike: dict[PurePosixPath, Path] = {}
        by_name: dict[str, list[Path]] = defaultdict(list)
        for folder, names in walk(self._root, must_read=False):
            annotations += [folder / name for name in names if name.lower().endswith(".xml")]
            for stem, image in _images_among(folder, names).items():
                beside[folder / stem] = image
                alike.setdefault(part_of(self._place(folder / stem)), image)
                by_name[stem].append(image)
        items = []
        for file in annotations:
            bare = file.with_suffix("")
            found = beside.get(bare) or alike.get(part_of(self._place(bare)))
            items.append(Item(str(self._place(bare)), file, found or file.with_suffix(".jpg")))
        taken = {item.image for item in items}
        for index, item in enumerate(items):
            free = [image for image in by_name[item.annotation.stem] if image not in taken]
            if len(free) == 1 and item.image not in free and not item.image.is_file():
                items[index] = item._replace(image=free[0])
        return items


def _annotations_in(folder: Path, notes: list[str]) -> Path:
    """Return the folder of an image set's .xml files: Annotations, or the one below it whose objects have upright boxes, as DIOR has it."""
    if not folder.is_dir() or any(folder.glob("*.xml")):
        return folder
    for place in sorted(path for path in folder.iterdir() if path.is_dir()):
        file = min(place.glob("*.xml"), default=None)
        if file is not None and b"<bndbox>" in read_bytes(file):
            notes.append(f"annotations are those in {place}")
            return place
    return folder


def _list_of(folder: Path, entry: str) -> Path:
    return folder / "ImageSets" / "Main" / f"{entry.rpartition('/')[2]}.txt"


def _images_in(folder: Path) -> dict[str, Path]:
    """Return the images in a folder by name without ending."""
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in entries if is_file(entry) and not entry.name.startswith(".")]
            return _images_among(folder, names)
    except OSError:
        return {}


def _images_among(folder: Path, names: Iterable[str]) -> dict[str, Path]:
    images: dict[str, tuple[int, str]] = {}
    for name in names:
        path = PurePosixPath(name)
        if (suffix := path.suffix.lower()) in IMAGE_SUFFIXES:
            found = _PREFERRED.index(suffix), name
            images[path.stem] = min(found, images.get(path.stem, found))
    return {stem: folder / name for stem, (_, name) in images.items()}


def part_of(place: PurePosixPath) -> PurePosixPath:
    """Return a path without the folders that only say what is in them: train/a of annotations/train/a and of train/images/a."""
    return PurePosixPath(*(part for part in place.parts[:-1] if part.lower() not in _WORDS), place.name)


def _names(file: Path, is_known: Callable[[str], bool], notes: list[str]) -> list[str]:
    """Return the names in a list: of the readings of a line the first that is known; UsageError if there is no line."""
    lines = read_names(file)
    if not lines:
        raise UsageError(f"{file} is empty; expected an image's name a line")
    readings = [_readings(line) for line in lines]
    names = [next(filter(is_known, reading), reading[1]) for reading in readings]
    columns = alone = 0
    for name, (line, column, bare, _) in zip(names, readings, strict=True):
        columns += name != line != column
        alone += name not in (line, column, bare)
    counted = f"of {len(lines)} lines of {file.name}"
    if columns:
        notes.append(f"{columns} {counted} have a second column, which is not read: all images that it lists count")
    if alone:
        notes.append(f"{alone} {counted} name images in other folders: found by their names alone")
    return names


def _readings(line: str) -> tuple[str, str, str, str]:
    """Return what a line may mean, the first that is known counts: all of it, the first column, that without ending, without folders."""
    column = _SECOND_COLUMN.sub("", line)
    path = PurePosixPath(column.replace("\\", "/"))
    bare = path.with_suffix("") if path.suffix.lower() in (*IMAGE_SUFFIXES, ".xml") else path
    return line, column, str(bare), bare.name


def _without_common_folder(items: Sequence[Item]) -> list[Item]:
    """Return the items, their names without the folders that all of them are in."""
    if not items:
        return []
    common = os.path.commonpath([PurePosixPath(item.name).parent for item in items])
    return [item._replace(name=str(PurePosixPath(item.name).relative_to(common))) for item in items]
