"""Masks of objects of one class as microscopy has them: a number for each object in an image's mask, or a file for each object."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from dcnrun.config.schema import InstanceMasksConfig
from dcnrun.data.box_files import AnnotatedImage, AnnotatedObject, BoxFileDataset, Flaw, ListedImage, records_of
from dcnrun.data.coco_masks import RunLengths, area, bounds, encode_each
from dcnrun.data.files import (
    IMAGE_SUFFIXES,
    LOSSY_SUFFIXES,
    MASK_SUFFIXES,
    existing_root,
    first_few,
    read_object_numbers,
    require_below,
    width_x_height,
)
from dcnrun.data.layouts import Layout, folders_of, pair_rules, pairs_of
from dcnrun.data.mask_names import files_in
from dcnrun.data.sample import Rule, Split
from dcnrun.data.splits import named_split
from dcnrun.errors import DataError

_SMALLEST = 4
"""Pixels of an object below which a note asks whether it is one."""
_LAST_OF_8_BITS = 255


def rules(config: InstanceMasksConfig) -> Iterator[Rule]:
    """Yield the rules that the settings of such a data set must keep beside their ranges."""
    yield "root", config.root is not None, "the folder that holds the images and masks"
    yield "classes", len(config.classes) == 1, "one name: masks of objects don't say of which class they are"
    yield from pair_rules(config)


class InstanceMasksDataset(BoxFileDataset):
    """Objects of one class, as label images or as a mask file for each.

    A label image is a mask of its image's size whose value, of any depth, or colour is a number for each object, and 0 where there is none;
    where images and masks are and what they are called is as in a folder of images and masks. Files of single objects
    have 0 and one other value, and lie in a folder of the image's own, in one of two ways:

        root/train/cell/images/cell.png               root/images/train/cell.png
        root/train/cell/masks/1.png                   root/masks/train/cell/1.png

    The former is that of the 2018 Data Science Bowl (Caicedo et al., "Nucleus segmentation across imaging experiments", Nature Methods 2019).
    """

    def __init__(self, config: InstanceMasksConfig, split: Split, masks: bool = False) -> None:
        """UsageError or DataError where images and masks are not there, or don't belong together."""
        setting = named_split(split, config)
        found, notes = _with_object_files(config, setting)
        if not found:
            pairs, notes = pairs_of(config, setting)
            found = [_Annotated(pair.name, pair.image, pair.mask) for pair in pairs]
        read = [(entry, *_read(entry, config.ignore_label)) for entry in found]
        images = [
            AnnotatedImage(ListedImage(entry.name, entry.image, size, number, entry.masks), objects, flaws)
            for number, (entry, size, objects, flaws) in enumerate(read, start=1)
        ]
        records, flaws = records_of(images, config.tolerance, has_masks=masks)
        notes = [*notes, *_notes_on_objects(images)]
        super().__init__(config, split, config.classes, records, flaws, notes=notes)


class _Annotated(NamedTuple):
    """An image, and the file or the folder of files with its objects."""

    name: str
    image: Path
    masks: Path


def _with_object_files(config: InstanceMasksConfig, setting: Split) -> tuple[list[_Annotated], list[str]]:
    """Return the images whose objects have a file each, and a note of those without a folder of masks; none where no image has such files."""
    root = existing_root(config, "the images and masks")
    part = config.train if setting == "train" else config.val
    if part.endswith(".txt"):
        return [], []
    whole = require_below(root, root, part, Path(f"data.{setting}"), config.allow_outside)
    if not whole.is_dir() and config.val_share and part == "train":
        whole, part = root, "."
    found = _in_own_folders(whole, config) if whole.is_dir() else []
    if not found:
        images, masks = folders_of(root, Layout(config.images, config.masks), part)
        found = [_Annotated(file.stem, file, masks / file.stem) for file in files_in(images, IMAGE_SUFFIXES)]
    annotated = [entry for entry in found if entry.masks.is_dir()]
    if not annotated or len(annotated) == len(found):
        return annotated, []
    bare = [str(entry.image) for entry in found if not entry.masks.is_dir()]
    return annotated, [f"{len(bare)} images have no folder of masks, such as {bare[0]}: not read"]


def _in_own_folders(whole: Path, config: InstanceMasksConfig) -> list[_Annotated]:
    """Return the images of folders that hold one each; DataError where one of several such folders has more."""
    found: list[_Annotated] = []
    crowded: list[Path] = []
    for folder in sorted(path for path in whole.iterdir() if not path.name.startswith(".")):
        images = files_in(folder / config.images, IMAGE_SUFFIXES)
        crowded += [folder / config.images] if len(images) > 1 else []
        found += [_Annotated(folder.name, image, folder / config.masks) for image in images if len(images) == 1]
    if found and crowded:
        raise DataError(
            f"{crowded[0]}: there are several images; expected one, as in {found[0].image.parent}, of which all masks beside it are"
        )
    return found


def _read(entry: _Annotated, ignored: int | None) -> tuple[tuple[int, int] | None, list[AnnotatedObject], list[Flaw]]:
    """Return the size of an image's masks, its objects, and what is wrong with others."""
    if entry.masks.is_dir():
        return _read_files(entry.masks)
    try:
        numbers = read_object_numbers(entry.masks)
    except DataError as error:
        return None, [], [_unreadable(entry.masks, error)]
    masks = encode_each(numbers).items()
    return numbers.shape, [_object(_title(number), mask, crowd=number == ignored) for number, mask in masks], []


def _read_files(folder: Path) -> tuple[tuple[int, int] | None, list[AnnotatedObject], list[Flaw]]:
    """Read a mask file for each object, as `_read` does."""
    size: tuple[int, int] | None = None
    objects: list[AnnotatedObject] = []
    flaws: list[Flaw] = []
    for file in files_in(folder, (*MASK_SUFFIXES, *LOSSY_SUFFIXES)):
        try:
            numbers = read_object_numbers(file)
        except DataError as error:
            flaws.append(_unreadable(file, error))
            continue
        size = size or numbers.shape
        masks = list(encode_each(numbers).values())
        if numbers.shape != size:
            what = f"the mask is {width_x_height(numbers.shape)}, those before it {width_x_height(size)} (width x height); expected one size"
            flaws.append(Flaw(file, what, is_bad_box=False))
        elif len(masks) > 1:
            what = f"it holds {len(masks)} values beside 0; expected 0 and one other, the pixels of one object"
            flaws.append(Flaw(file, what, is_bad_box=False))
        elif not masks:
            flaws.append(Flaw(file, "no pixel is of an object", is_bad_box=True))
        else:
            objects.append(_object(file.name, masks[0]))
    return size, objects, flaws


def _object(title: str, mask: RunLengths, *, crowd: bool = False) -> AnnotatedObject:
    x, y, width, height = bounds(mask)
    return AnnotatedObject(title, 0, (x, y, x + width, y + height), crowd=crowd, area=area(mask), mask=mask)


def _title(number: int) -> str:
    return f"object {number}"


def _unreadable(file: Path, error: DataError) -> Flaw:
    return Flaw(file, str(error).removeprefix(f"{file}: "), is_bad_box=False)


def _notes_on_objects(images: Sequence[AnnotatedImage]) -> Iterator[str]:
    """Say what may be no objects: classes of pixels, numbers that were clipped, and remains of objects."""
    counts = [len(entry.objects) for entry in images]
    if len(images) > 1 and max(counts) == 1:
        yield (
            "no mask holds more than one object: where a value stands for a class and not for one object, objects that touch are one here"
            " (data=folder reads classes)"
        )
    last = [_title(_LAST_OF_8_BITS)]
    full = [
        entry.image.name for entry in images if [item.title for item in entry.objects[_LAST_OF_8_BITS - 1 :]] == last
    ]
    if full:
        yield (
            f"objects are numbered from 1 to {_LAST_OF_8_BITS} and no further in {first_few(full)}: where a program has cut larger numbers to 8 bits,"
            f" object {_LAST_OF_8_BITS} is several"
        )
    small = [(entry.image, item) for entry in images for item in entry.objects if (item.area or 0) < _SMALLEST]
    if small:
        image, item = small[0]
        yield (
            f"{len(small)} of {sum(counts)} objects have fewer than {_SMALLEST} pixels, such as {item.title} of {image.name}: edges that a program has smoothed,"
            " or remains of editing?"
        )
