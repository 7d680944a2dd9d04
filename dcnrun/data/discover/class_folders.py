"""Which folders hold masks of two values, one for each class, whatever part of their paths says which."""

from collections.abc import Iterator, Sequence, Set
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np

from dcnrun.data.class_files import CLASS
from dcnrun.data.discover.listing import MOST_READ, Listing, has_images
from dcnrun.data.discover.paired_folders import replaced, show_no_scene
from dcnrun.data.files import MASK_SUFFIXES, read_mask
from dcnrun.data.layouts import ANY, Layout, places_of
from dcnrun.data.mask_names import shortened
from dcnrun.errors import DcnrunError

_MOST = 40
"""Folders beside each other, more of which are no classes."""
_FEW = 3
"""Masks that are looked at to say whether they are of a class."""


class ClassFolders(NamedTuple):
    """Folders of masks that differ in the name of a class."""

    masks: str
    """The folder, with CLASS in place of the name."""
    classes: list[str]

    @property
    def are_many(self) -> bool:
        """Whether they are too many to be different masks of the same, as of two annotators."""
        return len(self.classes) > 2


def find_class_folders(
    root: Path, listing: Listing, base: str, layout: Layout, train: str, others: Sequence[str]
) -> ClassFolders | None:
    """Return folders of masks of two values for the same images, the most that there are; None where there are none.

    They are beside the folder of masks of a layout below `base`, a folder by its path in the listing, or beside one of the others. `train` is what
    is trained on, "." or a list where there is no split of folders.
    """
    is_split = train != "." and not train.endswith(".txt")
    places = places_of(root / base, layout, train if is_split else ".")
    if layout.images == layout.masks or not places:
        return None
    images, masks = (str(folder.relative_to(root)) for folder in next(iter(places.values())))
    template = layout.masks if "SPLIT" in layout.masks or not is_split else f"{layout.masks}/SPLIT"
    there = [(str(PurePosixPath(base, template)), masks), *_templates(others, train if is_split else None)]
    names = {PurePosixPath(name).stem for name in listing.get(images, ()) if has_images([name])}
    ways = (way for place in there for way in _differing(root, listing, base, *place, names))
    return max(ways, key=lambda way: len(way.classes), default=None)


def _templates(places: Sequence[str], train: str | None) -> list[tuple[str, str]]:
    """Return the folders of what is trained on, before them with SPLIT in place of its name; all where there is no split."""
    if train is None:
        return [(place, place) for place in places]
    templates = ((replaced(place, train, "SPLIT", "a-zA-Z"), place) for place in places)
    return [(template, place) for template, place in templates if template != place]


def _differing(
    root: Path, listing: Listing, base: str, template: str, masks: str, images: Set[str]
) -> Iterator[ClassFolders]:
    """Yield folders of masks for some images that differ from one of them in a part of its path, whose template is not of a split there."""
    called, parts = PurePosixPath(template).parts, PurePosixPath(masks).parts
    for index in range(len(PurePosixPath(base).parts), len(parts)):
        if "SPLIT" in called[index] or ANY in called[index]:
            continue
        beside = {PurePosixPath(place).parts[index] for place in listing if len(PurePosixPath(place).parts) > index}
        places = {name: str(PurePosixPath(*parts[:index], name, *parts[index + 1 :])) for name in sorted(beside)}
        there = {name: place for name, place in places.items() if place in listing}
        if len(there) > _MOST:  # patients, scenes
            continue
        classes = [name for name, place in there.items() if _is_of_a_class(root, place, listing, images)]
        if len(classes) > 1 and parts[index] in classes:
            of_classes = PurePosixPath(*called[:index], CLASS, *called[index + 1 :]).relative_to(base)
            yield ClassFolders(str(of_classes), classes)


def _is_of_a_class(root: Path, place: str, listing: Listing, images: Set[str]) -> bool:
    """Whether a folder has masks of two values for some of the images, called as these or with a word after."""
    files = [root / place / name for name in listing[place] if name.lower().endswith(MASK_SUFFIXES)][:MOST_READ]
    of_images = [file for file in files if file.stem in images or any(name in images for name in shortened(file.stem))]
    if not files or 2 * len(of_images) <= len(files):
        return False
    try:
        return all(len(np.unique(read_mask(file)[0])) <= 2 for file in of_images[:_FEW]) and not show_no_scene(
            of_images
        )
    except DcnrunError:
        return False
