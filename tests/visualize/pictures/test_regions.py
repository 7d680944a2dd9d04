"""Bins of regions are drawn where their offsets move them."""

import torch
from matplotlib.patches import Rectangle

from dcnrun.offsets.layers import RoIs
from dcnrun.visualize.pictures.regions import draw_region, plot_regions, region_at
from dcnrun.visualize.query_points import QueryPoint
from tests.visualize.pictures.factories import PICTURE, image_axes


def rois(**settings):
    bins = torch.tensor([[[[10.0, 10.0], [10.0, 20.0]], [[20.0, 10.0], [20.0, 20.0]]]]).repeat(2, 1, 1, 1)
    boxes = torch.tensor([[5.0, 5.0, 25.0, 25.0], [5.0, 5.0, 45.0, 45.0]])
    moved = bins + torch.tensor([3.0, -1.0])
    defaults = {"bins": moved, "plain_bins": bins, "boxes": boxes, "bin_size": torch.full((2, 2), 10.0), "mask": None}
    return RoIs(name="pool", **(defaults | settings))


def test_bins_are_drawn_where_they_were_moved():
    axes = image_axes()
    draw_region(axes, rois(), 0)
    box = next(patch for patch in axes.patches if isinstance(patch, Rectangle))
    assert (*box.get_xy(), box.get_width(), box.get_height()) == (5, 5, 20, 20)
    lines, dots, bins = axes.collections
    plain = {(10, 10), (20, 10), (10, 20), (20, 20)}
    assert {tuple(place) for place in dots.get_offsets().tolist()} == plain
    middles = {tuple(path.get_extents().get_points().mean(0).round(6).tolist()) for path in bins.get_paths()}
    assert middles == {(x - 1, y + 3) for x, y in plain}
    assert len(lines.get_segments()) == 4


def test_weak_bins_are_faint():
    axes = image_axes()
    mask = torch.tensor([[[1.0, 0.5], [0.0, 2.0]], [[1.0, 1.0], [1.0, 1.0]]])
    draw_region(axes, rois(mask=mask), 0)
    one, half, zero, two = axes.collections[2].get_facecolor()[:, 3]
    assert zero < half < one == two


def test_the_region_of_a_place():
    on_object = QueryPoint(30, 30, "object", (5.5, 5.5, 45.5, 44.0))
    assert list(region_at(rois(), on_object)) == [1]
    assert list(region_at(rois(), QueryPoint(10, 10, "background"))) == [0]  # the first of both, as the best scored
    assert list(region_at(rois(), QueryPoint(30, 30, "background"))) == [1]
    assert list(region_at(rois(), QueryPoint(47, 47, "background"))) == []
    assert plot_regions("title", PICTURE, rois(), [QueryPoint(47, 47, "background")]) is None
    none = rois(boxes=torch.zeros(0, 4), bins=torch.zeros(0, 2, 2, 2), plain_bins=torch.zeros(0, 2, 2, 2))
    assert list(region_at(none, on_object)) == []
