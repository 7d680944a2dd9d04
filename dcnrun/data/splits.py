"""One list of images shared between training and validation, where a data set comes without a split of its own."""

import random
import re
import shlex
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Protocol, TypeVar

from dcnrun.config.overrides import as_override
from dcnrun.config.schema import FilesConfig
from dcnrun.data.sample import Rule, Split
from dcnrun.errors import UsageError


class Named(Protocol):
    """An image that has a name."""

    @property
    def name(self) -> str:
        """Return it."""


NamedT = TypeVar("NamedT", bound=Named)

SPLIT_NAMES: dict[Split, tuple[str, ...]] = {"train": ("train", "training"), "val": ("val", "valid", "validation")}
"""What a folder or list of either split may be called, the usual name first."""
_ROBOFLOW = r"(.+)\.rf\."
"""What an image's augmented copies have in common in Roboflow's exports."""
FOLDER = "folder"
"""The value of data.split_by by which images of one folder stay together."""


def named_split(split: Split, config: FilesConfig) -> Split:
    """Return the split whose setting, data.train or data.val, names the files that a split is read from."""
    return "train" if config.val_share else split


def split_rule(config: FilesConfig) -> Rule:
    """Return the rule that the setting of what stays together must keep."""
    try:
        re.compile(config.split_by or "")
    except re.error as error:
        return "split_by", False, f"{FOLDER}, or a regular expression ({error})"
    return "split_by", True, ""


def shared(
    split: Split, config: FilesConfig, images: Sequence[NamedT], contents: Sequence[Collection[int]]
) -> tuple[list[NamedT], list[str]]:
    """Return those of the images that belong to a split, as `indices_of` has it, and notes that say so."""
    names = [image.name for image in images]
    chosen = [images[index] for index in indices_of(split, config, contents, names)]
    together = f", those of one {_what(config)} together by data.split_by={config.split_by}" if config.split_by else ""
    notes = [
        f"{len(chosen)} of the {len(images)} images that data.train names, by data.val_share={config.val_share:g} and"
        f" data.split_seed={config.split_seed} (data.val is not read){together}"
    ]
    return chosen, [*notes, *(() if config.split_by else _what_may_be_alike(names))]


def _what_may_be_alike(names: Sequence[str]) -> Iterator[str]:
    """Yield notes of images that are shared one by one and may show the same."""
    folders = {_key(FOLDER, name) for name in names}
    if "." not in folders and 1 < len(folders) < len(names):
        yield (
            f"images of {len(folders)} folders are shared one by one: where those of a folder are alike, as frames of a video or slices of a patient,"
            f" data.split_by={FOLDER} leaves them together"
        )
    originals = {_key(_ROBOFLOW, name) for name in names}
    if len(originals) < len(names):
        yield (
            f"{len(names)} images have the names of copies that Roboflow made of {len(originals)}, and are shared one by one:"
            f" {shlex.quote(as_override('data.split_by', _ROBOFLOW))} leaves copies together"
        )


def indices_of(
    split: Split, config: FilesConfig, contents: Sequence[Collection[int]], names: Sequence[str]
) -> list[int]:
    """Return the indices, in order, of the images that belong to a split, by data.val_share, data.split_seed and data.split_by.

    `contents` has the classes in each image, which the two splits share as evenly as they can; where they are not known,
    they may be empty. With data.split_by the share is one of groups. UsageError if there are too few images for both splits to have one.
    """
    groups: dict[str, list[int]] = {}
    for index, name in enumerate(names):
        groups.setdefault(_key(config.split_by, name), []).append(index)
    count = len(groups)
    if count < 2:
        what = f"the images are all of one {_what(config)} by data.split_by={config.split_by}"
        alone = "there is 1 image" if names else "there are no images"
        raise UsageError(
            f"data.val_share={config.val_share:g}: {what if len(names) > 1 else alone}; "
            "expected at least one for training and one for validation"
        )
    of_group = [set().union(*(contents[index] for index in indices)) for indices in groups.values()]
    validated = _validated(of_group, min(max(round(config.val_share * count), 1), count - 1), config.split_seed)
    chosen = (indices for number, indices in enumerate(groups.values()) if (number in validated) == (split == "val"))
    return sorted(index for indices in chosen for index in indices)


def _key(by: str | None, name: str) -> str:
    """Return what the images that stay with one have in common; its name where it stays by itself."""
    if by is None:
        return name
    if by == FOLDER:
        return str(Path(name).parent)
    found = re.search(by, name)
    return name if found is None else found[min(found.re.groups, 1)] or name


def _what(config: FilesConfig) -> str:
    return FOLDER if config.split_by == FOLDER else "group"


def _validated(contents: Sequence[Collection[int]], wanted: int, seed: int) -> set[int]:
    """Draw `wanted` images so that each class has the same share of them as all images have.

    The rarest class is shared first, image by image to the side that lacks it most: there are the fewest ways to share it.

    Source: Sechidis, Tsoumakas and Vlahavas, "On the Stratification of Multi-Label Data", ECML PKDD 2011.
    """
    contents = [set(classes) for classes in contents]
    share = wanted / len(contents)
    order = list(range(len(contents)))
    random.Random(seed).shuffle(order)
    left = Counter(label for classes in contents for label in classes)
    lacking = {}  # validation, training: at least an image for each where there are two
    for label, count in left.items():
        validation = min(max(share * count, 1), count - 1)
        lacking[label] = [validation, count - validation]
    members: dict[int, list[int]] = {label: [] for label in left}
    for index in order:
        for label in contents[index]:
            members[label].append(index)
    room = [wanted, len(contents) - wanted]
    side_of: dict[int, int] = {}

    def assign(index: int, side: int) -> None:
        side_of[index] = side
        room[side] -= 1
        for label in contents[index]:
            left[label] -= 1
            lacking[label][side] -= 1

    while rest := [label for label, count in left.items() if count]:
        rarest = min(rest, key=lambda label: (left[label], label))
        for index in members[rarest]:
            if index not in side_of:
                needs = lacking[rarest]
                side = 0 if (needs[0], room[0] / wanted) > (needs[1], room[1] / (len(contents) - wanted)) else 1
                assign(index, side if room[side] else 1 - side)
    for index in order:
        if index not in side_of:
            assign(index, 0 if room[0] else 1)
    return {index for index, side in side_of.items() if side == 0}
