import json
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from dcnrun.compare.compare_runs import compare_runs
from dcnrun.errors import RunError, UsageError
from dcnrun.jobs.database import sqlite_url
from dcnrun.jobs.ledger import Ledger, State
from dcnrun.sweep.agent import run_agent
from dcnrun.sweep.engines.engine import Options, Sampler
from dcnrun.sweep.plan import Plan
from dcnrun.sweep.repeats import (
    add_repeats,
    check_repeatable,
    choose_candidates,
    compare_repeats,
    progress_of_repeats,
)
from dcnrun.sweep.report.markdown import repeat_cells
from dcnrun.sweep.spec.reading import parse_sweep
from dcnrun.sweep.spec.sweep_file import Goal, Metric
from dcnrun.sweep.status import Progress
from dcnrun.sweep.storage import create_ledger, create_repeats, open_ledger
from tests.compare.factories import write_run
from tests.sweep import fakes
from tests.sweep.factories import QuickEngine, job

STEPS = "trainer.steps=4"


@cache
def overrides_of(rate):
    return (STEPS, f"optim.lr={rate}")


def trial(number, rate, value, state=State.completed):
    return replace(job(number, {"optim.lr": rate}, [value], state), overrides=overrides_of(rate))


def progress(jobs, folder):
    return Progress("lr", folder, Metric("val/miou", Goal.maximize), len(jobs), jobs)


def batch_of(folder):
    return Ledger.create(f"sqlite:///{folder / 'ledger.db'}", "lr-repeats", "grid", "", str(folder), None)


def test_the_best_settings_have_seeds_that_no_trial_had(tmp_path):
    jobs = [
        trial(0, 0.1, 0.4),
        trial(1, 0.2, 0.7, State.stopped),
        trial(2, 0.3, 0.9, State.failed),
        trial(3, 0.4, 0.6),
        trial(4, 0.5, 0.5),
        trial(5, 0.4, 0.55),  # the setting of trial 3 again
    ]
    chosen = choose_candidates(progress(jobs, tmp_path), top=3, seeds=2)
    assert [each.trial.number for each in chosen] == [1, 3, 4]
    stopped, whole, _ = chosen
    assert [run.folder for run in stopped.runs.values()] == ["trial-0001-seed1", "trial-0001-seed2"]
    assert [run.folder for run in whole.runs.values()] == ["trial-0003-seed1", "trial-0003-seed2"]
    assert whole.runs[1].overrides == (STEPS, "optim.lr=0.4", "seed=1")
    assert whole.runs[1].parameters == {"optim.lr": 0.4, "seed": 1}


def test_seeds_follow_those_of_all_trials(tmp_path):
    seeded = [
        replace(trial(seed, 0.1, 1 - seed / 10), overrides=(*overrides_of(0.1), f"seed={seed}")) for seed in (5, 3, 7)
    ]
    (only,) = choose_candidates(progress(seeded[:1], tmp_path), top=3, seeds=3)
    assert list(only.runs) == [6, 7, 8]
    (one_of_three,) = choose_candidates(progress(seeded, tmp_path), top=3, seeds=2)
    assert list(one_of_three.runs) == [8, 9]


def test_without_a_value_there_is_nothing_to_repeat(tmp_path):
    with pytest.raises(RunError, match="no trial has a value"):
        choose_candidates(progress([trial(0, 0.1, 0.4, State.failed)], tmp_path), top=3, seeds=2)


def plan_of(parameters, *overrides, metric="{name: val/miou, goal: maximize}"):
    text = f"method: random\nmetric: {metric}\nparameters:\n  {parameters}\n"
    return Plan(parse_sweep(text, Path("lr.yaml")), overrides, 0, Sampler.tpe)


def test_a_sweep_by_another_metric_than_runs_are_compared_by_is_refused_before_it_starts():
    rate, other = "optim.lr: {min: 0.1, max: 0.2}", "{name: val/pixel_acc, goal: maximize}"
    check_repeatable(plan_of(rate))
    check_repeatable(plan_of(rate, "trainer.metric=val/pixel_acc", metric=other))
    with pytest.raises(UsageError, match=r"by val/miou, but this sweep goes by val/pixel_acc: give trainer\.metric="):
        check_repeatable(plan_of(rate, metric=other))


@pytest.mark.parametrize(
    ("parameters", "difference"),
    [
        ("trainer.steps: {min: 4, max: 8}", "trainer.steps is 4 for trainer.steps=4 but 5 for trainer.steps=5"),
        ("data.image_size: {values: [64, 96]}", "data.image_size is 64 for data.image_size=64 but 96"),
        ("model: {values: [fcn, faster_rcnn]}", "what is found is masks for model=fcn but boxes for model=faster_rcnn"),
    ],
)
def test_settings_that_make_runs_incomparable_are_refused_before_it_starts(parameters, difference):
    with pytest.raises(UsageError, match=rf"lr\.yaml:4: {difference}"):
        check_repeatable(plan_of(parameters))


def test_settings_of_speed_and_those_with_one_value_are_not():
    harmless = ("data.workers: {values: [0, 2]}", "trainer.steps: {value: 4}", "conv.groups: {values: [1, 2]}")
    check_repeatable(plan_of("\n  ".join(harmless)))


def repeated(tmp_path, skills, failed=(), seeds=3):
    """Settings with these chances of a right pixel, by seed, ranked by single runs in this order."""
    jobs = [trial(i, (i + 1) / 10, 0.9 - i / 10) for i in range(len(skills))]
    sweep, folder = progress(jobs, tmp_path), tmp_path / "repeats"
    folder.mkdir()
    chosen, batch = choose_candidates(sweep, len(jobs), seeds), batch_of(tmp_path)
    add_repeats(batch, chosen)
    for each, own in zip(chosen, skills, strict=True):
        for (seed, run), skill in zip(each.runs.items(), own, strict=True):
            if (each.trial.number, seed) not in failed:
                write_run(folder / run.folder, list(each.trial.overrides), seed, skill)
    while (job := batch.claim("me:1::")) is not None:
        is_failed = any(job.folder == f"trial-{number:04d}-seed{seed}" for number, seed in failed)
        batch.finish(
            job, "me:1::", State.failed if is_failed else State.completed, "out of memory" if is_failed else None
        )
    return compare_repeats(chosen, progress_of_repeats(sweep, batch, chosen, folder))


def test_the_ranking_is_by_means_as_compare_has_them(tmp_path):
    skills = [(0.7, 0.72, 0.69), (0.85, 0.86, 0.84), (0.6, 0.58, 0.61)]
    result, comparison = repeated(tmp_path, skills)
    assert [place.trial.number for place in result.ranking] == [1, 0, 2]
    assert [place.rank_by_single_run for place in result.ranking] == [2, 1, 3]
    assert "by single runs trials 0, 1, 2, by means 1, 0, 2" in result.change
    assert "trial 1 and trial 0" in result.verdict
    assert "differ significantly" in result.verdict
    assert comparison.variants[0].mean == result.ranking[0].mean
    in_order = [run for number in (1, 0) for run in sorted((tmp_path / "repeats").glob(f"trial-000{number}-*"))]
    theirs = compare_runs(in_order, tmp_path / "again")
    for place, variant in zip(result.ranking, theirs["variants"], strict=False):
        assert place.mean == pytest.approx(variant["val/miou"]["mean"])
    ours = result.as_json()["ranking"][1]["difference_to_the_best"]
    assert ours["interval"] == pytest.approx(theirs["variants"][1]["difference"]["interval"])
    for place in result.ranking:
        assert place.interval.low < place.mean < place.interval.high


def test_settings_that_differ_less_than_their_runs_do_not_differ_significantly(tmp_path):
    result, _ = repeated(tmp_path, [(0.7, 0.75, 0.72), (0.74, 0.71, 0.72)])
    assert "do not differ significantly" in result.verdict


def test_one_seed_that_both_have_says_nothing_of_significance(tmp_path):
    result, _ = repeated(tmp_path, [(0.6, 0.6), (0.9, 0.9)], failed=[(0, 1)], seeds=2)
    assert result.ranking[1].difference.interval.excludes_zero  # by the images alone
    assert "can't be said: it takes two seeds" in result.verdict
    assert "[" not in repeat_cells(2, result.ranking[1])[5]


def test_a_run_that_failed_is_missing_and_the_rest_are_ranked(tmp_path):
    result, _ = repeated(tmp_path, [(0.7, 0.7, 0.7), (0.8, 0.8, 0.8)], failed=[(0, 2)])
    assert [len(place.scores) for place in result.ranking] == [3, 2]
    assert list(result.ranking[0].scores) == [1, 2, 3]
    (missing,) = result.missing
    assert missing.endswith("seed 2: out of memory")


def test_without_any_completed_run_there_is_no_ranking(tmp_path):
    sweep = progress([trial(0, 0.1, 0.5, State.stopped)], tmp_path)
    chosen, batch = choose_candidates(sweep, 1, 2), batch_of(tmp_path)
    add_repeats(batch, chosen)
    with pytest.raises(RunError, match=r"(?s)None of the repeated runs is completed.*seed1 is not on this machine"):
        compare_repeats(chosen, progress_of_repeats(sweep, batch, chosen, tmp_path / "repeats"))


@pytest.fixture
def repeating(sweeps):
    """A sweep whose first trial is the best of single runs and whose second is over seeds."""
    sweeps.write_grid(0.01, 0.1, 1.0)
    for number, rate, skill in ((0, 0.01, 0.7), (1, 0.1, 0.8)):
        for seed in (1, 2, 3):
            run = sweeps.out / "repeats" / f"becomes-trial-{number:04d}-seed{seed}"
            made = write_run(run, list(overrides_of(rate)), seed, skill + seed / 100)
            (made / "metrics.jsonl").unlink()
    return sweeps


def starts(sweeps):
    """How often each run was started, by folder."""
    files = sweeps.out.rglob("starts")
    return {str(file.parent.relative_to(sweeps.out)): file.read_text().count("\n") for file in files}


def test_the_best_are_repeated_ranked_and_reported_and_more_seeds_resume(repeating, capsys):
    does = repeating.out / "repeats" / "trial-0000-seed1.does"
    does.write_text("crash")
    result = repeating.run_here(repeats=2, top=2)
    repeats = result["repeats"]
    once = dict.fromkeys(["trial-0000", "trial-0001", "trial-0002"], 1)
    once |= {f"repeats/trial-000{number}-seed{seed}": 1 for number in (0, 1) for seed in (1, 2)}
    assert starts(repeating) == once
    assert (result["best"], repeats["best"]) == (0, 1)
    assert result["command"] == "dcnrun train trainer.steps=4 optim.lr=0.1"
    assert [(place["trial"], list(place["scores"])) for place in repeats["ranking"]] == [(1, ["1", "2"]), (0, ["2"])]
    assert "no such luck" in repeats["missing"][0]
    report, text = json.loads((repeating.out / "report.json").read_text()), (repeating.out / "report.md").read_text()
    assert report["repeats"] == repeats
    assert report["command"] == result["command"]
    assert "by single runs trials 0, 1, by means 1, 0" in text
    assert "no such luck" in text
    assert (repeating.out / "repeats" / "compare.md").exists()
    assert repeats["verdict"] in capsys.readouterr().out

    does.unlink()
    more = repeating.run_here(repeats=3, top=2)["repeats"]
    assert [list(place["scores"]) for place in more["ranking"]] == [["1", "2", "3"]] * 2
    assert more["missing"] == []
    assert starts(repeating) == once | {
        "repeats/trial-0000-seed1": 2,
        "repeats/trial-0000-seed3": 1,
        "repeats/trial-0001-seed3": 1,
    }


def test_any_agent_of_the_sweep_takes_repeats_too(repeating):
    repeating.run_here()
    ledger, plan, folder = open_ledger(str(repeating.out), None)
    chosen = choose_candidates(progress(ledger.jobs(), folder), top=2, seeds=1)
    add_repeats(create_repeats(ledger, plan, folder, None), chosen)
    taken = run_agent(str(repeating.out), count=1, program=fakes.TRIAL)
    assert (taken["trials"], len(taken["repeats"])) == ([], 1)
    rest = run_agent(str(repeating.out), program=fakes.TRIAL)
    assert [run["state"] for run in [*taken["repeats"], *rest["repeats"]]] == ["completed"] * 2


def test_the_runs_over_seeds_are_no_sweep_to_join(sweeps):
    sweeps.write_grid(0.01)
    plan = QuickEngine().plan(sweeps.file, [], Options())
    create_repeats(create_ledger(plan, "lr", sweeps.out, None, cap=1), plan, sweeps.out, None)
    with pytest.raises(UsageError, match="sweep-repeats is a grid, not a sweep"):
        open_ledger("sweep-repeats", sqlite_url(sweeps.out / "ledger.db"))
