"""How the parts of a data set are called, and which of several names are those of what is trained and of what is validated on."""

import re
from collections.abc import Sequence

from dcnrun.data.splits import SPLIT_NAMES

TEST_NAMES = ("test", "testing", "dev")
"""What a folder of images to test on may be called."""
_TRAINVAL_NAMES = ("trainval", "train_val")
TRAIN = (*SPLIT_NAMES["train"], *_TRAINVAL_NAMES)
VAL = (*SPLIT_NAMES["val"], *TEST_NAMES)
_PAIRS = (
    (SPLIT_NAMES["train"], SPLIT_NAMES["val"]),
    ((*_TRAINVAL_NAMES, *SPLIT_NAMES["train"]), TEST_NAMES),
    (TRAIN, ()),
    ((), VAL),
)
"""Names of what is trained on and of what is validated on, those that belong together in a row, the likeliest first."""


def split_word(text: str, words: Sequence[str]) -> str | None:
    """Return the first of the words that stands in a path as a word of its own, as it is written there, digits after it apart."""
    found = (re.search(rf"(?<![a-zA-Z]){word}(?![a-zA-Z])", text, re.IGNORECASE) for word in words)
    return next((match[0] for match in found if match), None)


def train_and_val(names: Sequence[str]) -> tuple[str | None, str | None]:
    """Return the names for training and for validation among several that a split may have."""
    ways = [*((pair, _called) for pair in _PAIRS[:2]), *((pair, _named) for pair in _PAIRS)]
    for (of_train, of_val), find in ways:
        train, val = find(names, of_train), find(names, of_val)
        if (train or not of_train) and (val or not of_val):
            return train, val
    return None, None


def _called(names: Sequence[str], words: Sequence[str]) -> str | None:
    """Return the first name that is one of the words."""
    return next((name for word in words for name in names if name.lower() == word), None)


def _named(names: Sequence[str], words: Sequence[str]) -> str | None:
    """Return the first name that is one of the words, or else has one."""
    has_word = (name for word in words for name in names if split_word(name, [word]))
    return _called(names, words) or next(has_word, None)


def with_split(train: str, train_images: str, val: str, val_images: str) -> tuple[str, str, str, str] | None:
    """Return labels and images with SPLIT in place of a split's word, and the words; None if they have no such form."""
    train_word, val_word = split_word(train, TRAIN), split_word(val, VAL)
    if train_word is None or val_word is None:
        return None
    forms = [
        (there.replace(train_word, "SPLIT"), other.replace(val_word, "SPLIT"))
        for there, other in ((train, val), (train_images, val_images))
    ]
    if train_images == val_images:
        forms[1] = train_images, val_images
    if any(form != other for form, other in forms):
        return None
    return forms[0][0], forms[1][0], train_word, val_word
