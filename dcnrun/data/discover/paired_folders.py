"""Which folders hold images and their masks, whatever they are called: by the files in them, and by what their names share."""

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate, combinations, islice, zip_longest
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from dcnrun.data.colours import GREY
from dcnrun.data.discover.split_names import TRAIN, VAL, train_and_val
from dcnrun.data.files import IMAGE_SUFFIXES, MASK_SUFFIXES, image_layout, read_object_numbers
from dcnrun.data.layouts import ANY, Layout
from dcnrun.data.mask_names import KNOWN_SUFFIXES, best_naming, masks_beside, others_beside
from dcnrun.errors import DcnrunError

_T = TypeVar("_T")

_MOST_FOLDERS = 30
_MOST_OF_KIND = 4
"""Folders of a kind, where there are many kinds: images and masks of one patient are looked at before those of the next."""
_MOST_NAMES = 200
_MOST_READ = 3
"""Pairs of files whose pixels are looked at."""
_SHARE = 0.9
"""Of the images, those that must have a mask."""
_FEWER = 4
"""Times that an image has as many values as its mask at least, where their names don't say which is which."""
_ALIKE = 0.95
"""Share of the pixels in which masks of other images must be the same to be of the camera rather than of what it saw."""
_DEEPEST = 65535
"""The largest number that 16 bits hold."""
_MASKS = re.compile(r"mask|label|seg|semantic|truth|gt|annot|target", re.IGNORECASE)
_NO_IMAGES = re.compile(rf"{_MASKS.pattern}|instance|depth", re.IGNORECASE)
_LETTERS = "a-zA-Z0-9"
_WORD = re.compile(r"[a-z]+|[0-9]+")
_SPLIT = re.compile(
    rf"(?<![a-zA-Z])({'|'.join(sorted((*TRAIN, *VAL), key=len, reverse=True))})(?![a-zA-Z])", re.IGNORECASE
)


class FoundLayout(NamedTuple):
    """How folders of images and of their masks are called."""

    layout: Layout
    train: str
    """What is trained on, in place of SPLIT; "." where all of it is one."""
    val: str | None
    places: Sequence[str]
    """The folders of images that are read so."""
    others: Sequence[str]
    """Those with masks that are not, and other folders of masks of those that are."""


def find_layout(root: Path, listing: Mapping[str, Sequence[str]]) -> FoundLayout | None:
    """Return by which names most folders of images are found with their masks; None where there are none.

    `listing` has the names of the files in each folder, by its path below a root.
    """
    pairs = find_paired_folders(root, listing)
    best: FoundLayout | None = None
    for layout, places in _by_template(pairs).items():
        train, val = _train_and_val(list(places))
        read = [pair for split in (train, val) if split is not None for pair in places[split]]
        images, masks = {images for images, _ in read}, {masks for _, masks in read}
        others = {one if one not in images else other for one, other in pairs} - images - masks
        found = FoundLayout(layout, train or ".", val, sorted(images), sorted(others))
        if best is None or _rank(found) > _rank(best):
            best = found
    return best


def find_paired_folders(root: Path, listing: Mapping[str, Sequence[str]]) -> list[tuple[str, str]]:
    """Return the folders of images and of their masks, by their paths below a root, the likeliest first; the same folder twice where they are in one.

    Names of files must fit together as in a folder of images and masks; where masks' names have no suffix that says that they are
    masks, their pixels must have far fewer values than those of their images. Of several folders of masks those count whose paths share
    the most words with that of the images, and none of another split.
    """
    folders = _some_of_each_kind([place for place, names in listing.items() if place and len(names) > 1])
    images, masks = (
        {place: _by_stem(root / place, listing[place], suffixes) for place in folders}
        for suffixes in (IMAGE_SUFFIXES, MASK_SUFFIXES)
    )
    found: list[_Pair] = []
    for place in folders:
        if beside := masks_beside(root / place):
            others = beside | others_beside(root / place, beside)
            own = {stem: file for stem, file in images[place].items() if file not in others}
            pair = _fitting(place, own, place, {file.stem: file for file in beside})
            found += [pair] if pair else []
            if pair and pair.is_known:
                continue
            images[place] = own  # whose masks may be elsewhere, as ISIC's, beside whose images lie superpixels
        shared = {
            other: _words_shared(place, other) for other in folders if other != place and _may_belong(place, other)
        }
        for count in sorted(set(shared.values()), reverse=True):
            pairs = (_fitting(place, images[place], other, masks[other]) for other in shared if shared[other] == count)
            if fitting := [pair for pair in pairs if pair]:
                found += fitting
                break
    found = [pair for pair in found if not _is_of_others(pair, found)]
    if any(not pair.are_alike for pair in found):
        found = [pair for pair in found if not pair.are_alike]
    return [(pair.images, pair.masks) for pair in sorted(found, key=_Pair.likeliness)]


def _some_of_each_kind(places: Sequence[str]) -> list[str]:
    """Return so many folders at most as are looked at, in their order: of each first folder and each split as many as of others."""
    kinds: dict[tuple[str, ...], list[str]] = {}
    for place in places:
        kinds.setdefault((place.split("/")[0], *_SPLIT.findall(place)), []).append(place)
    sums = accumulate(min(len(kind), _MOST_OF_KIND) for kind in kinds.values())
    first = [kind for kind, total in zip(kinds.values(), sums, strict=True) if total <= _MOST_FOLDERS]
    in_turn = [place for row in zip_longest(*first) for place in row if place is not None]
    chosen = {*in_turn[:_MOST_FOLDERS]}
    return [place for place in places if place in chosen]


class _Pair(NamedTuple):
    images: str
    masks: str
    are_alike: bool
    """Whether all masks are nearly the same: of the field of view, as DRIVE and HRF have them beside those of vessels."""
    are_coloured: bool
    is_known: bool
    """Whether masks are called as such, or as their images."""

    def likeliness(self) -> tuple[bool, ...]:
        """Sort known names of masks before others, and numbers of classes before their colours, which say the same."""
        return (
            bool(_NO_IMAGES.search(self.images)),
            not self.is_known,
            not _MASKS.search(self.masks),
            self.are_coloured,
        )


def _fitting(place: str, images: Mapping[str, Path], other: str, masks: Mapping[str, Path]) -> _Pair | None:
    """Return a folder of images with one of their masks, by the names of the files in them; None where they don't fit together."""
    names = list(islice(images, _MOST_NAMES))
    if not names or not masks:
        return None
    ways, partners = best_naming(names, masks)
    if not ways or len(partners) < _SHARE * len(names):
        return None
    read = [(images[name], masks[partners[name]]) for name in _spread(list(partners))]
    tried = [(image, mask, _numbers(mask)) for image, mask in read if image_layout(image)]
    pictures = [each for each in tried if each[2] is not None or image_layout(each[1])]  # damaged files: the check says
    numbers = [values for _, _, values in pictures]
    says_mask = ways[0].new in KNOWN_SUFFIXES
    if not pictures or not (says_mask or _have_fewer_values(numbers, [image for image, _, _ in pictures])):
        return None
    is_known = says_mask or not ways[0].new
    return _Pair(place, other, _are_alike(numbers), any(map(_has_colours, numbers)), is_known)


def _is_of_others(pair: _Pair, found: Sequence[_Pair]) -> bool:
    """Whether images to test on have but the names of those that the masks are of, as where each split is numbered anew."""
    if not _is_to_validate(pair.images) or _SPLIT.search(pair.masks):
        return False
    shared = _words_shared(pair.images, pair.masks)
    return any(
        other.masks == pair.masks
        and not _is_to_validate(other.images)
        and _words_shared(other.images, other.masks) >= shared
        for other in found
    )


def _is_to_validate(place: str) -> bool:
    """Whether a folder is of a split to validate or to test on."""
    words = {word.lower() for word in _SPLIT.findall(place)}
    return bool(words) and words <= {*VAL}


def _has_colours(numbers: NDArray[Any] | None) -> bool:
    """Whether values are those of colours, not of greys."""
    if numbers is None or numbers.itemsize <= 2:
        return False
    return bool(np.any(numbers[numbers > _DEEPEST] % GREY))


def _have_fewer_values(masks: Sequence[NDArray[Any] | None], images: Sequence[Path]) -> bool:
    """Whether each mask has far fewer values than its image."""
    counts = ((mask, _numbers(image)) for mask, image in zip(masks, images, strict=True))
    return all(
        mask is not None and (image is None or _FEWER * len(np.unique(mask)) < len(np.unique(image)))
        for mask, image in counts
    )


def show_no_scene(masks: Sequence[Path]) -> bool:
    """Whether masks of several images are nearly the same, as those of a camera's field of view are."""
    return _are_alike([_numbers(mask) for mask in _spread(masks)])


def _spread(items: Sequence[_T]) -> list[_T]:
    """Return the few that are looked at, from the first to the last: frames in a row look alike."""
    places = {round(nth * (len(items) - 1) / (_MOST_READ - 1)) for nth in range(_MOST_READ)} if items else set()
    return [items[place] for place in sorted(places)]


def _are_alike(masks: Sequence[NDArray[Any] | None]) -> bool:
    """Whether what is not 0 is nearly the same in all of several masks."""
    seen = [mask for mask in masks if mask is not None]
    if len(seen) < 2 or len(seen) < len(masks) or len({mask.shape for mask in seen}) > 1:
        return False
    every, some = np.all(np.stack(seen) > 0, 0), np.any(np.stack(seen) > 0, 0)
    same = np.all(np.stack(seen) == seen[0], 0)
    return bool(same.mean() >= _ALIKE and every.sum() >= _ALIKE * some.sum() > 0)


def _by_stem(folder: Path, names: Sequence[str], suffixes: tuple[str, ...]) -> dict[str, Path]:
    """Return the files of a folder with these endings, by their names without them."""
    return {Path(name).stem: folder / name for name in names if name.lower().endswith(suffixes)}


def _numbers(file: Path) -> NDArray[Any] | None:
    """Return the values or colours of the pixels of a file; None where it can be no mask."""
    try:
        return read_object_numbers(file)
    except DcnrunError:
        return None


def _words_shared(one: str, other: str) -> int:
    return len({*_WORD.findall(one.lower())} & {*_WORD.findall(other.lower())})


def _may_belong(images: str, masks: str) -> bool:
    """Whether two folders are of one split, as far as their names say."""
    of_images, of_masks = ({word.lower() for word in _SPLIT.findall(place)} for place in (images, masks))
    return not of_images or not of_masks or of_images == of_masks


def _by_template(pairs: Sequence[tuple[str, str]]) -> dict[Layout, dict[str, list[tuple[str, str]]]]:
    """Return the folders of images and masks by each way to call them, and by what SPLIT stands for in it; "": nothing."""
    found: dict[Layout, dict[str, list[tuple[str, str]]]] = {}
    texts: dict[Layout, list[set[str]]] = {}
    for images, masks in pairs:
        for layout, split, stands_for in _templates(images, masks):
            places = found.setdefault(layout, {}).setdefault(split, [])
            if (images, masks) not in places:
                places.append((images, masks))
            for every, text in zip(texts.setdefault(layout, [set() for _ in stands_for]), stands_for, strict=True):
                every.add(text)
    return {layout: found[layout] for layout, each in texts.items() if all(len(every) > 1 for every in each)}


def _templates(images: str, masks: str) -> Iterator[tuple[Layout, str, Sequence[str]]]:
    """Yield ways to call a folder of images and that of its masks, what SPLIT stands for in them, "" where it is not there, and each `*`."""
    pair = Layout(images, masks)
    for split in ["", *dict.fromkeys(_SPLIT.findall(images))]:
        fixed = Layout(*(replaced(place, split, "SPLIT", "a-zA-Z") for place in pair)) if split else pair
        if ("SPLIT" in fixed.images) != ("SPLIT" in fixed.masks):
            continue
        yield fixed, split, ()
        words = dict.fromkeys([*fixed.images.split("/"), *re.findall("[a-zA-Z0-9]+", fixed.images)])
        free = [
            word
            for word in words
            if "SPLIT" not in word
            and not _SPLIT.search(word)  # `*` would mix splits
            and replaced(fixed.masks, word, "", _LETTERS) != fixed.masks
        ]
        for chosen in [*((word,) for word in free), *combinations(free, 2)]:
            pattern = rf"(?<![{_LETTERS}])(?:{'|'.join(map(re.escape, chosen))})(?![{_LETTERS}])"
            stand_for = [re.findall(pattern, place) for place in fixed]
            if stand_for[0] == stand_for[1]:
                yield Layout(*(re.sub(pattern, ANY, place) for place in fixed)), split, stand_for[0]


def replaced(place: str, word: str, by: str, letters: str) -> str:
    """Return a path with something else in place of a word, wherever no more letters are beside it."""
    return re.sub(rf"(?<![{letters}]){re.escape(word)}(?![{letters}])", by, place)


def _train_and_val(splits: Sequence[str]) -> tuple[str, str | None]:
    """Return what is trained and validated on of what SPLIT stands for; "" and None where it is not there."""
    train, val = train_and_val(splits)
    return (train, val) if train else (val or "", None)


def _rank(found: FoundLayout) -> tuple[bool, bool, int, int]:
    """Sort layouts: those with both splits of their own, then with one to train on, then by how many folders are read, then the simplest."""
    is_to_train = found.train.lower() in TRAIN
    stars = (found.layout.images + found.layout.masks).count(ANY)
    return found.val is not None, is_to_train, len(found.places), -stars
