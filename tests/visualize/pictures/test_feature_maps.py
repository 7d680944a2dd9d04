"""Offsets and masks as maps, in one scale for all layers."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from matplotlib.colors import rgb_to_hsv
from matplotlib.figure import Figure

from dcnrun.visualize.pictures.feature_maps import (
    draw_wheel,
    flow_colours,
    full_colour,
    plot_masks,
    plot_offset_flow,
    shown_points,
)
from tests.offsets.factories import hand_made
from tests.visualize.pictures.factories import GRID, PICTURE, rendered


@pytest.mark.parametrize(("y", "x", "hue"), [(0, 1, 0.0), (-1, 0, 0.25), (0, -1, 0.5), (1, 0, 0.75)])
def test_the_hue_is_the_direction(y, x, hue):
    colours = flow_colours(np.array([[[y * 1.0, y * 0.5, y * 3.0]], [[x * 1.0, x * 0.5, x * 3.0]]]), 2.0)
    hsv = rgb_to_hsv(colours)[0]
    np.testing.assert_allclose(hsv[:, 0], hue, atol=1e-9)
    np.testing.assert_allclose(hsv[:, 1], [0.5, 0.25, 1.0])  # past the longest no stronger
    assert (hsv[:, 2] == 1).all()


def test_what_does_not_move_is_white_and_what_is_no_number_grey():
    field = np.array([[[0.0, math.nan]], [[0.0, 1.0]]])
    assert flow_colours(field, 1.0).tolist() == [[[1.0] * 3, [0.5] * 3]]
    assert full_colour([field]) == 1.0
    assert full_colour([np.full((2, 1, 1), math.nan)]) == 1.0


def test_flow_has_one_scale_in_pixels_of_the_image():
    """Layer a moves by 1 pixel of a map of step 8, layer b by 2 of them: b is drawn in full colour, a in half."""
    offsets = [torch.zeros(2, 9, 2, 6, 7) for _ in "ab"]
    offsets[0][:, :, 1], offsets[1][:, :, 1] = 1.0, 2.0
    layers = [
        hand_made(offset, name=name, offset_groups=2, grid=GRID) for name, offset in zip("ab", offsets, strict=True)
    ]
    figure = plot_offset_flow("title", PICTURE, layers)
    shown = [axes.images[0].get_array() for axes in figure.axes if axes.get_subplotspec() is None and axes.images][:12]
    for place, image in enumerate(shown):
        np.testing.assert_allclose(image, np.broadcast_to([1, 0.5, 0.5] if place < 6 else [1, 0, 0], (6, 7, 3)))
    assert "Full colour: 16 px" in figure.texts[0].get_text()
    assert "pixels of the image" in figure.texts[0].get_text()


def test_flow_is_of_deformable_layers():
    plain, own = replace(hand_made(name="plain", grid=GRID), deformable=False), hand_made(name="own", grid=GRID)
    assert plot_offset_flow("title", PICTURE, [plain]) is None
    assert plot_offset_flow("title", PICTURE, [plain, own]).axes[0].get_ylabel() == "own"


def test_the_wheel_has_the_colours_of_the_field():
    axes = Figure().add_axes((0, 0, 1, 1))
    draw_wheel(axes, 3.0)
    wheel = axes.images[0].get_array()
    middle, size = len(wheel) // 2, len(wheel)
    assert axes.images[0].get_extent() == [-1, 1, 1, -1]  # down is down
    for row, column, offset in ((middle, size - 1, (0.0, 3.0)), (0, middle, (-3.0, 0.0)), (middle, middle, (0.0, 0.0))):
        expected = flow_colours(np.array(offset).reshape(2, 1, 1), 3.0)[0, 0]
        np.testing.assert_allclose(wheel[row, column], expected, atol=1e-6)
    assert (wheel[0, 0] == 1).all()


def test_shown_points():
    assert shown_points((3, 3)) == {"point 0,0": 0, "point 0,2": 2, "point 1,1": 4, "point 2,0": 6, "point 2,2": 8}
    assert shown_points((1, 3)) == {"point 0,0": 0, "point 0,2": 2, "point 0,1": 1}
    assert shown_points((1, 1)) == {"point 0,0": 0}


def test_layers_of_other_kernels_share_a_picture():
    kernels = [((3, 3), (1, 1)), ((1, 1), (0, 0))]
    layers = [
        hand_made(kernel_size=k, padding=p, grid=GRID, name=str(k), mask=torch.ones(1, k[0] * k[1], 6, 7))
        for k, p in kernels
    ]
    for plot in (plot_offset_flow, plot_masks):
        rendered(plot("title", PICTURE, layers))


def test_masks():
    mask = torch.stack([torch.full((9, 6, 7), 0.5), torch.full((9, 6, 7), 1.5)])
    mask[:, 8] = 2.0
    layers = [hand_made(name="plain", grid=GRID), hand_made(name="own", offset_groups=2, mask=mask, grid=GRID)]
    figure = plot_masks("title", PICTURE, layers)
    maps = [axes.images[0] for axes in figure.axes[:6]]
    for image, value in zip(maps, [(8 * 1.0 + 2.0) / 9, 1.0, 1.0, 1.0, 1.0, 2.0], strict=True):
        np.testing.assert_allclose(image.get_array(), value)
        assert image.get_clim() == (0, 2)
    assert figure.axes[0].get_ylabel() == "own"
    assert "1 all, as without a mask, 2 twice that" in figure.texts[0].get_text()
    assert plot_masks("title", PICTURE, layers[:1]) is None


def test_masks_that_subtract():
    """The factors of DCNv4: a scale with nothing in its middle."""
    mask = torch.full((1, 9, 6, 7), 0.25)
    mask[:, 0] = -3.0
    figure = plot_masks("title", PICTURE, [hand_made(name="own", mask=mask, grid=GRID)])
    maps = [axes.images[0] for axes in figure.axes[:6]]
    assert {image.get_clim() for image in maps} == {(-3, 3)}
    np.testing.assert_allclose(maps[1].get_array(), -3.0)
    assert "blue is subtracted" in figure.texts[0].get_text()
