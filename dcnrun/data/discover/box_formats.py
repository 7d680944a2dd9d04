"""Data sets of boxes: COCO's, YOLO's, labelme's and Pascal VOC's."""

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import Any
from xml.etree import ElementTree

from dcnrun.config.overrides import as_override
from dcnrun.config.schema import VocConfig, YoloConfig
from dcnrun.config.yaml_files import read_texts
from dcnrun.data.coco import classes_of
from dcnrun.data.coco_json import Outline, read_outline
from dcnrun.data.discover.listing import BEGINNING, MOST_READ, Listing, first_files, has_images
from dcnrun.data.discover.reading import VAL_SHARE, Reading, in_words
from dcnrun.data.discover.split_names import TRAIN, VAL, split_word, train_and_val, with_split
from dcnrun.data.files import first_few, read_bytes
from dcnrun.data.image_names import bare_names
from dcnrun.data.labelme_shapes import NO_OBJECTS, kind_of
from dcnrun.data.sample import Split
from dcnrun.data.voc_boxes import class_names, parse
from dcnrun.data.voc_layout import part_of
from dcnrun.data.yolo_layout import YAML_NAMES, class_numbers, find_images, read_layout
from dcnrun.errors import DcnrunError


def find_coco(root: Path, listing: Listing) -> Iterator[Reading]:
    """Find COCO's files of objects and their images."""
    files: dict[str, tuple[list[str], str]] = {}
    counts: dict[str, int] = {}
    for file in first_files(listing, ".json"):
        if (outline := read_outline(root / file)) and _has_objects(outline):
            names = [str(entry.name) for entry in classes_of(outline.categories, outline.annotations)]
            files[file] = names, _image_folder(listing, file, [str(entry.file_name) for entry in outline.images])
            counts[file] = len(outline.annotations)
    files = dict(sorted(files.items(), key=lambda item: ("instances" not in item[0], -counts[item[0]])))
    train, val = train_and_val(list(files))
    if not files:
        return
    train = train or next(file for file in files if file != val or len(files) == 1)
    val = val if val != train else None
    classes, folder = files[train]
    parts = with_split(train, folder, val, files[val][1]) if val else None
    if parts is None and val:  # by their names alone, where they are in several folders
        parts = "SPLIT", os.path.commonpath([folder, files[val][1]]) or ".", train, val
    if parts is None:
        val, parts = None, ("SPLIT", folder, train, "")
    annotations, images_in, *splits = parts
    overrides = ["data=coco", as_override("data.root", str(root)), "model=faster_rcnn"]
    overrides += [as_override("data.annotations", annotations), as_override("data.images", images_in)]
    overrides += [
        as_override(f"data.{key}", name)
        for key, name in zip(("train", "val"), splits, strict=True)
        if name and name != key
    ]
    if val is None:
        overrides.append(VAL_SHARE)
    because = f"{first_few(list(files))} with images, annotations and categories"
    yield Reading("COCO", because, overrides, classes, in_words(train, val))


def _has_objects(outline: Outline) -> bool:
    """Whether a file may hold objects: COCO's files of captions and of image sizes have no classes, its panoptic ones no class for each."""
    has_class = any(entry.category_id is not None for entry in outline.annotations)
    return bool(outline.images and outline.categories) and (has_class or not outline.annotations)


def _image_folder(listing: Listing, file: str, images: Sequence[str]) -> str:
    """Return the folder that holds the images of a COCO file: with most of the first of them, at best of the file's split."""
    names = images[:MOST_READ]
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
    for place, names in listing.items():
        for name in [name for name in names if name.endswith((".yaml", ".yml"))][:MOST_READ]:
            try:
                content = read_texts(root / place / name)
            except DcnrunError:
                continue
            if isinstance(content, dict) and isinstance(content.get("names"), dict | list):
                yield _yolo_reading(
                    YoloConfig(root=str(root / place), yaml=name), f"{place}/{name}".lstrip("/") + " with names"
                )
                return
    numbers = [class_numbers(root / file) for file in first_files(listing, ".txt")]
    if any(numbers) and any(map(has_images, listing.values())):
        config = YoloConfig(root=str(root))
        try:
            read_layout(config)
        except DcnrunError:  # no file has the names
            config.classes = [f"class_{number}" for number in range(max(map(max, filter(None, numbers))) + 1)]
        train, val = train_and_val([place for place, names in listing.items() if place and has_images(names)])
        if train and val and not _yolo_images(config, "train"):  # in folders of other names than the usual ones
            config.train, config.val = train, val
        yield _yolo_reading(config, ".txt files with an object a line")


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
    val = next((name for name in names if _yolo_images(replace(config, val=name), "val") not in ([], train)), None)
    overrides += [as_override("data.train", config.train)] if config.train != default.train else []
    overrides += [as_override("data.val", val)] if val not in (None, default.val) else []
    overrides += [] if val else [VAL_SHARE]
    return Reading("YOLO", because, overrides, classes, in_words(config.train, val))


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


def find_voc(root: Path, listing: Listing) -> Iterator[Reading]:
    """Find the .xml files of Pascal VOC, with its lists or without."""
    boxes = {file: found for file in first_files(listing, ".xml") if (found := _boxes(root / file)) is not None}
    there = list(chain.from_iterable(boxes.values()))
    if not boxes or (there and not any(there)):
        return
    places = [PurePosixPath(file).parent for file in boxes]
    sets = [place for place in listing if place.endswith("ImageSets/Main")]
    if sets:
        format, because = "Pascal VOC", "Annotations/*.xml, ImageSets/Main/{}.txt"
        folder = sets[0].removesuffix("ImageSets/Main").strip("/")
        names = [name.removesuffix(".txt") for name in listing[sets[0]] if name.endswith(".txt")]
        inside = f"{PurePosixPath(folder).name}/" if folder else ""
    else:
        format, because = "Pascal VOC without ImageSets", f".xml files in {first_few(sorted(set(map(str, places))))}"
        names, inside = list(dict.fromkeys(map(_entry_of, places))), ""
        if train_and_val(names)[0] is None:
            names = [name for name in listing.get("", ()) if name.endswith(".txt")]
    train, val = train_and_val(names)
    train = train or (names[0] if sets and names else None)
    chosen = [f"{inside}{train}" if train else "."]
    try:
        classes = class_names(VocConfig(root=str(root), train=chosen))
    except DcnrunError:  # said where the data are checked
        classes = []
    overrides = ["data=voc", as_override("data.root", str(root)), "model=faster_rcnn"]
    overrides += [as_override("data.classes", classes), as_override("data.train", chosen)]
    overrides += [as_override("data.val", [f"{inside}{val}"])] if train and val else [VAL_SHARE]
    split = in_words(train or ".", val if train else None)
    yield Reading(format, because.format(train), overrides, classes, split)


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
