"""Receptive fields have one scale, and circles around their query points."""

import numpy as np
import pytest
import torch
from matplotlib.patches import Circle

from dcnrun.offsets.receptive_field import ReceptiveField
from dcnrun.visualize.pictures.receptive_fields import MeasuredField, plot_receptive_fields
from dcnrun.visualize.query_points import QueryPoint
from tests.visualize.pictures.factories import PICTURE, rendered


def field(y, x, share):
    return MeasuredField.of(ReceptiveField(share / share.sum(), (y, x)))


def test_receptive_fields_have_their_circles_and_one_scale():
    narrow, wide = torch.zeros(48, 56), torch.ones(48, 56)
    narrow[20, 20:31] = 1.0
    seen = {"one": [field(20.0, 20.0, narrow)], "two": [field(20.0, 20.0, wide)]}
    figure = plot_receptive_fields("title", PICTURE, [QueryPoint(20, 20, "here")], seen)
    circles = [[patch for patch in axes.patches if isinstance(patch, Circle)] for axes in figure.axes[:2]]
    assert [(circle.center, circle.radius) for circle in circles[0]] == [((20, 20), 5.0), ((20, 20), 9.0)]
    for circle, held in zip(circles[1], (0.5, 0.9), strict=True):
        y, x = np.mgrid[:48, :56]
        assert (np.hypot(y - 20, x - 20) <= circle.radius).mean() == pytest.approx(held, abs=0.03)
    assert figure.axes[0].texts[0].get_text() == "50 % within 5 px, 90 % within 9 px"
    # the same share in the same colour: what is even over the image is far weaker than the eleven pixels
    narrow_heat, wide_heat = (axes.images[0].get_array().astype(int) for axes in figure.axes[:2])
    assert narrow_heat[20, 25].sum() > wide_heat[20, 25].sum() + 150
    assert [axes.get_title() for axes in figure.axes[:2]] == ["one", "two"]
    marked = [label.get_text() for label in figure.axes[2].get_yticklabels()]
    assert marked == ["0", "9,091", "27,273", "54,545", "90,909"]  # a millionth of 1 / 11, and shares of it


def test_where_nothing_matters():
    nothing = ReceptiveField(torch.zeros(48, 56), (5.0, 5.0))
    figure = plot_receptive_fields("title", PICTURE, [QueryPoint(5, 5, "here")], {"one": [MeasuredField.of(nothing)]})
    assert figure.axes[0].texts[0].get_text() == "nothing in the image matters here"
    rendered(figure)
