"""Data sets of masks of objects: a file for each, in a folder of the image's own, and sequences of the Cell Tracking Challenge."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath

from dcnrun.config.overrides import as_override
from dcnrun.config.schema import InstanceMasksConfig
from dcnrun.data.discover.listing import MOST_READ, Listing, has_images
from dcnrun.data.discover.reading import Reading, in_words, not_read, where_to_look
from dcnrun.data.discover.split_names import train_and_val, with_split
from dcnrun.data.files import first_few
from dcnrun.data.layouts import Layout
from dcnrun.errors import UsageError


def find_cell_tracking(root: Path, listing: Listing) -> Iterator[Reading]:
    """Find the sequences of the Cell Tracking Challenge, whose frames have label images in SEG; those in TRA are but markers."""
    counts: dict[str, dict[str, int]] = {}
    for place in listing:
        if re.fullmatch("[0-9]{2}", place):
            masks = {kind: _count_images(listing, f"{place}_{kind}") for kind in ("ST/SEG", "GT/SEG")}
            counts |= {place: masks | {"frames": _count_images(listing, place)}} if any(masks.values()) else {}
    if not counts:
        return
    whole = [kind for kind in ("GT/SEG", "ST/SEG") if all(each[kind] == each["frames"] for each in counts.values())]
    if not whole:
        place, each = next(iter(counts.items()))
        raise UsageError(
            f"{root}: of the {each['frames']} frames in {place}, {each['GT/SEG']} have masks in {place}_GT/SEG and {each['ST/SEG']} in {place}_ST/SEG; expected"
            f" all, or lists of those that have one, a line `{place}/t000.tif {place}_GT/SEG/man_seg000.tif` each: data=instance_masks data.train=train.txt data.val=val.txt"
        )
    train, *others = counts
    overrides = ["data=instance_masks", as_override("data.root", str(root)), "model=mask_rcnn"]
    overrides += where_to_look(
        {"images": "SPLIT", "masks": f"SPLIT_{whole[0]}", "train": train}, others[0] if others else None
    )
    split = in_words(train, others[0] if others else None)
    because = f"sequences {first_few(list(counts))} with label images in {train}_{whole[0]}"
    yield Reading("Cell Tracking Challenge", because, overrides, InstanceMasksConfig().classes, split)


def _count_images(listing: Listing, place: str) -> int:
    return sum(has_images([name]) for name in listing.get(place, ()))


def find_object_files(root: Path, listing: Listing) -> Iterator[Reading]:
    """Find images whose objects have a mask file each, in a folder of the image's own."""
    default = InstanceMasksConfig()
    because = f"files of objects in {default.masks} beside an image in {default.images}"
    if wholes := _folders_of_images(listing, default.images, default.masks):
        train, val = train_and_val(wholes)
        train, layout = train or wholes[0], Layout(default.images, default.masks)
        because += not_read([whole for whole in wholes if whole not in (train, val)])
    elif masks_of := {place: masks for place in listing if (masks := _masks_of_images(listing, place, default))}:
        layout, train, val = _split_of_places(masks_of)
        because = f"files of objects in {layout.masks}, in a folder for each image in {layout.images}"
    else:
        return
    overrides = ["data=instance_masks", as_override("data.root", str(root)), "model=mask_rcnn"]
    overrides += where_to_look({"masks": layout.masks, "images": layout.images, "train": train}, val)
    yield Reading("a mask file for each object", because, overrides, default.classes, in_words(train, val))


def _folders_of_images(listing: Listing, images: str, masks: str) -> list[str]:
    """Return the folders whose sub-folders hold an image each, with several masks of it in one of them at least."""
    counts: dict[str, int] = {}
    for place, names in listing.items():
        folder = PurePosixPath(place).parent
        if (
            PurePosixPath(place).name == masks
            and str(folder) != "."
            and len(listing.get(str(folder / images), ())) == 1
        ):
            counts[str(folder.parent)] = max(counts.get(str(folder.parent), 0), len(names))
    return [whole for whole, count in counts.items() if count > 1]


def _masks_of_images(listing: Listing, place: str, default: InstanceMasksConfig) -> str | None:
    """Return the folder that has a folder for an image in a place; None where there is none."""
    parts = PurePosixPath(place).parts
    masks = "/".join(default.masks if part == default.images else part for part in parts)
    stems = [PurePosixPath(name).stem for name in listing[place] if has_images([name])]
    return masks if masks != place and any(f"{masks}/{stem}" in listing for stem in stems[:MOST_READ]) else None


def _split_of_places(masks_of: Mapping[str, str]) -> tuple[Layout, str, str | None]:
    """Return where images and masks are, and what is trained and validated on, by the folders of images and of their masks."""
    train, val = train_and_val(list(masks_of))
    train = train or next(iter(masks_of))
    parts = with_split(masks_of[train], train, masks_of[val], val) if val else None
    if parts is None:
        return Layout(train, masks_of[train]), ".", None
    masks, images, *splits = parts
    return Layout(images, masks), splits[0], splits[1]
