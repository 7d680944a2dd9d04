import json
import math
import random
import re
import shlex
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from dcnrun.config.compose import compose
from dcnrun.jobs.ledger import State
from dcnrun.runs import RunFolder
from dcnrun.sweep.plan import Plan
from dcnrun.sweep.report.cost import Cost, cost
from dcnrun.sweep.report.history_figure import best_so_far
from dcnrun.sweep.report.importance import Importance, importance
from dcnrun.sweep.report.parallel_figure import draw_parallel
from dcnrun.sweep.report.slice_figure import draw_slice, slice_of
from dcnrun.sweep.report.write import write_report
from dcnrun.sweep.spec.distributions import Categorical, Constant, IntUniform, LogUniform, Uniform
from dcnrun.sweep.spec.sweep_file import EarlyTerminate, Goal, Method, Metric
from dcnrun.sweep.status import Progress
from tests.sweep.making import job, sweep_file

MIOU = Metric("val/miou", Goal.maximize)
SPACE = {
    "optim__offset_lr_mult": LogUniform(0.001, 10.0),
    "conv__offset_groups": Categorical((1, 2, 4)),
    "conv__groups": Categorical((1, 2)),
    "trainer__threads": IntUniform(1, 4),
    "optim__lr": Constant(0.01),
}
FIGURES = ["history.png", "importance.png", "parallel.png", "slice.png"]


def drawn(seed=0):
    rng = random.Random(seed)
    while True:
        yield {
            "optim.offset_lr_mult": 10 ** rng.uniform(-3, 1),
            "conv.offset_groups": rng.choice((1, 2, 4)),
            "conv.groups": rng.choice((1, 2)),
            "trainer.threads": rng.randint(1, 4),
            "optim.lr": 0.01,
        }


def trials(count, value, seed=0):
    settings = drawn(seed)
    return [job(number, own := next(settings), [value(own) - 0.1, value(own)]) for number in range(count)]


def parabola(settings):
    """Best where the learning rate of the offsets is 0.1; nothing else matters."""
    return 0.5 - 0.1 * (math.log10(settings["optim.offset_lr_mult"]) + 1) ** 2


def sweep_of(metric=MIOU, **space):
    return sweep_file(Method.random, metric, **(space or SPACE))


def progress(jobs, folder=Path("nowhere"), metric=MIOU):
    return Progress("test", folder, metric, len(jobs), jobs)


def write(jobs, folder, sweep=None, overrides=()):
    sweep = sweep or sweep_of()
    plan = Plan(sweep, overrides, 0, "tpe")
    jobs = [replace(each, overrides=plan.trial(each.parameters, each.number).overrides) for each in jobs]
    report = write_report(plan, progress(jobs, folder, sweep.metric))
    return report, (folder / "report.md").read_text()


def axes():
    return Figure().subplots()


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("optim.offset_lr_mult", parabola),
        ("conv.offset_groups", lambda settings: 0.1 * settings["conv.offset_groups"]),
    ],
)
def test_the_parameter_that_matters_is_the_most_important(name, value, seed):
    shares = importance(sweep_of(), progress(trials(30, value, seed))).shares
    assert next(iter(shares)) == name
    assert sum(shares.values()) == pytest.approx(1)
    assert set(shares) == {"optim.offset_lr_mult", "conv.offset_groups", "conv.groups", "trainer.threads"}


def test_importance_is_left_out_with_a_word_where_it_would_mean_nothing():
    assert "8 trials" in importance(sweep_of(), progress(trials(7, parabola))).why_not
    assert "same value" in importance(sweep_of(), progress(trials(20, lambda _: 0.5))).why_not
    assert "no parameter" in importance(sweep_of(optim__lr=Constant(1)), progress(trials(20, parabola))).why_not
    failed = [replace(each, state=State.failed) for each in trials(20, parabola)]
    assert "there are 0" in importance(sweep_of(), progress(failed)).why_not


def test_the_json_has_every_trial_whole(tmp_path):
    one, two, three, _ = trials(4, parabola)
    one = replace(one, history=((10, 0.3), (20, 0.5), (30, 0.4)), started=100.0, ended=160.5, owner="here:12:3:k")
    two = replace(two, state=State.stopped, band=2, reason="band 2: worse", history=((10, 0.1), (20, 0.2)))
    three = replace(three, state=State.failed, reason="killed", attempts=3, history=())
    sweep = replace(sweep_of(), early_terminate=EarlyTerminate(min_iter=2, eta=3.0))
    returned, _ = write([one, two, three], tmp_path, sweep)
    report = json.loads((tmp_path / "report.json").read_text())
    assert report == returned
    assert (report["best"], report["ranking"], report["bands"]) == (0, [0, 1], [2])
    first, second, third = report["trials"]
    assert first["parameters"] == one.parameters
    assert first["history"] == [[10, 0.3], [20, 0.5], [30, 0.4]]
    assert (first["value"], first["best_step"], first["seconds"], first["host"]) == (0.5, 20, 60.5, "here")
    assert first["run"] == str(tmp_path / "trial-0000")
    assert (second["state"], second["band"], second["reason"]) == ("stopped", 2, "band 2: worse")
    assert (third["state"], third["value"], third["best_step"], third["attempts"]) == ("failed", None, None, 3)
    assert {"number", "state", "parameters", "reason", "attempts", "run", "seconds"} <= third.keys()


def test_the_best_settings_are_a_command_that_makes_the_same_config(tmp_path):
    space = SPACE | {"name": Categorical(("it's; a `name`",))}
    jobs = [replace(each, parameters={**each.parameters, "name": "it's; a `name`"}) for each in trials(3, parabola)]
    report, text = write(jobs, tmp_path, sweep_of(**space), overrides=("conv=deformable",))
    command = re.search(r"^(`{3,})console\n(.*)\n\1$", text, re.M)[2]
    assert command == report["command"]
    program, train, *overrides = shlex.split(command)
    assert (program, train) == ("dcnrun", "train")
    config, best = compose(overrides), max(jobs, key=lambda each: each.history[-1][1])
    assert config.conv.kind == "deformable"
    assert config.name == "it's; a `name`"
    assert config.optim.offset_lr_mult == best.parameters["optim.offset_lr_mult"]
    assert config.conv.offset_groups == best.parameters["conv.offset_groups"]


def test_the_stop_rule_is_charged_with_what_it_saved(tmp_path):
    def ended(number, state, reports, logged, steps, band=None):
        """A report every 100 steps and at the end; `logged` is the last step that metrics.jsonl has, `steps` those of a whole run."""
        folder = RunFolder(tmp_path / f"trial-{number:04d}")
        folder.path.mkdir()
        folder.metrics_file.write_text(json.dumps({"step": logged, "train/loss": 1.0}) + "\n")
        folder.write_summary({"steps": steps})
        history = tuple((min(100 * (i + 1), steps), 0.5) for i in range(reports))
        return replace(job(number, {}, (), state, band=band), history=history)

    jobs = [
        ended(0, State.completed, 10, 950, 950),
        ended(1, State.stopped, 2, 240, 950, band=2),
        ended(2, State.stopped, 3, 300, 950),  # by the target, which the rule has no part in
        ended(3, State.failed, 1, 160, 950),
    ]
    # by hand: trial 1 would have been validated at 100, 200, ... 900, and at 950
    assert cost(progress(jobs, tmp_path)) == Cost(16, 1650, 24, 2360)


def test_a_stopped_trial_that_is_elsewhere_would_have_ended_as_the_longest_did():
    whole = replace(job(0, {}, ()), history=((50, 0.5), (100, 0.5)))
    stopped = replace(job(1, {}, (), State.stopped, band=1), history=((50, 0.4),))
    assert cost(progress([whole, stopped])) == Cost(3, 150, 4, 200)


def test_the_best_so_far_never_gets_worse():
    valued = [(job(number, {}), value) for number, value in [(3, 0.2), (0, 0.1), (1, 0.4), (2, 0.3)]]
    assert best_so_far(valued, Goal.maximize) == ([0, 1, 2, 3], [0.1, 0.4, 0.4, 0.4])
    assert best_so_far(valued, Goal.minimize) == ([0, 1, 2, 3], [0.1, 0.1, 0.1, 0.1])


def test_parallel_coordinates_are_logarithmic_where_the_search_is():
    sweep = sweep_of()
    names = ["optim.offset_lr_mult", "conv.offset_groups", "trainer.threads"]
    chosen = [each for each in sweep.parameters if each.name in names]
    rates, groups, threads, metric = draw_parallel(axes(), progress(trials(12, parabola)), "val/miou", chosen)
    assert [each.get_yscale() for each in (rates, groups, threads, metric)] == ["log", "linear", "linear", "linear"]
    assert [label.get_text() for label in groups.get_yticklabels()] == ["1", "2", "4"]
    assert list(groups.get_yticks()) == [0, 1, 2]


def test_lines_of_parallel_coordinates_meet_the_axes_where_the_values_are():
    host, jobs = axes(), trials(6, parabola)
    chosen = [each for each in sweep_of().parameters if each.name == "optim.offset_lr_mult"]
    rates, metric = draw_parallel(host, progress(jobs), "val/miou", chosen)

    def height(upright, value):
        return host.transAxes.inverted().transform(upright.transData.transform((0, value)))[1]

    expected = [
        (height(rates, own.parameters["optim.offset_lr_mult"]), height(metric, max(value for _, value in own.history)))
        for own in jobs
    ]
    lines = [patch.get_path().vertices for patch in host.patches]
    drawn_at = sorted((line[0][1], line[-1][1]) for line in lines)
    assert np.allclose(drawn_at, sorted(expected))


def test_a_slice_is_along_the_learning_rate_of_the_offsets_by_groups():
    sweep, host = sweep_of(), axes()
    along = slice_of(sweep.parameters, Importance())
    assert along.name == "optim.offset_lr_mult"
    draw_slice(host, progress(trials(30, parabola)), "val/miou", along, sweep.parameters)
    assert host.get_xscale() == "log"
    labels = [text.get_text() for text in host.get_legend().get_texts()]
    assert labels == ["conv.offset_groups", "1", "2", "4", "conv.groups", "1", "2"]
    colours = {tuple(points.get_edgecolor()[0]) for points in host.collections[:-1]}  # the last is the best's ring
    assert len(colours) == 3


def test_without_that_rate_a_slice_is_along_the_most_important_number():
    names = {"a__x": Uniform(0, 1), "b__y": Uniform(0, 1), "c__z": Categorical(("u", "v")), "d__w": Constant(1)}
    parameters = sweep_of(**names).parameters
    assert slice_of(parameters, Importance({"c.z": 0.6, "b.y": 0.3, "a.x": 0.1})).name == "b.y"
    assert slice_of(parameters, Importance(why_not="few")).name == "a.x"
    assert slice_of(parameters[2:], Importance()) is None


def test_a_rate_of_zero_has_no_logarithm_and_is_drawn():
    sweep, host = sweep_of(optim__offset_lr_mult=Categorical((0, 0.1, 1.0))), axes()
    jobs = [job(i, {"optim.offset_lr_mult": rate}, [0.5]) for i, rate in enumerate((0, 0.1, 1.0))]
    draw_slice(host, progress(jobs), "val/miou", sweep.parameters[0], sweep.parameters)
    assert host.get_xscale() == "linear"
    assert host.get_xlim()[0] < 0


NONE = [
    job(i, settings, [], State.failed, reason="out of memory") for i, settings in zip(range(3), drawn(), strict=False)
]


@pytest.mark.parametrize(
    ("jobs", "figures"),
    [
        (trials(12, parabola), FIGURES),
        (trials(1, parabola), ["history.png", "parallel.png", "slice.png"]),
        (trials(9, lambda _: 0.5), ["history.png", "parallel.png", "slice.png"]),
        (NONE, ["history.png"]),
        ([], ["history.png"]),
    ],
    ids=["many", "one", "equal", "failed", "none"],
)
def test_there_are_the_figures_that_the_trials_give(tmp_path, jobs, figures):
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "slice.png").write_text("of an earlier report")
    _, text = write(jobs, tmp_path)
    assert sorted(file.name for file in (tmp_path / "figures").iterdir()) == figures
    assert re.findall(r"\]\(figures/(.*?)\)", text) == figures
    assert all((tmp_path / "figures" / name).read_bytes().startswith(b"\x89PNG") for name in figures)


def test_a_sweep_without_a_metric_has_a_report_all_the_same(tmp_path):
    report, text = write(trials(3, parabola), tmp_path, sweep_of(metric=None))
    assert report["metric"] is None
    assert "## Best settings" in text
    assert not list(tmp_path.glob("figures/*"))


def test_what_people_read_says_what_was_stopped_and_that_one_run_is_not_a_ranking(tmp_path):
    jobs = trials(3, parabola)
    jobs[1] = replace(jobs[1], state=State.stopped, band=1, reason="band 1: val/miou 0.1 is worse than 0.4")
    jobs[2] = replace(jobs[2], state=State.failed, reason="ValueError: <b>|no|</b> *luck*")
    sweep = replace(sweep_of(), early_terminate=EarlyTerminate(min_iter=1, eta=3.0))
    _, text = write(jobs, tmp_path, sweep)
    assert "- trial 1, stopped: band 1: val/miou 0.1 is worse than 0.4" in text
    assert r"- trial 2, failed: ValueError: \<b\>\|no\|\</b\> \*luck\*" in text
    assert "are not a ranking" in text
    assert "--repeats" in text
    assert "without the stop rule" in text
