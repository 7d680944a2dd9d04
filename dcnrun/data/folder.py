"""A user's own data: a folder of images, a folder of masks, a list of classes."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from dcnrun.config.schema import FolderConfig
from dcnrun.data.files import (
    IMAGE_SUFFIXES,
    FileDataset,
    LabelTable,
    Pair,
    first_few,
    read_mask,
    read_names,
    require_below,
    root_folder,
)
from dcnrun.data.sample import Rule, Split
from dcnrun.data.splits import named_split, shared
from dcnrun.errors import DataError, UsageError

_MOST_CLASSES = 255
_MOST_READ = 2000
"""Masks that are read before the first is asked for, to share their classes evenly between training and validation."""


def rules(config: FolderConfig) -> Iterator[Rule]:
    """Yield the rules that the settings of such a data set must keep beside their ranges."""
    count = len(config.classes)
    yield "root", config.root is not None, "the folder that holds the images and masks"
    yield "classes", 2 <= count <= _MOST_CLASSES, f"2 to {_MOST_CLASSES} names in the order of the mask's values"
    yield "classes", len(set(config.classes)) == count, "every name once"
    yield "ignore_label", config.ignore_label >= count, f"a value that is no class, {count} to 255"


class FolderDataset(FileDataset):
    """Images and masks of the same name; the mask's index colours or grey values are the classes.

    With sub-folders (`train: train`):            With split files (`train: train.txt`, a name a line):

        root/images/train/cat.jpg                     root/train.txt
        root/masks/train/cat.png                      root/images/cat.jpg
                                                      root/masks/cat.png
    """

    def __init__(self, config: FolderConfig, split: Split) -> None:
        """UsageError if the layout is not the one above; DataError for an image without a mask."""
        if not config.classes:
            raise UsageError("data.classes is empty; expected the class names in the order of the mask's values")
        pairs = _pairs(config, named_split(split, config))
        if config.val_share:
            pairs, note = shared(split, config, pairs, _contents(pairs))
            self.notes = [note]
        super().__init__(pairs, config.classes, LabelTable.identity(len(config.classes), config.ignore_label))


def _pairs(config: FolderConfig, split: Split) -> list[Pair]:
    root = root_folder(config, f"{config.images} and {config.masks}")
    part = config.train if split == "train" else config.val
    if part.endswith(".txt"):
        images, masks = root / config.images, root / config.masks
        _require_layout(root, f"data.{split}={part}", [root / part, images, masks])
        names = read_names(root / part)
        for name in names:
            require_below(root, images, name, root / part, config.allow_outside)
        found = _images_by_name(images, {str(Path(name).parent) for name in names})
        if absent := [name for name in names if name not in found]:
            raise DataError(
                f"{len(absent)} of {len(names)} names in {root / part} have no image: {first_few(absent)};"
                f" expected {images}/NAME with one of the endings {' '.join(IMAGE_SUFFIXES)}, one NAME a line"
            )
    else:
        images, masks = root / config.images / part, root / config.masks / part
        _require_layout(root, f"data.{split}={part}", [images, masks])
        found = _images_by_name(images, {"."})
        names = sorted(found)
    if not names:
        raise UsageError(
            f"data.{split}={part} has no images in {images}; expected files ending in {' '.join(IMAGE_SUFFIXES)}"
        )
    return [Pair(name, found[name], masks / f"{name}.png") for name in names]


def _contents(pairs: list[Pair]) -> list[set[int]]:
    """Return the values in each mask, none where they can't be read or are too many: chance then shares them evenly."""
    return [_values(pair.mask) if len(pairs) <= _MOST_READ else set() for pair in pairs]


def _values(mask: Path) -> set[int]:
    try:
        return set(np.unique(read_mask(mask)[0]).tolist())
    except DataError:  # said where the sample is asked for
        return set()


def _require_layout(root: Path, setting: str, paths: list[Path]) -> None:
    absent = [str(path) for path in paths if not path.exists()]
    if absent:
        raise UsageError(
            f"data.root={root} with {setting} lacks {', '.join(absent)}; expected either sub-folders"
            " (images/train/NAME.jpg and masks/train/NAME.png with data.train=train) or a split file"
            " (images/NAME.jpg, masks/NAME.png and NAMEs in train.txt with data.train=train.txt)"
        )


def _images_by_name(images: Path, folders: set[str]) -> dict[str, Path]:
    """Return the image files in `folders` below `images`, by their path without the ending."""
    found: dict[str, Path] = {}
    for folder in sorted(folders):
        for file in sorted((images / folder).glob("*")):
            if file.suffix.lower() in IMAGE_SUFFIXES and not file.name.startswith("."):
                name = str(file.relative_to(images).with_suffix(""))
                if name in found:
                    raise DataError(f"{file}: another image has the same name, {found[name]}; expected one of them")
                found[name] = file
    return found
