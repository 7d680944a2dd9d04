from dataclasses import replace
from pathlib import Path

import pytest

from dcnrun.errors import UsageError
from dcnrun.jobs.ledger import Changes, Job, State
from dcnrun.sweep.engines.engine import Sampler
from dcnrun.sweep.plan import Plan, Searching, plan_from
from dcnrun.sweep.spec.reading import parse_sweep

TEXT = """
method: grid
metric: {name: val/miou, goal: maximize, target: 0.9}
early_terminate: {type: hyperband, min_iter: 2}
parameters:
  optim.lr: {values: [0.1, 0.2]}
  conv: {values: [deformable]}
command: ["${env}", dcnrun, train, experiment=quick, "${args_no_hyphens}"]
"""


def plan(text=TEXT):
    return Plan(parse_sweep(text, Path("somewhere/lr.yaml")), ("seed=3",), 5, Sampler.gp)


def job(number, *history, state=State.running):
    return Job(
        number=number, overrides=(), parameters={"conv": "deformable", "optim.lr": (number + 1) / 10}, folder="",
        state=state, attempts=1, owner="a:1", history=tuple(enumerate(history, 1)), reason=None, band=None,
        started=0.0, ended=None, beat=0.0,
    )  # fmt: skip


def test_an_agent_reads_what_the_ledger_kept():
    kept = plan_from(plan().as_text())
    assert told(kept.sweep) == told(plan().sweep)
    assert (kept.overrides, kept.seed, kept.sampler) == (("seed=3",), 5, Sampler.gp)
    assert kept.as_text() == plan().as_text()


def told(sweep):
    """What trials are drawn and run by."""
    return (
        sweep.name, sweep.method, sweep.parameters, sweep.metric, sweep.early_terminate, sweep.fixed
    )  # fmt: skip


def test_the_agents_values_are_those_of_the_file_to_the_type():
    values = "[1e-5, 1.0e-05, '1e-5', 3, '3', 3.0, true, 'true', null, 'null', .5, 'ü: #', [1, 2]]"
    text = f"method: grid\nparameters: {{x.y: {{values: {values}}}, a: {{value: '1e3'}}}}\n"
    kept, given = plan_from(plan(text).as_text()).sweep, plan(text).sweep
    assert repr(kept.parameters) == repr(given.parameters)
    assert [parameter.name for parameter in kept.parameters] == ["x.y", "a"]


def test_comments_description_and_run_cap_make_no_other_sweep():
    edited = f"# why\n{TEXT}run_cap: 3\ndescription: of the offsets\n"
    assert plan(edited).as_text() == plan().as_text()
    assert plan(TEXT.replace("0.2", "0.3")).as_text() != plan().as_text()
    assert plan(TEXT + "name: other\n").as_text() != plan().as_text()


def test_a_trial_has_the_files_overrides_then_parameters_then_those_of_the_command_line():
    trial = Searching(plan()).draw([])
    assert trial.overrides == ("experiment=quick", "conv=deformable", "optim.lr=0.1", "seed=3")
    assert trial.folder == "trial-0000"
    assert Searching(plan()).draw([job(0)]).parameters == {"conv": "deformable", "optim.lr": 0.2}
    assert Searching(plan()).draw([job(0), job(1)]) is None


def test_nothing_is_drawn_when_the_target_is_reached_and_what_runs_goes_on_to_its_end():
    """As Weights & Biases document it."""
    searching = Searching(plan(TEXT.replace("early_terminate", "# early_terminate")))
    assert searching.draw([job(0, 0.1, 0.91, state=State.completed)]) is None
    assert searching.judge is None, "without a stop rule nothing ends what runs"


def test_a_trial_is_drawn_past_all_numbers_that_there_are():
    trial = Searching(plan(TEXT.replace("[0.1, 0.2]", "[0.1, 0.2, 0.3]"))).draw([job(1)])
    assert (trial.folder, trial.parameters["optim.lr"]) == ("trial-0002", 0.1)


def with_parameters(**parameters):
    return replace(job(0), parameters={name.replace("__", "."): value for name, value in parameters.items()})


def test_jobs_of_another_sweep_are_refused():
    assert plan().refuses(with_parameters(optim__lr=0.1, conv="deformable")) is None
    for wrong, why in [
        ({"optim__lr": 0.1}, "its parameters are optim.lr, and not optim.lr, conv"),
        ({"optim__lr": 0.1, "conv": "deformable", "seed": 4}, "its parameters are"),
        ({"optim__lr": "0.1", "conv": "deformable"}, "optim.lr is '0.1', which the sweep file does not have"),
        ({"optim__lr": 0.7, "conv": "deformable"}, "optim.lr is 0.7"),
        ({"optim__lr": 0.1, "conv": ["deformable"]}, "conv is"),
    ]:
        assert plan().refuses(with_parameters(**wrong)).startswith(why)
    assert plan().refuses_repeat(with_parameters(optim__lr=0.1, conv="deformable", seed=41)) is None
    assert plan().refuses_repeat(with_parameters(optim__lr=0.7, conv="deformable", seed=41)) is not None
    seeds = plan("method: random\nparameters: {seed: {values: [1, 2]}, optim.lr: {min: 0.1, max: 1.0}}\n")
    assert seeds.refuses(with_parameters(seed=2, optim__lr=0.3)) is None
    assert seeds.refuses(with_parameters(seed=3, optim__lr=0.3)) == "seed is 3, which the sweep file does not have"
    assert seeds.refuses_repeat(with_parameters(seed=3, optim__lr=0.3)) is None
    assert seeds.refuses(with_parameters(seed=2, optim__lr=float("nan"))) is not None


@pytest.mark.parametrize(
    "text",
    ["", "{}", "[]", "null", '{"sweep": 3}', '{"sweep": "a: 1", "overrides": [], "seed": 0, "search": "tpe"}', "\x00"]
    + [plan().as_text().replace('"seed": 5', seed) for seed in ('"seed": "x"', '"seed": null', '"sed": 5')]
    + [plan().as_text().replace('"gp"', '"no such"')],
)
def test_a_text_that_is_no_sweep_is_one_line(text):
    with pytest.raises(
        UsageError, match=r"^(The ledger holds a sweep that can't be read: |What the ledger holds is no sweep)"
    ):
        plan_from(text)


def test_the_stop_rule_is_asked_with_every_jobs_reports():
    searching = Searching(plan())
    good, bad = job(0, 0.5, 0.6, state=State.stopped), job(1, 0.1, 0.2)
    verdict = searching.judge(Changes([good, bad], True), bad)
    assert verdict.band == 2
    assert verdict.reason.startswith("band 2: val/miou 20.0 % is worse than 60.0 %")
    assert searching.judge(Changes([job(1, 0.1, 0.7)], False), bad) is None, "what has changed is told alone"
    assert searching.judge(Changes([job(1, 0.1, 0.1)], False), bad) is not None
    assert searching.judge(Changes([job(1, 0.1, 0.1)], True), bad) is None, "all others are gone"
    no_rule = Searching(plan(TEXT.replace("early_terminate", "# early_terminate")))
    assert no_rule.judge is None
