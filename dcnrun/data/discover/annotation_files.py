"""Data sets whose labels are in files of annotations: COCO's, of objects or of segments, YOLO's, labelme's, Supervisely's and Pascal VOC's."""

import json
import os
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import Any
from xml.etree import ElementTree

from dcnrun.config.overrides import as_override
from dcnrun.config.schema import PanopticConfig, VocConfig, YoloConfig
from dcnrun.config.yaml_files import read_texts
from dcnrun.data import panoptic, supervisely
from dcnrun.data.coco import classes_of
from dcnrun.data.coco_json import Outline, read_outline
from dcnrun.data.discover.listing import BEGINNING, MOST_READ, Listing, first_files, has_images
from dcnrun.data.discover.reading import VAL_SHARE, Reading, in_words
from dcnrun.data.discover.split_names import TEST_NAMES, TRAIN, VAL, split_word, train_and_val, with_split
from dcnrun.data.files import first_few, read_bytes, read_names
from dcnrun.data.image_names import bare_names
from dcnrun.data.labelme_shapes import NO_OBJECTS, kind_of
from dcnrun.data.sample import Split
from dcnrun.data.supervisely import ANNOTATIONS, IMAGES, META
from dcnrun.data.voc_boxes import class_names, parse
from dcnrun.data.voc_layout import part_of
from dcnrun.data.yolo_layout import YAML_NAMES, class_numbers, find_images, label_places, read_layout
from dcnrun.errors import DataError, DcnrunError, UsageError


def find_coco(root: Path, listing: Listing) -> Iterator[Reading]:
    """Find COCO's files of objects, and its panoptic ones of segments, and their images."""
    outlines = {file: outline for file in first_files(listing, ".json") if (outline := read_outline(root / file))}
    if of_objects := {file: outline for file, outline in outlines.items() if _has_objects(outline)}:
        yield _objects(root, listing, of_objects | _damaged(root, listing, of_objects))
    documents: dict[str, panoptic.Document] = {}
    for file in outlines.keys() - of_objects.keys():
        with suppress(DataError):  # captions, sizes of images
            documents[file] = panoptic.read_document(root / file)
    folders = ((file, _pictures(listing, file, documents[file])) for file in sorted(documents))
    if pictures := {file: folder for file, folder in folders if folder}:
        yield _segments(root, listing, documents, pictures)


def _damaged(root: Path, listing: Listing, outlines: Mapping[str, Outline]) -> dict[str, Outline]:
    """Return the files that are no JSON and the other split of one that is COCO's by their names: the check says what is wrong."""
    found = {}
    for file in first_files(listing, ".json"):
        pairs = ((file, "", other, "") for other in outlines), ((other, "", file, "") for other in outlines)
        if file not in outlines and any(with_split(*pair) for pair in chain(*pairs)):
            try:
                json.loads(read_bytes(root / file))
            except (OSError, ValueError, RecursionError):
                found[file] = Outline([], [], [])
    return found


def _objects(root: Path, listing: Listing, outlines: Mapping[str, Outline]) -> Reading:
    names = sorted(outlines, key=lambda file: ("instances" not in file, -len(outlines[file].annotations)))
    if any(outline.annotations for outline in outlines.values()):  # of images to test on, nothing is told
        names = [name for name in names if outlines[name].annotations or not split_word(name, TEST_NAMES)]
    images = {
        file: _folder_of(listing, file, [str(entry.file_name) for entry in outlines[file].images]) for file in names
    }
    train, val = _two_files(names)
    parts = with_split(train, images[train], val, images[val]) if val else None
    if parts is None and val:  # by their names alone, where they are in several folders
        parts = "SPLIT", os.path.commonpath([images[train], images[val]]) or ".", train, val
    if parts is None:
        val, parts = None, ("SPLIT", images[train], train, "")
    overrides = ["data=coco", as_override("data.root", str(root)), "model=faster_rcnn"]
    overrides += [as_override("data.annotations", parts[0]), as_override("data.images", parts[1]), *_splits(*parts[2:])]
    others = [name for name in names if name not in (train, val)]
    because = f"{' and '.join(filter(None, (train, val)))} with images, annotations and categories"
    because += f"; not read: {first_few(others)}" if others else ""
    classes = classes_of(outlines[train].categories, outlines[train].annotations)
    return Reading("COCO", because, overrides, [str(entry.name) for entry in classes], in_words(train, val))


def _segments(
    root: Path, listing: Listing, documents: Mapping[str, panoptic.Document], pictures: Mapping[str, str]
) -> Reading:
    others = {place: names for place, names in listing.items() if place not in pictures.values()}
    images = {
        file: _first_folder((others, listing), file, [entry.file_name for entry in documents[file].images]) or "."
        for file in pictures
    }
    train, val = _two_files(list(pictures))
    of_images, of_pictures = (
        with_split(train, each[train], val, each[val]) if val else None for each in (images, pictures)
    )
    if of_images and of_pictures:
        annotations, folders, splits = of_images[0], (of_images[1], of_pictures[1]), of_images[2:]
    else:
        val, annotations, folders, splits = None, train, (images[train], pictures[train]), ("train", "")
    settings = {"annotations": annotations, "images": folders[0], "masks": folders[1]}
    default = PanopticConfig()
    overrides = ["data=panoptic", as_override("data.root", str(root)), "model=deeplab"]
    overrides += [as_override(f"data.{key}", text) for key, text in settings.items() if text != getattr(default, key)]
    because = f"{first_few(list(pictures))} with segments_info, and pictures of segments in {pictures[train]}"
    classes = sorted(documents[train].categories, key=lambda category: category.id)
    overrides += _splits(*splits)
    return Reading("COCO, panoptic", because, overrides, [each.name for each in classes], in_words(train, val))


def _two_files(names: Sequence[str]) -> tuple[str, str | None]:
    """Return the file to train on, and that to validate on if there is one."""
    train, val = train_and_val(names)
    train = train or next(name for name in names if name != val or len(names) == 1)
    alike = [name for name in names if with_split(train, "", name, "")]  # of several sets or folds
    val = train_and_val([train, *alike])[1] or val
    return train, val if val != train else None


def _splits(train: str, val: str) -> list[str]:
    """Return the settings of what is trained and validated on: the share of what is trained on where `val` is empty."""
    named = [
        as_override(f"data.{key}", name) for key, name in (("train", train), ("val", val)) if name not in ("", key)
    ]
    return named if val else [*named, VAL_SHARE]


def _pictures(listing: Listing, file: str, document: panoptic.Document) -> str | None:
    """Return the folder of the pictures of segments that a panoptic file names; None where none is there."""
    called_so = {place: names for place, names in listing.items() if re.search("panoptic|mask|label|seg", place)}
    return _first_folder((called_so, listing), file, [annotation.file_name for annotation in document.annotations])


def _first_folder(listings: Sequence[Listing], file: str, files: Sequence[str]) -> str | None:
    """Return the folder that holds these files in the first of several listings that has any; None where none has."""
    names = files[:MOST_READ]
    for listing in listings:
        if any(_is_there(listing, place, name) for place in listing for name in names):
            return _folder_of(listing, file, files)
    return None


def _has_objects(outline: Outline) -> bool:
    """Whether a file may hold objects: COCO's files of captions and of image sizes have no classes, its panoptic ones no class for each."""
    has_class = any(entry.category_id is not None for entry in outline.annotations)
    return bool(outline.images and outline.categories) and (has_class or not outline.annotations)


def _folder_of(listing: Listing, file: str, files: Sequence[str]) -> str:
    """Return the folder that holds the files that one of COCO's names: with most of the first of them, at best of its split."""
    names = files[:MOST_READ]
    word = split_word(file, (*TRAIN, *VAL))
    beside = str(Path(file).parent).removeprefix(".")

    def score(place: str) -> tuple[int, int, bool, bool]:
        whole = sum(_is_there(listing, place, name) for name in names)
        alone = sum(any(bare in listing[place] for bare in bare_names(name)) for name in names)
        return whole, alone, word is not None and split_word(place, [word]) is not None, place == beside

    best = max(listing, key=score)
    if score(best)[0] < len(names):  # in folders of their own, which are looked through where those that have one's are
        homes = [place for place in listing if any(_is_there(listing, place, name) for name in names)]
        of_split = [place for place in homes if word is not None and split_word(place, [word])]
        best = os.path.commonpath(of_split or homes or [best])
    return best or "."


def _is_there(listing: Listing, place: str, name: str) -> bool:
    path = Path(place, name)
    return path.name in listing.get(str(path.parent).removeprefix("."), ())


def _document(file: Path, mark: str) -> dict[str, Any]:
    """Return a JSON file's object if its beginning has a mark; else nothing."""
    try:
        with file.open("rb") as opened:
            if mark.encode() not in opened.read(BEGINNING) and file.stat().st_size > BEGINNING:
                return {}
        document = json.loads(read_bytes(file))
    except (OSError, ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def find_yolo(root: Path, listing: Listing) -> Iterator[Reading]:
    """Find a .yaml with names of classes, in whatever folder, or .txt files whose lines are objects."""
    yamls = [file for suffix in (".yaml", ".yml") for file in first_files(listing, suffix) if _has_names(root / file)]
    if yamls:
        first, *others = sorted(yamls, key=lambda file: file.count("/"))
        because = f"{first} with names" + (f"; not read: {first_few(others)}" if others else "")
        yield _yolo_reading(YoloConfig(root=str((root / first).parent), yaml=Path(first).name), because)
        return
    numbers = [class_numbers(root / file) for file in first_files(listing, ".txt")]
    if any(numbers) and any(map(has_images, listing.values())):
        config = YoloConfig(root=str(root))
        try:
            read_layout(config)
        except DataError:  # which the check says
            pass
        except UsageError:  # no file has the names
            config.classes = [f"class_{number}" for number in range(max(map(max, filter(None, numbers))) + 1)]
        train, val = train_and_val([place for place, names in listing.items() if place and has_images(names)])
        if train and val and not _yolo_images(config, "train"):  # in folders of other names than the usual ones
            config.train, config.val = train, val
        yield _yolo_reading(config, ".txt files with an object a line")


def _has_names(file: Path) -> bool:
    try:
        content = read_texts(file)
    except DcnrunError:
        return False
    return isinstance(content, dict) and isinstance(content.get("names"), dict | list)


def _yolo_reading(config: YoloConfig, because: str) -> Reading:
    """Return the settings by which a data set of YOLO has images for both splits."""
    default = YoloConfig()
    overrides = ["data=yolo", as_override("data.root", str(config.root)), "model=faster_rcnn"]
    overrides += [as_override("data.yaml", config.yaml)] if config.yaml not in ("", *YAML_NAMES) else []
    overrides += [as_override("data.classes", config.classes)] if config.classes else []
    classes = config.classes
    train: list[Path] = []
    with suppress(DcnrunError):  # what is wrong is said by the check
        classes = read_layout(config).classes
        train = _yolo_images(config, "train")
    names = (config.val, "test") if train else ()
    held = {name: _yolo_images(replace(config, val=name), "val") for name in names}
    val = next(
        (name for name in names if held[name] not in ([], train) and _is_labelled(config, name, held[name])), None
    )
    overrides += [as_override("data.train", config.train)] if config.train != default.train else []
    overrides += [as_override("data.val", val)] if val not in (None, default.val) else []
    overrides += [] if val else [VAL_SHARE]
    return Reading("YOLO", because, overrides, classes, in_words(config.train, val))


def _is_labelled(config: YoloConfig, name: str, images: Sequence[Path]) -> bool:
    """Whether images are to be validated on: those to test on may come without labels."""
    layout = read_layout(config)
    return name not in TEST_NAMES or any(place.is_file() for image in images for place in label_places(layout, image))


def _yolo_images(config: YoloConfig, split: Split) -> list[Path]:
    try:
        return find_images(read_layout(config), config, split)
    except DcnrunError:
        return []


def find_labelme(root: Path, listing: Listing) -> Iterator[Reading]:
    """Find labelme's .json files."""
    classes: set[str] = set()
    places: list[str] = []
    for file in first_files(listing, ".json"):
        shapes = _document(root / file, '"shapes"').get("shapes")
        if isinstance(shapes, list):
            objects = [shape for shape in shapes if isinstance(shape, dict) and kind_of(shape) not in NO_OBJECTS]
            classes |= {str(shape["label"]) for shape in objects if "label" in shape}
            places.append(str(Path(file).parent).removeprefix("."))
    if not places:
        return
    places = list(dict.fromkeys(places))
    train, val = train_and_val(places)
    if train is None or val is None or train == val:
        train, val = places[0] if len(places) == 1 else "", None
    overrides = ["data=labelme", as_override("data.root", str(root)), "model=faster_rcnn"]
    overrides += [as_override("data.train", train or ".")] if train != "train" else []
    overrides += [as_override("data.val", val)] if val not in (None, "val") else []
    overrides += [] if val else [VAL_SHARE]
    yield Reading("labelme", ".json files with shapes", overrides, sorted(classes), in_words(train or ".", val))


def find_supervisely(root: Path, listing: Listing) -> Iterator[Reading]:
    """Find projects of Supervisely: a file of classes, and folders of images beside those of annotations."""
    for base in [place for place, names in listing.items() if META in names]:
        below = [PurePosixPath(place) for place in listing if PurePosixPath(place).is_relative_to(base)]
        sets = [
            str(place.parent.relative_to(base))
            for place in below
            if place.name == IMAGES and str(place.with_name(ANNOTATIONS)) in listing and has_images(listing[str(place)])
        ]
        try:
            classes = supervisely.classes_of(root / base / META)
        except DcnrunError:
            continue
        if sets:
            yield _of_project(root / base, sets, classes)
            return


def _of_project(root: Path, sets: Sequence[str], classes: list[str]) -> Reading:
    train, val = train_and_val(list(sets))
    chosen = train or (sets[0] if len(sets) == 1 else ".")
    val = val if train else None
    overrides = [
        "data=supervisely",
        as_override("data.root", str(root)),
        "model=faster_rcnn",
        *_splits(chosen, val or ""),
    ]
    others = [each for each in sets if each not in (chosen, val)] if chosen != "." else []
    because = f"{META} and {ANNOTATIONS}/*.json in {first_few(list(sets))}" + (
        f"; not read: {first_few(others)}" if others else ""
    )
    return Reading("Supervisely", because, overrides, classes, in_words(chosen, val))


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
