"""Masks whose colours are the classes: which colour stands for which value."""

import re
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

Colour = tuple[int, int, int]

GREY = 0x010101
"""What the numbers of greys, `#rrggbb`, are multiples of."""
_MOST_NAMED = 5
_COLOUR_FIRST = re.compile(r"(\d+\s+\d+\s+\d+)\s+([^:]*)")
_HEADER = re.compile(r"name\s*,\s*r\s*,\s*g\s*,\s*b", re.IGNORECASE)
_ROW = re.compile(r"([^,:]+),(\s*\d+\s*,\s*\d+\s*,\s*\d+)")


class ColourTable:
    """The value in a mask that each of some colours stands for, and with `nearest` each other colour by the nearest of them."""

    def __init__(self, values: Mapping[Colour, int], source: str, *, nearest: bool = False) -> None:
        """`source`: where the colours come from, for messages."""
        self._nearest = nearest
        self.is_grey = all(red == green == blue for red, green, blue in values)
        self._source = source
        keys = keys_of(np.array(list(values), np.uint8))
        order = np.argsort(keys)
        self._sorted_keys = keys[order]
        self._values = np.array(list(values.values()), np.uint8)[order]

    def values_of(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the values (H, W) of colours (H, W, 3); ValueError that names the colours which stand for none."""
        keys = keys_of(pixels)
        places = np.searchsorted(self._sorted_keys, keys).clip(max=len(self._sorted_keys) - 1)
        unknown = self._sorted_keys[places] != keys
        if unknown.any() and self._nearest:
            found, which = np.unique(keys[unknown], return_inverse=True)
            places[unknown] = _nearest_of(found, self._sorted_keys)[which]
        elif unknown.any():
            raise ValueError(f"{self._source} has no class with the colours {count_colours(pixels[unknown])}")
        values: NDArray[np.uint8] = self._values[places]
        return values


def _nearest_of(keys: NDArray[np.int32], known: NDArray[np.int32]) -> NDArray[np.int64]:
    """Return for each colour the index of the nearest known one, in RGB; all colours (n,) as the numbers that `#rrggbb` writes."""
    channels, others = (np.stack([each >> 16, each >> 8 & 255, each & 255], -1) for each in (keys, known))
    least, index = np.full(len(keys), np.iinfo(np.int32).max), np.zeros(len(keys), np.int64)
    for number, other in enumerate(others):
        distance = np.square(channels - other).sum(-1)
        index[distance < least] = number
        least = np.minimum(least, distance)
    return index


def parse_colour(text: str) -> Colour | None:
    """Return the colour that `r,g,b` (0 to 255 each) or `#rrggbb` says; None where it says none."""
    if match := re.fullmatch(r"#([0-9a-fA-F]{6})", text.strip()):
        red, green, blue = bytes.fromhex(match[1])
        return red, green, blue
    parts = re.split(r"\s*,\s*|\s+", text.strip())
    if len(parts) != 3 or not all(re.fullmatch(r"[0-9]{1,3}", part) and int(part) <= 255 for part in parts):
        return None
    return int(parts[0]), int(parts[1]), int(parts[2])


def as_hex(colour: Sequence[int]) -> str:
    """Write a colour as `#rrggbb`."""
    return f"#{bytes(colour).hex()}"


def parse_labelmap(lines: Sequence[str]) -> dict[str, Colour]:
    """Return the colour of each class in a labelmap.txt, a line `name:r,g,b:parts:actions` or, as CamVid has, `r g b name` each.

    A class_dict.csv, a header and a row `name,r,g,b` each, is one too.

    ValueError that names the line which is none, or a name or a colour that occurs twice.
    """
    colours: dict[str, Colour] = {}
    for line in lines:
        if line.startswith("#") or _HEADER.fullmatch(line):
            continue
        name, _, rest = line.partition(":")
        if match := _COLOUR_FIRST.fullmatch(line):
            rest, name = match.groups()
        elif match := _ROW.fullmatch(line):
            name, rest = match.groups()
        name, colour = name.strip(), parse_colour(rest.split(":")[0])
        if colour is None:
            raise ValueError(f"the line {line!r} has no colour; expected NAME:R,G,B, each 0 to 255")
        if name in colours:
            raise ValueError(f"the name {name!r} occurs twice")
        if colour in colours.values():
            other = next(known for known, taken in colours.items() if taken == colour)
            raise ValueError(f"{name!r} has the colour of {other!r}, {as_hex(colour)}")
        colours[name] = colour
    return colours


def count_colours(pixels: NDArray[np.uint8]) -> str:
    """Name the colours in pixels (..., 3), the most frequent first, with the number of pixels of each."""
    keys, counts = np.unique(keys_of(pixels), return_counts=True)
    order = np.argsort(-counts, kind="stable")[:_MOST_NAMED]
    named = ", ".join(f"#{keys[place]:06x} ({counts[place]} pixels)" for place in order)
    return named + (f" and {len(keys) - _MOST_NAMED} more" if len(keys) > _MOST_NAMED else "")


def keys_of(colours: NDArray[np.uint8]) -> NDArray[np.int32]:
    """Return colours (..., 3) as the numbers that `#rrggbb` writes."""
    red, green, blue = np.moveaxis(colours.astype(np.int32), -1, 0)
    keys: NDArray[np.int32] = red << 16 | green << 8 | blue
    return keys
