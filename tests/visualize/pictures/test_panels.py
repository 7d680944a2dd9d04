"""Feature maps lie where their pixels are, and panels have room for their names."""

from itertools import pairwise

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from dcnrun.offsets.grid import Grid
from dcnrun.plotting import save_png
from dcnrun.visualize.pictures.panels import extent, panels, show_image, show_map
from tests.visualize.pictures.factories import rendered


def test_maps_lie_where_their_pixels_are():
    left, right, bottom, top = extent(Grid((2.0, -1.0), (4.0, 8.0)), (3, 5))
    assert (top, bottom) == (2.0 - 2.0, 2.0 + 2 * 4.0 + 2.0)
    assert (left, right) == (-1.0 - 4.0, -1.0 + 4 * 8.0 + 4.0)


def test_where_a_map_ends_before_the_image_it_is_grey():
    """White would say that nothing moves there."""
    figure = Figure(figsize=(5.6, 4.8), dpi=100)
    FigureCanvasAgg(figure)
    show_map(figure.add_axes((0, 0, 1, 1)), np.ones((6, 7, 3)), Grid((0.0, 0.0), (8.0, 8.0)), (48, 56))
    drawn = rendered(figure)
    assert (drawn[200, 300] == 255).all()
    assert (drawn[-20:-5, 300] < 240).all()  # the map ends at 44 of 48 pixels
    assert (drawn[200, -20:-5] < 240).all()


def test_names_of_rows_of_a_flat_image_are_apart():
    made = panels("title", ["medium 0,30", "at 0,60", "at 0,90"], ["one"], 1 / 120)
    for row in made.axes:
        show_image(row[0], np.zeros((1, 120, 3), np.uint8))
    rendered(made.figure)
    labels = [row[0].yaxis.label.get_window_extent() for row in made.axes]
    assert all(above.y0 > below.y1 for above, below in pairwise(labels))


def test_hostile_names_are_drawn_as_they_are(tmp_path):
    name = "$x^{<script>\n\x00é" + "a" * 100
    made = panels(name, [name], [name], 1.0)
    with Image.open(save_png(made.figure, tmp_path / "a.png")) as written:
        assert written.format == "PNG"
        assert written.size[0] > 100
