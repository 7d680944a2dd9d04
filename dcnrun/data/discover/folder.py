"""What a folder of data is: its format, classes and split, found by looking at it, and the settings to train on it.

File names decide first, then the little of the files that says more. No folder is entered twice (links may lead in
circles), and of large folders only the first entries are looked at.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

from dcnrun.data.discover.annotation_files import find_labelme, find_supervisely, find_yolo
from dcnrun.data.discover.coco_files import find_coco
from dcnrun.data.discover.listing import Listing, has_images, list_files
from dcnrun.data.discover.mask_folders import (
    find_cityscapes,
    find_folders_of_any_names,
    find_masks,
    find_voc2012,
)
from dcnrun.data.discover.object_folders import find_cell_tracking
from dcnrun.data.discover.reading import Reading
from dcnrun.data.discover.unread import why_not_read
from dcnrun.data.discover.voc_files import find_voc
from dcnrun.data.files import first_few
from dcnrun.errors import UsageError

_LOOKS: tuple[Callable[[Path, Listing], Iterator[Reading]], ...] = (
    find_cityscapes,
    find_voc2012,
    find_cell_tracking,
    find_coco,
    find_yolo,
    find_labelme,
    find_supervisely,
    find_voc,
    find_masks,
)


def discover(path: Path) -> list[Reading]:
    """Return the ways to read a folder, or one annotation file of it, the likeliest first; UsageError if there is none."""
    if not path.exists():
        raise UsageError(f"{path}: there is no such folder or file.")
    folders = [path] if path.is_dir() else list(path.absolute().parents)[:2]
    for folder in folders:
        listing = list_files(folder)
        if not any(map(has_images, listing.values())) and folder != folders[-1]:
            continue  # an annotation file in a folder of its own: the images are beside that
        for looks in (_LOOKS, [find_folders_of_any_names]):
            if readings := [reading for look in looks for reading in look(folder, listing)]:
                return readings
    listing = list_files(folders[0])
    counts = [f"{len(names)} in {place or '.'}" for place, names in listing.items() if names]
    if why := why_not_read(folders[0], listing):
        raise UsageError(f"{path}: {why}")
    raise UsageError(
        f"{path}: no data set was recognised; looked for COCO (.json), YOLO (data.yaml, labels/*.txt), Pascal VOC (.xml),"
        " labelme (.json), Supervisely (meta.json), images with masks of classes or of objects, VOC2012 and Cityscapes; settings name other folders (data=folder data.images=... data.masks=...);"
        f" there are files: {first_few(counts) if counts else 'none'}"
    )
