"""Which file is the mask of an image: by its name, and by what names of masks have beside it or in place of a part of it."""

import os
import re
from collections.abc import Collection, Iterable, Mapping, Sequence, Set
from itertools import product, takewhile
from pathlib import Path
from typing import NamedTuple

from dcnrun.data.files import IMAGE_SUFFIXES, LOSSY_SUFFIXES, MASK_SUFFIXES, first_few
from dcnrun.errors import DataError

_WORDS = (
    *("mask", "masks", "label", "labels", "gt", "seg", "segmentation", "annotation"),
    *("labelIds", "gtFine_labelIds", "gtFine_labelids", "gt_labelIds"),
)
KNOWN_SUFFIXES = (*(f"{joint}{word}" for word in _WORDS for joint in "_-"), "_L", "_cp_masks")
"""What masks' names have after their images': of ISIC, Carvana, Potsdam, Cityscapes, IDD, ACDC, CamVid and Cellpose among others."""
IMAGE_ENDS = ("", "_leftImg8bit", "_image", "_img", "_sat", "_RGB", "_rgb", "_IRRG", "_RGBIR")
"""What images' names may have in place of that."""
_TAIL = re.compile(r"[^A-Za-z0-9].*[A-Za-z].*")
"""What may follow a name: a joint and a word, no number alone, for a numbered name is another image."""
_FEWEST = 2
"""Images that must have masks of the same unknown suffix beside them."""
_RUNS = re.compile(r"[0-9]+|[^0-9]+")


class Naming(NamedTuple):
    """How a mask's name is made of its image's, both without the ending of the file."""

    old: str
    """The part of the image's name in whose place `new` stands; may be empty."""
    new: str
    is_end: bool = True
    """Whether the part is the name's end; else it is what lies between two numbers, or before the first."""

    def of(self, name: str) -> str:
        """Return the name of the mask of an image, in the folder that the name has."""
        if self.is_end:
            return name.removesuffix(self.old) + self.new
        folder, joint, stem = name.rpartition(os.sep)
        runs = _RUNS.findall(stem)
        place = runs.index(self.old) if self.old in runs else len(runs)
        return folder + joint + "".join([*runs[:place], self.new, *runs[place + 1 :]])

    @property
    def remark(self) -> str:
        """What is to be said of it; nothing of masks that are called as their images."""
        if not self.is_end:
            return f"masks have {self.new} in place of {self.old} in their images' names"
        where = "after" if self.old in IMAGE_ENDS else f"in place of {self.old} in"
        forces = f"data.mask_suffix={self.new} forces it"
        return f"masks have {self.new} {where} their images' names ({forces})" if self.new else ""


def masks_of(
    images: Mapping[str, Path], folders: Mapping[str, Path], forced: str | None
) -> tuple[dict[str, Path], Naming]:
    """Return the mask of each image, and how they are called; a missing mask has the name that it should have.

    The names of `images` have no endings; `folders` has the folder of masks for each folder that they name; `forced` is the suffix where
    it is given. DataError where no image has a mask, or where two may be meant.
    """
    names, own = list(images), set(images.values())
    files: dict[str, list[Path]] = {}
    for place, folder in folders.items():
        for file in files_in(folder, (*MASK_SUFFIXES, *LOSSY_SUFFIXES)):
            if file not in own:
                files.setdefault(str(Path(place) / file.stem), []).append(file)
    suffixes = ("", *KNOWN_SUFFIXES) if forced is None else (forced,)
    fitting = _fitting(names, files, suffixes, is_forced=forced is not None)
    if not fitting:
        raise DataError(_no_mask(names, next(iter(folders.values())), suffixes, files))
    chosen = fitting[0]
    others = list(dict.fromkeys(naming.new for naming in fitting))
    if chosen.new and len(others) > 1:
        raise DataError(
            f"{next(iter(folders.values()))}: all images have masks with {' and with '.join(others)} after their names;"
            " expected data.mask_suffix to say which (of a file for each class, what all have, with CLASS in place of the class)"
        )
    stems = {name: chosen.of(name) for name in names}
    return {name: _chosen(files.get(stem, []), _missing(folders, stem)) for name, stem in stems.items()}, chosen


def best_naming(names: Sequence[str], masks: Collection[str]) -> tuple[list[Naming], dict[str, str]]:
    """Return how masks of most of some images are called among these, several ways where each fits all, and the mask of each image by the first."""
    fitting = _fitting(names, masks, ("", *KNOWN_SUFFIXES))
    made = {name: fitting[0].of(name) for name in names} if fitting else {}
    return fitting, {name: mask for name, mask in made.items() if mask in masks}


def _fitting(
    names: Sequence[str], masks: Collection[str], suffixes: Sequence[str], *, is_forced: bool = False
) -> list[Naming]:
    """Return the ways to call masks by which images have one: the known way that fits the most, or all that fit all; unknown ones where none is known.

    An unknown way must fit every image.
    """
    ends = [end for end in dict.fromkeys([*IMAGE_ENDS, *_common_end(names)]) if names[0].endswith(end)]
    ways = [Naming(end, suffix) for suffix, end in product(suffixes, ends)]
    counts = {way: sum(way.of(name) in masks for name in names) for way in ways}
    best = max(counts, key=lambda way: counts[way])  # the first of them
    if counts[best]:
        return [best, *(way for way in ways if counts[way] == len(names) and way != best)] if best.new else [best]
    return [] if is_forced else _unknown(names, masks, ends)


def _common_end(names: Sequence[str]) -> list[str]:
    """Return the words that all names end in, with their joint, such as `_training`; none of a single name."""
    backwards = [_stem(name)[::-1] for name in names] if len(names) > 1 else []
    same = takewhile(lambda letters: len(set(letters)) == 1, zip(*backwards, strict=False))
    match = _TAIL.search("".join(letters[0] for letters in same)[::-1])
    return [match[0]] if match else []


def _stem(name: str) -> str:
    """Return what a name has after its folders."""
    return name.rpartition(os.sep)[2]


def _unknown(names: Sequence[str], masks: Collection[str], ends: Iterable[str]) -> list[Naming]:
    """Return ways that fit all images: what follows their names, else what stands in place of a part between numbers."""
    stem = _stem(names[0])
    folder = names[0].removesuffix(stem)
    beside = [_stem(mask) for mask in masks if mask == folder + _stem(mask)]
    for end in ends:
        base = stem.removesuffix(end)
        tails = [mask.removeprefix(base) for mask in beside if mask.startswith(base)]
        ways = [Naming(end, tail) for tail in sorted(tails) if _TAIL.fullmatch(tail)]
        if found := [way for way in ways if all(way.of(name) in masks for name in names)]:
            return found
    runs = _RUNS.findall(stem)
    parts = {_difference(runs, _RUNS.findall(mask)) for mask in beside} - {None}
    ways = [Naming(*part, is_end=False) for part in sorted(filter(None, parts))]
    return [way for way in ways if all(way.of(name) in masks for name in names)]


def _difference(runs: Sequence[str], others: Sequence[str]) -> tuple[str, str] | None:
    """Return the one part in which two names differ, where that is no number."""
    differing = [pair for pair in zip(runs, others, strict=False) if pair[0] != pair[1]]
    is_one = len(runs) == len(others) and len(differing) == 1
    return differing[0] if is_one and not any(part.isdigit() for part in differing[0]) else None


def masks_beside(folder: Path, forced: str | None = None) -> set[Path]:
    """Return the files of a folder that are masks of images in it: by their suffix, or as .png of a .jpg."""
    files = files_in(folder, (*IMAGE_SUFFIXES, *MASK_SUFFIXES))
    names = {file.stem for file in files}
    photographs = {file.stem for file in files if file.suffix.lower() in LOSSY_SUFFIXES}
    suffixes = KNOWN_SUFFIXES if forced is None else (forced,)
    beside = {
        file
        for file in files
        if (file.suffix.lower() in MASK_SUFFIXES and file.stem in photographs)
        or any(
            suffix and file.stem.endswith(suffix) and file.stem.removesuffix(suffix) + end in names
            for suffix in suffixes
            for end in IMAGE_ENDS
        )
    }
    return beside or (_of_unknown_suffix(files) if forced is None else set())


def others_beside(folder: Path, masks: Collection[Path], forced: str | None = None) -> set[Path]:
    """Return the files that are neither images nor masks in a folder of both: with another word after the name of an image that has a mask."""
    files = [file for file in files_in(folder, (*IMAGE_SUFFIXES, *MASK_SUFFIXES)) if file not in masks]
    of_masks = {mask.stem for mask in masks}
    suffixes = ("", *KNOWN_SUFFIXES) if forced is None else (forced,)
    bases = {file: [file.stem.removesuffix(end) for end in IMAGE_ENDS if file.stem.endswith(end)] for file in files}
    having = {file for file in files if any(base + suffix in of_masks for base in bases[file] for suffix in suffixes)}
    known = {base for file in having for base in bases[file]}
    others = further_names({file.stem for file in files if file not in having}, known)
    return {file for file in files if file.stem in others}


def further_names(names: Set[str], having: Set[str]) -> set[str]:
    """Return the names that have another word after one of those that have a mask; not where others with this word have one: theirs is missing."""
    words = {name[len(base) :] for name in having for base in shortened(name)}
    return {
        name for name in names if any(base in having and name[len(base) :] not in words for base in shortened(name))
    }


def shortened(stem: str) -> list[str]:
    """Return what a name may have before a joint and a word, the shortest first."""
    joints = (joint.start() for joint in re.finditer("[^A-Za-z0-9]", stem))
    return [stem[:place] for place in joints if _TAIL.fullmatch(stem[place:])]


def _of_unknown_suffix(files: Sequence[Path]) -> set[Path]:
    """Return the files that have a word after another's name, where all others have the same such words: annotators', if there are several."""
    tails: dict[str, set[str]] = {}
    stems = sorted({file.stem for file in files})
    for number, stem in enumerate(stems):
        for other in stems[number + 1 :]:
            if not other.startswith(stem):
                break  # names that begin with it follow it
            if _TAIL.fullmatch(other[len(stem) :]):
                tails.setdefault(stem, set()).add(other[len(stem) :])
    made = {name + tail for name, of_name in tails.items() for tail in of_name}
    of_images = [tails.get(stem, set()) for stem in stems if stem not in made]
    if len(of_images) < _FEWEST or any(of_name != of_images[0] for of_name in of_images):
        return set()
    return {file for file in files if file.stem in made and file.suffix.lower() in MASK_SUFFIXES}


def files_in(folder: Path, suffixes: Sequence[str]) -> list[Path]:
    """Return the files of a folder with these endings, in order, but hidden ones."""
    return [file for file in sorted(folder.glob("*")) if file.suffix.lower() in suffixes and file.name[0] != "."]


def _missing(folders: Mapping[str, Path], stem: str) -> Path:
    return folders[str(Path(stem).parent)] / f"{Path(stem).name}.png"


def _chosen(files: Sequence[Path], missing: Path) -> Path:
    exact = [file for file in files if file.suffix.lower() in MASK_SUFFIXES]
    if len(exact) > 1:
        raise DataError(f"{exact[0]}: another mask has the same name, {exact[1]}; expected one of them")
    return exact[0] if exact else files[0] if files else missing


def _no_mask(names: Sequence[str], folder: Path, suffixes: Sequence[str], files: dict[str, list[Path]]) -> str:
    there = [file.name for of_name in files.values() for file in of_name]
    alike = [stem.removeprefix(names[0]) for stem in files if stem.startswith(names[0])]
    return (
        f"{folder}: none of the {len(names)} images has a mask there; expected {_stem(names[0])}{suffixes[0]}.png and the like,"
        f" or one of the endings {' '.join(MASK_SUFFIXES)}; there are {first_few(there) if there else 'no such files'}"
        + (f" (data.mask_suffix={alike[0]}?)" if alike and alike[0] not in suffixes else "")
    )
