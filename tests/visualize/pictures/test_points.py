"""Dots and crosses are where geometry says that the layers read."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from dcnrun.offsets.geometry import compose
from dcnrun.offsets.layers import Capture
from dcnrun.visualize.pictures.panels import show_image
from dcnrun.visualize.pictures.points import GROUP_COLOURS, draw_points, plot_sampling_points
from dcnrun.visualize.query_points import QueryPoint
from tests.offsets.factories import hand_made, noise
from tests.visualize.pictures.factories import GRID, PICTURE, image_axes, rendered


def drawn_dots(axes):
    """(x, y), size and colour of the dots and of the crosses."""
    crosses, dots = axes.collections[-2:]
    return dots, crosses


def test_dots_are_where_the_points_read():
    offset = torch.zeros(1, 9, 2, 6, 7)
    offset[0, 0, :, 2, 3] = torch.tensor([0.5, -1.25])
    layer = hand_made(offset, grid=GRID)
    axes = image_axes()
    draw_points(axes, compose([layer], 2, 3))
    dots, crosses = drawn_dots(axes)
    at = {(round(x, 3), round(y, 3)) for x, y in dots.get_offsets()}
    # the points of output pixel (2, 3) are rows 1 to 3 and columns 2 to 4 of the map; map pixel i lies at 3.5 + 8 i
    plain = {(3.5 + 8 * column, 3.5 + 8 * row) for row in (1, 2, 3) for column in (2, 3, 4)}
    assert at == plain - {(19.5, 11.5)} | {(19.5 - 10, 11.5 + 4)}
    assert len(crosses.get_offsets()) == 0


def test_the_dots_are_in_the_pixels_of_the_picture():
    figure = Figure(figsize=(5.6, 4.8), dpi=100)
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1))
    show_image(axes, PICTURE)
    axes.axis("off")
    draw_points(axes, compose([hand_made(kernel_size=(1, 1), padding=(0, 0), grid=GRID)], 1, 5))
    blue = np.abs(rendered(figure) - np.array([0x00, 0x72, 0xB2])).max(2) < 10
    y, x = (axis.mean() for axis in blue.nonzero())
    # ten pixels on paper are one of the image, whose first has its centre at 0
    assert (y / 10 - 0.5, x / 10 - 0.5) == (pytest.approx(3.5 + 8, abs=0.1), pytest.approx(3.5 + 40, abs=0.1))


def test_what_reads_only_padding_is_a_cross_and_never_beyond_the_margin():
    offset = torch.zeros(1, 9, 2, 6, 7)
    offset[0, 4, 0, 0, 0] = 1000.0
    axes = image_axes(margin=6.0)
    draw_points(axes, compose([hand_made(offset, grid=GRID)], 0, 0))
    dots, crosses = drawn_dots(axes)
    # in the corner five points of the plain grid are outside: to the left at x = -4.5, above at y = -4.5
    assert {tuple(place) for place in crosses.get_offsets().tolist()} == {
        (-4.5, -4.5), (3.5, -4.5), (11.5, -4.5), (-4.5, 3.5), (-4.5, 11.5), (3.5, 53.5),
    }  # fmt: skip
    assert len(dots.get_offsets()) == 3


def test_dots_are_as_strong_as_mask_times_weight_and_coloured_by_group():
    mask = torch.ones(2, 9, 6, 7)
    mask[1, :, 3, 3] = 0.25
    layer = hand_made(torch.zeros(2, 9, 2, 6, 7), offset_groups=2, mask=mask, grid=GRID)
    weight = torch.ones(2, 9)
    weight[0, 0] = 0.5
    axes = image_axes()
    draw_points(axes, compose([replace(layer, point_weight=weight)], 3, 3))
    dots, _ = drawn_dots(axes)
    strength = np.array([0.5, *[1.0] * 8, *[0.25] * 9])
    area, colour = dots.get_sizes(), dots.get_facecolor()
    np.testing.assert_allclose(colour[:, :3], [*[to_rgb(GROUP_COLOURS[0])] * 9, *[to_rgb(GROUP_COLOURS[1])] * 9])
    for drawn in (area, colour[:, 3]):
        slope, smallest = np.polyfit(strength, drawn, 1)
        np.testing.assert_allclose(drawn, slope * strength + smallest, rtol=1e-6)
        assert slope > smallest > 0


def test_lines_lead_from_the_plain_grid():
    layer = hand_made(noise(1, 9, 2, 6, 7, scale=0.3), grid=GRID)
    axes = image_axes()
    moved, plain = compose([layer], 3, 3), compose([hand_made(grid=GRID)], 3, 3)
    draw_points(axes, moved, plain)
    lines = np.array(axes.collections[0].get_segments())
    np.testing.assert_allclose(lines[:, 0, ::-1], plain.in_image())
    np.testing.assert_allclose(lines[:, 1, ::-1], moved.in_image())


def test_points_that_are_nowhere_are_not_drawn():
    offset = torch.zeros(1, 9, 2, 6, 7)
    offset[0, 0, 0, 3, 3] = math.nan
    offset[0, 1, 0, 3, 3] = math.inf
    axes = image_axes()
    draw_points(axes, compose([hand_made(offset, grid=GRID)], 3, 3))
    assert sum(len(drawn.get_offsets()) for drawn in axes.collections[-2:]) == 7


def two_layers(**settings):
    first = hand_made(noise(1, 9, 2, 6, 7), name="backbone.a", grid=GRID, **settings)
    second = replace(
        hand_made(noise(1, 9, 2, 6, 7, seed=1), name="backbone.b", grid=GRID, **settings), source="backbone.a"
    )
    return Capture((48, 56), (first, second), ())


def test_a_column_for_each_layer_and_one_for_the_chain():
    capture = two_layers()
    shown = [QueryPoint(20, 20, "here"), QueryPoint(1, 50, "there")]
    figure = plot_sampling_points("title", PICTURE, capture, ["backbone.a", "backbone.b"], shown)
    assert [axes.get_title() for axes in figure.axes] == ["a", "b", "a to b, composed", "", "", ""]
    assert [axes.get_ylabel() for axes in figure.axes] == ["here", "", "", "there", "", ""]
    counts = [sum(len(drawn.get_offsets()) for drawn in axes.collections[-2:]) for axes in figure.axes]
    assert counts == [9, 9, 81] * 2
    crosses = {tuple(line.get_xydata()[0]) for axes in figure.axes[3:] for line in axes.lines}
    assert crosses == {(3.5 + 8 * 6, 3.5)}  # pixel (0, 6) is nearest to (1, 50)


def three_layers(groups, scale=1.0, grid=GRID):
    """Offset groups, on a map of 6 x 7."""
    layers = []
    for name in "abc":
        layer = hand_made(
            noise(groups, 9, 2, 6, 7, seed=len(layers), scale=scale), name=name, offset_groups=groups, grid=grid
        )
        layers.append(replace(layer, source=layers[-1].name if layers else None))
    return Capture((48, 56), tuple(layers), ())


def test_how_many_points_of_a_chain_are_left_out_is_said():
    capture, place = three_layers(groups=2), [QueryPoint(20, 20, "here")]
    axes = plot_sampling_points("title", PICTURE, capture, ["c"], place).axes[1]
    assert axes.get_title() == "a to c, composed\nthe 1,458 strongest of 5,832 points"
    assert sum(len(drawn.get_offsets()) for drawn in axes.collections[-2:]) == 1458
    whole = plot_sampling_points("title", PICTURE, three_layers(groups=1), ["c"], place).axes[1]
    assert whole.get_title() == "a to c, composed"


def test_points_that_are_near_for_the_image_s_size_are_enlarged():
    """In all panels alike, around each query point, with all points in them."""
    capture, shown = three_layers(1, scale=0.3), [QueryPoint(20, 20, "here"), QueryPoint(1, 50, "there")]
    large = np.zeros((960, 720, 3), np.uint8)
    figure = plot_sampling_points("title", large, capture, ["a", "b", "c"], shown)
    margin = 0.12 * 960
    times = [(720 + 2 * margin) / np.ptp(axes.get_xlim()) for axes in figure.axes]
    np.testing.assert_allclose(times, times[0])
    assert f"around each query point, {times[0]:.0f} times enlarged" in figure.texts[0].get_text()
    farthest = 0.0
    for axes, (y, x) in zip(figure.axes, [(19.5, 19.5)] * 4 + [(3.5, 51.5)] * 4, strict=True):
        (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
        assert ((left + right) / 2, (bottom + top) / 2) == (pytest.approx(x), pytest.approx(y))
        assert (bottom - top) / (right - left) == pytest.approx((960 + 2 * margin) / (720 + 2 * margin))
        across, down = (axes.collections[-1].get_offsets() - [x, y]).T
        farthest = max(farthest, np.abs(across / (right - left) * 2).max(), np.abs(down / (bottom - top) * 2).max())
    assert farthest == pytest.approx(0.5)
    small = plot_sampling_points("title", PICTURE, capture, ["a", "b", "c"], shown)
    assert "enlarged" not in small.texts[0].get_text()
    assert small.axes[0].get_xlim()[1] == pytest.approx(55.5 + 0.12 * 56)
