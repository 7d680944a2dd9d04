"""Folders of data as they are looked at."""

import shlex

import numpy as np

from dcnrun.config.compose import compose
from dcnrun.data.discover.folder import discover


def only(path):
    (reading,) = discover(path)
    return reading


def opened(reading, opener, split="train"):
    """The data set of a printed command line, composed as the command composes it."""
    assert shlex.split(reading.command) == ["dcnrun", "train", *reading.overrides]
    return opener(compose(reading.overrides).data, split)


def cells(count, shape=(60, 60)):
    """A label image of squares."""
    numbers = np.zeros(shape, np.uint16)
    for number in range(count):
        row, column = divmod(number, 7)
        numbers[8 * row : 8 * row + 5, 8 * column : 8 * column + 5] = number + 1
    return numbers
