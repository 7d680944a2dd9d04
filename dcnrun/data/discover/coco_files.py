"""COCO's files, of objects and of segments, and the folders of their images."""

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import chain
from pathlib import Path

from dcnrun.config.overrides import as_override
from dcnrun.config.schema import PanopticConfig
from dcnrun.data import panoptic
from dcnrun.data.coco import classes_of
from dcnrun.data.coco_json import Outline, read_outline
from dcnrun.data.discover.listing import MOST_READ, Listing, first_files
from dcnrun.data.discover.reading import Reading, in_words, not_read, which_splits
from dcnrun.data.discover.split_names import TEST_NAMES, TRAIN, VAL, split_word, train_and_val, with_split
from dcnrun.data.files import first_few, read_bytes
from dcnrun.data.image_names import bare_names
from dcnrun.errors import DataError


def find_coco(root: Path, listing: Listing) -> Iterator[Reading]:
    """Find COCO's files of objects, and its panoptic ones of segments, and their images."""
    outlines = {file: outline for file in first_files(listing, ".json") if (outline := read_outline(root / file))}
    if of_objects := {file: outline for file, outline in outlines.items() if _has_objects(outline)}:
        yield _objects(root, listing, of_objects | _damaged(root, listing, of_objects))
    documents: dict[str, panoptic.Document] = {}
    for file in outlines.keys() - of_objects.keys():
        with suppress(DataError):  # captions, sizes of images
            documents[file] = panoptic.read_document(root / file)
    folders = ((file, _pictures(listing, file, documents[file])) for file in sorted(documents))
    if pictures := {file: folder for file, folder in folders if folder}:
        yield _segments(root, listing, documents, pictures)


def _damaged(root: Path, listing: Listing, outlines: Mapping[str, Outline]) -> dict[str, Outline]:
    """Return the files that are no JSON and the other split of one that is COCO's by their names: the check says what is wrong."""
    found = {}
    for file in first_files(listing, ".json"):
        pairs = ((file, "", other, "") for other in outlines), ((other, "", file, "") for other in outlines)
        if file not in outlines and any(with_split(*pair) for pair in chain(*pairs)):
            try:
                json.loads(read_bytes(root / file))
            except (OSError, ValueError, RecursionError):
                found[file] = Outline([], [], [])
    return found


def _objects(root: Path, listing: Listing, outlines: Mapping[str, Outline]) -> Reading:
    names = sorted(outlines, key=lambda file: ("instances" not in file, -len(outlines[file].annotations)))
    if any(outline.annotations for outline in outlines.values()):  # of images to test on, nothing is told
        names = [name for name in names if outlines[name].annotations or not split_word(name, TEST_NAMES)]
    images = {
        file: _folder_of(listing, file, [str(entry.file_name) for entry in outlines[file].images]) for file in names
    }
    train, val = _two_files(names)
    parts = with_split(train, images[train], val, images[val]) if val else None
    if parts is None and val:  # by their names alone, where they are in several folders
        parts = "SPLIT", os.path.commonpath([images[train], images[val]]) or ".", train, val
    if parts is None:
        val, parts = None, ("SPLIT", images[train], train, "")
    overrides = ["data=coco", as_override("data.root", str(root)), "model=faster_rcnn"]
    overrides += [
        as_override("data.annotations", parts[0]),
        as_override("data.images", parts[1]),
        *which_splits(*parts[2:]),
    ]
    others = [name for name in names if name not in (train, val)]
    because = f"{' and '.join(filter(None, (train, val)))} with images, annotations and categories{not_read(others)}"
    classes = classes_of(outlines[train].categories, outlines[train].annotations)
    return Reading("COCO", because, overrides, [str(entry.name) for entry in classes], in_words(train, val))


def _segments(
    root: Path, listing: Listing, documents: Mapping[str, panoptic.Document], pictures: Mapping[str, str]
) -> Reading:
    others = {place: names for place, names in listing.items() if place not in pictures.values()}
    images = {
        file: _first_folder((others, listing), file, [entry.file_name for entry in documents[file].images]) or "."
        for file in pictures
    }
    train, val = _two_files(list(pictures))
    of_images, of_pictures = (
        with_split(train, each[train], val, each[val]) if val else None for each in (images, pictures)
    )
    if of_images and of_pictures:
        annotations, folders, splits = of_images[0], (of_images[1], of_pictures[1]), of_images[2:]
    else:
        val, annotations, folders, splits = None, train, (images[train], pictures[train]), ("train", "")
    settings = {"annotations": annotations, "images": folders[0], "masks": folders[1]}
    default = PanopticConfig()
    overrides = ["data=panoptic", as_override("data.root", str(root)), "model=deeplab"]
    overrides += [as_override(f"data.{key}", text) for key, text in settings.items() if text != getattr(default, key)]
    because = f"{first_few(list(pictures))} with segments_info, and pictures of segments in {pictures[train]}"
    classes = sorted(documents[train].categories, key=lambda category: category.id)
    overrides += which_splits(*splits)
    return Reading("COCO, panoptic", because, overrides, [each.name for each in classes], in_words(train, val))


def _two_files(names: Sequence[str]) -> tuple[str, str | None]:
    """Return the file to train on, and that to validate on if there is one."""
    train, val = train_and_val(names)
    train = train or next(name for name in names if name != val or len(names) == 1)
    alike = [name for name in names if with_split(train, "", name, "")]  # of several sets or folds
    val = train_and_val([train, *alike])[1] or val
    return train, val if val != train else None


def _pictures(listing: Listing, file: str, document: panoptic.Document) -> str | None:
    """Return the folder of the pictures of segments that a panoptic file names; None where none is there."""
    called_so = {place: names for place, names in listing.items() if re.search("panoptic|mask|label|seg", place)}
    return _first_folder((called_so, listing), file, [annotation.file_name for annotation in document.annotations])


def _first_folder(listings: Sequence[Listing], file: str, files: Sequence[str]) -> str | None:
    """Return the folder that holds these files in the first of several listings that has any; None where none has."""
    names = files[:MOST_READ]
    for listing in listings:
        if any(_is_there(listing, place, name) for place in listing for name in names):
            return _folder_of(listing, file, files)
    return None


def _has_objects(outline: Outline) -> bool:
    """Whether a file may hold objects: COCO's files of captions and of image sizes have no classes, its panoptic ones no class for each."""
    has_class = any(entry.category_id is not None for entry in outline.annotations)
    return bool(outline.images and outline.categories) and (has_class or not outline.annotations)


def _folder_of(listing: Listing, file: str, files: Sequence[str]) -> str:
    """Return the folder that holds the files that one of COCO's names: with most of the first of them, at best of its split."""
    names = files[:MOST_READ]
    word = split_word(file, (*TRAIN, *VAL))
    beside = str(Path(file).parent).removeprefix(".")

    def score(place: str) -> tuple[int, int, bool, bool]:
        whole = sum(_is_there(listing, place, name) for name in names)
        alone = sum(any(bare in listing[place] for bare in bare_names(name)) for name in names)
        return whole, alone, word is not None and split_word(place, [word]) is not None, place == beside

    best = max(listing, key=score)
    if score(best)[0] < len(names):  # in folders of their own, which are looked through where those that have one's are
        homes = [place for place in listing if any(_is_there(listing, place, name) for name in names)]
        of_split = [place for place in homes if word is not None and split_word(place, [word])]
        best = os.path.commonpath(of_split or homes or [best])
    return best or "."


def _is_there(listing: Listing, place: str, name: str) -> bool:
    path = Path(place, name)
    return path.name in listing.get(str(path.parent).removeprefix("."), ())
