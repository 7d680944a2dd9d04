import json
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from dcnrun.compare.finished import compare_runs
from dcnrun.errors import RunError, UsageError
from dcnrun.jobs.database import sqlite_url
from dcnrun.jobs.ledger import Ledger, State
from dcnrun.sweep import prepare
from dcnrun.sweep.agent import run_agent
from dcnrun.sweep.places import create_ledger, create_repeats, open_ledger
from dcnrun.sweep.plan import Plan
from dcnrun.sweep.repeats import check_repeatable, compared, contenders, enter, repeats_of
from dcnrun.sweep.spec.reading import parse_sweep
from dcnrun.sweep.spec.sweep_file import Goal, Metric
from dcnrun.sweep.status import Progress
from tests.compare.conftest import compose_each_choice_once  # noqa: F401  a fixture
from tests.compare.fake import write_run
from tests.sweep import pretend
from tests.sweep.making import job

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


def test_the_best_settings_have_every_seed_and_their_own_run_counts_if_it_is_whole(tmp_path):
    jobs = [
        trial(0, 0.1, 0.4),
        trial(1, 0.2, 0.7, State.stopped),
        trial(2, 0.3, 0.9, State.failed),
        trial(3, 0.4, 0.6),
        trial(4, 0.5, 0.5),
        trial(5, 0.4, 0.55),  # the setting of trial 3 again
    ]
    chosen = contenders(progress(jobs, tmp_path), top=3, seeds=2, folder=tmp_path / "repeats")
    assert [each.trial.number for each in chosen] == [1, 3, 4]
    stopped, whole, _ = chosen
    assert list(stopped.runs.values()) == [tmp_path / "repeats" / f"trial-0001-seed{seed}" for seed in (0, 1)]
    assert list(whole.runs.values()) == [tmp_path / "trial-0003", tmp_path / "repeats" / "trial-0003-seed1"]
    assert whole.drawn[1].overrides == (STEPS, "optim.lr=0.4", "seed=1")
    assert whole.drawn[1].parameters == {"optim.lr": 0.4, "seed": 1}
    assert set(whole.drawn) == {1}


def test_seeds_go_on_from_that_of_the_sweep(tmp_path):
    seeded = replace(trial(0, 0.1, 0.4), overrides=(*overrides_of(0.1), "seed=5"))
    (only,) = contenders(progress([seeded], tmp_path), top=3, seeds=3, folder=tmp_path)
    assert list(only.runs) == [5, 6, 7]
    assert list(only.drawn) == [6, 7]


def test_settings_that_train_for_other_numbers_of_steps_are_not_ranked(tmp_path):
    longer = replace(trial(1, 0.1, 0.5), overrides=("trainer.steps=8", "optim.lr=0.1"))
    with pytest.raises(UsageError, match=r"trainer\.steps is 8 for trial 1 but 4 for trial 0"):
        contenders(progress([trial(0, 0.1, 0.4), longer], tmp_path), top=3, seeds=2, folder=tmp_path)


def test_a_sweep_by_another_metric_than_runs_are_compared_by_is_refused_before_it_starts():
    def plan(metric, *overrides):
        text = f"method: random\nmetric: {metric}\nparameters: {{optim.lr: {{min: 0.1, max: 0.2}}}}\n"
        return Plan(parse_sweep(text, Path("lr.yaml")), overrides, 0, "tpe")

    other = "{name: val/pixel_acc, goal: maximize}"
    check_repeatable(plan("{name: val/miou, goal: maximize}"))
    check_repeatable(plan(other, "trainer.metric=val/pixel_acc"))
    with pytest.raises(UsageError, match=r"by val/miou, but this sweep goes by val/pixel_acc: give trainer\.metric="):
        check_repeatable(plan(other))


def repeated(tmp_path, skills, failed=(), seeds=3):
    """Settings with these chances of a right pixel, by seed, ranked by single runs in this order."""
    jobs = [trial(i, (i + 1) / 10, 0.9 - i / 10) for i in range(len(skills))]
    sweep, folder = progress(jobs, tmp_path), tmp_path / "repeats"
    folder.mkdir()
    chosen, batch = contenders(sweep, len(jobs), seeds, folder), batch_of(tmp_path)
    enter(batch, chosen)
    for each, own in zip(chosen, skills, strict=True):
        for (seed, path), skill in zip(each.runs.items(), own, strict=True):
            if (each.trial.number, seed) not in failed:
                write_run(path, list(each.trial.overrides), seed, skill)
    while (job := batch.claim("me:1::")) is not None:
        is_failed = any(job.folder == f"trial-{number:04d}-seed{seed}" for number, seed in failed)
        batch.finish(
            job, "me:1::", State.failed if is_failed else State.completed, "out of memory" if is_failed else None
        )
    return compared(chosen, repeats_of(sweep, batch, chosen, folder))


def test_the_ranking_is_by_means_as_compare_has_them(tmp_path):
    skills = [(0.7, 0.72, 0.69), (0.85, 0.86, 0.84), (0.6, 0.58, 0.61)]
    result, comparison = repeated(tmp_path, skills)
    assert [place.trial.number for place in result.places] == [1, 0, 2]
    assert [place.before for place in result.places] == [2, 1, 3]
    assert "by single runs trials 0, 1, 2, by means 1, 0, 2" in result.change
    assert "trial 1 and trial 0" in result.verdict
    assert "differ by more than chance" in result.verdict
    assert comparison.variants[0].mean == result.places[0].mean
    in_order = [tmp_path / "trial-0001", *sorted((tmp_path / "repeats").glob("trial-0001-*")), tmp_path / "trial-0000"]
    theirs = compare_runs([*in_order, *sorted((tmp_path / "repeats").glob("trial-0000-*"))], tmp_path / "again")
    for place, variant in zip(result.places, theirs["variants"], strict=False):
        assert place.mean == pytest.approx(variant["val/miou"]["mean"])
    ours = result.as_json()["ranking"][1]["difference_to_the_best"]
    assert ours["interval"] == pytest.approx(theirs["variants"][1]["difference"]["interval"])
    for place in result.places:
        assert place.interval.low < place.mean < place.interval.high


def test_settings_that_differ_less_than_their_runs_are_not_told_apart(tmp_path):
    result, _ = repeated(tmp_path, [(0.7, 0.75, 0.72), (0.74, 0.71, 0.72)])
    assert "not told apart" in result.verdict


def test_a_run_that_failed_is_missing_and_the_rest_are_ranked(tmp_path):
    result, _ = repeated(tmp_path, [(0.7, 0.7, 0.7), (0.8, 0.8, 0.8)], failed=[(0, 2)])
    assert [len(place.scores) for place in result.places] == [3, 2]
    assert list(result.places[0].scores) == [0, 1, 2]
    (missing,) = result.missing
    assert missing.endswith("seed 2: out of memory")


def test_without_any_completed_run_there_is_no_ranking(tmp_path):
    sweep = progress([trial(0, 0.1, 0.5, State.stopped)], tmp_path)
    chosen, batch = contenders(sweep, 1, 2, tmp_path / "repeats"), batch_of(tmp_path)
    enter(batch, chosen)
    with pytest.raises(RunError, match=r"(?s)None of the repeated runs is completed.*seed1 is not on this machine"):
        compared(chosen, repeats_of(sweep, batch, chosen, tmp_path / "repeats"))


@pytest.fixture
def repeating(sweeps):
    """A sweep whose first trial is the best of single runs and whose second is over seeds."""
    sweeps.write_grid(0.01, 0.1, 1.0)
    for number, rate, skill in ((0, 0.01, 0.7), (1, 0.1, 0.8)):
        for seed in range(3):
            run = f"becomes-trial-{number:04d}" if seed == 0 else f"repeats/becomes-trial-{number:04d}-seed{seed}"
            made = write_run(sweeps.out / run, list(overrides_of(rate)), seed, skill + seed / 100)
            (made / "metrics.jsonl").unlink()
    return sweeps


def starts(sweeps):
    """How often each run was started, by folder."""
    files = sweeps.out.rglob("starts")
    return {str(file.parent.relative_to(sweeps.out)): file.read_text().count("\n") for file in files}


def test_the_best_are_repeated_ranked_and_reported_and_more_seeds_go_on_with_them(repeating, capsys):
    does = repeating.out / "repeats" / "trial-0000-seed1.does"
    does.write_text("crash")
    result = repeating.run(repeats=2, top=2)
    repeats = result["repeats"]
    once = dict.fromkeys(["trial-0000", "trial-0001", "trial-0002"], 1)
    once |= {"repeats/trial-0000-seed1": 1, "repeats/trial-0001-seed1": 1}
    assert starts(repeating) == once
    assert (result["best"], repeats["best"]) == (0, 1)
    assert result["command"] == "dcnrun train trainer.steps=4 optim.lr=0.1"
    assert [(place["trial"], list(place["scores"])) for place in repeats["ranking"]] == [(1, ["0", "1"]), (0, ["0"])]
    assert "no such luck" in repeats["missing"][0]
    report, text = json.loads((repeating.out / "report.json").read_text()), (repeating.out / "report.md").read_text()
    assert report["repeats"] == repeats
    assert report["command"] == result["command"]
    assert "by single runs trials 0, 1, by means 1, 0" in text
    assert "no such luck" in text
    assert (repeating.out / "repeats" / "compare.md").exists()
    assert repeats["verdict"] in capsys.readouterr().out

    does.unlink()
    more = repeating.run(repeats=3, top=2)["repeats"]
    assert [list(place["scores"]) for place in more["ranking"]] == [["0", "1", "2"]] * 2
    assert more["missing"] == []
    assert starts(repeating) == once | {
        "repeats/trial-0000-seed1": 2,
        "repeats/trial-0000-seed2": 1,
        "repeats/trial-0001-seed2": 1,
    }


def test_any_agent_of_the_sweep_takes_repeats_too(repeating):
    repeating.run()
    ledger, folder = open_ledger(str(repeating.out), None)
    chosen = contenders(progress(ledger.jobs(), folder), 2, 2, folder / "repeats")
    enter(create_repeats(ledger, folder, None), chosen)
    taken = run_agent(str(repeating.out), count=1, program=pretend.TRIAL)
    assert (taken["trials"], len(taken["repeats"])) == ([], 1)
    rest = run_agent(str(repeating.out), program=pretend.TRIAL)
    assert [run["state"] for run in [*taken["repeats"], *rest["repeats"]]] == ["completed"] * 2


def test_the_runs_over_seeds_are_no_sweep_to_join(sweeps):
    sweeps.write_grid(0.01)
    ledger = create_ledger(prepare.local_plan(sweeps.file, [], prepare.Options()), "lr", sweeps.out, None, cap=1)
    create_repeats(ledger, sweeps.out, None)
    with pytest.raises(UsageError, match="sweep-repeats is a grid, not a sweep"):
        open_ledger("sweep-repeats", sqlite_url(sweeps.out / "ledger.db"))
