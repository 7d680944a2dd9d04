"""Which two folders hold images and their masks, whatever they are called: by the files in them."""

import re
from collections.abc import Mapping, Sequence
from itertools import islice, permutations
from pathlib import Path

import numpy as np

from dcnrun.data.files import IMAGE_SUFFIXES, MASK_SUFFIXES, image_layout, read_object_numbers
from dcnrun.data.mask_names import best_ending
from dcnrun.errors import DcnrunError

_MOST_FOLDERS = 30
_MOST_NAMES = 200
_MOST_READ = 3
"""Pairs of files whose pixels are looked at."""
_SHARE = 0.9
"""Of the images, those that must have a mask."""
_FEWER = 4
"""Times that an image has as many values as its mask at least, where their names don't say which is which."""
_MASKS = re.compile(r"mask|label|seg|semantic|truth|gt|annot|target", re.IGNORECASE)
_NO_IMAGES = re.compile(rf"{_MASKS.pattern}|instance|depth", re.IGNORECASE)


def find_paired_folders(root: Path, listing: Mapping[str, Sequence[str]]) -> list[tuple[str, str]]:
    """Return the folders of images and of their masks, by their paths below a root, the likeliest first.

    `listing` has the names of the files in each folder. Names of files must fit together as in a folder of images and masks; where
    masks' names have no suffix that says that they are masks, their pixels must have far fewer values than those of their images.
    """
    folders = [place for place, names in listing.items() if place and len(names) > 1][:_MOST_FOLDERS]
    images, masks = (
        {place: _by_stem(root / place, listing[place], suffixes) for place in folders}
        for suffixes in (IMAGE_SUFFIXES, MASK_SUFFIXES)
    )
    found = [(one, other) for one, other in permutations(folders, 2) if _fit(images[one], masks[other])]
    return sorted(found, key=lambda pair: (bool(_NO_IMAGES.search(pair[0])), not _MASKS.search(pair[1])))


def _fit(images: Mapping[str, Path], masks: Mapping[str, Path]) -> bool:
    names = list(islice(images, _MOST_NAMES))
    if not names or not masks:
        return False
    ending, partners = best_ending(names, masks)
    if len(partners) < _SHARE * len(names):
        return False
    read = [(images[name], masks[stem]) for name, stem in islice(partners.items(), _MOST_READ)]
    if any(image_layout(file) is None for pair in read for file in pair):
        return False
    return bool(ending) or all(_FEWER * _values(mask) < _values(image) for image, mask in read)


def _by_stem(folder: Path, names: Sequence[str], suffixes: tuple[str, ...]) -> dict[str, Path]:
    """Return the files of a folder with these endings, by their names without them."""
    return {Path(name).stem: folder / name for name in names if name.lower().endswith(suffixes)}


def _values(file: Path) -> float:
    """Return how many values or colours the pixels of a file have; infinity where it can be no mask."""
    try:
        return len(np.unique(read_object_numbers(file)))
    except DcnrunError:
        return np.inf
