"""A user's own data: a folder of images, a folder of masks, a list of classes; and what the values in the masks stand for."""

import random
import warnings
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dcnrun.config.schema import FolderConfig
from dcnrun.data import class_files
from dcnrun.data.class_files import ClassFilesDataset, has_class_files
from dcnrun.data.colours import Colour, ColourTable, as_hex, parse_colour, parse_labelmap
from dcnrun.data.files import (
    FileDataset,
    LabelTable,
    Pair,
    first_few,
    read_mask,
    read_names,
    root_folder,
)
from dcnrun.data.layouts import pair_rules, pairs_of
from dcnrun.data.mask_batches import SegmentationDataset
from dcnrun.data.sample import IGNORE, MOST_CLASSES, Rule, Split
from dcnrun.data.splits import named_split, shared
from dcnrun.errors import DataError, UsageError

_MOST_SHARED = 2000
"""Masks that are read to share their classes evenly between training and validation; more are shared by chance."""
_MOST_SEARCHED = 5000
"""Masks that are searched for a class, in a random order: a minute of very large ones."""
_MOST_LOOKED_AT = 400
"""Masks that are looked at to say what 255 stands for; one that shows otherwise is refused when it is read."""
_MOST_LISTED = 20
IGNORED_NAMES = ("ignore", "ignored", "void", "border")
"""Names in a labelmap that stand for no class."""


def rules(config: FolderConfig) -> Iterator[Rule]:
    """Yield the rules that the settings of such a data set must keep beside their ranges."""
    count = len(config.classes)
    yield "root", config.root is not None, "the folder that holds the images and masks"
    yield "classes", 2 <= count <= MOST_CLASSES, f"2 to {MOST_CLASSES} names in the order of the mask's values"
    yield "classes", len(set(config.classes)) == count, "every name once"
    values = config.mask_values
    yield "mask_values", not values or len(values) == len(set(values)) == count, f"[], or {count} values, each once"
    is_free = config.ignore_label is None or config.ignore_label not in _values_of_classes(config)
    yield "ignore_label", is_free, "null, or a value that is no class; with 0, classes are numbered from 1"
    yield from pair_rules(config)
    yield from class_files.rules(config)
    colours = [parse_colour(text) for text in config.colours]
    are_distinct = None not in colours and len(set(colours)) == len(colours)
    expected = f"[], or #rrggbb or r,g,b for each of the {count} classes, each once"
    yield "colours", not colours or (are_distinct and len(colours) >= count), expected


def open_folder(config: FolderConfig, split: Split) -> SegmentationDataset:
    """Open images with a mask each, or with a file for each class."""
    return ClassFilesDataset(config, split) if has_class_files(config) else FolderDataset(config, split)


class FolderDataset(FileDataset):
    """Images and masks of the same name; the mask's index colours, grey values or colours are the classes.

    With sub-folders (`train: train`):            With split files (`train: train.txt`, a name a line):

        root/images/train/cat.jpg                     root/train.txt
        root/masks/train/cat.png                      root/images/cat.jpg
                                                      root/masks/cat.png

    Where they are not there, other common layouts are looked for, and other names of masks: layouts.py, mask_names.py.
    """

    def __init__(self, config: FolderConfig, split: Split) -> None:
        """UsageError if the layout is not the one above; DataError for an image without a mask."""
        if not config.classes:
            raise UsageError("data.classes is empty; expected the class names in the order of the mask's values")
        pairs, found = pairs_of(config, named_split(split, config))
        meant = _meaning(config, split, pairs)
        self.notes = [*found, *meant.notes]
        if config.nearest_class:
            self.notes.append(
                "values and colours of masks that are no class count as the nearest class (data.nearest_class=true)"
            )
        table = LabelTable.of(meant.values, meant.ignored)
        nearest = table.nearest() if config.nearest_class else None
        if config.val_share:
            pairs, said = shared(split, config, pairs, _contents(pairs, meant.colours, nearest))
            self.notes = [*said, *self.notes]
        self.settled = meant.settled
        self._values = meant.values
        expected = (
            f"{table.expected}; data.mask_values has other values of classes, data.ignore_label=0 counts them from 1"
        )
        super().__init__(pairs, config.classes, LabelTable(table.meaning, expected), meant.colours, nearest)

    def require_every_class(self) -> None:
        """Raise DataError if no mask has a pixel of some class, or one has a value of none: masks are read until all were seen."""
        wanted, seen = set(self._values), set[int]()
        masks = _in_random_order([pair.mask for pair in self._pairs])
        for mask in masks:
            seen |= _values_in(mask, self._colours, self._nearest)
            if wanted <= seen:
                break
        foreign = [value for value in sorted(seen) if not self._labels.stands_for(value)]
        absent = [repr(name) for name, value in zip(self.classes, self._values, strict=True) if value not in seen]
        if foreign or (absent and len(masks) == len(self._pairs)):
            wrong = f"no pixel of {first_few(absent)}" if absent else f"values of no class: {_listed(foreign)}"
            raise DataError(
                f"{wrong} in the training masks, which hold the values {_listed(sorted(seen))};"
                f" expected {self._labels.expected}{self._suggestion(sorted(seen))}"
            )

    def _suggestion(self, seen: list[int]) -> str:
        """Say how else the values can be read."""
        count = len(self.classes)
        if seen == list(range(count + 1)):
            return (
                f". There are {count} names in data.classes and {count + 1} values: either 0 stands for nothing"
                " (data.ignore_label=0), or data.classes lacks the name of a class, such as background, its first"
            )
        if len(seen) == count:
            return f". If they are the classes in their order: data.mask_values=[{','.join(map(str, seen))}]"
        return ""


@dataclass(frozen=True)
class _Meaning:
    """What the values in masks stand for."""

    values: list[int]
    """The value of each class."""
    ignored: int | None
    colours: ColourTable | None = None
    settled: dict[str, Any] = field(default_factory=dict)
    """Settings that the config leaves to the files, as these have them."""
    notes: list[str] = field(default_factory=list)


def _meaning(config: FolderConfig, split: Split, pairs: list[Pair]) -> _Meaning:
    """Return what the values in masks stand for, by the settings, and by the masks to train on where these leave it open."""
    values, ignored = _values_of_classes(config), config.ignore_label
    if ignored is None and IGNORE not in values:
        ignored = IGNORE
    settled = {} if ignored == config.ignore_label else {"ignore_label": ignored}
    colours, source, notes = _colours(config)
    if colours:
        beyond = [] if ignored is None else [ignored] * len(colours)
        table = ColourTable(dict(zip(colours, [*values, *beyond], strict=False)), source, nearest=config.nearest_class)
        return _Meaning(values, ignored, table, settled | {"colours": [as_hex(colour) for colour in colours]}, notes)
    if config.nearest_class and not config.mask_values:
        raise UsageError(
            "data.nearest_class=true takes values for the nearest class's, and doesn't know which values classes have;"
            " expected data.mask_values, such as [0,255], or data.colours or a labelmap"
        )
    is_open = len(values) == 2 and config.ignore_label is None and not config.mask_values
    if is_open and (white := _white_masks(_training_pairs(config, split, pairs))):
        notes.append(
            f"255 in {white} of the masks looked at, and no value but 0 beside it: it is {config.classes[1]!r}"
            " (data.mask_values=[0,255] or data.ignore_label=255 forces either)"
        )
        return _Meaning([0, IGNORE], None, None, {"mask_values": [0, IGNORE]}, notes)
    if split == "val" and len(values) == 2 and ignored == IGNORE and (white := _white_masks(pairs)):
        remedy = (
            "make the values of both splits alike"
            if config.ignore_label is None
            else "data.ignore_label=null takes it for that"
        )
        warnings.warn(
            f"255 in {white} of the masks of data.{split} looked at, and no value but 0 beside it: ignored, as in training, so that no"
            f" pixel is {config.classes[1]!r} ({remedy})",
            stacklevel=3,
        )
    return _Meaning(values, ignored, None, settled, notes)


def _values_of_classes(config: FolderConfig) -> list[int]:
    """Return the values of the classes as the settings have them."""
    first = 1 if config.ignore_label == 0 else 0
    return config.mask_values or list(range(first, first + len(config.classes)))


def _training_pairs(config: FolderConfig, split: Split, pairs: list[Pair]) -> list[Pair]:
    """Return the pairs that are trained on, or those of the split where no others are here."""
    if named_split(split, config) == "train":
        return pairs
    try:
        return pairs_of(config, "train")[0]
    except (DataError, UsageError):
        return pairs


def _white_masks(pairs: Sequence[Pair]) -> int:
    """Return how many masks hold 255 if there are 0 and 255 and no other value in them, else 0."""
    white, seen = 0, set[int]()
    for mask in _in_random_order([pair.mask for pair in pairs])[:_MOST_LOOKED_AT]:
        try:
            values = _values_in(mask, None)
        except DataError:  # said where the sample is asked for
            continue
        seen |= values
        white += IGNORE in values
        if seen - {0, IGNORE}:
            return 0
    return white if 0 in seen else 0


def _colours(config: FolderConfig) -> tuple[list[Colour], str, list[str]]:
    """Return the colours of the classes and then those that are ignored, where they are from, and notes; none without a labelmap."""
    file = root_folder(config, "the images and masks") / (config.labelmap or "")
    if config.colours:
        colours = [colour for text in config.colours if (colour := parse_colour(text))]
        with suppress(DataError, ValueError):  # of a file that counts for nothing
            _warn_of_others(config.classes, colours, file)
        return colours, "data.colours", []
    if not config.labelmap or not file.is_file():
        return [], "", []
    try:
        named = parse_labelmap(read_names(file))
    except ValueError as error:
        return [], "", [f"{file} is not used: {error}"]
    if absent := [repr(name) for name in config.classes if name not in named]:
        return [], "", [f"{file} is not used: it has no colour for {first_few(absent)} of data.classes"]
    ignored = [name for name in named if name.lower() in IGNORED_NAMES and name not in config.classes]
    note = f"colours in masks are those of {file}; grey values are classes (data.colours has others, data.labelmap=null none)"
    return [named[name] for name in (*config.classes, *ignored)], str(file), [note]


def _warn_of_others(classes: Sequence[str], colours: Sequence[Colour], labelmap: Path) -> None:
    """Warn where a labelmap has other colours for the classes, as beside other data than those that a run has kept its colours of."""
    named = parse_labelmap(read_names(labelmap))
    if others := [
        repr(name) for name, colour in zip(classes, colours, strict=False) if named.get(name, colour) != colour
    ]:
        warnings.warn(
            f"{labelmap} has other colours than data.colours for {first_few(others)}: those of data.colours count"
            " (data.colours=[] takes the file's)",
            stacklevel=5,
        )


def _contents(pairs: Sequence[Pair], colours: ColourTable | None, nearest: NDArray[np.uint8] | None) -> list[set[int]]:
    """Return the values in each mask, none where they can't be read or are too many: chance then shares them evenly."""
    contents: list[set[int]] = []
    for pair in pairs:
        try:
            contents.append(_values_in(pair.mask, colours, nearest) if len(pairs) <= _MOST_SHARED else set())
        except DataError:  # said where the sample is asked for
            contents.append(set())
    return contents


def _in_random_order(masks: list[Path]) -> list[Path]:
    """Return the masks that are to be searched: in a row they may be much alike."""
    return random.Random(0).sample(masks, min(len(masks), _MOST_SEARCHED))


def _values_in(mask: Path, colours: ColourTable | None, nearest: NDArray[np.uint8] | None = None) -> set[int]:
    found = np.zeros(256, np.bool_)
    found[read_mask(mask, colours, nearest)[0]] = True  # many times faster than np.unique
    return set(np.flatnonzero(found).tolist())


def _listed(values: Sequence[int]) -> str:
    return first_few([str(value) for value in values], _MOST_LISTED)
