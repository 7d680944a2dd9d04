"""Figures are drawn without a screen and written whole."""

import warnings

import numpy as np
import pytest
from PIL import Image

from dcnrun.errors import RunError
from dcnrun.plotting import new_figure, plain_text, save_png, tidy


def test_a_figure_is_written_at_its_size_and_nothing_is_left_beside(tmp_path):
    figure = new_figure((2, 1), dpi=100)
    figure.subplots().plot([0, 1], [0, 1])
    assert save_png(figure, tmp_path / "new" / "a.png") == tmp_path / "new" / "a.png"
    with Image.open(tmp_path / "new" / "a.png") as image:
        assert (image.format, image.size) == ("PNG", (200, 100))
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["a.png"]


def test_compression_changes_no_pixel(tmp_path):
    pixels = []
    for level in (1, 9):
        figure = new_figure((2, 1))
        figure.subplots().plot([0, 1], [0, 1])
        with Image.open(save_png(figure, tmp_path / f"{level}.png", level)) as image:
            pixels.append(np.asarray(image))
    assert (pixels[0] == pixels[1]).all()


def test_a_figure_that_can_t_be_written_says_why(tmp_path):
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(RunError, match="is not a folder"):
        save_png(new_figure((1, 1)), tmp_path / "file" / "a.png")


def test_texts_are_drawn_as_they_are(tmp_path):
    """A $ begins no formula, and a letter that the font lacks gives no warning."""
    figure = new_figure((2, 1))
    axes = figure.subplots()
    tidy(axes, "$x^{ \U0001f984")
    assert axes.get_title(loc="left") == plain_text("$x^{ \U0001f984") == r"\$x^{ " + "\U0001f984"
    assert not axes.spines["top"].get_visible()
    assert axes.spines["left"].get_visible()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        save_png(figure, tmp_path / "a.png")
