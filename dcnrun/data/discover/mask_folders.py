"""Data sets of masks: of published layouts, in folders of known names, and in folders of any."""

import re
from collections.abc import Iterator, Sequence, Set
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from dcnrun.config.overrides import as_override
from dcnrun.config.schema import FolderConfig, InstanceMasksConfig
from dcnrun.data.cityscapes import CLASSES as CITYSCAPES
from dcnrun.data.class_masks import BACKGROUND
from dcnrun.data.discover.class_folders import ClassFolders, find_class_folders
from dcnrun.data.discover.listing import MOST_READ, Listing, has_images
from dcnrun.data.discover.mask_classes import TABLES, classes_of_masks, hold_objects
from dcnrun.data.discover.object_folders import find_object_files
from dcnrun.data.discover.paired_folders import FoundLayout, find_layout, show_no_scene
from dcnrun.data.discover.reading import Reading, in_words, not_read, where_to_look
from dcnrun.data.discover.split_names import TRAIN, VAL, train_and_val
from dcnrun.data.discover.unread import is_panoptic
from dcnrun.data.files import Pair, first_few, read_names
from dcnrun.data.layouts import Layout, find_layouts, folders_of, pairs_of
from dcnrun.data.mask_names import IMAGE_ENDS
from dcnrun.data.voc import CLASSES as VOC2012
from dcnrun.errors import DataError, DcnrunError

_NO_SPLIT = "default"
"""What CVAT and datumaro call the one part of a set without a split."""
_LISTS = "ImageSets/Segmentation"
"""Where Pascal VOC's layout has the lists of images with masks."""
_A_MASK_FOR_EACH = "a mask for each class"
_VOC2012_LISTS = f"VOCdevkit/VOC2012/{_LISTS}"


def find_cityscapes(root: Path, listing: Listing) -> Iterator[Reading]:
    """Find Cityscapes as it is unpacked, with the masks of its own scripts."""
    named = (name for place, names in listing.items() if place.startswith("gtFine/") for name in names)
    if "leftImg8bit" in listing and any(name.endswith("_gtFine_labelIds.png") for name in named):
        overrides = ["data=cityscapes", as_override("data.root", str(root)), "model=deeplab"]
        yield Reading(
            "Cityscapes",
            "leftImg8bit and gtFine/*_gtFine_labelIds.png",
            overrides,
            list(CITYSCAPES),
            in_words("train", "val"),
        )


def find_voc2012(root: Path, listing: Listing) -> Iterator[Reading]:
    """Find the masks of Pascal VOC 2012 as it is unpacked."""
    if listing.get(_VOC2012_LISTS) and "VOCdevkit/VOC2012/SegmentationClass" in listing:
        overrides = ["data=voc2012", as_override("data.root", str(root)), "model=deeplab"]
        yield Reading("Pascal VOC 2012, masks", _VOC2012_LISTS, overrides, list(VOC2012), in_words("train", "val"))


def find_masks(root: Path, listing: Listing) -> Iterator[Reading]:
    """Find images and masks in the layouts that the reader of folders knows."""
    if listing.get(_VOC2012_LISTS):
        return  # the challenge's own layout, which has a reader of its own
    if of_objects := list(find_object_files(root, listing)):
        yield from of_objects
        return
    for place in list(listing)[:MOST_READ]:
        found = _split_of_masks(root / place, [name for name in listing[place] if name.endswith(".txt")])
        if found is None:
            continue
        layout, train, val = found
        masks = [pair.mask for pair in _pairs_or_none(_folder_config(root / place, *found))]
        elsewhere = None if train.endswith(".txt") else find_layout(root, listing)
        folders = 1 if val is None else 2
        if elsewhere and (not masks or show_no_scene(masks) or len(elsewhere.places) > folders):
            yield from _of_layout(root, listing, elsewhere)
        else:
            yield from _with_masks(root, listing, _Split(place, layout, train, val))
        return


def find_folders_of_any_names(root: Path, listing: Listing) -> Iterator[Reading]:
    """Find images and masks in folders of any names by the files in them."""
    if is_panoptic(root, listing):
        return  # whose pictures have a colour for each object, and the classes in the JSON
    if found := find_layout(root, listing):
        yield from _of_layout(root, listing, found)


def _of_layout(root: Path, listing: Listing, found: FoundLayout) -> Iterator[Reading]:
    for reading in _with_masks(root, listing, _Split("", found.layout, found.train, found.val), found.others):
        others = [] if reading.format == _A_MASK_FOR_EACH else found.others
        yield replace(reading, because=reading.because + not_read(others))


def _below(listing: Listing, base: str) -> list[str]:
    """Return the files of a folder, and the tables of colours in those below it, by their paths from there."""
    tables = [
        str(PurePosixPath(place, name).relative_to(base))
        for place, names in listing.items()
        if PurePosixPath(place) != PurePosixPath(base) and PurePosixPath(place).is_relative_to(base)
        for name in names
        if name in TABLES
    ]
    return [*listing.get(base, ()), *tables]


class _Split(NamedTuple):
    """Where images and masks are below a folder, and what is trained and validated on."""

    base: str
    """The folder, by its path in a listing."""
    layout: Layout
    train: str
    val: str | None


def _with_masks(root: Path, listing: Listing, found: _Split, others: Sequence[str] = ()) -> Iterator[Reading]:
    """Yield how images and masks can be read whose folders are known; `others` are folders of masks beside these."""
    listed, unused = _by_lists(root, listing, found) if found.train == "." else (None, [])
    here = listed or found
    place, layout, train, val = here
    base, names = root / place, _below(listing, place)
    config = _folder_config(base, layout, train, val)
    masks = [pair.mask for pair in _pairs_or_none(config)][:MOST_READ]
    at_root = as_override("data.root", str(base))
    where = where_to_look({"images": layout.images, "masks": layout.masks, "train": train}, val)
    because, split = f"images in {layout.images} with masks in {layout.masks}", in_words(train, val)
    if show_no_scene(masks):
        because += ", which are nearly the same in all images looked at, as of a camera's field of view"
    if val is None and (bare := _without_masks(listing, place, layout)):
        because += f"; images in {first_few(bare)} have no masks, and are not read"
    if unused:
        because += f"; {first_few(unused)} lists no names of these images, and is not used"
    of_classes = find_class_folders(root, listing, place, layout, train, others)
    if of_classes and of_classes.are_many:
        yield _of_classes(at_root, here, of_classes)
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
    classes, more, remark = classes_of_masks(base, names, masks)
    overrides = ["data=folder", at_root, "model=deeplab", as_override("data.classes", classes), *more, *where]
    yield Reading("folders of images and masks", f"{because}{remark}", overrides, classes, split)
    if may_be_objects and not are_objects:
        yield objects
    if of_classes and not of_classes.are_many:
        yield _of_classes(at_root, here, of_classes)


def _without_masks(listing: Listing, base: str, layout: Layout) -> list[str]:
    """Return the folders of images to validate or to test on, of a set whose masks are all for training."""
    called = {str(folders_of(Path(base), layout, word)[0]).lower() for word in VAL}
    return [place for place, names in listing.items() if place.lower() in called and has_images(names)]


def _of_classes(at_root: str, found: _Split, folders: ClassFolders) -> Reading:
    where = where_to_look({"images": found.layout.images, "masks": folders.masks, "train": found.train}, found.val)
    classes = [BACKGROUND, *folders.classes]
    because = f"images in {found.layout.images} with masks of two values in {folders.masks}, of the classes {first_few(folders.classes)}"
    overrides = ["data=folder", at_root, "model=deeplab", as_override("data.classes", classes), *where]
    return Reading(_A_MASK_FOR_EACH, because, overrides, classes, in_words(found.train, found.val))


def _by_lists(root: Path, listing: Listing, found: _Split) -> tuple[_Split | None, list[str]]:
    """Return the split that lists of names make of images and masks, wherever they are; and the lists, where they are of other names."""
    images = _pairs_or_none(_folder_config(root / found.base, found.layout, ".", None))
    known = {pair.image.name for pair in images} | {
        pair.image.stem.removesuffix(end) for pair in images for end in IMAGE_ENDS
    }
    unused: list[str] = []
    places = [place for place, names in listing.items() if any(name.endswith(".txt") for name in names)]
    for place in sorted(places, key=lambda place: ("seg" not in place.lower(), place.count("/"))):
        stems = {PurePosixPath(name).stem: name for name in listing[place] if name.endswith(".txt")}
        train, val = train_and_val(list(stems))
        if train is None or not _names_some(root / place / stems[train], known):
            unused += [f"{place}/{stems[train]}".lstrip("/")] if train and train.lower() in TRAIN else []
            continue
        above = PurePosixPath(place)
        is_below = above.is_relative_to(found.base)
        base = found.base if is_below else ""
        layout = found.layout if is_below else Layout(*(str(PurePosixPath(found.base, each)) for each in found.layout))
        of_train, of_val = (stem and str(above.relative_to(base) / stems[stem]) for stem in (train, val))
        return _Split(base, layout, of_train or ".", of_val), []
    return None, unused


def _names_some(file: Path, images: Set[str]) -> bool:
    """Whether most of the first lines of a list name images, by their paths or names, alone or before their masks."""
    try:
        lines = read_names(file)[:MOST_READ]
    except DataError:
        return False
    first = ((PurePosixPath(line).name, PurePosixPath(re.split("[\t,; ]", line)[0]).name) for line in lines)
    return bool(lines) and 2 * sum(not images.isdisjoint(names) for names in first) > len(lines)


def _split_of_masks(base: Path, lists: Sequence[str]) -> tuple[Layout, str, str | None] | None:
    """Return where images and masks are, and what is trained and validated on: folders, else all of it, else lists of pairs."""
    for word in (*TRAIN, _NO_SPLIT):
        for layout, train in find_layouts(base, word):
            others = [val for other in VAL for found, val in find_layouts(base, other) if found == layout]
            return layout, train, next(iter(others), None)
    for layout, _ in find_layouts(base, "."):
        return layout, ".", None
    listed, val = train_and_val(lists)
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
