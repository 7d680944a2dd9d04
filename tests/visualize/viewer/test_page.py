"""The file: what it holds and how large it is, without a browser."""

import base64
import hashlib
import html.parser
import json
import re
from dataclasses import replace
from importlib.resources import files

import numpy as np
import pytest

from dcnrun.offsets.layers import Capture
from dcnrun.visualize.viewer.page import PageImage, PageObject, PageRun, write_page
from tests.visualize.viewer.factories import grey_image, random_layer, three_layers, two_runs, written

HOSTILE = "</script><script>alert(1)</script><!-- \u2028 é"


def data_of(text):
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)[1])


def test_a_page_of_two_runs_stays_small(tmp_path):
    """512 x 512, three layers at an output stride of 16, 4 groups with masks, and pictures that hardly compress."""
    photograph = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8).repeat(8, 0).repeat(8, 1)
    photograph += np.random.default_rng(1).integers(0, 12, photograph.shape, dtype=np.uint8)
    runs = [
        PageRun(f"run {seed}", [PageImage("one", photograph, three_layers(seed, groups=4, side=512, output_stride=16))])
        for seed in (1, 2)
    ]
    path = written(tmp_path, runs)
    assert path.stat().st_size < 5e6
    assert list(tmp_path.iterdir()) == [path]


def test_names_cannot_end_the_data(tmp_path):
    capture = Capture((64, 64), (random_layer(0, HOSTILE, size=(8, 8)),), ())
    image = grey_image(capture, HOSTILE, [PageObject(HOSTILE, (0, 0, 9, 9))])
    text = written(tmp_path, [PageRun(HOSTILE, [image])]).read_text(encoding="utf-8")
    run = data_of(text)["runs"][0]
    shown = run["images"][0]
    names = run["name"], shown["name"], shown["objects"][0]["name"], shown["layers"][0]["name"]
    assert set(names) == {HOSTILE}
    assert "alert(1)</script>" not in text
    assert text.count("<script") == 2  # the data's and the page's own


class _Elements(html.parser.HTMLParser):
    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))


def test_nothing_is_loaded_and_only_its_own_script_may_run(tmp_path):
    text = written(tmp_path, two_runs()).read_text(encoding="utf-8")
    parser = _Elements()
    parser.feed(text)
    for _, attributes in parser.found:
        assert not {"src", "href", "srcset", "action", "style"} & attributes.keys()
        assert not any(name.startswith("on") for name in attributes)
    policies = [a["content"] for tag, a in parser.found if a.get("http-equiv") == "Content-Security-Policy"]
    policy = dict(rule.strip().split(" ", 1) for rule in policies[0].split(";"))
    assert policy["default-src"] == "'none'"
    assert policy["img-src"] == "data:"
    for kind, tag in (("script-src", "script"), ("style-src", "style")):
        content = re.search(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL)[1]
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert policy[kind] == f"'sha256-{digest}'"


def test_numbers_are_as_near_as_their_steps(tmp_path):
    random = np.random.default_rng(0)
    layer = random_layer(0, groups=2)
    layer.offset[:] = layer.offset.new_tensor(random.normal(0, 3, layer.offset.shape))
    layer.mask[:] = layer.mask.new_tensor(random.uniform(0, 2, layer.mask.shape))
    text = written(tmp_path, [PageRun("run", [grey_image(Capture((128, 128), (layer,), ()))])]).read_text()
    held = data_of(text)["runs"][0]["images"][0]["layers"][0]
    for name, kind, values in (("offset", "<i2", layer.offset), ("mask", "u1", layer.mask)):
        steps = np.frombuffer(base64.b64decode(held[name]["steps"]), kind)
        read = steps.astype(float) * held[name]["step"]
        assert np.abs(read - values.numpy().ravel()).max() <= held[name]["step"] / 2 * (1 + 1e-6)
    assert held["offset"]["step"] < 1e-3
    assert held["mask"]["step"] < 0.01


def test_a_plain_layer_takes_no_room_and_a_picture_is_held_once(tmp_path):
    plain = grey_image(three_layers(0, deformable=False, masked=False))
    held = data_of(written(tmp_path, [PageRun("a", [plain]), PageRun("b", [plain])]).read_text())
    assert [run["images"][0]["layers"][0]["offset"] for run in held["runs"]] == [None, None]
    assert len(held["pictures"]) == 1


def test_chains_follow_the_maps(tmp_path):
    capture = three_layers(0)
    first, second, third = capture.layers
    apart = replace(capture, layers=(first, replace(second, source=None), third))
    held = data_of(written(tmp_path, [PageRun("run", [grey_image(apart)])]).read_text())
    assert [layer["chains"] for layer in held["runs"][0]["images"][0]["layers"]] == [[[0]], [[1]], [[2], [1, 2]]]


@pytest.mark.parametrize("broken", [float("nan"), float("inf")])
def test_a_network_that_diverged_still_has_its_page(tmp_path, broken):
    layer = random_layer(0)
    for values in (layer.offset, layer.mask, layer.point_weight):
        values[:] = broken
    written(tmp_path, [PageRun("run", [grey_image(Capture((128, 128), (layer,), ()))])])


def test_what_cannot_be_shown_is_said(tmp_path):
    with pytest.raises(ValueError, match="at least one run with an image"):
        write_page(tmp_path / "page.html", [PageRun("empty", [])])
    image = grey_image(three_layers(0))
    for picture in (image.picture[:64], image.picture[..., 0]):
        with pytest.raises(ValueError, match=r"grey\.png.*\(128, 128\)"):
            write_page(tmp_path / "page.html", [PageRun("run", [replace(image, picture=picture)])])
    assert not list(tmp_path.iterdir())


def test_its_parts_are_files_of_the_package():
    names = {file.name for file in files("dcnrun.visualize.viewer").iterdir()}
    assert {"page.html", "page.css", "page.js", "drawing.js", "geometry.js"} <= names
