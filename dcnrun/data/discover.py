"""What a folder of data is: its format, classes and split, found by looking at it, and the settings to train on it.

File names decide first, then the little of the files that says more. No folder is entered twice (links may lead in
circles), and of large folders only the first entries are looked at.
"""

import json
import os
import re
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import Any
from xml.etree import ElementTree

from dcnrun.config.overrides import as_override
from dcnrun.config.schema import FolderConfig, InstanceMasksConfig, PairedFilesConfig, VocConfig, YoloConfig
from dcnrun.config.yaml_files import read_texts
from dcnrun.data.cityscapes import CLASSES as CITYSCAPES
from dcnrun.data.coco import classes_of
from dcnrun.data.coco_json import Outline, read_outline
from dcnrun.data.colours import ColourTable, parse_labelmap
from dcnrun.data.files import (
    Pair,
    first_few,
    is_file,
    is_folder,
    is_text,
    read_bytes,
    read_mask,
    read_names,
)
from dcnrun.data.folder import IGNORED_NAMES
from dcnrun.data.image_names import bare_names
from dcnrun.data.labelme_shapes import NO_OBJECTS, kind_of
from dcnrun.data.layouts import Layout, find_layouts, pairs_of
from dcnrun.data.mask_classes import Guess, guess_classes, hold_objects
from dcnrun.data.paired_folders import TEST_NAMES, TRAINVAL_NAMES, FoundLayout, find_layout, show_no_scene
from dcnrun.data.sample import Split
from dcnrun.data.splits import SPLIT_NAMES
from dcnrun.data.unread import BEGINNING, MOST_READ, Listing, first_files, has_images, is_panoptic, why_not_read
from dcnrun.data.voc import CLASSES as VOC2012
from dcnrun.data.voc_boxes import class_names, parse
from dcnrun.data.voc_layout import part_of
from dcnrun.data.yolo_layout import YAML_NAMES, class_numbers, find_images, read_layout
from dcnrun.errors import DataError, DcnrunError, UsageError

_MOST_ENTRIES = 100_000
_TRAIN = (*SPLIT_NAMES["train"], *TRAINVAL_NAMES)
_VAL = (*SPLIT_NAMES["val"], *TEST_NAMES)
_PAIRS = (
    (SPLIT_NAMES["train"], SPLIT_NAMES["val"]),
    ((*TRAINVAL_NAMES, *SPLIT_NAMES["train"]), TEST_NAMES),
    (_TRAIN, ()),
    ((), _VAL),
)
"""Names of what is trained on and of what is validated on, those that belong together in a row, the likeliest first."""
_NO_SPLIT = "default"
"""What CVAT and datumaro call the one part of a set without a split."""
_VAL_SHARE = "data.val_share=0.2"
_TABLES = ("class_dict.csv", "class_dict_seg.csv", "label_class_dict.csv")
"""Tables of classes and colours that come with many data sets on Kaggle."""
_LISTS = "ImageSets/Segmentation"
"""Where Pascal VOC's layout has the lists of images with masks."""
_VOC2012_LISTS = f"VOCdevkit/VOC2012/{_LISTS}"


@dataclass(frozen=True)
class Reading:
    """One way to read a folder."""

    format: str
    because: str
    """What it was decided by."""
    overrides: list[str]
    classes: list[str] = field(default_factory=list)
    split: str = ""

    @property
    def command(self) -> str:
        """The command line that trains on it, to be copied into a shell."""
        return shlex.join(["dcnrun", "train", *self.overrides])

    def report(self) -> dict[str, Any]:
        """Return it as --json has it."""
        return {**asdict(self), "command": self.command}


def discover(path: Path) -> list[Reading]:
    """Return the ways to read a folder, or one annotation file of it, the likeliest first; UsageError if there is none."""
    if not path.exists():
        raise UsageError(f"{path}: there is no such folder or file.")
    folders = [path] if path.is_dir() else list(path.absolute().parents)[:2]
    for folder in folders:
        listing = _listing(folder)
        if not any(map(has_images, listing.values())) and folder != folders[-1]:
            continue  # an annotation file in a folder of its own: the images are beside that
        for looks in (_LOOKS, [_paired_folders]):
            if readings := [reading for look in looks for reading in look(folder, listing)]:
                return readings
    listing = _listing(folders[0])
    counts = [f"{len(names)} in {place or '.'}" for place, names in listing.items() if names]
    if why := why_not_read(folders[0], listing):
        raise UsageError(f"{path}: {why}")
    raise UsageError(
        f"{path}: no data set was recognised; looked for COCO (.json), YOLO (data.yaml, labels/*.txt), Pascal VOC (.xml),"
        " labelme (.json), images with masks of classes or of objects, VOC2012 and Cityscapes; settings name other folders (data=folder data.images=... data.masks=...);"
        f" there are files: {first_few(counts) if counts else 'none'}"
    )


def _listing(folder: Path) -> Listing:
    found: dict[str, list[str]] = {}
    known: set[tuple[int, int]] = set()
    waiting, count = [""], 0
    while waiting and count < _MOST_ENTRIES:
        place = waiting.pop(0)
        try:
            status = (folder / place).stat()
            with os.scandir(folder / place) as entries:
                content = sorted(entries, key=lambda entry: entry.name)
        except OSError:
            continue
        if (status.st_dev, status.st_ino) in known:
            continue
        known.add((status.st_dev, status.st_ino))
        names = found.setdefault(place, [])
        for entry in content:
            count += 1
            if entry.name.startswith(".") or not is_text(entry.name):
                continue
            if is_folder(entry):
                waiting.append(f"{place}/{entry.name}".lstrip("/"))
            elif is_file(entry):
                names.append(entry.name)
    return found


def _split_word(text: str, words: Sequence[str]) -> str | None:
    """Return the first of the words that stands in a path as a word of its own, as it is written there, digits after it apart."""
    found = (re.search(rf"(?<![a-zA-Z]){word}(?![a-zA-Z])", text, re.IGNORECASE) for word in words)
    return next((match[0] for match in found if match), None)


def _pair(names: Sequence[str]) -> tuple[str | None, str | None]:
    """Return the names for training and for validation among several that a split may have."""
    ways = [*((pair, _called) for pair in _PAIRS[:2]), *((pair, _named) for pair in _PAIRS)]
    for (of_train, of_val), find in ways:
        train, val = find(names, of_train), find(names, of_val)
        if (train or not of_train) and (val or not of_val):
            return train, val
    return None, None


def _called(names: Sequence[str], words: Sequence[str]) -> str | None:
    """Return the first name that is one of the words."""
    return next((name for word in words for name in names if name.lower() == word), None)


def _named(names: Sequence[str], words: Sequence[str]) -> str | None:
    """Return the first name that is one of the words, or else has one."""
    has_word = (name for word in words for name in names if _split_word(name, [word]))
    return _called(names, words) or next(has_word, None)


def _in_words(train: str, val: str | None) -> str:
    return f"trained on {train}, validated on {val}" if val else f"a fifth of {train} is drawn to validate on"


def _cityscapes(root: Path, listing: Listing) -> Iterator[Reading]:
    named = (name for place, names in listing.items() if place.startswith("gtFine/") for name in names)
    if "leftImg8bit" in listing and any(name.endswith("_gtFine_labelIds.png") for name in named):
        overrides = ["data=cityscapes", as_override("data.root", str(root)), "model=deeplab"]
        yield Reading(
            "Cityscapes",
            "leftImg8bit and gtFine/*_gtFine_labelIds.png",
            overrides,
            list(CITYSCAPES),
            _in_words("train", "val"),
        )


def _voc2012(root: Path, listing: Listing) -> Iterator[Reading]:
    if listing.get(_VOC2012_LISTS) and "VOCdevkit/VOC2012/SegmentationClass" in listing:
        overrides = ["data=voc2012", as_override("data.root", str(root)), "model=deeplab"]
        yield Reading("Pascal VOC 2012, masks", _VOC2012_LISTS, overrides, list(VOC2012), _in_words("train", "val"))


def _cell_tracking(root: Path, listing: Listing) -> Iterator[Reading]:
    """Find the sequences of the Cell Tracking Challenge, whose frames have label images in SEG; those in TRA are but markers."""
    counts: dict[str, dict[str, int]] = {}
    for place in listing:
        if re.fullmatch("[0-9]{2}", place):
            masks = {kind: _count_images(listing, f"{place}_{kind}") for kind in ("ST/SEG", "GT/SEG")}
            counts |= {place: masks | {"frames": _count_images(listing, place)}} if any(masks.values()) else {}
    if not counts:
        return
    whole = [kind for kind in ("GT/SEG", "ST/SEG") if all(each[kind] == each["frames"] for each in counts.values())]
    if not whole:
        place, each = next(iter(counts.items()))
        raise UsageError(
            f"{root}: of the {each['frames']} frames in {place}, {each['GT/SEG']} have masks in {place}_GT/SEG and {each['ST/SEG']} in {place}_ST/SEG; expected"
            f" all, or lists of those that have one, a line `{place}/t000.tif {place}_GT/SEG/man_seg000.tif` each: data=instance_masks data.train=train.txt data.val=val.txt"
        )
    train, *others = counts
    overrides = ["data=instance_masks", as_override("data.root", str(root)), "model=mask_rcnn"]
    overrides += _where(
        {"images": "SPLIT", "masks": f"SPLIT_{whole[0]}", "train": train}, others[0] if others else None
    )
    split = _in_words(train, others[0] if others else None)
    because = f"sequences {first_few(list(counts))} with label images in {train}_{whole[0]}"
    yield Reading("Cell Tracking Challenge", because, overrides, InstanceMasksConfig().classes, split)


def _count_images(listing: Listing, place: str) -> int:
    return sum(has_images([name]) for name in listing.get(place, ()))


def _coco(root: Path, listing: Listing) -> Iterator[Reading]:
    files: dict[str, tuple[list[str], str]] = {}
    counts: dict[str, int] = {}
    for file in first_files(listing, ".json"):
        if (outline := read_outline(root / file)) and _has_objects(outline):
            names = [str(entry.name) for entry in classes_of(outline.categories, outline.annotations)]
            files[file] = names, _image_folder(listing, file, [str(entry.file_name) for entry in outline.images])
            counts[file] = len(outline.annotations)
    files = dict(sorted(files.items(), key=lambda item: ("instances" not in item[0], -counts[item[0]])))
    train, val = _pair(list(files))
    if not files:
        return
    train = train or next(file for file in files if file != val or len(files) == 1)
    val = val if val != train else None
    classes, folder = files[train]
    parts = _split_parts(train, folder, val, files[val][1]) if val else None
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
        overrides.append(_VAL_SHARE)
    because = f"{first_few(list(files))} with images, annotations and categories"
    yield Reading("COCO", because, overrides, classes, _in_words(train, val))


def _has_objects(outline: Outline) -> bool:
    """Whether a file may hold objects: COCO's files of captions and of image sizes have no classes, its panoptic ones no class for each."""
    has_class = any(entry.category_id is not None for entry in outline.annotations)
    return bool(outline.images and outline.categories) and (has_class or not outline.annotations)


def _split_parts(train: str, train_images: str, val: str, val_images: str) -> tuple[str, str, str, str] | None:
    """Return labels and images with SPLIT in place of a split's word, and the words; None if they have no such form."""
    train_word, val_word = _split_word(train, _TRAIN), _split_word(val, _VAL)
    if train_word is None or val_word is None:
        return None
    forms = [
        (there.replace(train_word, "SPLIT"), other.replace(val_word, "SPLIT"))
        for there, other in ((train, val), (train_images, val_images))
    ]
    if train_images == val_images:
        forms[1] = train_images, val_images
    if any(form != other for form, other in forms):
        return None
    return forms[0][0], forms[1][0], train_word, val_word


def _image_folder(listing: Listing, file: str, images: Sequence[str]) -> str:
    """Return the folder that holds the images of a COCO file: with most of the first of them, at best of the file's split."""
    names = images[:MOST_READ]
    word = _split_word(file, (*_TRAIN, *_VAL))
    beside = str(Path(file).parent).removeprefix(".")

    def score(place: str) -> tuple[int, int, bool, bool]:
        whole = sum(_is_there(listing, place, name) for name in names)
        alone = sum(any(bare in listing[place] for bare in bare_names(name)) for name in names)
        return whole, alone, word is not None and _split_word(place, [word]) is not None, place == beside

    best = max(listing, key=score)
    if score(best)[0] < len(names):  # in folders of their own, which are looked through where those that have one's are
        homes = [place for place in listing if any(_is_there(listing, place, name) for name in names)]
        of_split = [place for place in homes if word is not None and _split_word(place, [word])]
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


def _yolo(root: Path, listing: Listing) -> Iterator[Reading]:
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
        train, val = _pair([place for place, names in listing.items() if place and has_images(names)])
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
    overrides += [] if val else [_VAL_SHARE]
    return Reading("YOLO", because, overrides, classes, _in_words(config.train, val))


def _yolo_images(config: YoloConfig, split: Split) -> list[Path]:
    try:
        return find_images(read_layout(config), config, split)
    except DcnrunError:
        return []


def _labelme(root: Path, listing: Listing) -> Iterator[Reading]:
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
    train, val = _pair(places)
    if train is None or val is None or train == val:
        train, val = places[0] if len(places) == 1 else "", None
    overrides = ["data=labelme", as_override("data.root", str(root)), "model=faster_rcnn"]
    overrides += [as_override("data.train", train or ".")] if train != "train" else []
    overrides += [as_override("data.val", val)] if val not in (None, "val") else []
    overrides += [] if val else [_VAL_SHARE]
    yield Reading("labelme", ".json files with shapes", overrides, sorted(classes), _in_words(train or ".", val))


def _voc(root: Path, listing: Listing) -> Iterator[Reading]:
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
        if _pair(names)[0] is None:
            names = [name for name in listing.get("", ()) if name.endswith(".txt")]
    train, val = _pair(names)
    train = train or (names[0] if sets and names else None)
    chosen = [f"{inside}{train}" if train else "."]
    try:
        classes = class_names(VocConfig(root=str(root), train=chosen))
    except DcnrunError:  # said where the data are checked
        classes = []
    overrides = ["data=voc", as_override("data.root", str(root)), "model=faster_rcnn"]
    overrides += [as_override("data.classes", classes), as_override("data.train", chosen)]
    overrides += [as_override("data.val", [f"{inside}{val}"])] if train and val else [_VAL_SHARE]
    split = _in_words(train or ".", val if train else None)
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
    words = [_split_word(part, (*_TRAIN, *_VAL)) for part in parts]
    end = max((number for number, word in enumerate(words, start=1) if word), default=0)
    return "/".join(parts[:end]) or "."


def _object_files(root: Path, listing: Listing) -> Iterator[Reading]:
    """Find images whose objects have a mask file each, in a folder of the image's own."""
    default = InstanceMasksConfig()
    because = f"files of objects in {default.masks} beside an image in {default.images}"
    if wholes := _folders_of_images(listing, default.images, default.masks):
        train, val = _pair(wholes)
        train, layout = train or wholes[0], Layout(default.images, default.masks)
        if others := [whole for whole in wholes if whole not in (train, val)]:
            because += f"; not read: {first_few(others)}"
    elif masks_of := {place: masks for place in listing if (masks := _masks_of_images(listing, place, default))}:
        layout, train, val = _split_of_places(masks_of)
        because = f"files of objects in {layout.masks}, in a folder for each image in {layout.images}"
    else:
        return
    overrides = ["data=instance_masks", as_override("data.root", str(root)), "model=mask_rcnn"]
    overrides += _where({"masks": layout.masks, "images": layout.images, "train": train}, val)
    yield Reading("a mask file for each object", because, overrides, default.classes, _in_words(train, val))


def _where(folders: Mapping[str, str], val: str | None) -> list[str]:
    """Return the settings of images and masks that are not the default ones, and of what is validated on."""
    default, given = PairedFilesConfig(), {**folders} | ({"val": val} if val else {})
    overrides = [as_override(f"data.{key}", text) for key, text in given.items() if text != getattr(default, key)]
    return overrides if val else [*overrides, _VAL_SHARE]


def _folders_of_images(listing: Listing, images: str, masks: str) -> list[str]:
    """Return the folders whose sub-folders hold an image each, with several masks of it in one of them at least."""
    counts: dict[str, int] = {}
    for place, names in listing.items():
        folder = PurePosixPath(place).parent
        if (
            PurePosixPath(place).name == masks
            and str(folder) != "."
            and len(listing.get(str(folder / images), ())) == 1
        ):
            counts[str(folder.parent)] = max(counts.get(str(folder.parent), 0), len(names))
    return [whole for whole, count in counts.items() if count > 1]


def _masks_of_images(listing: Listing, place: str, default: InstanceMasksConfig) -> str | None:
    """Return the folder that has a folder for an image in a place; None where there is none."""
    parts = PurePosixPath(place).parts
    masks = "/".join(default.masks if part == default.images else part for part in parts)
    stems = [PurePosixPath(name).stem for name in listing[place] if has_images([name])]
    return masks if masks != place and any(f"{masks}/{stem}" in listing for stem in stems[:MOST_READ]) else None


def _masks(root: Path, listing: Listing) -> Iterator[Reading]:
    """Find images and masks in the layouts that the reader of folders knows."""
    if listing.get(_VOC2012_LISTS):
        return  # the challenge's own layout, which has a reader of its own
    if of_objects := list(_object_files(root, listing)):
        yield from of_objects
        return
    for place in list(listing)[:MOST_READ]:
        base = root / place
        lists = [*listing[place], *(f"{_LISTS}/{name}" for name in listing.get(f"{place}/{_LISTS}".lstrip("/"), ()))]
        found = _split_of_masks(base, [name for name in lists if name.endswith(".txt")])
        if found is None:
            continue
        layout, train, val = found
        masks = [pair.mask for pair in _pairs_or_none(_folder_config(base, *found))]
        elsewhere = None if train.endswith(".txt") else find_layout(root, listing)
        folders = 1 if val is None else 2
        if elsewhere and (not masks or show_no_scene(masks) or len(elsewhere.places) > folders):
            yield from _of_layout(root, listing, elsewhere)
        else:
            yield from _with_masks(base, _below(listing, place), layout, train, val)
        return


def _paired_folders(root: Path, listing: Listing) -> Iterator[Reading]:
    """Find images and masks in folders of any names by the files in them."""
    if is_panoptic(root, listing):
        return  # whose pictures have a colour for each object, and the classes in the JSON
    if found := find_layout(root, listing):
        yield from _of_layout(root, listing, found)


def _of_layout(root: Path, listing: Listing, found: FoundLayout) -> Iterator[Reading]:
    for reading in _with_masks(root, _below(listing, ""), found.layout, found.train, found.val):
        others = f"; not read: {first_few(found.others)}" if found.others else ""
        yield replace(reading, because=reading.because + others)


def _below(listing: Listing, base: str) -> list[str]:
    """Return the files of a folder, and the tables of colours in those below it, by their paths from there."""
    tables = [
        str(PurePosixPath(place, name).relative_to(base))
        for place, names in listing.items()
        if PurePosixPath(place) != PurePosixPath(base) and PurePosixPath(place).is_relative_to(base)
        for name in names
        if name in _TABLES
    ]
    return [*listing.get(base, ()), *tables]


def _split_of_places(masks_of: Mapping[str, str]) -> tuple[Layout, str, str | None]:
    """Return where images and masks are, and what is trained and validated on, by the folders of images and of their masks."""
    train, val = _pair(list(masks_of))
    train = train or next(iter(masks_of))
    parts = _split_parts(masks_of[train], train, masks_of[val], val) if val else None
    if parts is None:
        return Layout(train, masks_of[train]), ".", None
    masks, images, *splits = parts
    return Layout(images, masks), splits[0], splits[1]


def _with_masks(base: Path, names: Sequence[str], layout: Layout, train: str, val: str | None) -> Iterator[Reading]:
    """Yield how images and masks can be read whose folders are known; `names`: of the files beside these."""
    config = _folder_config(base, layout, train, val)
    masks = [pair.mask for pair in _pairs_or_none(config)][:MOST_READ]
    at_root = as_override("data.root", str(base))
    where = _where({"images": layout.images, "masks": layout.masks, "train": train}, val)
    because, split = f"images in {layout.images} with masks in {layout.masks}", _in_words(train, val)
    if show_no_scene(masks):
        because += ", which are nearly the same in all images looked at, as of a camera's field of view"
    may_be_objects, are_objects = hold_objects(masks)
    objects = Reading(
        "label images, a number for each object",
        f"{because}, whose values go from 1 to as many as there are",
        ["data=instance_masks", at_root, "model=mask_rcnn", *where],
        InstanceMasksConfig().classes,
        split,
    )
    if are_objects:
        yield objects
    classes, more, remark = _mask_classes(base, names, masks)
    overrides = ["data=folder", at_root, "model=deeplab", as_override("data.classes", classes), *more, *where]
    yield Reading("folders of images and masks", f"{because}{remark}", overrides, classes, split)
    if may_be_objects and not are_objects:
        yield objects


def _split_of_masks(base: Path, lists: Sequence[str]) -> tuple[Layout, str, str | None] | None:
    """Return where images and masks are, and what is trained and validated on: folders, else lists, else all of it."""
    for word in (*_TRAIN, _NO_SPLIT):
        for layout, train in find_layouts(base, word):
            others = [val for other in _VAL for found, val in find_layouts(base, other) if found == layout]
            return layout, train, next(iter(others), None)
    listed, val = _pair(lists)
    for layout, _ in find_layouts(base, "."):
        return (layout, listed, val) if listed else (layout, ".", None)
    default = FolderConfig()
    layout = Layout(default.images, default.masks)
    is_of_pairs = listed and _pairs_or_none(_folder_config(base, layout, listed, val))
    return (layout, listed, val) if listed and is_of_pairs else None


def _folder_config(base: Path, layout: Layout, train: str, val: str | None) -> FolderConfig:
    val = val or FolderConfig().val
    return FolderConfig(root=str(base), images=layout.images, masks=layout.masks, train=train, val=val)


def _pairs_or_none(config: FolderConfig) -> list[Pair]:
    try:
        return pairs_of(config, "train")[0]
    except DcnrunError:  # the check says what is wrong
        return []


def _mask_classes(root: Path, names: Sequence[str], masks: Sequence[Path]) -> Guess:
    """Return the names in a labelmap or classes.txt, else made up for what the first masks hold."""
    default = FolderConfig().labelmap
    for file in [root / "_classes.csv", *(mask.parent / "_classes.csv" for mask in masks[:1])]:
        if file.is_file() and len(found := _classes_by_value(file)) > 1:
            return Guess(found, [])
    for name in ("labelmap.txt", "label_colors.txt", "classes.txt"):
        if name in names and len(found := _listed_classes(root / name)) > 1:
            return Guess(found, [] if name in (default, "classes.txt") else [as_override("data.labelmap", name)])
    tables = (_of_table(root, name, masks) for name in names if PurePosixPath(name).name in _TABLES)
    return next(filter(None, tables), None) or guess_classes(masks)


def _of_table(root: Path, name: str, masks: Sequence[Path]) -> Guess | None:
    """Return the classes of a table of names and colours, by the order of its rows or by colour, as masks have them; None where they have neither."""
    try:
        named = parse_labelmap(read_names(root / name))
    except (DataError, ValueError):
        return None
    with suppress(DcnrunError):  # masks in colours
        if masks and max(int(read_mask(mask)[0].max()) for mask in masks) < len(named):
            return Guess(list(named), [])
    table = ColourTable({colour: number for number, colour in enumerate(named.values())}, name)
    try:
        for mask in masks:
            read_mask(mask, table)
    except DcnrunError:
        return None
    classes = [each for each in named if each.lower() not in IGNORED_NAMES]
    return Guess(classes, [as_override("data.labelmap", name)]) if masks and len(classes) > 1 else None


def _classes_by_value(file: Path) -> list[str]:
    """Return the names in Roboflow's table of values and classes, where the values are 0, 1, 2 ..."""
    try:
        rows = [line.partition(",") for line in read_names(file)[1:]]
    except DataError:
        return []
    is_row = [value.strip() for value, _, _ in rows] == [str(number) for number in range(len(rows))]
    return [name.strip() for _, _, name in rows] if is_row else []


def _listed_classes(file: Path) -> list[str]:
    """Return the names of classes in a labelmap, or in a list of names a line."""
    try:
        lines = read_names(file)
    except DataError:
        return []
    try:
        names = list(parse_labelmap(lines))
    except ValueError:  # it has no colours
        names = [line.split(":")[0].strip() for line in lines if not line.startswith("#")]
    return [name for name in names if name.lower() not in IGNORED_NAMES]


_LOOKS: tuple[Callable[[Path, Listing], Iterator[Reading]], ...] = (
    _cityscapes,
    _voc2012,
    _cell_tracking,
    _coco,
    _yolo,
    _labelme,
    _voc,
    _masks,
)
