"""What the values in masks are: the classes of a table beside them, else what they may be themselves, classes, by their numbers or colours, or objects."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path, PurePosixPath
from statistics import median
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from dcnrun.config.overrides import as_override
from dcnrun.config.schema import FolderConfig
from dcnrun.data.colours import GREY, ColourTable, keys_of, parse_labelmap
from dcnrun.data.files import read_mask, read_names, read_object_numbers
from dcnrun.data.folder import IGNORED_NAMES
from dcnrun.data.sample import IGNORE, MOST_CLASSES
from dcnrun.errors import DataError, DcnrunError
from dcnrun.runs import require_regular

TABLES = ("class_dict.csv", "class_dict_seg.csv", "label_class_dict.csv")
"""Tables of classes and colours that come with many data sets on Kaggle."""
_FORMATS = ("PNG", "TIFF", "BMP", "GIF", "JPEG", "WEBP")
_SPREAD = 3
"""Values of a mask whose largest is so many times their number are shades of grey rather than numbers of classes."""
_MOST_GAPS = 0.2
"""Share of the numbers up to the largest that numbers of objects may lack, where some were deleted."""
_ALIKE = 12
"""What the channels of neighbouring pixels of one class, or of one grey, differ in at most where JPEG has changed them."""
_APART = 24
"""What two classes differ in, in one channel at least."""
_LEAST_SHARE = 0.001
"""Of all pixels of wide parts, those of a class at least."""
_SURELY_OBJECTS = 10
"""Objects in a mask from which on they are taken for objects rather than classes."""


class Guess(NamedTuple):
    """Classes with made-up names, the settings by which masks are read so, and what is to be said of that."""

    classes: list[str]
    overrides: list[str]
    remark: str = ""


def classes_of_masks(root: Path, names: Sequence[str], masks: Sequence[Path]) -> Guess:
    """Return the names in a labelmap or classes.txt, else made up for what the first masks hold."""
    default = FolderConfig().labelmap
    for file in [root / "_classes.csv", *(mask.parent / "_classes.csv" for mask in masks[:1])]:
        if file.is_file() and len(found := _classes_by_value(file)) > 1:
            return Guess(found, [])
    for name in ("labelmap.txt", "label_colors.txt", "classes.txt"):
        if name in names and len(found := _listed_classes(root / name)) > 1:
            return Guess(found, [] if name in (default, "classes.txt") else [as_override("data.labelmap", name)])
    tables = (_of_table(root, name, masks) for name in names if PurePosixPath(name).name in TABLES)
    return next(filter(None, tables), None) or guess_classes(masks)


def _of_table(root: Path, name: str, masks: Sequence[Path]) -> Guess | None:
    """Return the classes of a table of names and colours, by the order of its rows or by colour, as masks have them; None where they have neither."""
    try:
        named = parse_labelmap(read_names(root / name))
    except (DataError, ValueError):
        return None
    with suppress(DcnrunError):  # masks in colours
        if masks and max(int(read_mask(mask)[0].max()) for mask in masks) < len(named):
            return Guess(list(named), [])
    table = ColourTable({colour: number for number, colour in enumerate(named.values())}, name)
    try:
        for mask in masks:
            read_mask(mask, table)
    except DcnrunError:
        return None
    classes = [each for each in named if each.lower() not in IGNORED_NAMES]
    return Guess(classes, [as_override("data.labelmap", name)]) if masks and len(classes) > 1 else None


def _classes_by_value(file: Path) -> list[str]:
    """Return the names in Roboflow's table of values and classes, where the values are 0, 1, 2 ..."""
    try:
        rows = [line.partition(",") for line in read_names(file)[1:]]
    except DataError:
        return []
    is_row = [value.strip() for value, _, _ in rows] == [str(number) for number in range(len(rows))]
    return [name.strip() for _, _, name in rows] if is_row else []


def _listed_classes(file: Path) -> list[str]:
    """Return the names of classes in a labelmap, or in a list of names a line."""
    try:
        lines = read_names(file)
    except DataError:
        return []
    try:
        names = list(parse_labelmap(lines))
    except ValueError:  # it has no colours
        names = [line.split(":")[0].strip() for line in lines if not line.startswith("#")]
    return [name for name in names if name.lower() not in IGNORED_NAMES]


def guess_classes(masks: Sequence[Path]) -> Guess:
    """Return what some masks show to be classes; those that can't be read are left to who reads them all."""
    if changed := [mask for mask in masks if _is_lossy(mask)]:
        return _of_changed(_plain_colours(map(_pixels, changed)))
    values, colours, unread = _Seen(), _Seen(), []
    for mask in masks:
        try:
            values.add(read_mask(mask)[0])
        except DcnrunError:
            unread.append(mask)
            colours.add(keys_of(_pixels(mask)))
    if any(colour % GREY for colour in colours.every):
        for mask in set(masks) - set(unread):
            colours.add(keys_of(_pixels(mask)))
        return _of_colours(*colours.settled())
    return _of_values(*values.settled())


def hold_objects(masks: Sequence[Path]) -> tuple[bool, bool]:
    """Return whether the values in some masks may number objects, each from 1 to as many as it has, and whether that is likelier than classes."""
    largest: list[int] = []
    for mask in masks:
        with suppress(DcnrunError):  # left to who reads them all
            values = np.unique(read_object_numbers(mask))
            numbers = values[values > 0]
            largest.append(int(numbers.max(initial=0)))
            if len(numbers) < (1 - _MOST_GAPS) * largest[-1]:
                return False, False
    may_be = len(set(largest)) > 1 and max(largest) > 2
    return may_be, may_be and median(largest) >= _SURELY_OBJECTS


def _of_values(values: list[int], smoothed: str) -> Guess:
    below = [value for value in values if value != IGNORE]
    is_counted_from_1 = len(below) > 1 and below == list(range(1, len(below) + 1))
    if is_counted_from_1 and below == values:
        return Guess(_made_up(len(below) + 1)[1:], ["data.ignore_label=0"])
    if is_counted_from_1:
        return Guess(_made_up(len(below) + 1)[1:], [as_override("data.mask_values", below)])
    if smoothed or (len(below) > 1 and below[-1] >= _SPREAD * len(below)):
        return Guess(_made_up(len(values)), [as_override("data.mask_values", values)], smoothed)
    zero = "; 0 is taken for a class, the background: data.ignore_label=0 if it stands for nothing"
    return Guess(_made_up(max(below, default=0) + 1), [], zero)


def _of_colours(colours: list[int], smoothed: str) -> Guess:
    if len(colours) > MOST_CLASSES:
        return Guess(_made_up(0), [], f"; masks have {len(colours)} colours, more than there can be classes")
    texts = [f"#{colour:06x}" for colour in colours]
    return Guess(_made_up(len(colours)), [as_override("data.colours", texts)], smoothed)


def _of_changed(colours: list[int]) -> Guess:
    """Return the classes of masks whose format has changed the values of pixels, by the colours that they have in the main."""
    if len(colours) < 2:
        return Guess(
            _made_up(0), [], "; JPEG or WebP has changed the values of pixels, and which were classes doesn't show"
        )
    greys = [colour & 255 for colour in colours]
    if all(np.ptp([colour >> 16, colour >> 8 & 255, colour & 255]) <= _ALIKE for colour in colours):
        values = as_override("data.mask_values", greys)
    else:
        values = as_override("data.colours", [f"#{colour:06x}" for colour in colours])
    third = ", and edges between two classes may count as a third" if len(colours) > 2 else ""
    remark = f"; JPEG or WebP has changed the values of pixels: each counts as the nearest class{third}"
    return Guess(_made_up(len(colours)), [values, "data.nearest_class=true"], remark)


def _plain_colours(pictures: Iterable[NDArray[np.uint8]]) -> list[int]:
    """Return the colours that wide parts of pictures (H, W, 3) have, as the numbers that `#rrggbb` writes, in ascending order."""
    counts: Counter[int] = Counter()
    for pixels in pictures:
        darkest = brightest = middle = pixels[1:-1, 1:-1]
        for beside in _neighbours(pixels):
            darkest, brightest = np.minimum(darkest, beside), np.maximum(brightest, beside)
        is_wide = (brightest - darkest <= _ALIKE).all(-1)
        keys, number = np.unique(keys_of(middle[is_wide]), return_counts=True)
        counts.update(dict(zip(keys.tolist(), number.tolist(), strict=True)))
    left = np.array(counts.most_common(), np.int64).reshape(-1, 2)
    found: list[int] = []
    while len(left) and len(found) <= MOST_CLASSES:  # the most frequent, and those that are nearly the same, and so on
        shifts = np.array([0, 8, 16])
        apart = np.abs((left[:, :1] >> shifts & 255) - (left[0, 0] >> shifts & 255)).max(1)
        if left[apart <= _APART, 1].sum() >= _LEAST_SHARE * counts.total():
            found.append(int(left[0, 0]))
        left = left[apart > _APART]
    return sorted(found)


def _neighbours(pixels: NDArray[Any]) -> Iterator[NDArray[Any]]:
    """Yield the pixels (H - 2, W - 2, ...) around those that are not at the border, and these themselves."""
    height, width = pixels.shape[:2]
    for row in range(3):
        for column in range(3):
            yield pixels[row : height - 2 + row, column : width - 2 + column]


def _is_lossy(file: Path) -> bool:
    """Whether a file's format changes the values of pixels."""
    try:
        require_regular(file)
        with file.open("rb") as opened, Pillow.open(opened, formats=("JPEG", "WEBP")):
            return True
    except Exception:  # of other formats, or damaged
        return False


def _made_up(count: int) -> list[str]:
    return ["background", *(f"class{number}" for number in range(1, min(max(count, 2), MOST_CLASSES)))]


class _Seen:
    """The values in masks."""

    def __init__(self) -> None:
        self.every: set[int] = set()
        self._solid: set[int] = set()
        """Those of pixels whose eight neighbours have the same value."""

    def add(self, values: NDArray[Any]) -> None:
        """Look at a mask (H, W)."""
        middle = values[1:-1, 1:-1]
        is_solid = np.ones(middle.shape, np.bool_)
        for beside in _neighbours(values):
            is_solid &= beside == middle
        self.every.update(np.unique(values).tolist())
        self._solid.update(np.unique(middle[is_solid]).tolist())

    def settled(self) -> tuple[list[int], str]:
        """Return the values that may be classes, and a remark where the others are but what programs make of edges that they smooth."""
        edges = self.every - self._solid
        if len(self._solid) < 2 or len(edges) <= len(self._solid):
            return sorted(self.every), ""
        remark = f"; {len(edges)} more are at edges alone, where a program has smoothed them: no classes (data.nearest_class=true takes each for the nearest)"
        return sorted(self._solid), remark


def _pixels(file: Path) -> NDArray[np.uint8]:
    """Return the colours of pixels (H, W, 3); none where they can't be read."""
    try:
        require_regular(file)
        with file.open("rb") as opened, Pillow.open(opened, formats=_FORMATS) as picture:
            return np.array(picture.convert("RGB"))
    except Exception:  # damaged files make Pillow's decoders raise almost anything
        return np.zeros((0, 0, 3), np.uint8)
