import json

from dcnrun.config.overrides import as_override
from dcnrun.sweep.engines.engine import Options
from tests.sweep import fakes
from tests.sweep.factories import QuickEngine


def test_a_dry_run_tells_the_first_trials_as_they_are_then_drawn(sweeps, capsys):
    rule = {"type": "hyperband", "max_iter": 27, "s": 2}
    sweeps.write(early_terminate=rule)
    plan = QuickEngine().show_plan(sweeps.file, ["seed=3"], Options(out=sweeps.out, seed=4))
    assert plan["bands"] == [3, 9]
    assert plan["cap"] == 5
    assert plan["space"] == [{"name": "optim.lr", "distribution": "log-uniform", "range": "0.0001 to 1"}]
    rates = [suggestion["optim.lr"] for suggestion in plan["suggestions"]]
    assert len(set(rates)) == 5
    assert plan["commands"][0] == f"dcnrun train trainer.steps=4 {as_override('optim.lr', rates[0])} seed=3"
    out = capsys.readouterr().out
    assert "judged at report 3, 9 by its value there" in out
    assert plan["commands"][0] in out
    assert list(sweeps.out.iterdir()) == []
    done = sweeps.run("seed=3", seed=4, count=2)
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
