"""Pascal VOC's .xml files, with its lists of images or without."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import chain
from pathlib import Path, PurePosixPath
from xml.etree import ElementTree

from dcnrun.config.overrides import as_override
from dcnrun.config.schema import VocConfig
from dcnrun.data.discover.listing import Listing, first_files
from dcnrun.data.discover.reading import VAL_SHARE, Reading, in_words
from dcnrun.data.discover.split_names import TEST_NAMES, TRAIN, VAL, split_word, train_and_val
from dcnrun.data.files import first_few, read_names
from dcnrun.data.voc_boxes import class_names, parse
from dcnrun.data.voc_layout import part_of
from dcnrun.errors import DataError, DcnrunError


def find_voc(root: Path, listing: Listing) -> Iterator[Reading]:
    """Find the .xml files of Pascal VOC, with its lists or without."""
    boxes = {file: found for file in first_files(listing, ".xml") if (found := _boxes(root / file)) is not None}
    there = list(chain.from_iterable(boxes.values()))
    if not boxes or (there and not any(there)):
        return
    places = [PurePosixPath(file).parent for file in boxes]
    if sets := _image_sets(root, listing):
        format = "Pascal VOC"
        train, val = _entries_of(sets)
        because = f"Annotations/*.xml, ImageSets/Main/*.txt of {first_few([folder or '.' for folder in sets])}"
    else:
        format, because = "Pascal VOC without ImageSets", f".xml files in {first_few(sorted(set(map(str, places))))}"
        names = list(dict.fromkeys(map(_entry_of, places)))
        if train_and_val(names)[0] is None:
            names = [name for name in listing.get("", ()) if name.endswith(".txt")]
        first, second = train_and_val(names)
        train, val = [first or "."], [second] if first and second else []
    try:
        classes = class_names(VocConfig(root=str(root), train=train))
    except DcnrunError:  # said where the data are checked
        classes = []
    overrides = ["data=voc", as_override("data.root", str(root)), "model=faster_rcnn"]
    overrides += [as_override("data.classes", classes), as_override("data.train", train)]
    overrides += [as_override("data.val", val)] if val else [VAL_SHARE]
    split = in_words(" and ".join(train), " and ".join(val) or None)
    yield Reading(format, because, overrides, classes, split)


def _image_sets(root: Path, listing: Listing) -> dict[str, list[str]]:
    """Return the names of the image sets of each folder, as entries of data.train name folders; not those to test on without annotations."""
    end = "ImageSets/Main"
    annotated = {PurePosixPath(file).stem for file in chain.from_iterable(listing.values()) if file.endswith(".xml")}
    sets: dict[str, list[str]] = {}
    for place, files in listing.items():
        if place.endswith(end):
            folder = place.removesuffix(end).strip("/").removeprefix("VOCdevkit/")
            lists = [name for name in files if name.endswith(".txt")]
            sets[folder] = [
                name.removesuffix(".txt")
                for name in lists
                if not split_word(name, TEST_NAMES) or _lists_any(root / place / name, annotated)
            ]
    return {folder: names for folder, names in sets.items() if names}


def _lists_any(file: Path, stems: Collection[str]) -> bool:
    with suppress(DataError):
        return any(PurePosixPath(line.split()[0]).stem in stems for line in read_names(file))
    return True


def _entries_of(sets: Mapping[str, Sequence[str]]) -> tuple[list[str], list[str]]:
    """Return the entries of data.train, of all folders, and those of data.val, of folders that have both if any has."""
    pairs = {f"{folder}/" if folder else "": train_and_val(names) for folder, names in sets.items()}
    train = [f"{folder}{name}" for folder, (name, _) in pairs.items() if name]
    whole = {folder: pair for folder, pair in pairs.items() if all(pair)}
    val = [f"{folder}{name}" for folder, (_, name) in (whole or pairs).items() if name and train]
    folder, names = next(iter(sets.items()))
    return train or [f"{folder}/{names[0]}".lstrip("/")], val


def _boxes(file: Path) -> list[bool] | None:
    """Return whether each object of an annotation has a box (those of LabelMe have none); None where the file is no annotation."""
    try:
        annotation = parse(file)
    except (OSError, ValueError, ElementTree.ParseError):
        return None
    return [element.find("bndbox") is not None for element in annotation.findall("object")]


def _entry_of(place: PurePosixPath) -> str:
    """Return the folder of data.train for annotations: that of their split, without those that say what is in them."""
    parts = part_of(place / "_").parent.parts
    words = [split_word(part, (*TRAIN, *VAL)) for part in parts]
    end = max((number for number, word in enumerate(words, start=1) if word), default=0)
    return "/".join(parts[:end]) or "."
