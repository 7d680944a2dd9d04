"""One list of images shared between training and validation, where a data set comes without a split of its own."""

import random
from collections import Counter
from collections.abc import Collection, Sequence
from typing import TypeVar

from dcnrun.config.schema import FilesConfig
from dcnrun.data.sample import Split
from dcnrun.errors import UsageError

ItemT = TypeVar("ItemT")

SPLIT_NAMES: dict[Split, tuple[str, ...]] = {"train": ("train", "training"), "val": ("val", "valid", "validation")}
"""What a folder or list of either split may be called, the usual name first."""


def named_split(split: Split, config: FilesConfig) -> Split:
    """Return the split whose setting, data.train or data.val, names the files that a split is read from."""
    return "train" if config.val_share else split


def shared(
    split: Split, config: FilesConfig, images: Sequence[ItemT], contents: Sequence[Collection[int]]
) -> tuple[list[ItemT], str]:
    """Return those of the images that belong to a split, as `indices_of` has it, and a note that says so."""
    chosen = [images[index] for index in indices_of(split, config, contents)]
    note = (
        f"{len(chosen)} of the {len(images)} images that data.train names, by data.val_share={config.val_share:g} and"
        f" data.split_seed={config.split_seed} (data.val is not read)"
    )
    return chosen, note


def indices_of(split: Split, config: FilesConfig, contents: Sequence[Collection[int]]) -> list[int]:
    """Return the indices, in order, of the images that belong to a split, by data.val_share and data.split_seed.

    `contents` has the classes in each image, which the two splits share as evenly as they can; where they are not known,
    they may be empty. UsageError if there are too few images for both splits to have one.
    """
    count = len(contents)
    if count < 2:
        raise UsageError(
            f"data.val_share={config.val_share:g}: there {'is 1 image' if count == 1 else 'are no images'}; "
            "expected at least one for training and one for validation"
        )
    validated = _validated(contents, min(max(round(config.val_share * count), 1), count - 1), config.split_seed)
    return [index for index in range(count) if (index in validated) == (split == "val")]


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
