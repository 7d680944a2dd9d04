"""The page of a comparison: its numbers, and how it stands in a browser."""

import base64
import html.parser
import json
import re
import time
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from dcnrun.compare.page import PAGE_NAME, write_comparison
from dcnrun.compare.pictures import Pictures
from dcnrun.compare.results import Unfinished, VariantResult, compare
from dcnrun.compare.statistics import Difference
from dcnrun.compare.tables import rows
from dcnrun.training.side_by_side import small_jpeg
from tests.compare.factories import confusions, per_image, variant

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)><!-- \u2028 é"


class Tables(html.parser.HTMLParser):
    """The cells of each table, by what the table shows."""

    def __init__(self, text):
        super().__init__()
        self.found, self._rows = {}, []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        if attributes.get("class") == "scroll":
            self._rows = self.found[attributes["aria-label"]] = []
        elif tag == "tr":
            self._rows.append([])
        elif tag in ("th", "td"):
            self._rows[-1].append("")

    def handle_endtag(self, tag):
        if tag == "table":
            self._rows = []

    def handle_data(self, data):
        if self._rows and self._rows[-1]:
            self._rows[-1][-1] += data


def data_of(text):
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)[1])


@pytest.fixture
def written(comparison, tmp_path):
    write_comparison(comparison, tmp_path / PAGE_NAME)
    return (tmp_path / PAGE_NAME).read_text(encoding="utf-8")


def test_the_tables_hold_what_the_other_reports_hold(written, comparison):
    tables = Tables(written).found
    result = tables["Scores and costs of the variants"]
    for number, (cells, row) in enumerate(zip(result[1:], rows(comparison), strict=True), start=1):
        assert cells == [f"{number}. {row.accuracy[0]}", *row.accuracy[1:], *row.cost]
    runs = tables["Runs"][1:]
    assert [(row[0], row[1]) for row in runs] == [
        (f"{number}. {each.name}", str(run.seed))
        for number, each in enumerate(comparison.variants, start=1)
        for run in each.runs
    ]
    assert "the loss | is *nan*" in written
    settings = tables["Settings that differ"]
    kinds = [row[settings[0].index("conv.kind")] for row in settings[1:]]
    assert kinds == ["standard", "dilated", "deformable"]
    assert "seed" not in settings[0]


def test_charts_have_every_seed(written, comparison):
    data = data_of(written)
    for held, of_comparison, difference in zip(
        data["variants"], comparison.variants, comparison.differences, strict=True
    ):
        assert held["scores"] == pytest.approx([100 * run.score for run in of_comparison.runs], rel=1e-4)
        assert held["seeds"] == [run.seed for run in of_comparison.runs]
        for run, (steps, scores) in zip(of_comparison.runs, held["curves"]["seeds"], strict=True):
            assert list(zip(steps, scores, strict=True)) == [
                (s, pytest.approx(100 * v, rel=1e-3)) for s, v in run.curve
            ]
        if difference is not None:
            ends = [
                100 * (comparison.variants[0].mean + end) for end in (difference.interval.low, difference.interval.high)
            ]
            assert held["interval"] == pytest.approx(ends, rel=1e-4)


def test_differences_of_classes_are_paired_by_seed(written, comparison):
    data = data_of(written)
    scores = [{run.seed: run.summary["per_class"]["val/miou"] for run in each.runs} for each in comparison.variants]
    for number, held in enumerate(data["variants"]):
        for name, differences in zip(data["classes"], held["classes"], strict=True):
            both = sorted(scores[0].keys() & scores[number].keys())
            expected = [100 * (scores[number][seed][name] - scores[0][seed][name]) for seed in both]
            assert differences == pytest.approx(expected, rel=1e-3, abs=1e-9)
    cells = {row[0]: row[1:] for row in Tables(written).found["Scores of the classes"]}
    means = [np.mean([of_seed["star"] for of_seed in each.values()]) for each in scores]
    assert cells["star"] == [
        f"{100 * means[0]:.1f}",
        *(f"{100 * mean:.1f} ({100 * (mean - means[0]):+.1f})" for mean in means[1:]),
    ]


def many(tmp_path, variants=100, seeds=5, validations=1000):
    """A comparison of many long runs, of which one is read."""
    run = variant(tmp_path, "standard", ["conv=standard"], seeds=(0,)).runs[0]
    rng = np.random.default_rng(0)
    curves = rng.normal(0.5, 0.1, (variants, seeds, validations)).cumsum(axis=-1) / np.arange(1, validations + 1)
    steps = range(20, 20 * validations + 1, 20)
    results = [
        VariantResult(
            f"standard lr={i}",
            run.settings,
            tuple(
                replace(run, settings={**run.settings, "seed": s}, curve=tuple(zip(steps, map(float, c), strict=True)))
                for s, c in enumerate(of_variant)
            ),
        )
        for i, of_variant in enumerate(curves)
    ]
    difference = Difference({0: 0.0}, 0.0, None, None, None)
    return replace(compare(results[:1]), variants=tuple(results), differences=(None, *[difference] * (variants - 1)))


def test_a_picture_becomes_large_with_the_keyboard(browser, hostile_page):
    browser.open(hostile_page)
    browser.settled()
    wide = "return document.querySelector('.pictures img').getBoundingClientRect().width"
    small = browser.run(wide)
    browser.run("document.querySelector('.pictures button').focus()")
    browser.keys(" ")
    assert browser.run(wide) > 3 * small
    assert browser.run("return document.querySelector('.pictures button').getAttribute('aria-pressed')") == "true"
    browser.keys(" ")
    assert browser.run(wide) == small


@pytest.mark.slow
def test_a_large_comparison_stays_small(tmp_path):
    comparison = many(tmp_path)
    started = time.perf_counter()
    write_comparison(comparison, tmp_path / PAGE_NAME)
    assert time.perf_counter() - started < 20  # some 3 seconds
    assert (tmp_path / PAGE_NAME).stat().st_size < 3e6
    text = (tmp_path / PAGE_NAME).read_text(encoding="utf-8")
    held = data_of(text)
    assert len(held["variants"]) == 100
    assert "Of 100 variants the reference and the 7 best are in the figures at first" in text
    assert "a curve has at most 100 points" in text
    for of_page, of_run in zip(held["variants"][7]["curves"]["seeds"], comparison.variants[7].runs, strict=True):
        scores = [score for _, score in of_run.curve]
        assert (min(of_page[1]), max(of_page[1])) == pytest.approx((100 * min(scores), 100 * max(scores)), rel=1e-3)


@pytest.fixture(scope="module")
def hostile_page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hostile")
    classes = ("background", HOSTILE, "a" * 300)
    variants = []
    for i, kind in enumerate(("standard", "deformable", "modulated")):
        results = per_image(confusions(i, 0.7 + i / 20), classes)
        results.names = (HOSTILE, *results.names[1:])
        options = {"curve": (0.2, 0.4), "classes": classes, "images": results}
        variants.append(variant(folder, f"{i}", [f"conv={kind}"], seeds=(0, 1), **options))
    names = ("standard", HOSTILE, "b" * 300)
    named = [replace(each, name=name) for each, name in zip(variants, names, strict=True)]
    failed = Unfinished(HOSTILE, 2, folder / "x", HOSTILE, failed=True)
    grey = base64.b64encode(small_jpeg(Image.new("RGB", (48, 32), "grey"))).decode()
    panels = [{"title": title, "jpeg": grey} for title in ("image", HOSTILE, "c" * 300)]
    image = {"name": HOSTILE, "pictures": panels, "legend": [{"colour": "#123456", "name": HOSTILE}]}
    write_comparison(compare(named, [failed]), folder / PAGE_NAME, Pictures([image], [HOSTILE]))
    return folder / PAGE_NAME


@pytest.mark.parametrize(("width", "phone", "scheme"), [(1280, False, "light"), (360, True, "dark")])
def test_in_a_browser(browser, hostile_page, width, phone, scheme):
    browser.open(hostile_page, width=width, phone=phone, scheme=scheme)
    browser.settled()
    assert browser.run("return window.alerts") == []
    assert browser.messages() == []
    assert browser.run("return [...document.images].map((e) => [e.naturalWidth, e.alt.length > 300])") == [
        *([48, False], [48, False], [48, True]),
    ]
    assert browser.run("return document.documentElement.scrollWidth") <= width
    assert browser.run("return [...document.querySelectorAll('.plot svg')].map((e) => e.closest('.plot').id)") == [
        *("scores", "curves", "speed", "flops", "classes", "confusion"),
    ]
    for chart, drawn in (("scores", ".ring"), ("curves", ".seed")):  # of three variants, two seeds each
        assert browser.run(f"return document.querySelectorAll('#{chart} {drawn}').length") == 6
    background = browser.screenshot()[2, 2].mean()
    assert background > 200 if scheme == "light" else background < 60


def test_variants_are_chosen_with_the_keyboard(browser, hostile_page):
    browser.open(hostile_page)
    browser.settled()
    browser.run("document.querySelector('#variants input').focus()")
    outline = "const focus = document.activeElement; return getComputedStyle(focus).outlineStyle"
    browser.keys(" ")
    assert browser.run(outline) == "solid"
    assert browser.run("return document.querySelectorAll('#scores .ring').length") == 4
    browser.keys(" ")
    assert browser.run("return document.querySelectorAll('#scores .ring').length") == 6
    browser.choose("#of-classes", "3")
    assert browser.run("return document.querySelector('#classes .series').dataset.number") == "3"
    assert browser.run("return [...document.querySelectorAll('.scroll')].every((e) => e.tabIndex === 0)")
