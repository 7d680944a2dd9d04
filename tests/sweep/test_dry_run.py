import json

import pytest

from dcnrun.config.overrides import as_override
from dcnrun.errors import UsageError
from dcnrun.sweep.engines.engine import Options
from tests.sweep import fakes
from tests.sweep.factories import QuickEngine


def test_a_dry_run_tells_the_first_trials_as_they_are_then_drawn(sweeps, capsys):
    rule = {"type": "hyperband", "max_iter": 27, "s": 2}
    sweeps.write(early_terminate=rule)
    plan = QuickEngine().show_plan(sweeps.file, ["seed=3", "trainer.eval_every=1"], Options(out=sweeps.out, seed=4))
    assert plan["bands"] == [3], "a trial reports 4 times"
    assert plan["cap"] == 5
    assert plan["space"] == [{"name": "optim.lr", "distribution": "log-uniform", "range": "0.0001 to 1"}]
    rates = [suggestion["optim.lr"] for suggestion in plan["suggestions"]]
    assert len(set(rates)) == 5
    assert (
        plan["commands"][0]
        == f"dcnrun train trainer.steps=4 {as_override('optim.lr', rates[0])} seed=3 trainer.eval_every=1"
    )
    out = capsys.readouterr().out
    assert (
        "Stop rule: a trial, which reports 4 times at most, is judged at report 3 by its value there; the best 1 in 3"
        in out
    )
    assert "(The file does not say strict: true is taken, as W&B's code does, while their documents say false.)" in out
    assert plan["commands"][0] in out
    assert list(sweeps.out.iterdir()) == []
    done = sweeps.run_here("seed=3", "trainer.eval_every=1", seed=4, count=2)
    assert [trial["parameters"]["optim.lr"] for trial in done["trials"]] == rates[:2]


def test_of_a_grid_the_first_five_are_told(sweeps, capsys):
    sweeps.write_grid(*(number / 10 for number in range(1, 10)))
    plan = QuickEngine().show_plan(sweeps.file, [], Options())
    assert [suggestion["optim.lr"] for suggestion in plan["suggestions"]] == [0.1, 0.2, 0.3, 0.4, 0.5]
    assert "a grid of 9 trials" in capsys.readouterr().out


def test_of_a_small_one_no_more_is_told_than_there_is(sweeps):
    sweeps.write_grid(0.1, 0.2)
    assert len(QuickEngine().show_plan(sweeps.file, [], Options())["suggestions"]) == 2
    sweeps.write()
    plan = QuickEngine().show_plan(sweeps.file, [], Options(count=3))
    assert len(plan["suggestions"]) == 3
    assert json.dumps(plan)
    assert fakes.value(plan["suggestions"][0]["optim.lr"]) <= 0.5


def told(sweeps, capsys, *overrides, **changes):
    sweeps.write(**changes)
    plan = QuickEngine().show_plan(sweeps.file, overrides, Options())
    return plan["bands"], capsys.readouterr().out


RULE = {"type": "hyperband", "min_iter": 2, "strict": False}


def test_the_bands_end_at_what_trials_can_report(sweeps, capsys):
    bands, out = told(sweeps, capsys, "trainer.steps=60", "trainer.eval_every=5", early_terminate=RULE)
    assert bands == [2, 6]
    assert "reports 12 times at most, is judged at report 2, 6 by its best value so far; the best" in out
    assert "does not say strict" not in out
    bands, _ = told(sweeps, capsys, "trainer.steps=90", "trainer.eval_every=5", early_terminate=RULE)
    assert bands == [2, 6, 18]
    bands, _ = told(
        sweeps, capsys, "trainer.steps=91", "trainer.eval_every=50", "trainer.log_every=5", early_terminate=RULE,
        metric={"name": "train/loss"},
    )  # fmt: skip
    assert bands == [2, 6, 18]


def test_a_rule_that_stops_nothing_is_said(sweeps, capsys):
    bands, out = told(sweeps, capsys, "trainer.eval_every=9", early_terminate=RULE)
    assert bands == []
    assert "Stop rule: stops nothing: a trial reports once at most, and is judged first at report 2." in out


def test_the_longest_trial_of_a_sweep_over_lengths_counts(sweeps, capsys):
    lengths = {
        "trainer.steps": {"values": [10, 40, 20]},
        "trainer.eval_every": {"values": [5, 2]},
        "seed": {"values": [1, 2]},
    }
    bands, out = told(
        sweeps, capsys, early_terminate=RULE, parameters=lengths, command=["dcnrun", "train", "${args_no_hyphens}"]
    )
    assert bands == [2, 6, 18]
    assert "reports 20 times" in out


def test_where_data_decide_how_long_a_trial_is_all_bands_are_told(sweeps, capsys):
    command = ["dcnrun", "train", "${args_no_hyphens}"]
    bands, out = told(sweeps, capsys, "trainer.epochs=3", early_terminate=RULE, command=command)
    assert bands[:3] == [2, 6, 18]
    assert "Stop rule: a trial is judged at report 2, 6, 18, 54, 162, 486, 1458, 4374, ... by its best" in out


def test_what_keeps_a_sweep_from_starting_keeps_its_dry_run(sweeps):
    sweeps.write()
    with pytest.raises(UsageError, match=r"needs trainer\.devices=2 GPUs, but --gpus names 1"):
        QuickEngine().show_plan(sweeps.file, ["trainer.devices=2"], sweeps.options(gpus=("0",)))
    (sweeps.out / "trial-0000").mkdir()
    (sweeps.out / "sweep.json").write_text("{}")
    with pytest.raises(UsageError, match="out holds another sweep"):
        QuickEngine().show_plan(sweeps.file, [], sweeps.options())
