"""`dcnrun sweep FILE --dry-run`: what a sweep would do; it starts nothing and writes nothing."""

import math
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from dcnrun.config.compose import compose
from dcnrun.console import console
from dcnrun.jobs.ledger import Job, JobSpec, State
from dcnrun.sweep.hyperband import bands
from dcnrun.sweep.plan import Plan, Searching
from dcnrun.sweep.search import Search
from dcnrun.sweep.spec.checks import LOSS
from dcnrun.sweep.spec.distributions import sample_values
from dcnrun.sweep.spec.sweep_file import Method, SweepFile
from dcnrun.sweep.status import extent, settings_in_words
from dcnrun.sweep.trial import command_line
from dcnrun.tasks.registry import metric_text

_SUGGESTIONS = 5
_BANDS = 8


def show_plan(plan: Plan, cap: int | None, folder: Path) -> dict[str, Any]:
    """Print and return the number of trials, the bands, the search space, the first suggestions and the first command."""
    sweep = plan.sweep
    reports = most_reports(plan)
    ladder = bands(sweep.early_terminate) if sweep.early_terminate else []
    ladder = [band for band in ladder if reports is None or band <= reports]
    space = Search(sweep, plan.seed, plan.sampler).describe()
    trials = first_trials(plan, min(_SUGGESTIONS, cap or _SUGGESTIONS))
    commands = [command_line(trial.overrides) for trial in trials]
    _say(f"{sweep.name}: {extent(sweep, cap)}, in {folder}")
    _say(_goal(sweep))
    _say(_stop_rule(sweep, ladder, reports))
    table = Table("parameter", "distribution", "range")
    for row in space:
        table.add_row(*map(Text, row))
    console.print(table)
    _say(f"The first {'trials' if sweep.method is Method.grid else 'suggestions, none of them judged'}:")
    for trial in trials:
        _say(f"  {settings_in_words(trial.parameters)}")
    _say(f"The command of the first: {commands[0]}")
    _say("Nothing was started and nothing written.")
    return {
        "sweep": sweep.name,
        "folder": str(folder),
        "cap": cap,
        "bands": ladder,
        "space": [{"name": name, "distribution": law, "range": ends} for name, law, ends in space],
        "suggestions": [dict(trial.parameters) for trial in trials],
        "commands": commands,
    }


def first_trials(plan: Plan, number: int) -> list[JobSpec]:
    """Return the first trials, as they would be drawn one after the other while none has reported."""
    searching = Searching(plan)
    trials: list[JobSpec] = []
    while len(trials) < number:
        jobs = [Job(i, each.overrides, each.parameters, each.folder, State.waiting) for i, each in enumerate(trials)]
        trial = searching.draw(jobs)
        if trial is None:
            break
        trials.append(trial)
    return trials


def _goal(sweep: SweepFile) -> str:
    metric = sweep.metric
    if metric is None:
        return f"Search: {sweep.method.value}, by no metric."
    target = "" if metric.target is None else f"; at {metric_text(metric.name, metric.target)} no more trials begin"
    return f"Search: {sweep.method.value}, to {metric.goal.value} {metric.name}{target}."


def most_reports(plan: Plan) -> int | None:
    """Return how often a trial can report the metric at most: every so many steps, and at the last; None where data decide."""
    metric = plan.sweep.metric
    every = "trainer.log_every" if metric is not None and metric.name == LOSS else "trainer.eval_every"
    values = {each.name: sample_values(each.distribution) for each in plan.sweep.parameters}
    lengths = {name: values.pop(name) for name in ("trainer.steps", every) if name in values}
    first = {name: tried[0] for name, tried in values.items()}
    reports = []
    for length in product(*lengths.values()):
        trainer = compose(plan.trial(first | dict(zip(lengths, length, strict=True)), 0).overrides).trainer
        if trainer.epochs is not None:
            return None
        distance = trainer.log_every if every == "trainer.log_every" else trainer.eval_every
        reports.append(math.ceil(trainer.steps / distance))
    return max(reports)


def _stop_rule(sweep: SweepFile, ladder: Sequence[int], reports: int | None) -> str:
    rule = sweep.early_terminate
    if rule is None:
        return "Stop rule: none; every trial runs to its end."
    times = "once" if reports == 1 else f"{reports} times"
    if not ladder:
        return f"Stop rule: stops nothing: a trial reports {times} at most, and is judged first at report {bands(rule)[0]}."
    shown = ", ".join(map(str, ladder[:_BANDS])) + (", ..." if len(ladder) > _BANDS else "")
    by = "its value there" if rule.strict else "its best value so far"
    trial = "a trial" if reports is None else f"a trial, which reports {times} at most,"
    return (
        f"Stop rule: {trial} is judged at report {shown} by {by}; the best 1 in {rule.eta:g} continue, and ties."
        f"{_strictness(sweep)}"
    )


def _strictness(sweep: SweepFile) -> str:
    """Say what it means that a file does not say `strict`: W&B's documents and code disagree."""
    if "strict" in sweep.raw.get("early_terminate", {}):
        return ""
    return " (The file does not say strict: true is taken, as W&B's code does, while their documents say false.)"


def _say(line: str) -> None:
    console.print(line, markup=False, soft_wrap=True)
