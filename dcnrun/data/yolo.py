"""Boxes, and polygons as masks of objects, in the layout of YOLO: a .txt file for each image."""

from collections import Counter
from collections.abc import Iterator, Sequence
from math import isfinite
from pathlib import Path
from typing import NamedTuple

from dcnrun.config.schema import YoloConfig
from dcnrun.data.box_files import AnnotatedImage, AnnotatedObject, BoxFileDataset, Flaw, ListedImage, records_of
from dcnrun.data.coco_masks import area, run_lengths
from dcnrun.data.files import first_few, image_size, read_bytes, why_unreadable
from dcnrun.data.sample import Rule, Split
from dcnrun.data.yolo_layout import Layout, find_images, label_places, labels_without_image, read_layout
from dcnrun.errors import UsageError

_SURELY_PIXELS = 2.0
"""A coordinate beyond this is no share of an image's side that was rounded or moved out of the image."""
_FEWEST = 5
"""Polygons of which as many points each are no chance."""
_FOUR_CORNERS = 8
"""Numbers of a turned rectangle, which all lines may have."""
_EXPECTED = "the class, then x, y, width and height of a box, or x and y of three or more points of a polygon"


def rules(config: YoloConfig) -> Iterator[Rule]:
    """Yield the rules that the settings of such a data set must keep beside their ranges."""
    yield "root", config.root is not None, "the folder of the images and labels, or its .yaml"
    yield "classes", len(set(config.classes)) == len(config.classes), "every name once"
    for key in ("train", "val"):
        yield key, getattr(config, key) != "", "a key of the .yaml, a folder, or a .txt file of paths"


class YoloDataset(BoxFileDataset):
    """Objects with a line each: their class and shares of the upright image's width and height.

    A line of five numbers is a box; a longer one is a polygon, whose bounds are the box. Images in a folder `images` have
    their labels in `labels`. An image without a .txt file has no objects.

    Source: Redmon's darknet and ultralytics, whose documentation of data sets describes both.
    """

    def __init__(self, config: YoloConfig, split: Split, masks: bool = False) -> None:
        """UsageError if images, labels or class names are not there; DataError if a file is not like YOLO's."""
        layout = read_layout(config)
        labelled = [_read(layout, image) for image in find_images(layout, config, split)]
        _note_missing(layout, labelled, split)
        _note_unused(layout, labelled)
        _note_key_points(layout, labelled)
        has_masks = masks and any(item.mask for entry in labelled for item in entry.objects)
        images = [
            AnnotatedImage(ListedImage(layout.relative(image), image, size, number, file or image), objects, wrong)
            for number, (image, file, size, objects, wrong, _) in enumerate(labelled, start=1)
        ]
        records, flaws = records_of(images, config.tolerance, has_masks=has_masks)
        classes = layout.classes
        super().__init__(config, split, classes, records, flaws, category_ids=range(len(classes)), notes=layout.notes)


class _Labelled(NamedTuple):
    image: Path
    file: Path | None
    """None: the image has no label file."""
    size: tuple[int, int] | None
    objects: list[AnnotatedObject]
    flaws: list[Flaw]
    lengths: Sequence[int] = ()
    """How many numbers each line has after the class."""


def _read(layout: Layout, image: Path) -> _Labelled:
    """Read the labels of an image."""
    file = next((place for place in label_places(layout, image) if place.is_file()), None)
    size = image_size(image)
    if size is None and not image.is_file():
        return _Labelled(image, file, None, [], [Flaw(image, "the image is listed, but not there", is_bad_box=False)])
    if file is None:
        return _Labelled(image, None, size, [], [])
    try:
        lines = list(enumerate(read_bytes(file).decode("utf-8-sig").splitlines(), start=1))
    except (OSError, UnicodeDecodeError) as error:
        what = f"{why_unreadable(error)}; expected a text file, an object a line"
        return _Labelled(image, file, size, [], [Flaw(file, what, is_bad_box=False)])
    written = [(number, line.split()) for number, line in lines if line.strip()]
    if size is None:
        what = "can't be read, so that the size of its objects is not known"
        return _Labelled(image, file, size, [], [Flaw(image, what, is_bad_box=False)] if written else [])
    objects: list[AnnotatedObject] = []
    flaws: list[Flaw] = []
    for number, words in written:
        try:
            objects.append(_object(f"line {number}", words, layout, size))
        except _BadLineError as error:
            flaws.append(Flaw(file, f"line {number}: {error}", is_bad_box=error.is_bad_box))
    return _Labelled(image, file, size, objects, flaws, [len(words) - 1 for _, words in written])


class _BadLineError(ValueError):
    """What is wrong with a line, and whether the object can be dropped as others with bad boxes."""

    def __init__(self, problem: str, *, is_bad_box: bool = False) -> None:
        super().__init__(problem)
        self.is_bad_box = is_bad_box


def _object(title: str, words: Sequence[str], layout: Layout, size: tuple[int, int]) -> AnnotatedObject:
    """Read an object's line."""
    try:
        number, *values = map(float, words)
    except ValueError as error:
        raise _BadLineError(f"{error}; expected numbers: {_EXPECTED}") from None
    if layout.key_points and len(values) == 4 + layout.key_points:
        values = values[:4]
    if len(values) == 5:
        raise _BadLineError(
            f"it has 6 numbers, a box and its confidence, angle or the number of a track; expected {_EXPECTED}"
        )
    if len(values) < 4 or len(values) % 2:
        hint = (
            ""
            if layout.key_points or len(values) < 4
            else " (key points after a box are left out where the .yaml has kpt_shape)"
        )
        raise _BadLineError(f"it has {len(words)} numbers; expected {_EXPECTED}{hint}")
    if not all(map(isfinite, values)):
        raise _BadLineError("it has a coordinate that is no finite number", is_bad_box=True)
    if (largest := max(values)) > _SURELY_PIXELS:
        raise _BadLineError(
            f"its coordinate {largest:g} looks like pixels; expected shares of the image's sides, 0 to 1"
        )
    if number not in range(len(layout.classes)):
        listed = first_few([f"{index} {name}" for index, name in enumerate(layout.classes)], 10)
        raise _BadLineError(f"its class is {words[0]}; expected one of {listed}", is_bad_box=True)
    height, width = size
    if len(values) == 4:
        x, y, w, h = values
        box = (x - w / 2) * width, (y - h / 2) * height, (x + w / 2) * width, (y + h / 2) * height
        return AnnotatedObject(title, int(number), box)
    xs, ys = [x * width for x in values[::2]], [y * height for y in values[1::2]]
    try:
        mask = run_lengths([[side for point in zip(xs, ys, strict=True) for side in point]], size)
    except ValueError as error:
        raise _BadLineError(f"its mask can't be used: {error}", is_bad_box=True) from None
    return AnnotatedObject(title, int(number), (min(xs), min(ys), max(xs), max(ys)), area=area(mask) or None, mask=mask)


def _note_missing(layout: Layout, labelled: Sequence[_Labelled], split: Split) -> None:
    """Say how many images that are there have no label file; UsageError if none has one."""
    missing = [entry.image for entry in labelled if entry.file is None and entry.size is not None]
    if missing and len(missing) == len(labelled):
        places = " or ".join(layout.relative(place) for place in label_places(layout, missing[0]))
        stems = {image.stem for image in missing}
        elsewhere = next((file for file in sorted(layout.root.rglob("*.txt")) if file.stem in stems), None)
        hint = (
            f"; {layout.relative(elsewhere)} has the name of one: expected its folder to be called labels"
            if elsewhere
            else ""
        )
        raise UsageError(
            f"data.root={layout.root}: none of the {len(missing)} images of data.{split} has a label file;"
            f" expected {places} for {layout.relative(missing[0])}{hint}"
        )
    if missing:
        layout.notes.append(
            f"{len(missing)} of {len(labelled)} images have no label file, such as {layout.relative(missing[0])}:"
            " taken as images without objects (an empty .txt says so)"
        )


def _note_unused(layout: Layout, labelled: Sequence[_Labelled]) -> None:
    """Say how many label files beside those that are used have no image."""
    used = [entry.file for entry in labelled if entry.file is not None]
    if unused := labels_without_image(layout, [entry.image for entry in labelled], used):
        what = "1 label file has" if len(unused) == 1 else f"{len(unused)} label files have"
        layout.notes.append(f"{what} no image, such as {layout.relative(unused[0])}: not read")


def _note_key_points(layout: Layout, labelled: Sequence[_Labelled]) -> None:
    """Say that what is read as polygons may be boxes with key points, as none but these has as many points in every line."""
    lengths = Counter(length for entry in labelled for length in entry.lengths)
    length, count = max(lengths.items(), default=(0, 0))
    if len(lengths) == 1 and count >= _FEWEST and length > _FOUR_CORNERS and length % 2 == 0 and not layout.key_points:
        layout.notes.append(
            f"all {count} objects are taken for polygons of {length // 2} points; if they are boxes with key points, kpt_shape in the .yaml says so:"
            " [number of key points, 2]"
        )
