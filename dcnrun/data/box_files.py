"""Data sets that are images with lists of objects; whatever is wrong with an object or a file is named.

Readers (voc_boxes.py, coco.py) read as much of the annotations as they can and note what is wrong with the rest, so that
a whole data set can be checked; `verify` then decides by the settings whether it can be used.
"""

import warnings
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torchvision.tv_tensors import BoundingBoxes, Image, Mask

from dcnrun.config.schema import BadBoxes, BoxFilesConfig
from dcnrun.data.box_batches import BoxDataset
from dcnrun.data.coco_masks import RunLengths, decode
from dcnrun.data.files import first_few, read_image, read_names, require_files, require_names, width_x_height
from dcnrun.data.sample import BoxSample, Split
from dcnrun.data.splits import shared
from dcnrun.errors import DataError, UsageError

_ROUNDING = 0.1
"""Pixels by which a box may reach beyond its image and be clipped without a word: files hold rounded numbers."""

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


@dataclass(frozen=True)
class Record:
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

    @property
    def has_objects(self) -> bool:
        """Whether there is anything to learn from but background."""
        return not (self.crowd | self.difficult).all()


def make_record(
    name: str,
    image: Path,
    size: tuple[int, int] | None,
    image_id: int,
    objects: Sequence[AnnotatedObject],
    file: Path,
    *,
    has_masks: bool = False,
) -> tuple[Record, list[Flaw]]:
    """Return the record of an image, its boxes clipped and the impossible ones left out; and what was wrong with them.

    Args:
        name: what messages and results call the image.
        image: its file.
        size: (height, width) that the objects were annotated at, if known.
        image_id: its id in files of results.
        objects: all of its objects.
        file: the annotation file, for messages.
        has_masks: whether the record keeps the objects' masks.
    """
    kept: list[AnnotatedObject] = []
    flaws: list[Flaw] = []
    for item in objects:
        box, what = _checked_box(item.box, size)
        if what:
            numbers = ", ".join(f"{value:.6g}" for value in item.box)
            flaws.append(Flaw(file, f"{item.title}: its box ({numbers}) {what}", is_bad_box=True))
        if box:
            kept.append(item._replace(box=box))
    first: dict[tuple[int, Box, float | None], str] = {}
    for item in kept:
        if (other := first.setdefault((item.label, item.box, item.area), item.title)) != item.title:
            what = f"{item.title}: it is {other} once more, of the same class and box"
            flaws.append(Flaw(file, what, is_bad_box=False, is_repeated=True))
    sizes = [(item.box, item.area) for item in kept]
    record = Record(
        name=name,
        image=image,
        size=size,
        image_id=image_id,
        boxes=np.array([item.box for item in kept], np.float32).reshape(-1, 4),
        labels=np.array([item.label for item in kept], np.int64),
        crowd=np.array([item.crowd for item in kept], np.bool_),
        difficult=np.array([item.difficult for item in kept], np.bool_),
        area=np.array(
            [(x2 - x1) * (y2 - y1) if area is None else area for (x1, y1, x2, y2), area in sizes], np.float32
        ),
        masks=[item.mask for item in kept] if has_masks else None,
    )
    return record, flaws


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
        if config.val_share:
            contents = [set(record.labels.tolist()) for record in records]
            records, note = shared(split, config, records, contents)
            self.notes.append(note)
        if split == "train" and not config.train_empty:
            records = [record for record in records if record.has_objects]
            if not records and not flaws:
                raise UsageError(f"data.root={config.root}: no image of the training split has an object")
        self.classes = tuple(classes)
        self.flaws: Sequence[Flaw] = list(flaws)
        self._records = list(records)
        self._bad_boxes = config.bad_boxes
        self._category_ids = list(category_ids or range(1, len(classes) + 1))

    def __len__(self) -> int:
        return len(self._records)

    def record(self, index: int) -> Record:
        """Return what the files say of the image at `index`."""
        return self._records[index]

    def image(self, index: int, bands: Sequence[int]) -> Image:
        """Read bands of the image at `index`; DataError if it can't be read or has another size than its annotations say."""
        record = self._records[index]
        image = read_image(record.image, bands)
        size = image.shape[1], image.shape[2]
        if record.size is not None and record.size != size:
            raise DataError(
                f"{record.image}: the image is {width_x_height(size)} when upright, but its objects were annotated at"
                f" {width_x_height(record.size)} (width x height); expected the same size"
            )
        return image

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


def _counted(flaws: Sequence[Flaw]) -> str:
    problems = "1 problem" if len(flaws) == 1 else f"{len(flaws)} problems"
    return f"{problems} with the annotations (`dcnrun data check` shows more): {first_few([str(f) for f in flaws])}"


def _checked_box(box: Box, size: tuple[int, int] | None) -> tuple[Box | None, str]:
    """Return the box clipped to the image, or None where nothing of it can be used; and what is wrong with it, if so."""
    x1, y1, x2, y2 = box
    if not all(map(isfinite, box)):
        return None, "has a coordinate that is no finite number"
    if x2 < x1 or y2 < y1:
        return None, "is inverted: it ends before it begins"
    if x2 == x1 or y2 == y1:
        return None, "is empty"
    if size is None:
        return box, ""
    height, width = size
    clipped = max(x1, 0.0), max(y1, 0.0), min(x2, float(width)), min(y2, float(height))
    if clipped[2] <= clipped[0] or clipped[3] <= clipped[1]:
        return None, f"is outside the image of {width_x_height(size)}"
    beyond = max(abs(wanted - there) for wanted, there in zip(box, clipped, strict=True))
    return clipped, f"is partly outside the image of {width_x_height(size)}" if beyond > _ROUNDING else ""
