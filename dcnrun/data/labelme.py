"""Boxes and masks of objects in labelme's JSON files: one for each image, with its shapes."""

import base64
import json
import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from torchvision.tv_tensors import Image

from dcnrun.config.schema import LabelmeConfig, Rectangles
from dcnrun.data.box_files import (
    AnnotatedImage,
    AnnotatedObject,
    BoxFileDataset,
    Flaw,
    ListedImage,
    listed,
    records_of,
)
from dcnrun.data.files import (
    IMAGE_SUFFIXES,
    existing_root,
    first_few,
    image_size,
    is_text,
    read_bytes,
    read_image,
    require_below,
    stated_size,
    walk,
    why_unreadable,
)
from dcnrun.data.labelme_shapes import NO_OBJECTS, joined, kind_of, read_part
from dcnrun.data.sample import Rule, Split
from dcnrun.data.splits import named_split
from dcnrun.errors import DataError, UsageError

_IGNORED = "__ignore__"
"""The label of regions that nobody is to be right or wrong in, as in labelme's own converters."""


def rules(config: LabelmeConfig) -> Iterator[Rule]:
    """Yield the rules that the settings of such a data set must keep beside their ranges."""
    yield "root", config.root is not None, "the folder of the images and their .json files"
    yield "classes", len(set(config.classes)) == len(config.classes), "every name once"


class LabelmeDataset(BoxFileDataset):
    """Objects drawn as polygons, rectangles, circles or masks; shapes of one label and one group_id are one object.

    Shapes with the label `__ignore__` are a crowd of each class: ignored, whatever is found there. An object that X-AnyLabeling
    marks as difficult is one.

    A split is a folder of .json files with all folders below it, or a list of images' names (`train: train.txt`). Points,
    lines and line strips are no objects. An image without a .json file is not read: nobody has said what is in it.

    Source: Wada's labelme (github.com/wkentaro/labelme).
    """

    def __init__(self, config: LabelmeConfig, split: Split, masks: bool = False) -> None:
        """UsageError if there are no .json files; DataError if a list of images does not fit them."""
        root = Path(os.path.normpath(existing_root(config, "the images and their .json files").absolute()))
        setting = named_split(split, config)
        part = config.train if setting == "train" else config.val
        folder, notes = _folder(root, config, setting, part)
        drawings, flaws = _read_all(root, folder, config.allow_outside)
        if not drawings and not flaws:
            raise UsageError(f"data.root={root}: there are no .json files in {folder}; expected one for each image")
        classes = config.classes or _labels(root, folder, config, drawings)
        if not classes and not flaws:
            raise UsageError(f"data.root={root}: no shape is an object with a label, so that there are no classes")
        counts = _Counts()
        drawn = [(drawing, *_objects(drawing, classes, config.rectangles, counts)) for drawing in drawings]
        has_masks = masks and any(item.mask for _, objects, _ in drawn for item in objects)
        images = [
            AnnotatedImage(ListedImage(drawing.name, drawing.image, drawing.size, number, drawing.file), objects, wrong)
            for number, (drawing, objects, wrong) in enumerate(drawn, start=1)
        ]
        records, found = records_of(images, config.tolerance, has_masks=has_masks)
        flaws += dict.fromkeys(found)  # an ignored region is there once for each class
        if part.endswith(".txt"):
            records = listed(records, root / part)
        notes += [*_notes_on_files(drawings, folder), *counts.notes(has_masks, config.rectangles)]
        super().__init__(config, split, classes, records, flaws, notes=notes)

    def _read_image(self, file: Path, bands: Sequence[int]) -> Image:
        if file.suffix.lower() != ".json":
            return super()._read_image(file, bands)
        try:
            return _image_inside(file, json.loads(read_bytes(file)).get("imageData"), bands)
        except (OSError, ValueError, AttributeError, RecursionError) as error:  # it was fine when it was listed
            raise DataError(f"{file}: {why_unreadable(error)}, and could be when it was listed") from error


class _Drawing(NamedTuple):
    """A .json file."""

    file: Path
    name: str
    image: Path
    is_elsewhere: bool
    """Whether the image is not where the file says."""
    size: tuple[int, int] | None
    shapes: list[Any]


@dataclass
class _Counts:
    """What is said of shapes."""

    objects: int = 0
    rectangles: int = 0
    ignored: int = 0
    left_out: Counter[str] = field(default_factory=Counter)

    def notes(self, has_masks: bool, rectangles: Rectangles) -> Iterator[str]:
        if has_masks and self.rectangles and rectangles is Rectangles.masks:
            yield (
                f"{self.rectangles} of {self.objects} objects are rectangles: taken as masks that fill them"
                " (data.rectangles=boxes: only their box is known)"
            )
        if self.ignored:
            yield f"{self.ignored} regions have the label {_IGNORED}: ignored, as a crowd of each class is"
        if self.left_out:
            kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(self.left_out.items()))
            yield f"{self.left_out.total()} shapes are no objects and are left out: {kinds}"


def _folder(root: Path, config: LabelmeConfig, setting: Split, part: str) -> tuple[Path, list[str]]:
    """Return the folder of a split's files, and a note where it is another than the setting says."""
    folder = (
        root
        if part.endswith(".txt")
        else require_below(root, root, part, Path(f"data.{setting}"), config.allow_outside)
    )
    if folder.is_dir():
        return folder, []
    if config.val_share and part == "train" and root.is_dir():
        return root, ["data.root itself is shared between both splits (data.train=FOLDER names a folder in it)"]
    raise UsageError(
        f"data.root={root} with data.{setting}={part}: {folder} is not there; expected a folder of .json files with their"
        " images, or a .txt list of images; or, if the data set has no split, data.val_share=0.2"
    )


def _read_all(root: Path, folder: Path, may_leave: bool) -> tuple[list[_Drawing], list[Flaw]]:
    """Read the .json files in a folder and below it."""
    images = _Images(root, may_leave)
    drawings: list[_Drawing] = []
    flaws: list[Flaw] = []
    for file in _files(folder, (".json",)):
        try:
            drawings.append(_read(file, images))
        except ValueError as error:
            flaws.append(Flaw(file, str(error), is_bad_box=False))
    return drawings, flaws


def _files(folder: Path, suffixes: Sequence[str]) -> list[Path]:
    files = (place / name for place, names in walk(folder) for name in names)
    return sorted(file for file in files if file.suffix.lower() in suffixes)


@dataclass
class _Images:
    """Finds the images that .json files name."""

    root: Path
    may_leave: bool

    @cached_property
    def _by_name(self) -> dict[str, list[Path]]:
        places: dict[str, list[Path]] = defaultdict(list)
        for file in _files(self.root, IMAGE_SUFFIXES):
            places[file.name].append(file)
        return places

    def find(self, file: Path, text: str) -> tuple[Path | None, bool]:
        """Return the image that a .json file names, perhaps by a path of Windows, and whether it is elsewhere.

        Where it is not, it is looked for beside the file, then by its name alone in the whole data set. ValueError if it is
        outside of that.
        """
        parts = re.split(r"[\\/]+", text)
        stated = Path(os.path.normpath(file.parent.joinpath(text.replace("\\", "/"))))
        if (self.may_leave or stated.is_relative_to(self.root)) and stated.is_file():
            return stated, False
        beside = [file.with_name(parts[-1])] if parts[-1] else []
        beside += [file.with_suffix(suffix) for suffix in IMAGE_SUFFIXES]
        if found := next((place for place in beside if place.is_file()), None):
            return found, True
        alone = self._by_name.get(parts[-1], [])
        if len(alone) != 1 and stated.is_file():
            raise ValueError(
                f"its image {text!r} is outside data.root={self.root}, which data.allow_outside=true allows"
            )
        return (alone[0], True) if len(alone) == 1 else (None, False)


def _read(file: Path, images: _Images) -> _Drawing:
    """Read a .json file; ValueError saying what is wrong with it."""
    try:
        document = json.loads(read_bytes(file))
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"{why_unreadable(error)}; expected a JSON file of labelme") from None
    shapes = document.get("shapes") if isinstance(document, dict) else None
    if not isinstance(shapes, list):
        raise ValueError("it has no list 'shapes'; expected a JSON file of labelme")
    text = document.get("imagePath") or ""
    if not isinstance(text, str) or not is_text(text):
        raise ValueError(f"its imagePath is {text!r}; expected the image's path")
    image, is_elsewhere = images.find(file, text)
    if image is None:
        if not document.get("imageData"):
            raise ValueError(f"its image {text!r} is not there, nor inside the file (imageData)")
        image, is_elsewhere = file, False
    size = stated_size(document.get("imageHeight"), document.get("imageWidth"))
    if size is None and image != file:
        size = image_size(image)
    elif size is None:
        try:
            height, width = _image_inside(file, document["imageData"], ()).shape[-2:]
        except DataError as error:
            raise ValueError(f"its imageData {str(error).removeprefix(f'{file}: ')}") from None
        size = height, width
    name = (image.relative_to(images.root) if image.is_relative_to(images.root) else image).as_posix()
    return _Drawing(file, name, image, is_elsewhere, size, shapes)


def _image_inside(file: Path, text: Any, bands: Sequence[int]) -> Image:
    """Return the image that a file holds as text; ValueError or DataError if it can't be read."""
    if not isinstance(text, str):
        raise ValueError("its imageData is no text; expected an image in base64")
    try:
        content = base64.b64decode(text, validate=True)
    except ValueError as error:
        raise ValueError(f"its imageData {why_unreadable(error)}; expected an image in base64") from None
    return read_image(file, bands, content)


def _labels(root: Path, folder: Path, config: LabelmeConfig, drawings: Sequence[_Drawing]) -> list[str]:
    """Return the labels of all objects, in order, of both splits: they must have the same classes."""
    others = {root / part for part in (config.train, config.val) if not part.endswith(".txt")} - {folder}
    read = [_read_all(root, other, config.allow_outside)[0] for other in others if other.is_dir()]
    shapes = [shape for drawn in (drawings, *read) for drawing in drawn for shape in drawing.shapes]
    labels = {_label(shape) for shape in shapes if isinstance(shape, dict) and kind_of(shape) not in NO_OBJECTS}
    return sorted(label for label in labels - {_IGNORED} if label is not None)


def _label(shape: dict[str, Any]) -> str | None:
    label = shape.get("label")
    return label if isinstance(label, str) and label and is_text(label) else None


def _objects(
    drawing: _Drawing, classes: Sequence[str], rectangles: Rectangles, counts: _Counts
) -> tuple[list[AnnotatedObject], list[Flaw]]:
    """Return the objects of a file, each made of its parts, and what is wrong with others."""
    groups: dict[object, list[tuple[int, dict[str, Any]]]] = defaultdict(list)
    flaws: list[Flaw] = []
    for number, shape in enumerate(drawing.shapes, start=1):
        if not isinstance(shape, dict) or _label(shape) is None:
            shown = shape.get("label") if isinstance(shape, dict) else shape
            what = f"shape {number}: its label is {shown!r}; expected a text"
            flaws.append(Flaw(drawing.file, what, is_bad_box=True))
        elif kind_of(shape) in NO_OBJECTS:
            counts.left_out[kind_of(shape)] += 1
        else:
            group = shape.get("group_id")
            groups[number if group is None else (_label(shape), str(group))].append((number, shape))
    objects: list[AnnotatedObject] = []
    for members in groups.values():
        label = members[0][1]["label"]
        numbers = ", ".join(str(number) for number, _ in members)
        title = f"shape{'s' if len(members) > 1 else ''} {numbers} ({label!r})"
        try:
            if label not in classes and label != _IGNORED:
                raise ValueError(f"it is none of the classes {first_few(classes, 30)} (data.classes)")
            parts = [read_part(shape, drawing.size, rectangles) for _, shape in members]
        except ValueError as error:
            flaws.append(Flaw(drawing.file, f"{title}: {error}", is_bad_box=True))
        else:
            if label == _IGNORED:
                objects += [joined(title, each, parts)._replace(crowd=True) for each in range(len(classes))]
                counts.ignored += 1
                continue
            difficult = any(shape.get("difficult") is True for _, shape in members)
            objects.append(joined(title, classes.index(label), parts)._replace(difficult=difficult))
            counts.objects += 1
            counts.rectangles += all(kind_of(shape) == "rectangle" for _, shape in members)
    return objects, flaws


def _notes_on_files(drawings: Sequence[_Drawing], folder: Path) -> Iterator[str]:
    """Say which images were found elsewhere, and that some have no file."""
    elsewhere = [drawing for drawing in drawings if drawing.is_elsewhere]
    if elsewhere:
        example = elsewhere[0]
        yield (
            f"{len(elsewhere)} of {len(drawings)} images are not where imagePath says: found by their names, such as"
            f" {example.name} for {example.file.name}"
        )
    inside = sum(drawing.image == drawing.file for drawing in drawings)
    if inside:
        yield f"{inside} of {len(drawings)} images are inside their .json files (imageData), since there is no image file"
    images = {drawing.image for drawing in drawings}
    bare = [file for file in _files(folder, IMAGE_SUFFIXES) if file not in images]
    if bare:
        yield (
            f"{len(bare)} of {len(bare) + len(images)} images have no .json file, such as {bare[0].name}: left out (a .json file with no shapes says that"
            " there is no object)"
        )
