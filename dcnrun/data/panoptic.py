"""COCO's panoptic format: one JSON file for a split, and for each image a picture whose colours number its segments.

A segment is an object (of a class of things) or all pixels of a class (of stuff). Masks of classes are read when they are asked for;
boxes are those of the JSON file, and masks of objects are read once, when the data set is opened.

Source: Kirillov et al., "Panoptic Segmentation", CVPR 2019; the format is at cocodataset.org.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from torchvision.tv_tensors import Mask

from dcnrun.config.schema import PanopticConfig
from dcnrun.data.box_files import AnnotatedImage, AnnotatedObject, BoxFileDataset, Flaw, ListedImage, records_of
from dcnrun.data.coco_masks import RunLengths, area, bounds, encode_each
from dcnrun.data.files import (
    existing_root,
    first_few,
    read_bytes,
    read_colours,
    read_image,
    require_below,
    require_files,
    require_names,
    require_same_size,
    root_folder,
    stated_size,
    why_unreadable,
)
from dcnrun.data.image_names import find_images
from dcnrun.data.mask_batches import SegmentationDataset
from dcnrun.data.sample import IGNORE, MOST_CLASSES, Rule, Sample, Split
from dcnrun.data.splits import named_split, shared
from dcnrun.errors import DataError, UsageError

_EXPECTED = "a picture in colours that number the segments, red + 256 x green + 65536 x blue"


class Segment(msgspec.Struct, gc=False):
    """An object, or the pixels of a class, as the file lists it."""

    id: Annotated[int, msgspec.Meta(ge=1, lt=2**24)]
    """The number that its colour stands for; 0, black, is that of no segment."""
    category_id: int
    area: float | None = None
    bbox: tuple[float, float, float, float] | None = None
    iscrowd: int | bool = 0


class Annotation(msgspec.Struct):
    """The segments of an image, and the picture of them."""

    image_id: int | str
    file_name: str
    segments_info: list[Segment]


class Category(msgspec.Struct, gc=False):
    """A class."""

    id: int
    name: str
    isthing: int | bool = 1


class Image(msgspec.Struct, gc=False):
    """An image."""

    id: int | str
    file_name: str
    height: Any = None
    width: Any = None


class Document(msgspec.Struct):
    """A file."""

    images: list[Image]
    annotations: list[Annotation]
    categories: list[Category]


_DECODER = msgspec.json.Decoder(Document)


def read_document(file: Path) -> Document:
    """Read a file; DataError if it is not like COCO's panoptic ones."""
    try:
        return _DECODER.decode(read_bytes(file))
    except (OSError, msgspec.DecodeError, RecursionError) as error:
        raise DataError(f"{file}: {why_unreadable(error)}; expected a JSON file like COCO's panoptic ones") from error


def rules(config: PanopticConfig) -> Iterator[Rule]:
    """Yield the rules that the settings of such a data set must keep beside their ranges."""
    yield "root", config.root is not None, "the folder that holds the images, annotations and pictures of segments"
    expected = (
        "a path with SPLIT in it, so that each split has its own; or share one file's images with data.val_share=0.2"
    )
    yield "annotations", "SPLIT" in config.annotations or config.val_share > 0, expected


class PanopticDataset(SegmentationDataset):
    """Images whose pixels have the class of their segment, of things and stuff alike; those of none (black) are ignored.

    The categories in the order of their ids are the classes. A crowd has the class of its things.
    """

    def __init__(self, config: PanopticConfig, split: Split) -> None:
        """UsageError if the files are not below `config.root`; DataError if the JSON file is not like COCO's."""
        content = _read(config, split)
        if len(content.categories) > MOST_CLASSES:
            raise UsageError(
                f"{content.file}: it has {len(content.categories)} categories; masks have {MOST_CLASSES} at most"
            )
        self.classes = tuple(category.name for category in content.categories)
        self.notes = list(content.notes)
        self._numbers = {category.id: number for number, category in enumerate(content.categories)}
        self._entries = content.entries
        if config.val_share:
            classes = [{self._numbers[segment.category_id] for segment in entry.segments} for entry in content.entries]
            self._entries, said = shared(split, config, content.entries, classes)
            self.notes += said

    def __len__(self) -> int:
        return len(self._entries)

    def __getitem__(self, index: int) -> Sample:
        entry = self._entries[index]
        image, mask = read_image(entry.image, self.bands), self.mask(index)
        require_same_size(entry.picture, mask.shape, entry.image, image.shape[1:], "picture of segments")
        return {"image": image, "mask": mask, "name": entry.name}

    def mask(self, index: int) -> Mask:
        """Read the mask of the sample at `index`, and not its image."""
        entry = self._entries[index]
        numbers = _read_numbers(entry.picture)
        classes = {0: IGNORE} | {segment.id: self._numbers[segment.category_id] for segment in entry.segments}
        known = np.array(sorted(classes), np.int64)
        places = np.searchsorted(known, numbers).clip(max=len(known) - 1)
        if (strange := known[places] != numbers).any():
            raise DataError(
                f"{entry.picture}: {strange.sum()} pixels are of segments that the annotations don't list for the image, such as"
                f" {numbers[strange][0]}; expected {_EXPECTED}"
            )
        values = np.array([classes[number] for number in known.tolist()], np.uint8)
        return Mask(torch.from_numpy(values[places]))

    def name(self, index: int) -> str:
        """Return the name of the sample at `index`, without reading it."""
        return self._entries[index].name

    def file(self, index: int) -> Path:
        """Return the image's file."""
        return self._entries[index].image

    def label_content(self, index: int) -> bytes:
        """Return the picture of the segments and what they are as bytes; none of a picture that can't be read, which is said where it is."""
        entry = self._entries[index]
        try:
            return read_bytes(entry.picture) + msgspec.json.encode(entry.segments)
        except OSError:
            return b""

    def image_id(self, index: int) -> int:
        """Return the id of the image at `index` in its file."""
        return self._entries[index].number

    def category_id(self, label: int) -> int:
        """Return the id of a class in its file."""
        return list(self._numbers)[label]

    def verify(self) -> None:
        """Raise DataError if files are missing, or names not unique."""
        require_names(entry.name for entry in self._entries)
        require_files([entry.image for entry in self._entries], "image")
        require_files([entry.picture for entry in self._entries], "panoptic")


class PanopticBoxDataset(BoxFileDataset):
    """The segments that are things: objects with boxes, and masks where they are asked for; categories of things are the classes."""

    def __init__(self, config: PanopticConfig, split: Split, masks: bool = False) -> None:
        """UsageError if the files are not below `config.root`, or have no things; DataError if the JSON file is not like COCO's."""
        content = _read(config, split)
        things = [category for category in content.categories if category.isthing]
        if not things:
            raise UsageError(f"{content.file}: none of its categories is a thing (isthing=1), so there are no objects")
        labels = {category.id: label for label, category in enumerate(things)}
        images = [_with_objects(entry, labels, content.file, masks) for entry in content.entries]
        records, flaws = records_of(images, config.tolerance, has_masks=masks)
        super().__init__(
            config,
            split,
            [category.name for category in things],
            records,
            flaws,
            category_ids=list(labels),
            notes=content.notes,
        )


class _Entry(NamedTuple):
    """An image and its segments."""

    name: str
    image: Path
    picture: Path
    size: tuple[int, int] | None
    """(height, width) as the file has it, if it has it."""
    number: int
    segments: list[Segment]


@dataclass(frozen=True)
class _Content:
    """What a file has of a split."""

    file: Path
    categories: list[Category]
    """In the order of their ids."""
    entries: list[_Entry]
    notes: list[str]


def _read(config: PanopticConfig, split: Split) -> _Content:
    where = f"{config.annotations}, {config.images} and {config.masks}"
    root, setting = root_folder(config, where), named_split(split, config)
    part = config.train if setting == "train" else config.val
    file, folder, pictures = (
        root / place.replace("SPLIT", part) for place in (config.annotations, config.images, config.masks)
    )
    there = [(file, file.is_file()), (folder, folder.is_dir()), (pictures, pictures.is_dir())]
    if absent := [str(path) for path, is_there in there if not is_there]:
        existing_root(config, where)
        raise UsageError(
            f"data.root={root} lacks {' and '.join(absent)}; data.annotations={config.annotations}, data.images={config.images},"
            f" data.masks={config.masks} and data.{setting}={part} say where to look"
        )
    document = read_document(file)
    categories = sorted(document.categories, key=lambda category: category.id)
    _require_own(file, "categories", "id", [category.id for category in categories])
    _require_own(file, "categories", "name", [category.name for category in categories])
    _require_own(file, "images", "id", [image.id for image in document.images])
    _require_own(file, "annotations", "image_id", [annotation.image_id for annotation in document.annotations])
    _require_listed(file, document)
    annotations = {annotation.image_id: annotation for annotation in document.annotations}
    images = [image for image in document.images if image.id in annotations]
    if not images:
        raise DataError(f"{file}: none of its {len(document.images)} images has segments")
    bare, lost = len(document.images) - len(images), len(annotations) - len(images)
    paths, notes = find_images([image.file_name for image in images], folder, root, file, config.allow_outside)
    entries = [
        _Entry(
            name,
            path,
            require_below(root, pictures, annotations[image.id].file_name, file, config.allow_outside),
            stated_size(image.height, image.width),
            image.id if isinstance(image.id, int) else number,
            annotations[image.id].segments_info,
        )
        for number, (image, (name, path)) in enumerate(zip(images, paths, strict=True), start=1)
    ]
    notes += [f"{bare} of {len(document.images)} images have no segments in {file}: not read"] if bare else []
    notes += (
        [f"{lost} of {len(annotations)} annotations in {file} are of no image that it lists: not read"] if lost else []
    )
    return _Content(file, categories, entries, notes)


def _require_own(file: Path, what: str, key: str, values: Sequence[Any]) -> None:
    """Raise DataError where several entries of a list have the same value."""
    if len(set(values)) < len(values):
        repeated = [repr(value) for value, count in Counter(values).items() if count > 1]
        raise DataError(f"{file}: several of its {what} have the same {key}: {first_few(repeated)}")


def _require_listed(file: Path, document: Document) -> None:
    """Raise DataError where a segment is of no category, or two of an image are one."""
    known = {category.id for category in document.categories}
    for annotation in document.annotations:
        for segment in annotation.segments_info:
            if segment.category_id not in known:
                raise DataError(
                    f"{file}: segment {segment.id} of image {annotation.image_id!r} has the category_id {segment.category_id},"
                    " which the file does not list"
                )
        _require_own(
            file, f"segments of image {annotation.image_id!r}", "id", [each.id for each in annotation.segments_info]
        )


def _read_numbers(picture: Path) -> NDArray[np.int32]:
    """Read the number of the segment of each pixel (H, W); 0 where there is none."""
    red, green, blue = np.moveaxis(read_colours(picture, _EXPECTED).astype(np.int32), -1, 0)
    numbers: NDArray[np.int32] = red | green << 8 | blue << 16
    return numbers


def _with_objects(entry: _Entry, labels: Mapping[int, int], file: Path, masks: bool) -> AnnotatedImage:
    """Return an image with its things, and what is wrong with some."""
    things = [segment for segment in entry.segments if segment.category_id in labels]
    objects: list[AnnotatedObject] = []
    flaws: list[Flaw] = []
    size = entry.size
    found = {}
    if masks and things:
        try:
            numbers = _read_numbers(entry.picture)
        except DataError as error:
            what = str(error).removeprefix(f"{entry.picture}: ")
            return _annotated(entry, size, file, [], [Flaw(entry.picture, what, is_bad_box=False)])
        size = numbers.shape[0], numbers.shape[1]
        found = encode_each(np.where(np.isin(numbers, [segment.id for segment in things]), numbers, 0))
    for segment in things:
        title = f"segment {segment.id} of {entry.name!r}"
        mask = found.get(segment.id)
        if masks and mask is None:
            flaws.append(Flaw(file, f"{title}: no pixel of {entry.picture} is of it", is_bad_box=True))
        elif segment.bbox is None and mask is None:
            flaws.append(Flaw(file, f"{title}: it has no bbox", is_bad_box=True))
        else:
            objects.append(_thing(title, labels[segment.category_id], segment, mask))
    return _annotated(entry, size, file, objects, flaws)


def _thing(title: str, label: int, segment: Segment, mask: RunLengths | None) -> AnnotatedObject:
    x, y, width, height = segment.bbox or bounds(mask or {})
    known = segment.area or (area(mask) if mask else None)
    is_crowd = bool(segment.iscrowd)
    return AnnotatedObject(title, label, (x, y, x + width, y + height), is_crowd, area=known, mask=mask)


def _annotated(
    entry: _Entry,
    size: tuple[int, int] | None,
    file: Path,
    objects: Sequence[AnnotatedObject],
    flaws: Sequence[Flaw],
) -> AnnotatedImage:
    return AnnotatedImage(ListedImage(entry.name, entry.image, size, entry.number, file), objects, flaws)
