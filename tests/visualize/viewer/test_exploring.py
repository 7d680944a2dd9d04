"""What a reader does with the page, in Chromium: what is drawn is compared with what Python computes."""

import http.server
import threading
import time
from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from scipy.spatial import cKDTree
from selenium.common.exceptions import NoAlertPresentException
from selenium.webdriver.common.keys import Keys

from dcnrun.offsets.geometry import compose
from dcnrun.offsets.layers import Capture
from dcnrun.visualize.viewer.page import PageObject, PageRun
from tests.visualize.viewer.factories import (
    GREY,
    grey_image,
    random_layer,
    random_rois,
    three_layers,
    two_runs,
    written,
)

SIZE = (128, 128)
SPOT = (90, 40)  # a pixel of the picture of `spotted`, that of its spot's upper left corner
COLOURS = np.array([[0xE6, 0x9F, 0x00], [0x56, 0xB4, 0xE9], [0x00, 0x9E, 0x73], [0xCC, 0x79, 0xA7]], float)
CAPTURES = [run.images[0].capture for run in two_runs()]
QUERY_POINT = (70.0, 45.0)  # y, x in the image


def output_at(layer, y, x):
    """The output pixel nearest to a position in the image."""
    grid = layer.output_grid
    nearest = [np.floor((at - grid.start[axis]) / grid.step[axis] + 0.5) for axis, at in enumerate((y, x))]
    return tuple(int(np.clip(at, 0, n - 1)) for at, n in zip(nearest, layer.output_size, strict=True))


def points_at(panel, name, y, x, length=1):
    layers = CAPTURES[panel].layers
    last = [layer.name for layer in layers].index(name)
    chain = layers[last - length + 1 : last + 1]
    output = output_at(chain[-1], y, x)
    return compose(chain, *output, 9**3 * chain[-1].offset_groups), chain[-1], output


def summaries(browser):
    return browser.text(".summary")


def bare(browser):
    """The picture as it is, with the dots alone."""
    for box in ("#dim", "#plain"):
        if browser.run("return document.querySelector(arguments[0]).checked", box):
            browser.run("document.querySelector(arguments[0]).click()", box)
    browser.settled()


def towards(pixels, colour):
    """How far pixels are on the way from the picture's grey to a colour, and how far off that way."""
    way = colour - GREY
    share = (pixels - GREY) @ way / (way @ way)
    return share, np.linalg.norm(pixels - GREY - share[..., None] * way, axis=-1)


def middle_of_colour(screen, x, y, reach=8):
    """The centre (x, y) of what is coloured around a pixel; half a pixel of the image is 1.5 of the screen."""
    rows, columns = slice(y - reach, y + reach + 1), slice(x - reach, x + reach + 1)
    colour = np.ptp(screen[rows, columns], axis=-1)
    down, right = np.mgrid[rows, columns] + 0.5
    return np.array([(right * colour).sum(), (down * colour).sum()]) / colour.sum()


def assert_drawn(browser, panel, points, layer, output):
    """The points that have room around them are there in the colour of their group, the stronger the fuller."""
    screen = browser.screenshot()
    centre = [layer.output_grid.start[axis] + output[axis] * layer.output_grid.step[axis] for axis in (0, 1)]
    places = points.in_image().numpy()
    on_screen = np.column_stack(browser.on_screen(*np.vstack([places, centre]).T, SIZE, panel))
    apart = np.linalg.norm(on_screen[:, None] - on_screen[None], axis=-1) + 1e9 * np.eye(len(on_screen))
    on_picture = ((places > 4) & (places < 123)).all(1)
    seen = np.flatnonzero((apart.min(1)[:-1] > 16) & on_picture)
    assert len(seen) >= 3, "too few points stand alone for this test to mean anything"
    shares = []
    for i in seen:
        x, y = on_screen[i].astype(int)
        share, off = towards(screen[y, x], COLOURS[points.group[i, 0]])
        assert share > 0.2, (places[i], screen[y, x])
        assert off < 20, (places[i], screen[y, x])  # a little of its dark rim, where the dot is small
        assert np.abs(middle_of_colour(screen, x, y) - on_screen[i]).max() < 0.5, places[i]
        shares.append(share)
    by_strength = np.array(shares)[np.argsort(points.strength[seen].numpy())]
    assert (np.diff(by_strength) > -0.03).all(), by_strength


def assert_nothing_elsewhere(browser, panel, points):
    """No pixel of the picture is coloured that is not on a dot."""
    screen = browser.screenshot()
    left, top = browser.on_screen(0, 0, SIZE, panel)
    right, bottom = browser.on_screen(127, 127, SIZE, panel)
    picture = screen[int(top) : int(bottom), int(left) : int(right)]
    coloured = np.argwhere(np.ptp(picture, axis=-1) > 30)[:, ::-1] + (int(left), int(top))
    dots = np.column_stack(browser.on_screen(*points.in_image().numpy().T, SIZE, panel))
    assert len(coloured) > 50
    assert cKDTree(dots).query(coloured)[0].max() < 10


def test_moving_over_the_image_draws_the_points_of_that_place_on_both_runs(browser, page):
    browser.open(page)
    bare(browser)
    assert browser.text("h2") == ["first run", "second run"]
    for position in (QUERY_POINT, (40.0, 90.0)):
        browser.hover(*position, SIZE)
        for panel in (0, 1):
            points, layer, output = points_at(panel, "block.conv3", *position)
            assert f"Output {output[0]}, {output[1]} at" in summaries(browser)[panel]
            assert f"{len(points)} points" in summaries(browser)[panel]
            assert_drawn(browser, panel, points, layer, output)
            assert_nothing_elsewhere(browser, panel, points)


def test_the_second_panel_leads_as_well(browser, page):
    browser.open(page)
    browser.hover(*QUERY_POINT, SIZE, panel=1)
    first, second = summaries(browser)
    output = points_at(0, "block.conv3", *QUERY_POINT)[2]
    assert first.split(":")[0] == second.split(":")[0]
    assert first.startswith(f"Output {output[0]}, {output[1]} ")


def test_choosing_a_layer_from_the_list_and_by_its_picture(browser, page):
    browser.open(page)
    bare(browser)
    browser.hover(*QUERY_POINT, SIZE)
    browser.choose("#layer", "block.conv1")
    assert_drawn(browser, 0, *points_at(0, "block.conv1", *QUERY_POINT))
    browser.hover(*QUERY_POINT, SIZE)
    browser.click("section:nth-of-type(1) .layers button:nth-of-type(2)")
    assert browser.value("layer") == "block.conv2"
    assert_drawn(browser, 0, *points_at(0, "block.conv2", *QUERY_POINT))
    pressed = browser.run("return [...document.querySelectorAll('[aria-pressed=true]')].map((e) => e.title)")
    assert pressed == ["block.conv2"] * 2


def test_through_two_and_three_layers(browser, page):
    browser.open(page)
    bare(browser)
    browser.hover(*QUERY_POINT, SIZE)
    for length in (2, 3):
        browser.click(f"#length input[value='{length}']")
        for panel in (0, 1):
            points, _, _ = points_at(panel, "block.conv3", *QUERY_POINT, length)
            assert f"{len(points)} points through {length} layers" in summaries(browser)[panel]
            padding = int((~points.inside).sum())
            assert (f"{padding} of them on padding only" in summaries(browser)[panel]) == (padding > 0)
    assert_nothing_elsewhere(browser, 1, points)
    browser.choose("#layer", "block.conv1")  # no layer was recorded before it
    assert browser.run("return [...document.querySelectorAll('#length input')].map((e) => e.disabled)") == [
        *(False, True, True)
    ]
    assert "through" not in summaries(browser)[0]


def test_one_group_alone(browser, page):
    browser.open(page)
    bare(browser)
    browser.hover(*QUERY_POINT, SIZE)
    browser.click("#group input[value='1']")
    first, second = summaries(browser)
    assert ": 9 points" in first
    assert ": 9 points" in second  # a run with fewer groups shows all of its own
    points, layer, output = points_at(0, "block.conv3", *QUERY_POINT)
    chosen = (points.group[:, 0] == 1).numpy()
    columns = ("y", "x", "strength", "group", "path", "inside")
    alone = replace(points, **{name: getattr(points, name)[chosen] for name in columns})
    assert_drawn(browser, 0, alone, layer, output)
    assert_nothing_elsewhere(browser, 0, alone)


def test_points_outside_are_rings_in_the_margin(browser, tmp_path):
    """A plain grid at the corner: a row and a column of points read padding only."""
    layer = random_layer(0, deformable=False, masked=False, padding=(1, 1), dilation=(1, 1))
    browser.open(written(tmp_path, [PageRun("run", [grey_image(Capture(SIZE, (layer,), ()))])]))
    bare(browser)
    browser.hover(0, 0, SIZE)
    assert "9 points, 5 of them on padding only" in summaries(browser)[0]
    screen = browser.screenshot()
    points = compose((layer,), 0, 0)
    for position, inside in zip(points.in_image().numpy(), points.inside, strict=True):
        x, y = (int(at) for at in browser.on_screen(*position, SIZE))
        box = screen[y - 9 : y + 10, x - 9 : x + 10]
        coloured = np.ptp(box, axis=-1) > 60
        assert coloured.any(), position
        if tuple(position) != (3.5, 3.5):  # under the cross
            assert coloured[9, 9] == bool(inside), position


def test_points_beyond_the_margin_are_marked_at_its_edge(browser, tmp_path):
    layer = random_layer(0, masked=False)
    layer.offset[:] = 0
    layer.offset[0, 5, 1] = 40  # the middle point of the right column
    browser.open(written(tmp_path, [PageRun("run", [grey_image(Capture(SIZE, (layer,), ()))])]))
    bare(browser)
    browser.hover(64, 64, SIZE)
    assert "1 of them on padding only" in summaries(browser)[0]
    box, screen = browser.box(".picture"), browser.screenshot()
    y = layer.output_grid.start[0] + output_at(layer, 64, 64)[0] * layer.output_grid.step[0]
    row = browser.on_screen(y, 0, SIZE)[1]
    edge = screen[int(row) - 8 : int(row) + 9, int(box["right"]) - 14 : int(box["right"])]
    assert (np.ptp(edge, axis=-1) > 60).sum() > 10


def test_reach_is_that_of_the_points_that_read_the_map(browser, tmp_path):
    layer = random_layer(0, masked=False)
    layer.offset[0, 5, 1] = 40  # of the middle point of the right column: off the map
    browser.open(written(tmp_path, [PageRun("run", [grey_image(Capture(SIZE, (layer,), ()))])]))
    browser.hover(64, 64, SIZE)
    row, column = output_at(layer, 64, 64)
    points = compose((layer,), row, column)
    assert points.inside.tolist() == [True] * 5 + [False] + [True] * 3
    centre = torch.tensor([layer.output_grid.start[i] + at * 8 for i, at in enumerate((row, column))])
    squares = (points.in_image() - centre).square().sum(-1)[points.inside]
    reach = ((squares * points.strength[points.inside]).sum() / points.strength[points.inside].sum()).sqrt()
    assert summaries(browser)[0].endswith(f"reach {reach:.1f} px")
    assert browser.text(".reach") == [f"reach {reach:.1f} px"]


def test_layers_are_listed_by_their_whole_names(browser, page):
    browser.open(page)
    listed = browser.run("return [...document.getElementById('layer').options].map((o) => [o.value, o.textContent])")
    assert listed == [[f"block.conv{n}"] * 2 for n in (1, 2, 3)]


def test_a_click_pins_the_place_and_another_frees_it(browser, page):
    browser.open(page)
    browser.hover(*QUERY_POINT, SIZE)
    browser.click_at(*browser.on_screen(*QUERY_POINT, SIZE))
    before = summaries(browser)
    browser.hover(20.0, 110.0, SIZE)
    assert summaries(browser) == before
    browser.click_at(*browser.on_screen(20.0, 110.0, SIZE))
    browser.hover(100.0, 100.0, SIZE)
    assert summaries(browser) != before


def test_sliders_move_without_a_mouse(browser, page):
    browser.open(page)
    browser.choose("#row", 3)
    browser.choose("#column", 5)
    assert all(summary.startswith("Output 3, 5 ") for summary in summaries(browser))
    browser.choose("#object", 2)
    output = output_at(CAPTURES[0].layers[-1], (64 + 96) / 2 - 0.5, (64 + 120) / 2 - 0.5)
    assert summaries(browser)[0].startswith(f"Output {output[0]}, {output[1]} ")
    assert "dog" in browser.text("#object + output")[0]
    assert (browser.value("row"), browser.value("column")) == tuple(str(at) for at in output)


def test_choosing_runs(browser, page):
    browser.open(page)
    browser.hover(*QUERY_POINT, SIZE)
    browser.choose("#right", -1)
    assert browser.text("h2") == ["first run"]
    browser.choose("#left", 1)
    assert browser.text("h2") == ["second run"]
    assert ": 9 points" in summaries(browser)[0]


def test_what_a_run_was_not_recorded_at_is_said(browser, tmp_path):
    capture = three_layers(1)
    runs = [
        PageRun("all", [grey_image(capture, "a"), grey_image(capture, "b")]),
        PageRun("part", [grey_image(replace(capture, layers=capture.layers[:1]), "a")]),
    ]
    browser.open(written(tmp_path, runs))
    assert summaries(browser)[1] == "This run was not recorded at this layer."
    browser.choose("#image", "b")
    assert summaries(browser)[1] == "This run was not recorded on this image."
    browser.choose("#left", 1)  # neither panel has the image now
    browser.keys("o", "l", "c", "g", "i", Keys.ARROW_UP)
    assert not browser.messages()
    assert ": 9 points" in summaries(browser)[0]


def test_images_of_two_sizes_keep_the_place(browser, tmp_path):
    runs = [PageRun(f"{side}", [grey_image(three_layers(1, side=side))]) for side in (128, 256)]
    browser.open(written(tmp_path, runs))
    down, across = 0.72, 0.27
    browser.hover(down * 128 - 0.5, across * 128 - 0.5, SIZE)
    for layer, summary, side in zip(
        (run.images[0].capture.layers[-1] for run in runs), summaries(browser), (128, 256), strict=True
    ):
        row, column = output_at(layer, down * side - 0.5, across * side - 0.5)
        assert summary.startswith(f"Output {row}, {column} "), summary


def test_the_keyboard_alone(browser, page):
    browser.open(page)
    row, column = int(browser.value("row")), int(browser.value("column"))
    browser.keys(Keys.ARROW_UP, Keys.ARROW_RIGHT, Keys.ARROW_RIGHT)
    assert (int(browser.value("row")), int(browser.value("column"))) == (row - 1, column + 2)
    browser.keys("l")
    assert browser.value("layer") == "block.conv1"
    browser.keys("L", "c")
    assert browser.value("layer") == "block.conv3"
    assert "through 2 layers" in summaries(browser)[0]
    browser.keys("C", "g")
    assert ": 9 points" in summaries(browser)[0]
    browser.keys("o")
    assert "cat" in browser.text("#object + output")[0]
    assert "first run: Output" in browser.run("return document.getElementById('status').textContent")
    browser.keys("r")
    assert browser.text("h2") == ["first run"]
    browser.keys("?")
    assert browser.run("return document.getElementById('keys').open")
    browser.keys(Keys.ESCAPE)
    assert not browser.run("return document.getElementById('keys').open")


def test_tab_reaches_everything_with_a_visible_focus_and_a_name(browser, page):
    browser.open(page)
    reached = []
    for _ in range(40):
        browser.keys(Keys.TAB)
        here = browser.run(
            """const e = document.activeElement, seen = e.matches(".choices input") ? e.parentElement : e;
            return [e.id || e.name || e.title || e.className, getComputedStyle(seen).outlineStyle];"""
        )
        if here[0] in ("", "theme") and reached:
            break
        assert here[1] != "none", here
        reached.append(here[0])
    assert [name for name in reached if not name.startswith("block.")] == [
        *("theme", "help", "picture", "picture", "left", "right", "image", "layer"),
        *("length", "group", "object", "row", "column", "pinned", "out", "whole", "in", "dim", "plain", "save"),
    ]
    assert sum(name.startswith("block.") for name in reached) == 6
    nodes = browser.command("Accessibility.getFullAXTree")["nodes"]
    focusable = [
        node
        for node in nodes
        if {"name": "focusable", "value": {"type": "booleanOrUndefined", "value": True}} in node.get("properties", [])
    ]
    nameless = [node["role"]["value"] for node in focusable if not node.get("name", {}).get("value")]
    assert len(focusable) > 20
    assert nameless == []


def test_on_a_phone(browser, page):
    browser.open(page, 360, 740, phone=True)
    assert browser.run("return document.documentElement.scrollWidth") <= 360
    tall = browser.run(
        """return [...document.querySelectorAll("button, select, .choices label, .tick, input[type=range]")]
        .filter((e) => e.offsetParent).map((e) => [e.id || e.className || e.tagName, e.offsetHeight])"""
    )
    assert [entry for entry in tall if entry[1] < 44] == []
    boxes = [browser.box(f"section:nth-of-type({n}) .picture") for n in (1, 2)]
    assert boxes[0]["bottom"] < boxes[1]["top"]
    assert boxes[0]["width"] > 300
    browser.touch(*([browser.on_screen(*position, SIZE)] for position in ((40.0, 40.0), QUERY_POINT)))
    output = points_at(0, "block.conv3", *QUERY_POINT)[2]
    assert summaries(browser)[0].startswith(f"Output {output[0]}, {output[1]} ")
    assert browser.run("return scrollY") == 0
    bare(browser)
    browser.run("scrollTo(0, 0)")
    browser.settled()
    assert_nothing_elsewhere(browser, 0, points_at(0, "block.conv3", *QUERY_POINT)[0])


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_light_and_dark_are_readable(browser, page, scheme):
    browser.open(page, scheme=scheme)

    def colours():
        return browser.run(
            """const quiet = getComputedStyle(document.querySelector(".summary")).color;
            const body = getComputedStyle(document.body), chosen = getComputedStyle(document.querySelector("#group label"));
            return [[body.color, body.backgroundColor], [quiet, body.backgroundColor], [chosen.color, chosen.backgroundColor]];"""
        )

    before = colours()
    browser.click("#theme")
    after = colours()
    for pairs in (before, after):
        for text, ground in pairs:
            assert contrast(text, ground) >= 4.5, (text, ground)
    dark = [luminance(pairs[0][1]) < 0.2 for pairs in (before, after)]
    assert dark == ([True, False] if scheme == "dark" else [False, True])


def luminance(colour):
    """Relative, as WCAG has it."""
    channels = np.array([float(c) for c in colour[colour.index("(") + 1 : -1].split(",")[:3]]) / 255
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return linear @ (0.2126, 0.7152, 0.0722)


def contrast(one, other):
    lighter, darker = sorted((luminance(one), luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


HOSTILE = [
    "</script><script>alert(1)</script>",
    '"><img src=x onerror=alert(2)>',
    "'\"`\\ ${alert(3)} {{x}} <!--",
    "line\u2028separator \u2029 \u202eright to left\u200f \u0000",
    "<svg onload=alert(4)><b>bold</b>&lt;",
]


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_are_shown_as_text(browser, tmp_path, name):
    layers = random_layer(1, name, size=(8, 8)), random_layer(2, f"{name} second", size=(8, 8))
    image = grey_image(Capture((64, 64), layers, ()), name, [PageObject(name, (4, 4, 30, 30))])
    browser.open(written(tmp_path, [PageRun(name, [image]), PageRun(f"{name} too", [image])]))
    browser.choose("#object", 1)
    browser.hover(20, 20, (64, 64))
    browser.keys("o", "l")
    with pytest.raises(NoAlertPresentException):
        browser.driver.switch_to.alert
    assert browser.run("return window.alerts") == []
    assert browser.run("return ['script', 'img', 'svg', 'b'].map((e) => document.querySelectorAll(e).length)") == [
        *(2, 0, 0, 0)
    ]
    assert browser.text("h2") == [name, f"{name} too"]
    options = browser.run(
        """return ["left", "image", "layer"].map((id) => document.getElementById(id).options[0].textContent)"""
    )
    assert options == [name] * 3
    assert browser.run("return document.querySelector('.layers button').title") == name
    browser.choose("#object", 1)
    assert name in browser.text("#object + output")[0]
    assert name in browser.run("return document.querySelector('.picture').ariaLabel")
    assert not browser.messages()


def test_the_page_connects_nowhere(browser, page):
    asked = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_error(404)

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        browser.open(page)
        assert browser.run("return performance.getEntriesByType('resource').map((e) => e.name.slice(0, 5))") in (
            [],
            ["data:"],
        )
        refused = browser.driver.execute_async_script(
            """const [address, done] = arguments;
            const picture = new Image();
            picture.onerror = () => fetch(address).then(() => done("fetched"), () => done("refused"));
            picture.src = address + "picture.png";
            const script = document.createElement("script");
            script.src = address + "script.js";
            document.head.append(script);""",
            f"http://127.0.0.1:{server.server_port}/",
        )
        server.shutdown()
    assert refused == "refused"
    assert asked == []


@pytest.fixture
def spotted(browser, tmp_path):
    """A page whose picture has a green spot of 8 x 8 pixels."""
    image = grey_image(CAPTURES[0], objects=[PageObject("far away", (100.0, 4.0, 120.0, 20.0))])
    image.picture[SPOT[0] : SPOT[0] + 8, SPOT[1] : SPOT[1] + 8] = (0, 200, 0)
    browser.open(written(tmp_path, [PageRun("run", [image])]), height=1200)  # so that it needs no scrolling
    bare(browser)
    return browser


def spot_pixels(browser):
    """The pixels of the spot on the picture, (n, 2), and where the picture begins in the window."""
    screen, box = browser.screenshot(), browser.box(".picture")
    picture = screen[int(box["top"]) : int(box["bottom"]), int(box["left"]) : int(box["right"])]
    return np.argwhere(np.abs(picture - (0, 200, 0)).max(-1) < 60), (int(box["left"]), int(box["top"]))


def is_in_sight(browser):
    return len(spot_pixels(browser)[0]) > 0


def spot(browser):
    """The spot's centre (x, y) in the window, and its side."""
    found, corner = spot_pixels(browser)
    first, last = found.min(0)[::-1], found.max(0)[::-1] + 1  # whatever dots are drawn over it
    return (first + last) / 2 + corner, float((last - first).mean())


def zoom(browser):
    """How many times as large the picture is."""
    return int(browser.text("#whole")[0].removesuffix(" %")) / 100


def test_the_wheel_enlarges_what_is_under_the_pointer_in_its_place(spotted):
    before, side = spot(spotted)
    spotted.hover(SPOT[0] + 3.5, SPOT[1] + 3.5, SIZE)
    query = summaries(spotted)
    spotted.wheel(*before, -400)
    after, larger = spot(spotted)
    assert zoom(spotted) == pytest.approx(np.exp(0.8), abs=0.01)
    assert larger == pytest.approx(zoom(spotted) * side, rel=0.05)
    assert np.abs(after - before).max() < 1
    spotted.wheel(*before, 0.1)  # a mouse that rests sends such
    assert summaries(spotted) == query
    spotted.wheel(*before, 2000)
    assert spot(spotted)[0] == pytest.approx(before, abs=0.6)
    assert zoom(spotted) == 1


def test_an_enlarged_picture_is_dragged_and_still_answers_to_a_click(spotted):
    before, _ = spot(spotted)
    spotted.wheel(*before, -400)
    spotted.hover(60.0, 60.0, SIZE)
    start = np.array(spotted.on_screen(64, 64, SIZE))
    spotted.drag(start, start + np.array((60, -40)))
    assert spot(spotted)[0] - before == pytest.approx((60, -40), abs=1)
    assert not spotted.run("return document.getElementById('pinned').checked")  # that was no click
    x, y = spot(spotted)[0]
    spotted.click_at(x, y)
    assert spotted.run("return document.getElementById('pinned').checked")
    output = output_at(CAPTURES[0].layers[-1], SPOT[0] + 3.5, SPOT[1] + 3.5)
    assert summaries(spotted)[0].startswith(f"Output {output[0]}, {output[1]} ")
    spotted.click("#whole")
    assert spot(spotted)[0] == pytest.approx(before, abs=0.6)


def test_the_keyboard_and_the_buttons_enlarge_and_the_picture_follows_the_query_point(spotted):
    spotted.keys("+", "=")
    spotted.click("#in")
    assert zoom(spotted) == pytest.approx(1.5**3, abs=0.01)
    spotted.keys("-")
    spotted.click("#out")
    assert zoom(spotted) == 1.5
    spotted.keys("+", "+", "+")
    assert not is_in_sight(spotted)
    spotted.keys(*[Keys.ARROW_DOWN] * 3, *[Keys.ARROW_LEFT] * 3)
    assert is_in_sight(spotted)
    spotted.keys("o")
    assert not is_in_sight(spotted)  # but the object is
    assert zoom(spotted) == pytest.approx(1.5**4, abs=0.01)
    spotted.keys("0")
    assert zoom(spotted) == 1


def test_two_fingers_enlarge_and_move_and_leave_the_query_point(browser, tmp_path):
    image = grey_image(CAPTURES[0])
    image.picture[SPOT[0] : SPOT[0] + 8, SPOT[1] : SPOT[1] + 8] = (0, 200, 0)
    browser.open(written(tmp_path, [PageRun("run", [image])]), 390, 844, phone=True)
    bare(browser)
    browser.run("scrollTo(0, 0)")
    browser.touch([browser.on_screen(70.0, 45.0, SIZE)])
    query, (before, side) = summaries(browser), spot(browser)
    apart = np.array([40.0, 0.0])
    browser.touch([before - apart, before + apart], [before - 1.5 * apart, before + 1.5 * apart])
    after, larger = spot(browser)
    assert zoom(browser) == pytest.approx(1.5, abs=0.01)
    assert larger == pytest.approx(1.5 * side, rel=0.1)
    assert np.abs(after - before).max() < 1.5
    browser.touch([after - apart, after + apart], [after - apart + (15, 25), after + apart + (15, 25)])
    assert spot(browser)[0] - after == pytest.approx((15, 25), abs=1.5)
    assert zoom(browser) == pytest.approx(1.5, abs=0.01)
    assert summaries(browser) == query
    assert browser.run("return [scrollY, visualViewport.scale]") == [0, 1]
    browser.touch([spot(browser)[0]])  # one finger still asks
    output = output_at(CAPTURES[0].layers[-1], SPOT[0] + 3.5, SPOT[1] + 3.5)
    assert summaries(browser)[0].startswith(f"Output {output[0]}, {output[1]} ")


ROIS = random_rois(1, bins=(2, 2)), random_rois(2, bins=(2, 2), masked=False, moves=False)


@pytest.fixture
def pooling(browser, tmp_path):
    """A page of a run whose bins move, and one whose bins do not."""
    objects = [PageObject("cat", tuple((ROIS[0].boxes[3] + 0.5).tolist()))]
    runs = [
        PageRun(f"run {number}", [grey_image(capture, objects=objects, pools=[rois])])
        for number, (capture, rois) in enumerate(zip(CAPTURES, ROIS, strict=True))
    ]
    browser.open(written(tmp_path, runs))
    return browser


def test_bins_of_the_region_at_the_query_point_and_of_an_object(pooling):
    assert pooling.text("#shown label") == ["sampling points", "bins of roi_pool"]
    pooling.keys("b")
    pooling.choose("#object", 1)
    first, second = summaries(pooling)
    assert first.startswith("Region 4 of 6 at y ")
    moves = (ROIS[0].bins - ROIS[0].plain_bins)[3].square().sum(-1).mean().sqrt()
    assert first.endswith(f": 2 x 2 bins, moved by {moves:.1f} px")
    assert second.endswith("2 x 2 bins that do not move")
    for region in (1, 2):
        pooling.choose("#region", region)
        assert summaries(pooling)[0].startswith(f"Region {region} of 6 ")
        assert pooling.text("#region + output") == [f"{region} / 6"]
    pooling.keys("b")
    assert summaries(pooling)[0].startswith("Output ")


def test_bins_are_drawn_where_they_are_moved(pooling):
    bare(pooling)
    pooling.keys("b")
    pooling.choose("#region", 6)
    screen = pooling.screenshot()
    beyond = ROIS[0].bins + 0.1 * ROIS[0].bin_size[:, None, None] * (ROIS[0].bins - ROIS[0].plain_bins).sign()
    for (y, x), strength in zip(beyond[5].reshape(-1, 2).tolist(), ROIS[0].mask[5].flatten(), strict=True):
        column, row = pooling.on_screen(y, x, SIZE)  # beside the line from where the bin would be
        share, off = towards(screen[int(row), int(column)], COLOURS[1])
        assert off < 40, (y, x)
        assert share == pytest.approx(0.25 + 0.6 * float(strength), abs=0.1)


def test_a_run_that_has_no_layer_to_show_has_its_bins(browser, tmp_path):
    image = grey_image(Capture(SIZE, (), ()), pools=[ROIS[0]])
    browser.open(written(tmp_path, [PageRun("run", [image])]))
    browser.hover(*ROIS[0].boxes[3].reshape(2, 2).mean(0).flip(0).tolist(), SIZE)
    assert summaries(browser)[0].startswith("Region ")
    assert browser.text(".slider") == ["Region " + browser.text("#region + output")[0]]
    browser.messages()  # of the test's own looking at the canvas
    browser.keys("l", "c", "g", "b", Keys.ARROW_UP)
    assert not browser.messages()


SVG = "{http://www.w3.org/2000/svg}"


def parsed(browser):
    return ElementTree.fromstring(browser.run("return dcnrun.asSvg()"))


def test_the_saved_picture_has_a_circle_at_each_sampling_point(browser, page):
    browser.open(page)
    bare(browser)
    browser.hover(*QUERY_POINT, SIZE)
    browser.click_at(*browser.on_screen(*QUERY_POINT, SIZE))
    root = parsed(browser)
    assert root.findtext(f"{SVG}title") == "Sampling points of block.conv3 on grey.png"
    assert root.findtext(f"{SVG}desc").split("\n") == [
        f"{name}: {said}" for name, said in zip(browser.text("h2"), summaries(browser), strict=True)
    ]
    for panel, part in enumerate(root.findall(f"{SVG}g")):
        assert part.findtext(f"{SVG}title") == browser.text("h2")[panel]
        (image,) = part.iter(f"{SVG}image")
        assert image.get("{http://www.w3.org/1999/xlink}href") == browser.run("return dcnrun.data.pictures[0]")
        circles = [circle for circle in part.iter(f"{SVG}circle") if circle.get("fill") not in ("#000", "none")]
        drawn = np.array([[float(circle.get(side)) for side in ("cy", "cx")] for circle in circles])
        box, shown = (
            browser.box(f"section:nth-of-type({panel + 1}) .picture"),
            points_at(panel, "block.conv3", *QUERY_POINT),
        )
        x, y = browser.on_screen(*shown[0].in_image().numpy().T, SIZE, panel)
        expected = np.column_stack([y - box["y"], x - box["x"]])[shown[0].inside.numpy()]
        assert len(drawn) == len(expected)
        assert cKDTree(expected).query(drawn)[0].max() < 0.01


def test_the_saved_picture_looks_as_the_page_does(browser, page, tmp_path):
    browser.open(page)
    browser.hover(*QUERY_POINT, SIZE)
    browser.wheel(*browser.on_screen(*QUERY_POINT, SIZE), -300)
    browser.choose("#object", 1)
    boxes, screen = [browser.box(f"section:nth-of-type({n}) .picture") for n in (1, 2)], browser.screenshot()
    folder = tmp_path / "saved"
    browser.command("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(folder))
    browser.click("#save")
    saved = wait_for_file(folder)
    assert saved.name == "block.conv3.svg"
    assert not browser.messages()
    browser.driver.get(saved.as_uri())
    alone = browser.screenshot()
    left = 0
    for box in boxes:
        width, height = round(box["width"]), round(box["height"])
        x, y = round(box["x"]), round(box["y"])
        page_part = screen[y + 12 : y + height - 12, x + 12 : x + width - 12]  # but for its round corners
        file_part = alone[24 + 12 : 24 + height - 12, left + 12 : left + width - 12]
        assert np.abs(page_part - file_part).mean() < 4
        assert page_part.std() > 5
        left += width + 16


def wait_for_file(folder):
    """The one file that is saved to a folder, once it is whole."""
    for _ in range(100):
        whole = [file for file in folder.glob("*") if file.suffix != ".crdownload"]
        if whole:
            return whole[0]
        time.sleep(0.05)
    raise AssertionError("nothing was saved")


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_are_text_in_the_saved_picture(browser, tmp_path, name):
    image = grey_image(CAPTURES[0], name, [PageObject(name, (4, 4, 30, 30))], [random_rois(1, name)])
    browser.open(written(tmp_path, [PageRun(name, [image])]))
    browser.choose("#object", 1)
    root = parsed(browser)
    there = name.replace("\0", "\ufffd")
    assert {element.tag.removeprefix(SVG) for element in root.iter()} <= {
        *("svg", "title", "desc", "g", "clipPath", "rect", "image", "path", "circle", "text")
    }
    texts = [element.text for element in root.iter(f"{SVG}text")]
    assert texts == [there, there, there]  # the object, twice for its dark rim, and the run
    browser.keys("b")
    assert parsed(browser).findtext(f"{SVG}title") == f"Bins of {there} on {there}"
    assert not any(key.startswith("on") for element in root.iter() for key in element.attrib)


HOVER_TIMES = """
    window.hoverTimes = [];
    document.querySelector(".picture").addEventListener("pointermove", (event) => {
        requestAnimationFrame(() => requestAnimationFrame(() => window.hoverTimes.push(performance.now() - event.timeStamp)));
    });
"""


@pytest.mark.alone
def test_from_hover_to_drawn_in_a_tenth_of_a_second(browser, tmp_path):
    """Three layers of 4 groups, 729 points of each group, two runs of an image of 512 x 512."""
    size = (512, 512)
    runs = [
        PageRun(f"run {seed}", [grey_image(three_layers(seed, groups=4, side=512, output_stride=16))])
        for seed in (1, 2)
    ]
    browser.open(written(tmp_path, runs))
    browser.click("#length input[value='3']")
    assert "2916 points" in summaries(browser)[0]
    browser.run(HOVER_TIMES)
    for y, x in np.random.default_rng(0).uniform(20, 490, (20, 2)):
        browser.hover(y, x, size)
    times = browser.run("return window.hoverTimes")
    print(
        f"hover to drawn: quickest {min(times):.0f} ms, median {np.median(times):.0f} ms, slowest {max(times):.0f} ms of {len(times)}"
    )
    assert len(times) >= 20
    assert min(times) < 100  # what the page takes where nothing else is going on
