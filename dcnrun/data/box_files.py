"""Data sets that are images with lists of objects; whatever is wrong with an object or a file is named.

Readers (voc_boxes.py, coco.py) read as much of the annotations as they can and note what is wrong with the rest, so that
a whole data set can be checked; `verify` then decides by the settings whether it can be used.
"""

import warnings
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torchvision.tv_tensors import BoundingBoxes, Image, Mask

from dcnrun.config.schema import BadBoxes, BoxFilesConfig
from dcnrun.data.box_batches import BoxDataset
from dcnrun.data.coco_masks import RunLengths, area, decode, encode
from dcnrun.data.files import (
    first_few,
    image_size,
    read_image,
    read_names,
    require_files,
    require_names,
    width_x_height,
)
from dcnrun.data.sample import BoxSample, Split
from dcnrun.data.splits import shared
from dcnrun.errors import DataError, UsageError

_ROUNDING = 0.1
"""Pixels by which a box may reach beyond its image and be clipped without a word, whatever data.tolerance is."""

_MOST_MASK_BYTES = 2**31
"""Memory for the masks of one image's objects, a byte for a pixel of each."""

Box = tuple[float, float, float, float]


class Flaw(NamedTuple):
    """Something wrong in an annotation file."""

    file: Path
    what: str
    """The object, and the problem with it."""
    is_bad_box: bool
    """Whether the object can be dropped or clipped, as data.bad_boxes=warn does."""
    is_repeated: bool = False
    """Whether the object is only there once more, and kept."""

    def __str__(self) -> str:
        return f"{self.file}: {self.what}"


class AnnotatedObject(NamedTuple):
    """One object as its file has it."""

    title: str
    """What messages call it."""
    label: int
    box: Box
    """xyxy, as in BoxSample"""
    crowd: bool = False
    difficult: bool = False
    area: float | None = None
    """Pixels; None: the box's."""
    mask: RunLengths | None = None
    """None: not known."""


class Record(NamedTuple):
    """One image and the n objects in it."""

    name: str
    image: Path
    size: tuple[int, int] | None
    """(height, width) that the objects were annotated at; None: not known."""
    image_id: int
    boxes: NDArray[np.float32]
    labels: NDArray[np.int64]
    crowd: NDArray[np.bool_]
    difficult: NDArray[np.bool_]
    area: NDArray[np.float32]
    masks: list[RunLengths | None] | None
    """Of each object, None where only its box is known; None for all: not asked for, or the file has none."""
    clipped: int = 0
    """Boxes that were clipped and are right, see data.tolerance."""

    @property
    def has_objects(self) -> bool:
        """Whether there is anything to learn from but background."""
        return not (self.crowd | self.difficult).all()


class ListedImage(NamedTuple):
    """An image as its annotations name it."""

    name: str
    """What messages and results call it."""
    file: Path
    size: tuple[int, int] | None
    """(height, width) that the objects were annotated at, if known."""
    number: int
    """Its id in files of results."""
    annotations: Path
    """The file that its objects are in."""


@dataclass(frozen=True)
class ObjectTable:
    """The n objects of many images in columns, in any order of images; those of an image in the order of its file."""

    image: NDArray[np.int64]
    """Indices in a list of images."""
    label: NDArray[np.int64]
    box: NDArray[np.float64]
    """(n, 4), xyxy, as in BoxSample"""
    crowd: NDArray[np.bool_]
    difficult: NDArray[np.bool_]
    area: NDArray[np.float64]
    """Pixels; NaN: the box's."""
    masks: list[RunLengths | None] | None
    """None: not kept."""
    title: Callable[[int], str]
    """What messages call an object."""


class AnnotatedImage(NamedTuple):
    """An image with all of its objects, as a reader of a file for each image has it."""

    image: ListedImage
    objects: Sequence[AnnotatedObject]
    flaws: Sequence[Flaw]
    """What is wrong with other objects of it."""


def records_of(
    images: Sequence[AnnotatedImage], tolerance: float, *, has_masks: bool = False
) -> tuple[list[Record], list[Flaw]]:
    """Return the record of each image, and what is wrong, image by image, as `make_records` does.

    `has_masks`: whether the records keep the objects' masks.
    """
    objects = [item for entry in images for item in entry.objects]
    table = ObjectTable(
        image=np.repeat(np.arange(len(images)), [len(entry.objects) for entry in images]),
        label=np.array([item.label for item in objects], np.int64),
        box=np.array([item.box for item in objects], np.float64).reshape(-1, 4),
        crowd=np.array([item.crowd for item in objects], np.bool_),
        difficult=np.array([item.difficult for item in objects], np.bool_),
        area=np.array([np.nan if item.area is None else item.area for item in objects], np.float64),
        masks=[item.mask for item in objects] if has_masks else None,
        title=lambda row: objects[row].title,
    )
    records, wrong = make_records([entry.image for entry in images], table, tolerance)
    numbers = {entry.image.annotations: number for number, entry in enumerate(images)}
    flaws = [(number, flaw) for number, entry in enumerate(images) for flaw in entry.flaws]
    flaws += [(numbers[flaw.file], flaw) for flaw in wrong]
    return records, [flaw for _, flaw in sorted(flaws, key=lambda item: item[0])]


def make_records(
    images: Sequence[ListedImage], objects: ObjectTable, tolerance: float
) -> tuple[list[Record], list[Flaw]]:
    """Return the record of each image, its boxes clipped and the impossible ones left out; and what was wrong with them.

    `tolerance`: pixels that a box may reach beyond the image (data.tolerance).
    """
    order = np.argsort(objects.image, kind="stable")
    image, label, box = objects.image[order], objects.label[order], objects.box[order]
    unknown = (np.nan, np.nan)
    sizes = np.array([listed.size or unknown for listed in images], np.float64).reshape(-1, 2)[image]
    clipped, problem = _checked_boxes(box, sizes, tolerance)
    flaws = []
    for row in np.flatnonzero((problem != _Problem.none) & (problem != _Problem.rounded)).tolist():
        numbers = ", ".join(f"{value:.6g}" for value in box[row])
        at = images[image[row]]
        what = _WHAT[_Problem(problem[row])].format(at.size and width_x_height(at.size))
        flaws.append(Flaw(at.annotations, f"{objects.title(order[row])}: its box ({numbers}) {what}", is_bad_box=True))
    rounded = np.bincount(image[problem == _Problem.rounded], minlength=len(images)).tolist()
    kept = (problem == _Problem.none) | (problem >= _Problem.partly_outside)
    rows, image, label, box = order[kept], image[kept], label[kept], clipped[kept]
    area = objects.area[rows]
    flaws += [
        Flaw(
            images[image[row]].annotations,
            f"{objects.title(rows[row])}: it is {objects.title(rows[first])} once more, of the same class and box",
            is_bad_box=False,
            is_repeated=True,
        )
        for row, first in _repeated(image, label, box, area)
        if objects.title(rows[row]) != objects.title(rows[first])
    ]
    area = np.where(np.isnan(area), (box[:, 2:] - box[:, :2]).prod(1), area).astype(np.float32)
    boxes, crowd, difficult = box.astype(np.float32), objects.crowd[rows], objects.difficult[rows]
    ends = np.searchsorted(image, np.arange(len(images) + 1)).tolist()
    masks = None if objects.masks is None else [objects.masks[row] for row in rows]
    records = []
    for number, (name, file, size, image_id, _) in enumerate(images):
        part = slice(ends[number], ends[number + 1])
        records.append(
            Record(
                name=name,
                image=file,
                size=size,
                image_id=image_id,
                boxes=boxes[part],
                labels=label[part],
                crowd=crowd[part],
                difficult=difficult[part],
                area=area[part],
                masks=None if masks is None else masks[part],
                clipped=rounded[number],
            )
        )
    return records, flaws


def listed(records: Sequence[Record], file: Path) -> list[Record]:
    """Return the records, in their order, of the images that a text file names a line, without their folders or endings too.

    DataError for names of no image, or of several.
    """
    if not (names := read_names(file)):
        raise DataError(f"{file} is empty; expected an image's name a line")
    by_name: dict[str, set[int]] = defaultdict(set)
    for index, record in enumerate(records):
        path = PurePosixPath(record.name)
        for name in (record.name, str(path.parent / path.stem), path.name, path.stem):
            by_name[name].add(index)
    chosen: set[int] = set()
    absent: list[str] = []
    unclear: list[str] = []
    for name in names:
        path = PurePosixPath(name)
        exact = {index for index in by_name[name] if records[index].name == name}
        found = exact or by_name[name] or by_name[path.name]
        absent += [] if found else [name]
        unclear += [name] if len(found) > 1 else []
        chosen |= found
    if absent:
        raise DataError(f"{file}: {len(absent)} names are of no image in the annotations: {first_few(absent)}")
    if unclear:
        raise DataError(
            f"{file}: {len(unclear)} names are of several images: {first_few(unclear)}; expected folder, name and ending"
        )
    return [records[index] for index in sorted(chosen)]


class BoxFileDataset(BoxDataset):
    """Samples read from records; the images when they are asked for."""

    def __init__(
        self,
        config: BoxFilesConfig,
        split: Split,
        classes: Sequence[str],
        records: Sequence[Record],
        flaws: Sequence[Flaw],
        *,
        category_ids: Sequence[int] | None = None,
        notes: Sequence[str] = (),
    ) -> None:
        """UsageError if there is nothing to train on.

        With data.val_share the records are those of both splits, which are shared here.
        """
        self.notes = list(notes)
        if config.val_share and (len(records) > 1 or not flaws):  # else the flaws say why there are too few
            contents = [set(record.labels.tolist()) for record in records]
            records, said = shared(split, config, records, contents)
            self.notes += said
        if split == "train":
            aside = _not_trained_on(records)
            whole, records = records, [record for record in records if config.train_empty or record.has_objects]
            if not records and not flaws:
                why = f" to learn from: {aside}" if aside else ""
                raise UsageError(f"data.root={config.root}: no image of the training split has an object{why}")
            if bare := len(whole) - len(records):
                what = f"{bare} of {len(whole)} images have no object to learn from and are left out"
                self.notes.append(f"{what} (data.train_empty=true keeps them)")
            self.notes += [aside] if aside else []
        if clipped := sum(record.clipped for record in records):
            self.notes.append(
                f"{clipped} {'box reaches' if clipped == 1 else 'boxes reach'} beyond the image by up to {config.tolerance:g}"
                f" pixels: clipped (data.tolerance={config.tolerance:g} accepts that, 0 doesn't)"
            )
        self.classes = tuple(classes)
        self.flaws: Sequence[Flaw] = list(flaws)
        self._records = list(records)
        self._bad_boxes = config.bad_boxes
        self._source = config.source
        self._drops_empty = split == "train" and not config.train_empty
        self._category_ids = list(category_ids or range(1, len(classes) + 1))

    def __len__(self) -> int:
        return len(self._records)

    def record(self, index: int) -> Record:
        """Return what the files say of the image at `index`."""
        return self._records[index]

    def image(self, index: int, bands: Sequence[int]) -> Image:
        """Read bands of the image at `index`; DataError if it can't be read or has another size than its annotations say."""
        record = self._records[index]
        image = self._read_image(record.image, bands)
        size = image.shape[1], image.shape[2]
        if record.size is not None and record.size != size:
            raise DataError(
                f"{record.image}: the image is {width_x_height(size)} when upright, but its objects were annotated at"
                f" {width_x_height(record.size)} (width x height); expected the same size"
            )
        return image

    def _read_image(self, file: Path, bands: Sequence[int]) -> Image:
        return read_image(file, bands)

    def __getitem__(self, index: int) -> BoxSample:
        record, image = self._records[index], self.image(index, self.bands)
        size = image.shape[1], image.shape[2]
        if record.masks and (claimed := len(record.masks) * size[0] * size[1]) > _MOST_MASK_BYTES:
            raise DataError(
                f"{record.image}: the masks of its {len(record.masks)} objects would take {claimed / 2**30:.3g} GiB;"
                f" expected {_MOST_MASK_BYTES / 2**30:.3g} GiB at most"
            )
        return {
            "image": image,
            "boxes": BoundingBoxes(torch.tensor(record.boxes), format="XYXY", canvas_size=size),
            "labels": torch.tensor(record.labels),
            "crowd": torch.tensor(record.crowd),
            "difficult": torch.tensor(record.difficult),
            "area": torch.tensor(record.area),
            "masks": None if record.masks is None else Mask(torch.from_numpy(decode(record.masks, size))),
            "name": record.name,
        }

    def name(self, index: int) -> str:
        """Return the name of the sample at `index`, without reading it."""
        return self._records[index].name

    def file(self, index: int) -> Path:
        """Return the image's file."""
        return self._records[index].image

    def label_content(self, index: int) -> bytes:
        """Return the objects of the image at `index` as bytes."""
        record = self._records[index]
        columns = record.boxes, record.labels, record.crowd, record.difficult
        masks = [b"" if mask is None else mask["counts"] for mask in record.masks or ()]
        return b"".join([*(column.tobytes() for column in columns), *masks])

    def image_id(self, index: int) -> int:
        """Return the id of the image at `index` in its files."""
        return self._records[index].image_id

    def category_id(self, label: int) -> int:
        """Return the id of a class in its files."""
        return self._category_ids[label]

    def areas(self, index: int) -> torch.Tensor:
        """Return the areas of the objects to be found at `index`, without reading the image."""
        record = self._records[index]
        return torch.tensor(record.area[~(record.crowd | record.difficult)])

    def without_mask(self) -> int:  # noqa: D102
        return sum(int((_is_bare(record) & ~(record.crowd | record.difficult)).sum()) for record in self._records)

    def require_masks(self) -> None:  # noqa: D102
        total = sum(len(record.boxes) for record in self._records)
        bare = total - sum(_covers(mask) for record in self._records for mask in record.masks or [])
        if total and bare == total:
            raise UsageError(
                f"data={self._source}: none of its {total} objects has a mask, only a box; choose a model that learns from boxes,"
                " such as model=faster_rcnn, or annotations with masks"
            )
        records = [_with_masks(record) for record in self._records]
        self._records = [record for record in records if record.has_objects or not self._drops_empty]
        if bare:
            said = f"{bare} of {total} objects have a box and no mask: neither learnt nor scored, as difficult ones"
            self.notes = [*self.notes, said]

    def verify(self) -> None:
        """Raise DataError for flaws that the settings don't accept, files that are missing or names that aren't unique.

        Flaws that are accepted are counted in a warning; at least one image must be left.
        """
        require_names(record.name for record in self._records)
        require_files([record.image for record in self._records], "image")
        repeated = [flaw for flaw in self.flaws if flaw.is_repeated]
        wrong = [flaw for flaw in self.flaws if not flaw.is_repeated]
        errors = [flaw for flaw in wrong if not (flaw.is_bad_box and self._bad_boxes is BadBoxes.warn)]
        if errors:
            remedy = "" if any(not flaw.is_bad_box for flaw in errors) else " data.bad_boxes=warn drops or clips them."
            raise DataError(f"{_counted(errors)}.{remedy}")
        if not self._records:
            raise DataError(f"no image of the training split has an object that can be used: {_counted(self.flaws)}")
        if wrong:
            warnings.warn(f"dropped or clipped boxes: {_counted(wrong)}", stacklevel=3)
        if repeated:
            warnings.warn(f"objects that are annotated twice: {_counted(repeated)}", stacklevel=3)


def _with_masks(record: Record) -> Record:
    """Return the record with a mask for each object: one that fills the box where that is all that is known, of an object
    that is then difficult."""
    masks = record.masks or [None] * len(record.boxes)
    known = [mask if _covers(mask) else _filled(box, record) for mask, box in zip(masks, record.boxes, strict=True)]
    return record._replace(masks=known, difficult=record.difficult | (_is_bare(record) & ~record.crowd))


def _is_bare(record: Record) -> NDArray[np.bool_]:
    """Return which of a record's objects have a box alone."""
    return np.array([not _covers(mask) for mask in record.masks or [None] * len(record.boxes)], np.bool_)


def _covers(mask: RunLengths | None) -> bool:
    return mask is not None and area(mask) > 0


def _filled(box: NDArray[np.float32], record: Record) -> RunLengths:
    """Return the mask of all pixels that a box touches."""
    size = record.size or image_size(record.image)
    inside = np.zeros(size or (1, 1), np.bool_)  # an image that can't be read is refused when it is
    (left, top), (right, bottom) = np.floor(box[:2]).astype(int), np.ceil(box[2:]).astype(int)
    inside[top:bottom, left:right] = True
    return encode(inside)


def _not_trained_on(records: Sequence[Record]) -> str:
    """Say how many objects are crowds or difficult; nothing where none is."""
    crowd, difficult = (
        np.concatenate([getattr(record, kind) for record in records] or [np.zeros(0, np.bool_)])
        for kind in ("crowd", "difficult")
    )
    kinds = {"crowds": int(crowd.sum()), "difficult": int((difficult & ~crowd).sum())}
    if not sum(kinds.values()):
        return ""
    counts = ", ".join(f"{kind}: {count}" for kind, count in kinds.items() if count)
    return f"{sum(kinds.values())} of {len(crowd)} objects are not trained on ({counts})"


def _counted(flaws: Sequence[Flaw]) -> str:
    problems = "1 problem" if len(flaws) == 1 else f"{len(flaws)} problems"
    return f"{problems} with the annotations (`dcnrun data check` shows more): {first_few([str(f) for f in flaws])}"


class _Problem(IntEnum):
    """What is wrong with a box: those up to `outside` leave nothing of it."""

    none = 0
    infinite = 1
    inverted = 2
    empty = 3
    outside = 4
    partly_outside = 5
    rounded = 6


_WHAT = {
    _Problem.infinite: "has a coordinate that is no finite number",
    _Problem.inverted: "is inverted: it ends before it begins",
    _Problem.empty: "is empty",
    _Problem.outside: "is outside the image of {}",
    _Problem.partly_outside: "is partly outside the image of {}",
}


def _checked_boxes(
    box: NDArray[np.float64], size: NDArray[np.float64], tolerance: float
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return boxes (n, 4) clipped to images of (height, width) (n, 2), NaN where that is not known; and the problem of each."""
    with np.errstate(invalid="ignore"):
        beyond_start, beyond_end = np.fmax(-box[:, :2], 0), np.fmax(box[:, 2:] - size[:, ::-1], 0)
        known = ~np.isnan(size[:, :1])
        low = np.where(known, np.fmax(box[:, :2], 0), box[:, :2])
        high = np.fmin(box[:, 2:], size[:, ::-1])
        beyond = np.where(known, np.fmax(beyond_start, beyond_end), 0).max(1, initial=0)
        extent = box[:, 2:] - box[:, :2]
        problem = np.select(
            [
                ~np.isfinite(box).all(1),
                (extent < 0).any(1),
                (extent == 0).any(1),
                (high <= low).any(1),
                beyond > max(tolerance, _ROUNDING),
                beyond > _ROUNDING,
            ],
            [*_WHAT, _Problem.rounded],
            _Problem.none,
        )
    return np.hstack([low, high]), problem


def _repeated(
    image: NDArray[np.int64], label: NDArray[np.int64], box: NDArray[np.float64], area: NDArray[np.float64]
) -> list[tuple[int, int]]:
    """Return the objects that are others once more, and the first of those: of the same image, class, box and area."""
    columns = np.column_stack([image, label, box + 0.0, area])  # 0.0 makes -0.0 the same
    factors = np.random.default_rng(0).integers(1, 2**63, columns.shape[1], dtype=np.uint64) | np.uint64(1)
    digest = columns.view(np.uint64) @ factors
    ascending = np.sort(digest)
    if not (ascending[1:] == ascending[:-1]).any():  # as in most files: sorting alone is quick
        return []
    order = np.argsort(digest, kind="stable")
    alike = np.flatnonzero(digest[order][1:] == digest[order][:-1])
    candidates = np.unique(order[np.concatenate([alike, alike + 1])])
    first: dict[bytes, int] = {}
    found = [(row, first.setdefault(columns[row].tobytes(), row)) for row in candidates.tolist()]
    return [(row, other) for row, other in found if row != other]
