"""Boxes, and masks of objects, in the layout of COCO: one JSON file for a split."""

import gc
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from operator import attrgetter
from pathlib import Path
from typing import Any, NamedTuple
from weakref import WeakValueDictionary

import numpy as np
from msgspec import UNSET
from numpy.typing import NDArray

from dcnrun.config.schema import CocoConfig, Crowds
from dcnrun.data import coco_json
from dcnrun.data.box_files import BoxFileDataset, Flaw, ListedImage, ObjectTable, Record, listed, make_records
from dcnrun.data.coco_json import (
    AnyAnnotation,
    Category,
    CategoryOf,
    Document,
    Image,
    PlainAnnotation,
    is_ignored,
    is_marked,
    mask_of,
    plain_mask_of,
)
from dcnrun.data.coco_masks import (
    FARTHEST,
    RunLengths,
    area,
    bounds,
    is_number,
    run_lengths,
    run_lengths_of,
    with_extent,
)
from dcnrun.data.crowds import LEAST_COVERED, cover_many, mark_objects
from dcnrun.data.files import existing_root, first_few, image_size, is_text, root_folder, stated_size, width_x_height
from dcnrun.data.image_names import find_images
from dcnrun.data.sample import Rule, Split
from dcnrun.data.splits import named_split
from dcnrun.errors import DataError, UsageError

_AT_ONCE = 20_000
"""Masks that are decoded together."""
_SHARE_ROUNDING = 1e-3
"""How far shares of an image may be from 0 and 1 by rounding."""


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
        file, folder = _place(root, config.annotations, part), _place(root, config.images, part)
        absent = [str(path) for path, is_there in ((file, file.is_file()), (folder, folder.is_dir())) if not is_there]
        if absent:
            existing_root(config, f"{config.annotations} and {config.images}")
            raise UsageError(
                f"data.root={root} lacks {' and '.join(absent)}; data.annotations={config.annotations},"
                f" data.images={config.images} and data.{setting}={part} say where to look"
            )
        content = _read(config, file, root, folder, masks)
        self._content = content  # for the other split
        records = listed(content.records, root / part) if part.endswith(".txt") else content.records
        super().__init__(
            config,
            split,
            list(content.categories.values()),
            records,
            content.flaws,
            category_ids=list(content.categories),
            notes=content.notes,
        )


@dataclass(frozen=True, eq=False)
class _Content:
    """A file's images, their objects, and what is to be said of them."""

    categories: dict[int, str]
    records: list[Record]
    flaws: list[Flaw]
    notes: list[str]


def _place(root: Path, pattern: str, part: str) -> Path:
    return root / pattern.replace("SPLIT", part.removesuffix(".txt"))


_READ: WeakValueDictionary[tuple[object, ...], _Content] = WeakValueDictionary()
"""What data sets that are open have read: two splits that share a file read it once."""


def _read(config: CocoConfig, file: Path, root: Path, folder: Path, masks: bool) -> _Content:
    """Return a JSON file's categories by id, its images and what is wrong; DataError if it is not like COCO's."""
    stats = file.stat(), folder.stat()
    state = [(stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns) for stat in stats]
    key = (repr(config), file, folder, masks, *state)
    if (content := _READ.get(key)) is None:
        with _uncollected():
            content = _READ[key] = _read_all(config, file, root, folder, masks)
    return content


@contextmanager
def _uncollected() -> Iterator[None]:
    """Keep Python's garbage collector from looking through a million new objects again and again, of which none is garbage."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _read_all(config: CocoConfig, file: Path, root: Path, folder: Path, masks: bool) -> _Content:
    document = coco_json.read(file)
    categories, left_out = _categories(document, file)
    images, moved = _images(document, folder, root, file, config.allow_outside)
    entries, objects, flaws, assumed = _objects(document, images, categories, file, masks)
    _require_pixels(objects, images, file)
    crowd, judged = _crowds(config, root, file, document, entries, objects, images)
    objects = replace(objects, crowd=crowd, difficult=objects.difficult & ~crowd)
    records, wrong = make_records(images, objects, config.tolerance)
    notes = [*left_out, *moved, *judged, *assumed, *_shared_ids(document)]
    return _Content(categories, records, flaws + wrong, notes)


def _shared_ids(document: Document) -> list[str]:
    """Return a note where annotations have the id of another, as datumaro writes them: that matters to other readers."""
    ids = [entry.id for entry in document.annotations if type(entry.id) is int]
    count = len(ids) - len(set(ids))
    if not count:
        return []
    return [
        f"{count} annotation{'s have' if count > 1 else ' has'} the id of another: all are read here; pycocotools, and what reads by it, takes "
        "the last of an id for all of them"
    ]


def _categories(document: Document, file: Path) -> tuple[dict[int, str], list[str]]:
    """Return the names of the classes by their ids, in the order of these; and a note of those that are none."""
    _require_ids(document.categories, "categories", "name", file)
    kept = classes_of(document.categories, document.annotations)
    _require_own(kept, "categories", ("id", "name"), file)
    left_out = [repr(entry.name) for entry in document.categories if not any(entry is other for other in kept)]
    notes = [f"no class: {first_few(left_out)}, the supercategory of others and without an object"] if left_out else []
    return {entry.id: entry.name for entry in sorted(kept, key=lambda entry: entry.id)}, notes


def classes_of(categories: list[Category], annotations: Iterable[AnyAnnotation | CategoryOf]) -> list[Category]:
    """Return the categories that are classes: not those that others have for a supercategory and no object has."""
    names: dict[Any, set[int]] = defaultdict(set)
    for number, entry in enumerate(categories):
        names[entry.supercategory if isinstance(entry.supercategory, str) else None].add(number)
    parents = [isinstance(entry.name, str) and bool(names[entry.name] - {n}) for n, entry in enumerate(categories)]
    if not any(parents):
        return categories
    used = {entry.category_id for entry in annotations if type(entry.category_id) is int}
    kept = zip(categories, parents, strict=True)
    return [entry for entry, is_parent in kept if not is_parent or entry.id in used] or categories


def _images(
    document: Document, folder: Path, root: Path, file: Path, may_leave: bool
) -> tuple[list[ListedImage], list[str]]:
    are_texts = all(isinstance(entry.id, str) for entry in document.images)
    _require_ids(document.images, "images", "file_name", file, str if are_texts else int)
    _require_own(document.images, "images", ("id", "file_name"), file)
    paths, notes = find_images([entry.file_name for entry in document.images], folder, root, file, may_leave)
    images = [
        ListedImage(
            name,
            path,
            stated_size(entry.height, entry.width) or image_size(path),
            number if are_texts else entry.id,
            file,
        )
        for number, (entry, (name, path)) in enumerate(zip(document.images, paths, strict=True), start=1)
    ]
    if are_texts:
        notes.append(
            "ids of images are texts: files of results have numbers from 1 in their place, in the order of the file"
        )
    return images, notes


def _require_ids(
    entries: Sequence[Image] | Sequence[Category], key: str, name: str, file: Path, kind: type = int
) -> None:
    """Raise DataError unless each of a list's entries has an id of a kind and a name."""
    for entry in entries:
        text = getattr(entry, name)
        if type(entry.id) is not kind or not isinstance(text, str) or not text or not is_text(text):
            shown = {"id": entry.id, name: text}
            raise DataError(f"{file}: one of its {key} has {shown}; expected an integer and a text")


def _require_own(entries: Sequence[Image] | Sequence[Category], key: str, parts: Sequence[str], file: Path) -> None:
    """Raise DataError where several of a list's entries have the same id or name."""
    for part in parts:
        if len({getattr(entry, part) for entry in entries}) < len(entries):
            raise DataError(f"{file}: several of its {key} have the same {part}; expected one of its own for each")


_Objects = tuple[Sequence[AnyAnnotation], ObjectTable, list[Flaw], list[str]]
"""Annotations that can be used, the objects that they are, what is wrong with the others, and notes."""


def _objects(
    document: Document, images: Sequence[ListedImage], categories: Mapping[int, str], file: Path, masks: bool
) -> _Objects:
    """Read all objects; with their masks if asked. Where all are plain, in columns, else one by one."""
    numbers = {entry.id: number for number, entry in enumerate(document.images)}
    labels = {category: label for label, category in enumerate(categories)}
    if objects := _plain_objects(document.annotations, images, numbers, labels, masks):
        return document.annotations, objects, [], []
    return _odd_objects(document.annotations, images, numbers, labels, file, masks)


def _plain_objects(
    entries: Sequence[AnyAnnotation],
    images: Sequence[ListedImage],
    numbers: Mapping[Any, int],
    labels: Mapping[int, int],
    masks: bool,
) -> ObjectTable | None:
    """Return the objects; None where anything is missing or wrong, or not as most files have it."""
    if not isinstance(entries[0] if entries else None, PlainAnnotation):
        return None
    count = len(entries)

    def column(key: str) -> Iterator[Any]:
        return map(attrgetter(key), entries)

    image = np.fromiter((numbers.get(number, -1) for number in column("image_id")), np.int64, count)
    label = np.fromiter((labels.get(number, -1) for number in column("category_id")), np.int64, count)
    box = np.fromiter(chain.from_iterable(column("bbox")), np.float64, 4 * count).reshape(-1, 4)
    if (image < 0).any() or (label < 0).any() or (abs(box) >= FARTHEST).any():
        return None
    known: list[RunLengths | None] = []
    if masks:
        sizes = [images[number].size for number in image.tolist()]
        try:
            for start in range(0, count, _AT_ONCE):  # polygons as Python's numbers take much memory
                part = slice(start, start + _AT_ONCE)
                known += run_lengths_of([plain_mask_of(entry) for entry in entries[part]], sizes[part])
        except ValueError:
            return None
    box[:, 2:] += box[:, :2]
    return ObjectTable(
        image=image,
        label=label,
        box=box,
        crowd=np.fromiter(column("iscrowd"), np.bool_, count),
        difficult=np.zeros(count, np.bool_),
        area=np.fromiter(column("area"), np.float64, count),
        masks=known if any(known) else None,
        title=lambda row: _title(entries[row], images[image[row]]),
    )


def _odd_objects(
    entries: Sequence[AnyAnnotation],
    images: Sequence[ListedImage],
    numbers: Mapping[Any, int],
    labels: Mapping[int, int],
    file: Path,
    masks: bool,
) -> _Objects:
    """Return the objects that can be used, whatever is wrong with others."""
    count = len(entries)
    used: list[AnyAnnotation] = []
    flaws: list[Flaw] = []
    image_of, label_of = np.zeros(count, np.int64), np.zeros(count, np.int64)
    box, area_of = np.zeros((count, 4)), np.zeros(count)
    crowd, difficult = np.zeros(count, np.bool_), np.zeros(count, np.bool_)
    known: list[RunLengths | None] = []
    bare = flat = 0
    for entry in entries:
        image = None
        try:
            number = _listed(entry.image_id, "image_id", numbers)
            image = images[number]
            label = _listed(entry.category_id, "category_id", labels)
            row = _row(entry, image.size, masks)
        except ValueError as error:
            flaws.append(Flaw(file, f"{_title(entry, image)}: {error}", is_bad_box=True))
            continue
        at = len(used)
        used.append(entry)
        image_of[at], label_of[at], box[at], area_of[at] = number, label, row.box, row.area
        crowd[at], difficult[at] = row.crowd, row.difficult
        bare, flat = bare + row.is_bare, flat + row.is_flat
        if masks:
            known.append(row.mask)
    size = len(used)
    table = ObjectTable(
        image=image_of[:size],
        label=label_of[:size],
        box=box[:size],
        crowd=crowd[:size],
        difficult=difficult[:size],
        area=area_of[:size],
        masks=known if any(known) else None,
        title=lambda row: _title(used[row], images[image_of[row]]),
    )
    notes = [f"{bare} masks have fewer than three points: only the boxes of these objects are known"] if bare else []
    notes += [f"{flat} areas are 0, with a box that is not empty: those of the mask or box count"] if flat else []
    if ignored := int(difficult.sum()):
        notes.append(
            f"{ignored} of {count} objects have ignore=1: difficult ones, neither learnt nor scored (pycocotools scores them)"
        )
    return used, table, flaws, notes


def _title(entry: AnyAnnotation, image: ListedImage | None) -> str:
    return f"annotation {entry.id!r}" + (f" of {image.name!r}" if image else "")


def _listed(number: Any, key: str, known: Mapping[Any, int]) -> int:
    if isinstance(number, str) and number not in known and number.isdecimal():
        number = int(number)
    if type(number) not in (int, str) or number not in known:
        raise ValueError(f"its {key} is {number!r}, which the file does not list")
    return known[number]


class _Row(NamedTuple):
    """What is known of an object."""

    box: tuple[float, float, float, float]
    crowd: bool
    difficult: bool
    area: float
    mask: RunLengths | None
    is_bare: bool
    """Whether it has polygons, but none of three points."""
    is_flat: bool
    """Whether the file has 0 for its area."""


def _row(entry: AnyAnnotation, size: tuple[int, int] | None, masks: bool) -> _Row:
    """Read an object; ValueError if it can't be used at all. Its mask is decoded only where it is needed."""
    has_area = is_number(entry.area) and entry.area > 0
    has_box = entry.bbox is not UNSET
    is_bare, mask = False, None
    if size and (masks or not (has_area and has_box)) and (segmentation := mask_of(entry)):
        drawn = with_extent(segmentation)
        is_bare = not drawn
        try:
            mask = run_lengths(drawn, size) if drawn else None
        except ValueError as error:
            raise ValueError(f"its mask can't be used: {error}") from None
    covered = area(mask) if mask and not has_area else 0
    return _Row(
        box=_box(bounds(mask) if mask and not has_box else entry.bbox),
        crowd=is_marked(entry),
        difficult=is_ignored(entry),
        area=entry.area if has_area else covered or np.nan,
        mask=mask,
        is_bare=is_bare,
        is_flat=is_number(entry.area) and entry.area == 0,
    )


def _box(box: Any) -> tuple[float, float, float, float]:
    """Turn [x, y, width, height] into corners."""
    if not isinstance(box, list | tuple) or len(box) != 4 or not all(map(is_number, box)):
        shown = None if box is UNSET else list(box) if isinstance(box, tuple) else box
        raise ValueError(f"its bbox is {shown!r}; expected [x, y, width, height] in pixels")
    x, y, width, height = box
    return x, y, x + width, y + height


def _require_pixels(objects: ObjectTable, images: Sequence[ListedImage], file: Path) -> None:
    """Raise DataError where all boxes lie between 0 and 1, as shares of the image do."""
    numbers = np.hstack([objects.box[:, :2], objects.box[:, 2:] - objects.box[:, :2]])
    is_share = (numbers >= -_SHARE_ROUNDING) & (numbers <= 1 + _SHARE_ROUNDING)
    if len(numbers) and is_share.all() and (numbers % 1).any():
        largest = max((image.size for image in images if image.size), default=None)
        beside = f", though images have up to {width_x_height(largest)} pixels" if largest else ""
        raise DataError(
            f"{file}: all of its {len(numbers)} boxes lie between 0 and 1{beside}: they look normalised; expected bbox as"
            " [x, y, width, height] in pixels, x and y of the left upper corner: multiply x and width by the image's width, y and"
            " height by its height"
        )


def _crowds(
    config: CocoConfig,
    root: Path,
    file: Path,
    document: Document,
    entries: Sequence[AnyAnnotation],
    objects: ObjectTable,
    images: Sequence[ListedImage],
) -> tuple[NDArray[np.bool_], list[str]]:
    """Return which objects are crowds, by data.crowds, and a note of what they were taken for if that leaves it open."""
    marked = objects.crowd
    if config.crowds is Crowds.keep or not marked.any():
        return marked, []
    if config.crowds is Crowds.objects:
        return np.zeros_like(marked), []
    of_training = None
    training = _place(root, config.annotations, config.train)
    if training != file and training.is_file():
        with suppress(DataError):  # which is said where the training images are read
            of_training = mark_objects(coco_json.read(training).annotations)
    if not (mark_objects(document.annotations) if of_training is None else of_training):
        said = "taken for crowds, neither learnt nor scored (data.crowds=objects takes them for objects)"
        return marked, [f"{marked.sum()} of {len(marked)} objects have iscrowd=1: {said}"]
    crowd = _covering(marked, entries, objects, images)
    as_crowds = f", {crowd.sum()} for crowds, since they cover several others" if crowd.any() else ""
    note = (
        f"{marked.sum()} of {len(marked)} objects have iscrowd=1, as tools mark masks of run lengths:"
        f" {(marked & ~crowd).sum()} taken for objects{as_crowds} (data.crowds=keep, or objects, forces either)"
    )
    return crowd, [note]


def _covering(
    marked: NDArray[np.bool_],
    entries: Sequence[AnyAnnotation],
    objects: ObjectTable,
    images: Sequence[ListedImage],
) -> NDArray[np.bool_]:
    """Return which of the marked objects cover several others of their class."""
    crowd = np.zeros_like(marked)
    groups = defaultdict(list)
    for row, place in enumerate(zip(objects.image.tolist(), objects.label.tolist(), strict=True)):
        groups[place].append(row)
    for (image, _), rows in groups.items():
        if (size := images[image].size) and len(rows) > LEAST_COVERED and marked[rows].any():
            crowd[rows] = cover_many(objects.box[rows], partial(_mask, entries, rows, size), size)
    return crowd & marked


def _mask(
    entries: Sequence[AnyAnnotation], rows: Sequence[int], size: tuple[int, int], number: int
) -> RunLengths | None:
    try:
        segmentation = with_extent(mask_of(entries[rows[number]]))
        return run_lengths(segmentation, size) if segmentation else None
    except ValueError:
        return None
