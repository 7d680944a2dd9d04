"""The page's geometry, run in Chromium, against Python's on the same captures."""

import numpy as np
import pytest
import torch

from dcnrun.offsets.geometry import chain_to, compose
from dcnrun.offsets.grid import Grid
from dcnrun.offsets.layers import Capture
from dcnrun.visualize.pictures.regions import region_at
from dcnrun.visualize.query_points import QueryPoint
from dcnrun.visualize.viewer.page import PageRun
from tests.visualize.viewer.factories import (
    OFFSET_STEP,
    grey_image,
    random_layer,
    random_rois,
    three_layers,
    written,
)

POINTS = """
    const [name, length, y, x, limit] = arguments, image = dcnrun.data.runs[0].images[0];
    const chain = image.layers.find((layer) => layer.name === name).chains[length - 1].map((index) => dcnrun.decodeLayer(image.layers[index]));
    const found = dcnrun.points(chain, y, x, limit ?? Infinity), grid = chain[0].inputGrid;
    const columns = Object.fromEntries(Object.entries(found).filter(([name]) => name !== "count").map(([name, values]) => [name, [...values]]));
    return { ...columns, imageY: columns.y.map((y) => dcnrun.toImage(grid, y, 0)), imageX: columns.x.map((x) => dcnrun.toImage(grid, x, 1)) };
"""


def digits(chain, points):
    """Group and index of the sampling point of each layer as one number."""
    number = torch.zeros(len(points), dtype=torch.long)
    for depth, layer in enumerate(reversed(chain)):
        branch = points.group[:, depth] * layer.num_points + points.path[:, depth]
        number = number * layer.offset_groups * layer.num_points + branch
    return number.numpy()


def assert_same_points(browser, capture, name, length, y, x, limit=None):
    chain = chain_to(capture, name, length)
    wanted = compose(chain, y, x, limit)
    found = {key: np.array(values) for key, values in browser.run(POINTS, name, length, y, x, limit).items()}
    order, wanted_order = np.argsort(found["path"]), np.argsort(digits(chain, wanted))
    np.testing.assert_array_equal(found["path"][order], digits(chain, wanted)[wanted_order])
    expected = {
        "y": wanted.y,
        "x": wanted.x,
        "strength": wanted.strength,
        "inside": wanted.inside,
        "group": wanted.group[:, 0],
        "imageY": wanted.in_image()[:, 0],
        "imageX": wanted.in_image()[:, 1],
    }
    for key, values in expected.items():
        np.testing.assert_allclose(found[key][order], values.numpy()[wanted_order], rtol=1e-9, atol=1e-9, err_msg=key)


@pytest.fixture
def open_capture(browser, tmp_path):
    def opened(capture):
        browser.open(written(tmp_path, [PageRun("run", [grey_image(capture)])]))
        return browser

    return opened


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"groups": 3},
        {"kernel": (1, 3), "padding": (0, 1), "dilation": (1, 1), "groups": 2},
        {"kernel": (3, 2), "stride": (2, 1), "padding": (1, 0), "dilation": (1, 3), "masked": False},
        {"deformable": False, "masked": False},
    ],
    ids=["plain settings", "groups", "flat kernel", "stride", "no offsets"],
)
def test_one_layer_alone_and_a_chain(open_capture, settings):
    capture = three_layers(5, **settings)
    browser = open_capture(capture)
    height, width = capture.layers[-1].output_size
    limit = 200 if settings.get("groups", 1) > 1 else None
    for y, x in ((0, 0), (height - 1, width - 1), (height / 2 - 0.25, width / 3)):
        for length in (1, 2, 3):
            assert_same_points(browser, capture, "block.conv3", length, y, x, limit)


def test_more_than_the_limit_are_the_strongest(open_capture):
    capture = three_layers(7, groups=2)
    browser = open_capture(capture)
    assert_same_points(browser, capture, "block.conv3", 3, 6, 9, 9**3)
    assert_same_points(browser, capture, "block.conv3", 2, 6, 9, 50)


def test_what_reads_only_padding_comes_last(open_capture):
    capture = three_layers(8, groups=2)
    for layer in capture.layers:
        layer.point_weight[:, :3] = 50.0
        layer.offset[:, :3, 0] = -32767 * OFFSET_STEP  # above the map
    browser = open_capture(capture)
    assert_same_points(browser, capture, "block.conv3", 3, 1, 9, 300)
    assert browser.run(POINTS, "block.conv3", 3, 1, 9, 300)["inside"] == [1] * 300


def test_a_map_that_was_padded_between_two_layers(open_capture):
    below = random_layer(1, "below")
    above = random_layer(2, "above", size=(20, 20), grid=below.output_grid.moved(-2, -2))
    above = Capture((128, 128), (below, type(above)(**{**vars(above), "source": "below"})), ())
    browser = open_capture(above)
    assert_same_points(browser, above, "above", 2, 0, 19)
    assert_same_points(browser, above, "above", 2, 10, 10)


def test_offsets_that_are_no_numbers_or_without_end(open_capture):
    layer = random_layer(3)
    layer.offset[0, 0] = float("nan")
    layer.offset[0, 1] = float("inf")
    layer.offset[0, 2] = 1e6
    browser = open_capture(Capture((128, 128), (layer,), ()))
    found = browser.run(POINTS, "layer", 1, 8, 8, None)
    assert [found["y"][point] for point in (0, 1)] == [None, None]  # what JSON makes of NaN
    assert found["inside"][:3] == [0, 0, 0]
    step = found["y"][2] - (8 - 2)
    assert step == pytest.approx(2 * 16)  # cut, and still outside
    y, _ = compose((layer,), 8, 8).in_image().unbind(-1)
    np.testing.assert_allclose(found["imageY"][3:], y[3:], atol=8 * step / 32767 / 2 + 1e-9)


def test_a_place_half_way_is_on_the_same_pixel_as_in_the_pictures(browser, page):
    browser.open(page)
    layer = random_layer(1, size=(8, 8), grid=Grid((0.0, 0.0), (2.0, 2.0)), padding=(1, 1), dilation=(1, 1))
    for position in range(16):
        found = browser.run(
            "return dcnrun.nearest({ start: [0, 0], step: [2, 2] }, arguments[0], 0, arguments[1])",
            *(position, layer.output_size[0]),
        )
        assert found == QueryPoint(position, 0, "").output_pixel(layer)[0], position


def test_the_nearest_output_pixel(browser, page):
    browser.open(page)
    grid = Grid((3.5, -1.0), (8.0, 4.0))
    for position in (-50.0, 3.4, 7.4, 7.6, 60.0, 500.0):
        for axis in (0, 1):
            found = browser.run(
                "return dcnrun.nearest({ start: arguments[0], step: arguments[1] }, arguments[2], arguments[3], 16)",
                *(grid.start, grid.step, position, axis),
            )
            centres = np.array([grid.start[axis] + i * grid.step[axis] for i in range(16)])
            assert found == np.abs(centres - position).argmin()


WHOLE = {"factor": 1, "y": 0, "x": 0}
POOL = "const pool = dcnrun.decodePool(dcnrun.data.runs[0].images[0].pools[arguments[0]]);"


@pytest.fixture
def pools(browser, tmp_path):
    """A modulated, a deformable and a plain RoI pooling on a page that is open."""
    made = (
        random_rois(1),
        random_rois(2, "no mask", bins=(3, 3), masked=False),
        random_rois(3, "plain", masked=False, moves=False),
    )
    browser.open(written(tmp_path, [PageRun("run", [grey_image(three_layers(0), pools=made)])]))
    return made


def test_bins_lie_where_the_network_read(browser, pools):
    for number, rois in enumerate(pools):
        for region in range(len(rois.boxes)):
            found = browser.run(f"{POOL} return dcnrun.bins(pool, arguments[1])", number, region)
            for key, expected in (("plain", rois.plain_bins), ("moved", rois.bins)):
                bins = np.stack([found[key]["y"], found[key]["x"]], -1)
                np.testing.assert_allclose(bins, expected[region].reshape(-1, 2), atol=2e-3)  # boxes have three digits
            np.testing.assert_allclose(found["size"], rois.bin_size[region], atol=1e-3)
            mask = torch.ones(rois.bins.shape[1:3]) if rois.mask is None else rois.mask[region]
            np.testing.assert_allclose(found["strength"], mask.flatten(), atol=1e-9)


def test_regions_are_found_as_for_the_pictures(browser, pools):
    objects = [(-4.0, -4.0, -1.0, -1.0), *np.random.default_rng(0).uniform(0, 64, (20, 4)).tolist()]
    for number, rois in enumerate(pools):
        for left, top, width, height in objects:
            box = (left, top, left + width, top + height)
            points = QueryPoint(int(top), int(left), ""), QueryPoint(0, 0, "", box)
            at, like = (next(iter(region_at(rois, point)), -1) for point in points)
            found = browser.run(
                f"{POOL} return [dcnrun.regionAt(pool, arguments[1]), dcnrun.regionLike(pool, arguments[2])]",
                *(number, {"y": int(top), "x": int(left)}, [side - 0.5 for side in box]),
            )
            assert found == [at, like], box


def test_what_is_under_the_pointer_stays_there_when_it_is_enlarged(browser, page):
    """A place at share s of what is seen is at corner + s / factor of the whole."""
    browser.open(page)
    random = np.random.default_rng(0)
    seen = WHOLE
    for by in (1.5, 3.0, 100.0, 0.5, 1.3):
        place = {"y": random.uniform(), "x": random.uniform()}
        then = browser.run("return dcnrun.zoomed(...arguments)", seen, by, place, place)
        assert then["factor"] == pytest.approx(min(seen["factor"] * by, 32))
        for axis in ("y", "x"):
            assert 0 <= then[axis] <= 1 - 1 / then["factor"]
            if by > 1:  # or else the picture's edge may get in the way
                under = [each[axis] + place[axis] / each["factor"] for each in (seen, then)]
                assert under[0] == pytest.approx(under[1])
        seen = then
    start, end = {"y": 0.4, "x": 0.7}, {"y": 0.5, "x": 0.5}
    dragged = browser.run("return dcnrun.zoomed(...arguments)", seen, 1, start, end)
    assert dragged["factor"] == seen["factor"]
    for axis in ("y", "x"):
        assert (seen[axis] - dragged[axis]) * seen["factor"] == pytest.approx(end[axis] - start[axis])
    assert browser.run("return dcnrun.zoomed(...arguments)", seen, 1e-3, start, end) == WHOLE
