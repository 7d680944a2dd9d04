"""Boxes, and masks of objects, in the layout of COCO: one JSON file for a split."""

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from dcnrun.config.schema import CocoConfig
from dcnrun.data.box_files import AnnotatedObject, Box, BoxFileDataset, Flaw, Record, listed, make_record
from dcnrun.data.coco_masks import area, bounds, is_number, run_lengths
from dcnrun.data.files import image_size, is_text, read_bytes, require_below, root_folder
from dcnrun.data.sample import Rule, Split
from dcnrun.data.splits import named_split
from dcnrun.errors import DataError, UsageError

_Entry = dict[str, Any]


def rules(config: CocoConfig) -> Iterator[Rule]:
    """Yield the rules that the settings of such a data set must keep beside their ranges."""
    yield "root", config.root is not None, "the folder that holds the images and annotations"
    lists = config.train.endswith(".txt") and config.val.endswith(".txt") and config.train != config.val
    yield (
        "annotations",
        "SPLIT" in config.annotations or config.val_share > 0 or lists,
        "a path with SPLIT in it, so that each split has its own; or share one file's images with data.val_share=0.2,"
        " or with lists of their names, data.train=train.txt data.val=val.txt",
    )


class CocoDataset(BoxFileDataset):
    """The categories in the order of their ids are the classes, the images are in the order of the file.

    A split is a JSON file's images, the share of them that data.val_share sets, or those that a list (`train: train.txt`)
    names a line: with or without the ending, and with or without the folder where that is unique.

    Source: Lin et al., "Microsoft COCO: Common Objects in Context", ECCV 2014; the format is at cocodataset.org.
    """

    def __init__(self, config: CocoConfig, split: Split, masks: bool = False) -> None:
        """UsageError if the files are not below `config.root`; DataError if the JSON file is not like COCO's."""
        root = root_folder(config, f"{config.annotations} and {config.images}")
        setting = named_split(split, config)
        part = config.train if setting == "train" else config.val
        stem = part.removesuffix(".txt")
        file = root / config.annotations.replace("SPLIT", stem)
        folder = root / config.images.replace("SPLIT", stem)
        absent = [str(path) for path, is_there in ((file, file.is_file()), (folder, folder.is_dir())) if not is_there]
        if absent:
            raise UsageError(
                f"data.root={root} lacks {' and '.join(absent)}; data.annotations={config.annotations},"
                f" data.images={config.images} and data.{setting}={part} say where to look"
            )
        categories, records, flaws = _read(file, root, folder, masks, config.allow_outside)
        if part != stem:
            records = listed(records, root / part)
        super().__init__(config, split, list(categories.values()), records, flaws, category_ids=list(categories))


class _Image(NamedTuple):
    name: str
    file: Path
    size: tuple[int, int] | None
    """(height, width); None if neither the JSON file nor the image says."""


def _read(
    file: Path, root: Path, folder: Path, masks: bool, may_leave: bool
) -> tuple[dict[int, str], list[Record], list[Flaw]]:
    """Return a JSON file's categories by id, its images and what is wrong; DataError if it is not like COCO's."""
    try:
        document = json.loads(read_bytes(file))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{file}: can't be read ({error}); expected a JSON file like COCO's") from error
    annotations = _entries(document, "annotations", file)
    category_names = _by_id(document, "categories", "name", file)
    categories = {number: category_names[number]["name"] for number in sorted(category_names)}
    labels = {category: label for label, category in enumerate(categories)}
    images = {
        number: _image(entry, require_below(root, folder, entry["file_name"], file, may_leave))
        for number, entry in _by_id(document, "images", "file_name", file).items()
    }
    has_masks = masks and any(entry.get("segmentation") for entry in annotations)

    objects: dict[int, list[AnnotatedObject]] = defaultdict(list)
    flaws: list[Flaw] = []
    for entry in annotations:
        title = f"annotation {entry.get('id')!r}"
        try:
            image = _listed(entry, "image_id", images)
            title += f" of {images[image].name!r}"
            label = labels[_listed(entry, "category_id", labels)]
            objects[image].append(_object(entry, title, label, images[image].size, has_masks))
        except ValueError as error:
            flaws.append(Flaw(file, f"{title}: {error}", is_bad_box=True))
    records = []
    for number, (name, path, size) in images.items():
        record, found = make_record(name, path, size, number, objects[number], file, has_masks=has_masks)
        records.append(record)
        flaws += found
    return categories, records, flaws


def _entries(document: Any, key: str, file: Path) -> list[_Entry]:
    entries = document.get(key) if isinstance(document, dict) else None
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise DataError(f"{file}: it has no list {key!r}; expected images, annotations and categories, as COCO's have")
    return entries


def _by_id(document: Any, key: str, name: str, file: Path) -> dict[int, _Entry]:
    """Return the entries of a list by id; DataError unless there are some, each with an id and a name of its own."""
    entries = _entries(document, key, file)
    for entry in entries:
        text = entry.get(name)
        if type(entry.get("id")) is not int or not isinstance(text, str) or not text or not is_text(text):
            shown = {part: entry.get(part) for part in ("id", name)}
            raise DataError(f"{file}: one of its {key} has {shown}; expected an integer and a text")
    for part in ("id", name):
        if len({entry[part] for entry in entries}) < len(entries):
            raise DataError(f"{file}: several of its {key} have the same {part}; expected one of its own for each")
    if not entries:
        raise DataError(f"{file}: its list {key!r} is empty")
    return {entry["id"]: entry for entry in entries}


def _image(entry: _Entry, file: Path) -> _Image:
    height, width = entry.get("height"), entry.get("width")
    if type(height) is int and type(width) is int and height > 0 and width > 0:
        return _Image(entry["file_name"], file, (height, width))
    return _Image(entry["file_name"], file, image_size(file))


def _listed(entry: _Entry, key: str, known: Mapping[int, object]) -> int:
    number = entry.get(key)
    if type(number) is not int or number not in known:
        raise ValueError(f"its {key} is {number!r}, which the file does not list")
    return number


def _object(entry: _Entry, title: str, label: int, size: tuple[int, int] | None, has_masks: bool) -> AnnotatedObject:
    """Read an object; ValueError if it can't be used at all. Its mask is decoded only where it is needed."""
    has_area = is_number(entry.get("area")) and entry["area"] >= 0
    is_complete = has_area and "bbox" in entry
    segmentation, mask = entry.get("segmentation"), None
    if size and segmentation and (has_masks or not is_complete):
        try:
            mask = run_lengths(segmentation, size)
        except ValueError as error:
            raise ValueError(f"its mask can't be used: {error}") from None
    return AnnotatedObject(
        title=title,
        label=label,
        box=_box(bounds(mask) if mask and "bbox" not in entry else entry.get("bbox")),
        crowd=bool(entry.get("iscrowd")),
        area=entry["area"] if has_area else area(mask) if mask else None,
        mask=mask if has_masks else None,
    )


def _box(box: Any) -> Box:
    """Turn [x, y, width, height] into corners."""
    if not isinstance(box, list) or len(box) != 4 or not all(map(is_number, box)):
        raise ValueError(f"its bbox is {box!r}; expected [x, y, width, height] in pixels")
    x, y, width, height = box
    return x, y, x + width, y + height
