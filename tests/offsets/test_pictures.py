"""What the pictures hold: dots, maps, circles and bins at the places that geometry says."""

import io
import math
from dataclasses import replace
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import rgb_to_hsv, to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Circle, Rectangle
from PIL import Image

from dcnrun.errors import UsageError
from dcnrun.offsets.geometry import compose
from dcnrun.offsets.grid import Grid
from dcnrun.offsets.layers import Capture, RoIs
from dcnrun.offsets.objects import Objects
from dcnrun.offsets.options import parse_place
from dcnrun.offsets.pictures import fields, flow, masks, points, regions, sizes
from dcnrun.offsets.pictures.panels import COLOURS, chosen_taps, extent, panels, save, show_image, show_map
from dcnrun.offsets.places import Place, places
from dcnrun.offsets.receptive_field import ReceptiveField
from tests.offsets.hand_made import hand_made, noise

GRID = Grid((3.5, 3.5), (8.0, 8.0))
PICTURE = np.full((48, 56, 3), 128, np.uint8)  # of a 6 x 7 map on GRID


def image_axes(margin=6.0):
    axes = Figure().add_axes((0, 0, 1, 1))
    show_image(axes, PICTURE, margin)
    return axes


def drawn_dots(axes):
    """(x, y), size and colour of the dots and of the crosses."""
    crosses, dots = axes.collections[-2:]
    return dots, crosses


def rendered(figure):
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return np.asarray(Image.open(file).convert("RGB")).astype(int)


# Sampling points.


def test_dots_are_where_the_taps_read():
    offset = torch.zeros(1, 9, 2, 6, 7)
    offset[0, 0, :, 2, 3] = torch.tensor([0.5, -1.25])
    layer = hand_made(offset, grid=GRID)
    axes = image_axes()
    points.draw_points(axes, compose([layer], 2, 3))
    dots, crosses = drawn_dots(axes)
    at = {(round(x, 3), round(y, 3)) for x, y in dots.get_offsets()}
    # the taps of output pixel (2, 3) are rows 1 to 3 and columns 2 to 4 of the map; map pixel i lies at 3.5 + 8 i
    plain = {(3.5 + 8 * column, 3.5 + 8 * row) for row in (1, 2, 3) for column in (2, 3, 4)}
    assert at == plain - {(19.5, 11.5)} | {(19.5 - 10, 11.5 + 4)}
    assert len(crosses.get_offsets()) == 0


def test_the_dots_are_in_the_pixels_of_the_picture():
    figure = Figure(figsize=(5.6, 4.8), dpi=100)
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1))
    show_image(axes, PICTURE)
    axes.axis("off")
    points.draw_points(axes, compose([hand_made(kernel_size=(1, 1), padding=(0, 0), grid=GRID)], 1, 5))
    blue = np.abs(rendered(figure) - np.array([0x00, 0x72, 0xB2])).max(2) < 10
    y, x = (axis.mean() for axis in blue.nonzero())
    # ten pixels on paper are one of the image, whose first has its centre at 0
    assert (y / 10 - 0.5, x / 10 - 0.5) == (pytest.approx(3.5 + 8, abs=0.1), pytest.approx(3.5 + 40, abs=0.1))


def test_what_reads_only_padding_is_a_cross_and_never_beyond_the_margin():
    offset = torch.zeros(1, 9, 2, 6, 7)
    offset[0, 4, 0, 0, 0] = 1000.0
    axes = image_axes(margin=6.0)
    points.draw_points(axes, compose([hand_made(offset, grid=GRID)], 0, 0))
    dots, crosses = drawn_dots(axes)
    # in the corner five taps of the plain grid are outside: to the left at x = -4.5, above at y = -4.5
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
    points.draw_points(axes, compose([replace(layer, tap_weight=weight)], 3, 3))
    dots, _ = drawn_dots(axes)
    strength = np.array([0.5, *[1.0] * 8, *[0.25] * 9])
    area, colour = dots.get_sizes(), dots.get_facecolor()
    np.testing.assert_allclose(colour[:, :3], [*[to_rgb(COLOURS[0])] * 9, *[to_rgb(COLOURS[1])] * 9])
    for drawn in (area, colour[:, 3]):
        slope, smallest = np.polyfit(strength, drawn, 1)
        np.testing.assert_allclose(drawn, slope * strength + smallest, rtol=1e-6)
        assert slope > smallest > 0


def test_lines_lead_from_the_plain_grid():
    layer = hand_made(noise(1, 9, 2, 6, 7, scale=0.3), grid=GRID)
    axes = image_axes()
    moved, plain = compose([layer], 3, 3), compose([hand_made(grid=GRID)], 3, 3)
    points.draw_points(axes, moved, plain)
    lines = np.array(axes.collections[0].get_segments())
    np.testing.assert_allclose(lines[:, 0, ::-1], plain.in_image())
    np.testing.assert_allclose(lines[:, 1, ::-1], moved.in_image())


def test_points_that_are_nowhere_are_not_drawn():
    offset = torch.zeros(1, 9, 2, 6, 7)
    offset[0, 0, 0, 3, 3] = math.nan
    offset[0, 1, 0, 3, 3] = math.inf
    axes = image_axes()
    points.draw_points(axes, compose([hand_made(offset, grid=GRID)], 3, 3))
    assert sum(len(drawn.get_offsets()) for drawn in axes.collections[-2:]) == 7


def two_layers(**settings):
    first = hand_made(noise(1, 9, 2, 6, 7), name="backbone.a", grid=GRID, **settings)
    second = replace(
        hand_made(noise(1, 9, 2, 6, 7, seed=1), name="backbone.b", grid=GRID, **settings), source="backbone.a"
    )
    return Capture((48, 56), (first, second), ())


def test_a_column_for_each_layer_and_one_for_the_chain():
    capture = two_layers()
    shown = [Place(20, 20, "here"), Place(1, 50, "there")]
    figure = points.figure_of("title", PICTURE, capture, ["backbone.a", "backbone.b"], shown)
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
    capture, place = three_layers(groups=2), [Place(20, 20, "here")]
    axes = points.figure_of("title", PICTURE, capture, ["c"], place).axes[1]
    assert axes.get_title() == "a to c, composed\nthe 1,458 strongest of 5,832 points"
    assert sum(len(drawn.get_offsets()) for drawn in axes.collections[-2:]) == 1458
    whole = points.figure_of("title", PICTURE, three_layers(groups=1), ["c"], place).axes[1]
    assert whole.get_title() == "a to c, composed"


def test_points_that_are_near_for_the_image_s_size_are_enlarged():
    """In all panels alike, around each place, with all points in them."""
    capture, shown = three_layers(1, scale=0.3), [Place(20, 20, "here"), Place(1, 50, "there")]
    large = np.zeros((960, 720, 3), np.uint8)
    figure = points.figure_of("title", large, capture, ["a", "b", "c"], shown)
    margin = 0.12 * 960
    times = [(720 + 2 * margin) / np.ptp(axes.get_xlim()) for axes in figure.axes]
    np.testing.assert_allclose(times, times[0])
    assert f"around each place, {times[0]:.0f} times enlarged" in figure.texts[0].get_text()
    farthest = 0.0
    for axes, (y, x) in zip(figure.axes, [(19.5, 19.5)] * 4 + [(3.5, 51.5)] * 4, strict=True):
        (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
        assert ((left + right) / 2, (bottom + top) / 2) == (pytest.approx(x), pytest.approx(y))
        assert (bottom - top) / (right - left) == pytest.approx((960 + 2 * margin) / (720 + 2 * margin))
        across, down = (axes.collections[-1].get_offsets() - [x, y]).T
        farthest = max(farthest, np.abs(across / (right - left) * 2).max(), np.abs(down / (bottom - top) * 2).max())
    assert farthest == pytest.approx(0.5)
    small = points.figure_of("title", PICTURE, capture, ["a", "b", "c"], shown)
    assert "enlarged" not in small.texts[0].get_text()
    assert small.axes[0].get_xlim()[1] == pytest.approx(55.5 + 0.12 * 56)


def test_the_pixel_of_a_place_half_way_is_the_lower_right_one():
    layer = hand_made(grid=Grid((0.0, 0.0), (2.0, 2.0)))
    assert [Place(at, at, "").on(layer) for at in (1, 3, 5)] == [(1, 1), (2, 2), (3, 3)]
    assert Place(99, 0, "").on(layer) == (5, 0)


# Maps.


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


@pytest.mark.parametrize(("y", "x", "hue"), [(0, 1, 0.0), (-1, 0, 0.25), (0, -1, 0.5), (1, 0, 0.75)])
def test_the_hue_is_the_direction(y, x, hue):
    colours = flow.flow_colours(np.array([[[y * 1.0, y * 0.5, y * 3.0]], [[x * 1.0, x * 0.5, x * 3.0]]]), 2.0)
    hsv = rgb_to_hsv(colours)[0]
    np.testing.assert_allclose(hsv[:, 0], hue, atol=1e-9)
    np.testing.assert_allclose(hsv[:, 1], [0.5, 0.25, 1.0])  # past the longest no stronger
    assert (hsv[:, 2] == 1).all()


def test_what_does_not_move_is_white_and_what_is_no_number_grey():
    field = np.array([[[0.0, math.nan]], [[0.0, 1.0]]])
    assert flow.flow_colours(field, 1.0).tolist() == [[[1.0] * 3, [0.5] * 3]]
    assert flow.full_colour([field]) == 1.0
    assert flow.full_colour([np.full((2, 1, 1), math.nan)]) == 1.0


def test_flow_has_one_scale_in_pixels_of_the_image():
    """Layer a moves by 1 pixel of a map of step 8, layer b by 2 of them: b is drawn in full colour, a in half."""
    offsets = [torch.zeros(2, 9, 2, 6, 7) for _ in "ab"]
    offsets[0][:, :, 1], offsets[1][:, :, 1] = 1.0, 2.0
    layers = [
        hand_made(offset, name=name, offset_groups=2, grid=GRID) for name, offset in zip("ab", offsets, strict=True)
    ]
    figure = flow.figure_of("title", PICTURE, layers)
    shown = [axes.images[0].get_array() for axes in figure.axes if axes.get_subplotspec() is None and axes.images][:12]
    for place, image in enumerate(shown):
        np.testing.assert_allclose(image, np.broadcast_to([1, 0.5, 0.5] if place < 6 else [1, 0, 0], (6, 7, 3)))
    assert "Full colour: 16 px" in figure.texts[0].get_text()
    assert "pixels of the image" in figure.texts[0].get_text()


def test_flow_is_of_deformable_layers():
    plain, own = replace(hand_made(name="plain", grid=GRID), deformable=False), hand_made(name="own", grid=GRID)
    assert flow.figure_of("title", PICTURE, [plain]) is None
    assert flow.figure_of("title", PICTURE, [plain, own]).axes[0].get_ylabel() == "own"


def test_the_wheel_has_the_colours_of_the_field():
    axes = Figure().add_axes((0, 0, 1, 1))
    flow.draw_wheel(axes, 3.0)
    wheel = axes.images[0].get_array()
    middle, size = len(wheel) // 2, len(wheel)
    assert axes.images[0].get_extent() == [-1, 1, 1, -1]  # down is down
    for row, column, offset in ((middle, size - 1, (0.0, 3.0)), (0, middle, (-3.0, 0.0)), (middle, middle, (0.0, 0.0))):
        expected = flow.flow_colours(np.array(offset).reshape(2, 1, 1), 3.0)[0, 0]
        np.testing.assert_allclose(wheel[row, column], expected, atol=1e-6)
    assert (wheel[0, 0] == 1).all()


def test_chosen_taps():
    assert chosen_taps((3, 3)) == {"tap 0,0": 0, "tap 0,2": 2, "tap 1,1": 4, "tap 2,0": 6, "tap 2,2": 8}
    assert chosen_taps((1, 3)) == {"tap 0,0": 0, "tap 0,2": 2, "tap 0,1": 1}
    assert chosen_taps((1, 1)) == {"tap 0,0": 0}


def test_layers_of_other_kernels_share_a_picture():
    kernels = [((3, 3), (1, 1)), ((1, 1), (0, 0))]
    layers = [
        hand_made(kernel_size=k, padding=p, grid=GRID, name=str(k), mask=torch.ones(1, k[0] * k[1], 6, 7))
        for k, p in kernels
    ]
    for picture in (flow, masks):
        rendered(picture.figure_of("title", PICTURE, layers))


def test_masks():
    mask = torch.stack([torch.full((9, 6, 7), 0.5), torch.full((9, 6, 7), 1.5)])
    mask[:, 8] = 2.0
    layers = [hand_made(name="plain", grid=GRID), hand_made(name="own", offset_groups=2, mask=mask, grid=GRID)]
    figure = masks.figure_of("title", PICTURE, layers)
    maps = [axes.images[0] for axes in figure.axes[:6]]
    for image, value in zip(maps, [(8 * 1.0 + 2.0) / 9, 1.0, 1.0, 1.0, 1.0, 2.0], strict=True):
        np.testing.assert_allclose(image.get_array(), value)
        assert image.get_clim() == (0, 2)
    assert figure.axes[0].get_ylabel() == "own"
    assert masks.figure_of("title", PICTURE, layers[:1]) is None


# Size and effective dilation.


def measured(dilation):
    """A run of one layer, with three objects."""
    objects = SimpleNamespace(area=np.array([100.0, 400.0, 900.0]), dilation=np.array(dilation))
    correlation = SimpleNamespace(value=0.5, low=0.25, high=math.nan)
    layer = SimpleNamespace(name="backbone.$a", per_object=objects, correlation=correlation, plain=1.0)
    return SimpleNamespace(layers=[layer])


def test_the_names_of_runs_hide_no_object():
    runs = {name: measured([1.0, 10.0, 50.0]) for name in ("one", "two", "three")}
    figure = sizes.figure_of(runs)
    rendered(figure)  # which lays it out
    (axes,) = figure.axes
    legend = axes.get_legend()
    assert legend.get_window_extent().y0 >= axes.get_window_extent().y1
    assert legend.get_window_extent().y1 < figure.bbox.y1
    assert legend.get_title().get_text() == "$a"
    assert [text.get_text().partition(":")[0] for text in legend.get_texts()] == list(runs)
    assert axes.get_ylim()[0] == 0  # no distance is less
    assert axes.get_ylim()[1] > 50


# Receptive fields.


def field(y, x, share):
    return fields.Measured.of(ReceptiveField(share / share.sum(), (y, x)))


def test_receptive_fields_have_their_circles_and_one_scale():
    narrow, wide = torch.zeros(48, 56), torch.ones(48, 56)
    narrow[20, 20:31] = 1.0
    seen = {"one": [field(20.0, 20.0, narrow)], "two": [field(20.0, 20.0, wide)]}
    figure = fields.figure_of("title", PICTURE, [Place(20, 20, "here")], seen)
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


def test_where_nothing_matters():
    nothing = ReceptiveField(torch.zeros(48, 56), (5.0, 5.0))
    figure = fields.figure_of("title", PICTURE, [Place(5, 5, "here")], {"one": [fields.Measured.of(nothing)]})
    assert figure.axes[0].texts[0].get_text() == "nothing in the image matters here"
    rendered(figure)


# Regions.


def rois(**settings):
    bins = torch.tensor([[[[10.0, 10.0], [10.0, 20.0]], [[20.0, 10.0], [20.0, 20.0]]]]).repeat(2, 1, 1, 1)
    boxes = torch.tensor([[5.0, 5.0, 25.0, 25.0], [5.0, 5.0, 45.0, 45.0]])
    moved = bins + torch.tensor([3.0, -1.0])
    defaults = {"bins": moved, "plain_bins": bins, "boxes": boxes, "bin_size": torch.full((2, 2), 10.0), "mask": None}
    return RoIs(name="pool", **(defaults | settings))


def test_bins_are_drawn_where_they_were_moved():
    axes = image_axes()
    regions.draw_region(axes, rois(), 0)
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
    regions.draw_region(axes, rois(mask=mask), 0)
    one, half, zero, two = axes.collections[2].get_facecolor()[:, 3]
    assert zero < half < one == two


def test_the_region_of_a_place():
    on_object = Place(30, 30, "object", (5.5, 5.5, 45.5, 44.0))
    assert list(regions.region_at(rois(), on_object)) == [1]
    assert list(regions.region_at(rois(), Place(10, 10, "background"))) == [0]  # the first of both, as the best scored
    assert list(regions.region_at(rois(), Place(30, 30, "background"))) == [1]
    assert list(regions.region_at(rois(), Place(47, 47, "background"))) == []
    assert regions.figure_of("title", PICTURE, rois(), [Place(47, 47, "background")]) is None
    none = rois(boxes=torch.zeros(0, 4), bins=torch.zeros(0, 2, 2, 2), plain_bins=torch.zeros(0, 2, 2, 2))
    assert list(regions.region_at(none, on_object)) == []


# Places.


def objects(boxes, areas, classes, size=(48, 56), unknown=False):
    return Objects(
        size,
        torch.tensor(boxes).float().reshape(-1, 4),
        torch.tensor(areas).float(),
        classes,
        torch.full(size, unknown),
    )


def test_automatic_places_are_on_an_object_of_each_size_and_on_background():
    boxes = [(0, 0, 8, 8), (20, 20, 28, 28), (10, 10, 46, 46)]
    found = places("a", objects(boxes, [64, 64, 36 * 36], ("dot", "dot", "disc")), ())
    assert [place.label.rpartition(" at ")[0] for place in found] == ["small dot", "medium disc", "background"]
    small, _, background = found
    assert (small.y, small.x, small.box) == (24, 24, (20, 20, 28, 28))  # nearer to the middle than the other
    assert all(not (x1 <= background.x < x2 and y1 <= background.y < y2) for x1, y1, x2, y2 in boxes)


def test_an_object_that_a_smaller_one_covers_in_the_middle_is_not_chosen():
    boxes = [(0, 0, 40, 40), (16, 16, 24, 24), (30, 2, 56, 46)]
    found = places("a", objects(boxes, [1600, 64, 1144], ("covered", "dot", "free")), ())
    assert [place.label.split()[1] for place in found] == ["dot", "free", "at"]


def test_places_where_nothing_is_known():
    found = places("a", objects([], [], (), unknown=True), ())
    assert [(place.y, place.x) for place in found] == [(24, 28), (12, 14), (12, 42), (36, 14), (36, 42)]


def test_a_place_comes_once_however_small_the_image():
    for size, expected in (((1, 1), [(0, 0)]), ((1, 8), [(0, 4), (0, 2), (0, 6)])):
        found = places("a", objects([], [], (), size=size, unknown=True), ())
        assert [(place.y, place.x) for place in found] == expected
    assert len(places("a", objects([], [], ()), [(4, 5), (1, 2), (4, 5)])) == 2


def test_places_asked_for():
    (place,) = places("a", objects([], [], ()), [(47, 0)])
    assert (place.y, place.x) == (47, 0)
    with pytest.raises(UsageError, match=r"--at 48,0 is outside of a, which the network sees as 48 x 56"):
        places("a", objects([], [], ()), [(48, 0)])
    assert parse_place("12,034") == (12, 34)
    for wrong in ("12", "1,2,3", "a,b", "", "1.5,2"):
        with pytest.raises(UsageError, match="--at"):
            parse_place(wrong)


# Files.


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
    with Image.open(save(made.figure, tmp_path / "a.png")) as written:
        assert written.format == "PNG"
        assert written.size[0] > 100
