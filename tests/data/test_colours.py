"""Colours of classes: how they are written, and that a table finds each."""

import numpy as np
import pytest

from dcnrun.data.colours import ColourTable, as_hex, count_colours, parse_colour, parse_labelmap


@pytest.mark.parametrize(
    ("text", "colour"),
    [
        ("1,2,3", (1, 2, 3)),
        (" 255 , 0,7 ", (255, 0, 7)),
        ("1 2 3", (1, 2, 3)),
        ("#00fF10", (0, 255, 16)),
        ("256,0,0", None),
        ("1,2", None),
        ("#fff", None),
        ("-1,0,0", None),
        ("red", None),
    ],
)
def test_how_a_colour_is_written(text, colour):
    assert parse_colour(text) == colour
    assert colour is None or parse_colour(as_hex(colour)) == colour


def test_a_labelmap():
    lines = ["# label:color_rgb:parts:actions", "background:0,0,0::", "big cat:250,50,83:head,tail:run"]
    assert parse_labelmap(lines) == {"background": (0, 0, 0), "big cat": (250, 50, 83)}


def test_a_labelmap_of_camvid():
    assert parse_labelmap(["0 0 0\tVoid", "250 50 83 big cat"]) == {"Void": (0, 0, 0), "big cat": (250, 50, 83)}


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (["a:0,0,0", "b"], "the line 'b' has no colour; expected NAME:R,G,B"),
        (["a:0,0,0", "a:1,1,1"], "the name 'a' occurs twice"),
        (["a:0,0,0", "b:0,0,0"], "'b' has the colour of 'a', #000000"),
    ],
)
def test_a_labelmap_that_is_none(lines, said):
    with pytest.raises(ValueError, match=said):
        parse_labelmap(lines)


def test_every_colour_has_its_value():
    """Beside a table of all colours, pixel by pixel."""
    random = np.random.default_rng(0)
    colours = [tuple(map(int, colour)) for colour in np.unique(random.integers(0, 256, (50, 3)), axis=0)]
    random.shuffle(colours)
    pixels = np.array(colours, np.uint8)[random.integers(0, len(colours), (20, 30))]
    found = ColourTable({colour: 2 * place for place, colour in enumerate(colours)}, "a test").values_of(pixels)
    assert found.tolist() == [[2 * colours.index(tuple(map(int, pixel))) for pixel in row] for row in pixels]


def test_unknown_colours_are_counted():
    pixels = np.array([[(1, 2, 3), (0, 0, 0), (1, 2, 3), (255, 255, 255)]], np.uint8)
    with pytest.raises(
        ValueError, match=r"^a test has no class with the colours #010203 \(2 pixels\), #ffffff \(1 pixels\)$"
    ):
        ColourTable({(0, 0, 0): 0}, "a test").values_of(pixels)
    assert count_colours(np.arange(30, dtype=np.uint8).reshape(10, 3)).endswith(" and 5 more")
