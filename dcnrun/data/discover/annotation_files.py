"""Data sets with a file of annotations for each image: YOLO's, labelme's and Supervisely's."""

import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

from dcnrun.config.overrides import as_override
from dcnrun.config.schema import YoloConfig
from dcnrun.config.yaml_files import read_texts
from dcnrun.data import supervisely
from dcnrun.data.discover.listing import BEGINNING, Listing, first_files, has_images
from dcnrun.data.discover.reading import Reading, in_words, not_read, which_splits
from dcnrun.data.discover.split_names import TEST_NAMES, train_and_val
from dcnrun.data.files import first_few, read_bytes
from dcnrun.data.labelme_shapes import NO_OBJECTS, kind_of
from dcnrun.data.sample import Split
from dcnrun.data.supervisely import ANNOTATIONS, IMAGES, META
from dcnrun.data.yolo_layout import YAML_NAMES, class_numbers, find_images, label_places, read_layout
from dcnrun.errors import DataError, DcnrunError, UsageError


def find_yolo(root: Path, listing: Listing) -> Iterator[Reading]:
    """Find a .yaml with names of classes, in whatever folder, or .txt files whose lines are objects."""
    yamls = [file for suffix in (".yaml", ".yml") for file in first_files(listing, suffix) if _has_names(root / file)]
    if yamls:
        first, *others = sorted(yamls, key=lambda file: file.count("/"))
        because = f"{first} with names{not_read(others)}"
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
    overrides += which_splits(config.train, val or "")
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
    overrides += which_splits(train or ".", val or "")
    yield Reading("labelme", ".json files with shapes", overrides, sorted(classes), in_words(train or ".", val))


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
        *which_splits(chosen, val or ""),
    ]
    others = [each for each in sets if each not in (chosen, val)] if chosen != "." else []
    because = f"{META} and {ANNOTATIONS}/*.json in {first_few(list(sets))}{not_read(others)}"
    return Reading("Supervisely", because, overrides, classes, in_words(chosen, val))
