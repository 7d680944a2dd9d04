"""Data sets of masks: of published layouts, in folders of known names, and in folders of any."""

import re
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np

from dcnrun.config.overrides import as_override
from dcnrun.config.schema import FolderConfig, InstanceMasksConfig, PairedFilesConfig
from dcnrun.data.cityscapes import CLASSES as CITYSCAPES
from dcnrun.data.class_files import CLASS
from dcnrun.data.class_masks import BACKGROUND
from dcnrun.data.discover.listing import MOST_READ, Listing, has_images
from dcnrun.data.discover.mask_classes import TABLES, classes_of_masks, hold_objects
from dcnrun.data.discover.paired_folders import FoundLayout, find_layout, show_no_scene
from dcnrun.data.discover.reading import VAL_SHARE, Reading, in_words
from dcnrun.data.discover.split_names import TRAIN, VAL, train_and_val, with_split
from dcnrun.data.discover.unread import is_panoptic
from dcnrun.data.files import MASK_SUFFIXES, Pair, first_few, read_mask, read_names
from dcnrun.data.layouts import ANY, Layout, find_layouts, folders_of, pairs_of, places_of
from dcnrun.data.mask_names import IMAGE_ENDS, has_a_word_after
from dcnrun.data.voc import CLASSES as VOC2012
from dcnrun.errors import DataError, DcnrunError, UsageError

_NO_SPLIT = "default"
"""What CVAT and datumaro call the one part of a set without a split."""
_LISTS = "ImageSets/Segmentation"
"""Where Pascal VOC's layout has the lists of images with masks."""
_A_MASK_FOR_EACH = "a mask for each class"
_FEW = 3
"""Masks that are looked at to say whether they are of a class."""
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


def find_cell_tracking(root: Path, listing: Listing) -> Iterator[Reading]:
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
    split = in_words(train, others[0] if others else None)
    because = f"sequences {first_few(list(counts))} with label images in {train}_{whole[0]}"
    yield Reading("Cell Tracking Challenge", because, overrides, InstanceMasksConfig().classes, split)


def _count_images(listing: Listing, place: str) -> int:
    return sum(has_images([name]) for name in listing.get(place, ()))


def find_masks(root: Path, listing: Listing) -> Iterator[Reading]:
    """Find images and masks in the layouts that the reader of folders knows."""
    if listing.get(_VOC2012_LISTS):
        return  # the challenge's own layout, which has a reader of its own
    if of_objects := list(_object_files(root, listing)):
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


def _object_files(root: Path, listing: Listing) -> Iterator[Reading]:
    """Find images whose objects have a mask file each, in a folder of the image's own."""
    default = InstanceMasksConfig()
    because = f"files of objects in {default.masks} beside an image in {default.images}"
    if wholes := _folders_of_images(listing, default.images, default.masks):
        train, val = train_and_val(wholes)
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
    yield Reading("a mask file for each object", because, overrides, default.classes, in_words(train, val))


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


def _split_of_places(masks_of: Mapping[str, str]) -> tuple[Layout, str, str | None]:
    """Return where images and masks are, and what is trained and validated on, by the folders of images and of their masks."""
    train, val = train_and_val(list(masks_of))
    train = train or next(iter(masks_of))
    parts = with_split(masks_of[train], train, masks_of[val], val) if val else None
    if parts is None:
        return Layout(train, masks_of[train]), ".", None
    masks, images, *splits = parts
    return Layout(images, masks), splits[0], splits[1]


def find_folders_of_any_names(root: Path, listing: Listing) -> Iterator[Reading]:
    """Find images and masks in folders of any names by the files in them."""
    if is_panoptic(root, listing):
        return  # whose pictures have a colour for each object, and the classes in the JSON
    if found := find_layout(root, listing):
        yield from _of_layout(root, listing, found)


def _of_layout(root: Path, listing: Listing, found: FoundLayout) -> Iterator[Reading]:
    for reading in _with_masks(root, listing, _Split("", found.layout, found.train, found.val), found.others):
        others = f"; not read: {first_few(found.others)}" if found.others and reading.format != _A_MASK_FOR_EACH else ""
        yield replace(reading, because=reading.because + others)


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
    place, layout, train, val = listed or found
    base, names = root / place, _below(listing, place)
    config = _folder_config(base, layout, train, val)
    masks = [pair.mask for pair in _pairs_or_none(config)][:MOST_READ]
    at_root = as_override("data.root", str(base))
    where = _where({"images": layout.images, "masks": layout.masks, "train": train}, val)
    because, split = f"images in {layout.images} with masks in {layout.masks}", in_words(train, val)
    if show_no_scene(masks):
        because += ", which are nearly the same in all images looked at, as of a camera's field of view"
    if val is None and (bare := _without_masks(listing, place, layout)):
        because += f"; images in {first_few(bare)} have no masks, and are not read"
    if unused:
        because += f"; {first_few(unused)} lists no names of these images, and is not used"
    place_of_classes = _class_folders(root, listing, _Split(place, layout, train, val), others)
    if place_of_classes and place_of_classes.are_many:
        yield _of_classes(at_root, _Split(place, layout, train, val), place_of_classes)
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
    if place_of_classes and not place_of_classes.are_many:
        yield _of_classes(at_root, _Split(place, layout, train, val), place_of_classes)


class _ClassFolders(NamedTuple):
    """Folders of masks that differ in the name of a class."""

    masks: str
    """The folder, with CLASS in place of the name."""
    classes: list[str]

    @property
    def are_many(self) -> bool:
        """Whether they are too many to be different masks of the same, as of two annotators."""
        return len(self.classes) > 2


def _without_masks(listing: Listing, base: str, layout: Layout) -> list[str]:
    """Return the folders of images to validate or to test on, of a set whose masks are all for training."""
    called = {str(folders_of(Path(base), layout, word)[0]).lower() for word in VAL}
    return [place for place, names in listing.items() if place.lower() in called and has_images(names)]


def _of_classes(at_root: str, found: _Split, folders: _ClassFolders) -> Reading:
    where = _where({"images": found.layout.images, "masks": folders.masks, "train": found.train}, found.val)
    classes = [BACKGROUND, *folders.classes]
    because = f"images in {found.layout.images} with masks of two values in {folders.masks}, of the classes {first_few(folders.classes)}"
    overrides = ["data=folder", at_root, "model=deeplab", as_override("data.classes", classes), *where]
    return Reading(_A_MASK_FOR_EACH, because, overrides, classes, in_words(found.train, found.val))


def _class_folders(root: Path, listing: Listing, found: _Split, others: Sequence[str]) -> _ClassFolders | None:
    """Return folders of masks of two values for the same images, beside that of the masks or one of the others; the most that there are."""
    if found.layout.images == found.layout.masks:
        return None
    is_split = found.train != "." and not found.train.endswith(".txt")
    places = places_of(root / found.base, found.layout, found.train if is_split else ".")
    images, masks = (str(folder.relative_to(root)) for folder in next(iter(places.values())))
    template = found.layout.masks if "SPLIT" in found.layout.masks or not is_split else f"{found.layout.masks}/SPLIT"
    there = [(str(PurePosixPath(found.base, template)), masks), *_templates(others, found.train if is_split else None)]
    names = {PurePosixPath(name).stem for name in listing.get(images, ()) if has_images([name])}
    ways = (way for place in there for way in _differing(root, listing, found.base, *place, names))
    return max(ways, key=lambda way: len(way.classes), default=None)


def _templates(places: Sequence[str], train: str | None) -> list[tuple[str, str]]:
    """Return the folders of what is trained on, before them with SPLIT in place of its name; all where there is no split."""
    if train is None:
        return [(place, place) for place in places]
    word = re.compile(rf"(?<![a-zA-Z]){re.escape(train)}(?![a-zA-Z])")
    return [(word.sub("SPLIT", place), place) for place in places if word.search(place)]


def _differing(
    root: Path, listing: Listing, base: str, template: str, masks: str, images: Set[str]
) -> Iterator[_ClassFolders]:
    """Yield folders of masks for some images that differ from one of them in a part of its path, whose template is not of a split there."""
    called, parts = PurePosixPath(template).parts, PurePosixPath(masks).parts
    for index in range(len(PurePosixPath(base).parts), len(parts)):
        if "SPLIT" in called[index] or ANY in called[index]:
            continue
        beside = {PurePosixPath(place).parts[index] for place in listing if len(PurePosixPath(place).parts) > index}
        places = {name: str(PurePosixPath(*parts[:index], name, *parts[index + 1 :])) for name in sorted(beside)}
        classes = [
            name for name, place in places.items() if place in listing and _is_of_a_class(root, place, listing, images)
        ]
        if len(classes) > 1 and parts[index] in classes:
            of_classes = PurePosixPath(*called[:index], CLASS, *called[index + 1 :]).relative_to(base)
            yield _ClassFolders(str(of_classes), classes)


def _is_of_a_class(root: Path, place: str, listing: Listing, images: Set[str]) -> bool:
    """Whether a folder has masks of two values for some of the images, called as these or with a word after."""
    files = [root / place / name for name in listing[place] if name.lower().endswith(MASK_SUFFIXES)][:MOST_READ]
    of_images = [
        file for file in files if file.stem in images or any(has_a_word_after(name, file.stem) for name in images)
    ]
    if not files or 2 * len(of_images) <= len(files):
        return False
    try:
        return all(len(np.unique(read_mask(file)[0])) <= 2 for file in of_images[:_FEW]) and not show_no_scene(
            of_images
        )
    except DcnrunError:
        return False


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


def _where(folders: Mapping[str, str], val: str | None) -> list[str]:
    """Return the settings of images and masks that are not the default ones, and of what is validated on."""
    default, given = PairedFilesConfig(), {**folders} | ({"val": val} if val else {})
    overrides = [as_override(f"data.{key}", text) for key, text in given.items() if text != getattr(default, key)]
    return overrides if val else [*overrides, VAL_SHARE]


def _folder_config(base: Path, layout: Layout, train: str, val: str | None) -> FolderConfig:
    val = val or FolderConfig().val
    return FolderConfig(root=str(base), images=layout.images, masks=layout.masks, train=train, val=val)


def _pairs_or_none(config: FolderConfig) -> list[Pair]:
    try:
        return pairs_of(config, "train")[0]
    except DcnrunError:  # the check says what is wrong
        return []
