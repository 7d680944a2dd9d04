"""The report of a sweep as a page."""

import json
import re
from dataclasses import replace

import pytest

from dcnrun.jobs.ledger import State
from dcnrun.sweep.engines.engine import Sampler
from dcnrun.sweep.plan import Plan
from dcnrun.sweep.report.content import Importance
from dcnrun.sweep.report.page import write_sweep
from dcnrun.sweep.report.write import PAGE
from dcnrun.sweep.spec.distributions import Categorical
from dcnrun.sweep.spec.sweep_file import EarlyTerminate
from tests.sweep.report.factories import SPACE, parabola, progress, sweep_of, trials, write

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)><!-- \u2028 é"


def data_of(text):
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)[1])


def hostile_sweep(count, reports=4):
    """Trials of which some were stopped and one failed, with a name that a page must not obey."""
    jobs = [
        replace(
            each,
            parameters={**each.parameters, "name": HOSTILE if each.number % 2 else "b"},
            history=tuple((10 * step, each.history[-1][1] * step / reports) for step in range(1, reports + 1)),
        )
        for each in trials(count, parabola)
    ]
    jobs[1] = replace(jobs[1], state=State.stopped, band=1, reason=f"band 1: {HOSTILE}")
    jobs[2] = replace(jobs[2], state=State.failed, reason=HOSTILE)
    return jobs, replace(
        sweep_of(**SPACE, name=Categorical((HOSTILE, "b"))), early_terminate=EarlyTerminate(1, eta=3.0)
    )


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sweep")
    jobs, sweep = hostile_sweep(12)
    report, _ = write(jobs, folder, sweep, draw=lambda *_: {})
    return report, folder / PAGE


def test_it_shows_the_trials_of_the_report(page):
    report, path = page
    data = data_of(path.read_text(encoding="utf-8"))
    assert [trial["trial"] for trial in data["trials"]] == report["ranking"]
    values = {trial["number"]: trial for trial in report["trials"]}
    for shown in data["trials"]:
        own = values[shown["trial"]]
        assert shown["value"] == pytest.approx(100 * max(value for _, value in own["history"]), rel=1e-4)
        assert shown["curve"][0] == [step for step, _ in own["history"]]
        assert shown["completed"] == (own["state"] == "completed")
    shares = {name: pytest.approx(100 * share, rel=1e-3) for name, share in report["importance"]["shares"].items()}
    assert dict(data["importance"]) == shares
    assert data["best"][1] == sorted(data["best"][1])
    along = {each["name"]: each for each in data["parameters"]}
    of_best = next(trial for trial in report["trials"] if trial["number"] == report["best"])["parameters"]
    assert along["optim.offset_lr_mult"]["log"]
    assert along["optim.offset_lr_mult"]["values"][0] == of_best["optim.offset_lr_mult"]
    names = along["conv.offset_groups"]["names"]
    assert names[int(along["conv.offset_groups"]["values"][0])] == str(of_best["conv.offset_groups"])


def test_without_a_value_there_are_no_charts(tmp_path):
    jobs = [replace(each, state=State.failed, history=(), reason="out of memory") for each in trials(3, parabola)]
    write(jobs, tmp_path, draw=lambda *_: {})
    text = (tmp_path / PAGE).read_text(encoding="utf-8")
    assert "No trial has a value." in text
    assert text.count("out of memory") == 3
    assert 'id="history"' not in text
    assert "Left out: it takes 8 trials with a value, and there are 0." in text


@pytest.mark.slow
def test_a_thousand_trials_stay_small(tmp_path):
    jobs, sweep = hostile_sweep(1000, reports=200)
    write_sweep(Plan(sweep, (), 0, Sampler.tpe), progress(jobs), Importance(), None, None, [], tmp_path / PAGE)
    assert (tmp_path / PAGE).stat().st_size < 3e6


@pytest.mark.parametrize(("width", "phone"), [(1280, False), (360, True)])
def test_in_a_browser(browser, page, width, phone):
    browser.open(page[1], width=width, phone=phone)
    browser.settled()
    assert browser.run("return window.alerts") == []
    assert browser.messages() == []
    assert browser.run("return document.images.length") == 0
    assert browser.run("return document.documentElement.scrollWidth") <= width
    drawn = "return [...document.querySelectorAll('.plot svg')].map((e) => e.closest('.plot').id)"
    assert browser.run(drawn) == ["history", "slice", "importance", "curves"]
    assert browser.run("return document.querySelectorAll('#history circle').length") == 11
    browser.choose("#parameter", browser.run("return document.getElementById('parameter').options.length - 1"))
    assert browser.run("return document.querySelectorAll('#slice circle').length") == 11
    browser.run("document.querySelector('#variants input').focus()")
    browser.keys(" ")
    assert browser.run("return document.querySelectorAll('#curves .line').length") == 7
