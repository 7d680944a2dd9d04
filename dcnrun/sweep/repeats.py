"""`dcnrun sweep FILE --repeats K`: the best settings again over K seeds, since one run's chance may decide who is first."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from dcnrun.compare.results import Comparison, FinishedRun, Unfinished, VariantResult, compare, read_finished
from dcnrun.compare.statistics import Difference, Verdict, student_interval
from dcnrun.compare.variants import difference_of_tasks, identity, variant_names
from dcnrun.config.compose import compose
from dcnrun.config.inactive import Settings, settings_of
from dcnrun.errors import RunError, UsageError
from dcnrun.jobs.ledger import Job, JobSpec, Ledger, State
from dcnrun.jobs.train import is_begun, log_of
from dcnrun.statistics import Interval
from dcnrun.sweep.plan import Plan
from dcnrun.sweep.spec.distributions import examples
from dcnrun.sweep.spec.sweep_file import Parameter
from dcnrun.sweep.status import Progress
from dcnrun.sweep.values import ENDED
from dcnrun.tasks.registry import task_traits


@dataclass(frozen=True)
class Contender:
    """One of the best settings: its trial, and its runs over seeds.

    The trial's own run is none of them: the setting was chosen by it, so that it is likely to flatter.
    """

    trial: Job
    settings: Settings
    runs: Mapping[int, JobSpec]
    """By seed."""


@dataclass(frozen=True)
class Place:
    """A setting in the ranking by mean."""

    trial: Job
    before: int
    """Its place by single runs, among those that were repeated: 1 is the best."""
    value: float | None
    """By which that was: the best of the trial's reports."""
    scores: Mapping[int, float]
    """At the last step, by seed."""
    difference: Difference | None
    """To the best by mean, over the seeds that both have; None for the best itself."""

    @property
    def mean(self) -> float | None:
        """Of the scores."""
        return fmean(self.scores.values()) if self.scores else None

    @property
    def interval(self) -> Interval | None:
        """For the mean, by Student's t over the seeds."""
        return student_interval(np.array(list(self.scores.values())))


@dataclass(frozen=True)
class Repeated:
    """The best settings of a sweep, ranked by their means over seeds."""

    metric: str
    seeds: tuple[int, ...]
    places: tuple[Place, ...]
    """The best first."""
    missing: tuple[str, ...]
    """Runs that are not in the ranking, each with the reason."""

    @property
    def best(self) -> Job:
        """The trial whose settings have the best mean."""
        return self.places[0].trial

    @property
    def verdict(self) -> str:
        """Whether the best differs from the second by more than chance."""
        if len(self.places) < 2:
            return "One setting was repeated: there is nothing to tell it from."
        pair = f"trial {self.places[0].trial.number} and trial {self.places[1].trial.number}, the best and the second,"
        difference = self.places[1].difference
        if difference is None or difference.interval is None:
            return f"Whether {pair} differ can't be said: it takes two seeds that both have."
        if difference.verdict is Verdict.not_significant:
            return f"The means of {pair} do not differ significantly: the interval of their difference holds 0."
        return f"The means of {pair} differ by more than chance: the interval of their difference leaves out 0."

    @property
    def change(self) -> str:
        """What became of the ranking by single runs."""
        now = ", ".join(str(place.trial.number) for place in self.places)
        before = ", ".join(str(place.trial.number) for place in sorted(self.places, key=lambda place: place.before))
        if now == before:
            return f"The order of single runs has held: trials {now}."
        return f"The order has changed: by single runs trials {before}, by means {now}."

    def as_json(self) -> dict[str, Any]:
        """The same as plain values; scores from 0 to 1."""
        return {
            "metric": self.metric,
            "seeds": list(self.seeds),
            "best": self.best.number,
            "verdict": self.verdict,
            "change": self.change,
            "missing": list(self.missing),
            "ranking": [_as_json(place) for place in self.places],
        }


def check_repeatable(plan: Plan) -> None:
    """UsageError unless the sweep goes by what its runs are compared by, and all its settings may be compared."""
    _check_metric(plan)
    problems = [
        f"{plan.sweep.at(f'parameters.{parameter.name}')}: {problem}."
        for parameter in plan.sweep.parameters
        for problem in _differences_of_tasks(plan, parameter)[:1]
    ]
    if problems:
        advice = "leave it out, or sweep other settings"
        problems.append(f"--repeats compares runs on the same data, after the same number of steps: {advice}.")
        raise UsageError("\n".join(problems))


def _check_metric(plan: Plan) -> None:
    metric = plan.sweep.metric
    config = compose([*plan.sweep.fixed, *plan.overrides])
    compared_by = task_traits(config.model).metric(config)
    if metric is None or metric.name != compared_by:
        goes_by = f"goes by {metric.name}" if metric else "has no metric"
        advice = f"give trainer.metric={metric.name}, if a run can go by it, or" if metric else ""
        raise UsageError(
            f"--repeats compares runs by {compared_by}, but this sweep {goes_by}: {advice} leave out --repeats."
        )


def _differences_of_tasks(plan: Plan, parameter: Parameter) -> list[str]:
    """Why trials with different values of a parameter, the others at their first, can't be compared."""
    first = {other.name: examples(other.distribution)[0] for other in plan.sweep.parameters}
    values = examples(parameter.distribution)
    trials = [plan.trial({**first, parameter.name: value}, 0) for value in values]
    return difference_of_tasks(
        [f"{parameter.name}={value}" for value in values], [settings_of(compose(trial.overrides)) for trial in trials]
    )


def contenders(progress: Progress, top: int, seeds: int) -> list[Contender]:
    """The best `top` settings by single runs, each with `seeds` seeds that follow those of the trials.

    Settings that were drawn twice count once. RunError if no trial has a value.
    """
    ranked = [(job, settings_of(compose(job.overrides))) for job in progress.ranked() if job.state in ENDED]
    if not ranked:
        raise RunError("--repeats: no trial has a value, so that there is nothing to repeat.")
    chosen: list[tuple[Job, Settings]] = []
    for job, settings in ranked:
        if len(chosen) < top and all(identity(settings) != identity(other) for _, other in chosen):
            chosen.append((job, settings))
    last = max(settings["seed"] for _, settings in ranked)
    return [
        Contender(job, settings, {last + i: _with_seed(job, last + i) for i in range(1, seeds + 1)})
        for job, settings in chosen
    ]


def enter(batch: Ledger, chosen: Sequence[Contender]) -> None:
    """Have the ledger hold the new runs; those that failed wait again."""
    batch.add([run for contender in chosen for run in contender.runs.values()])
    folders = _folders_of(chosen)
    batch.reopen([job.number for job in batch.jobs() if job.folder in folders and job.state is State.failed])


def repeats_of(sweep: Progress, batch: Ledger, chosen: Sequence[Contender], folder: Path) -> Progress:
    """How the runs over seeds stand; they are in `folder`."""
    folders = _folders_of(chosen)
    jobs = [job for job in batch.jobs() if job.folder in folders]
    return Progress(sweep.name, folder, sweep.metric, len(folders), jobs, what="repeat")


def compared(chosen: Sequence[Contender], repeats: Progress) -> tuple[Repeated, Comparison]:
    """Rank the settings by their means over the seeds and compare each with the best; RunError if no run is completed."""
    jobs = {job.folder: job for job in repeats.jobs}
    names = variant_names([contender.settings for contender in chosen])
    finished: dict[int, dict[int, FinishedRun]] = {contender.trial.number: {} for contender in chosen}
    unfinished: list[Unfinished] = []
    for name, contender in zip(names, chosen, strict=True):
        for seed, run in contender.runs.items():
            path = repeats.folder / run.folder
            try:
                finished[contender.trial.number][seed] = read_finished(path)
            except RunError as error:
                unfinished.append(_unfinished(name, seed, path, jobs.get(run.folder), str(error)))
    if not any(finished.values()):
        reasons = [f"  {run.name}, seed {run.seed}: {run.reason} (see {log_of(run.folder)})" for run in unfinished]
        raise RunError("\n".join(["None of the repeated runs is completed:", *reasons]))
    variants = [
        VariantResult(name, contender.settings, tuple(finished[contender.trial.number].values()))
        for name, contender in zip(names, chosen, strict=True)
    ]
    order = sorted(range(len(chosen)), key=lambda i: _mean(variants[i]), reverse=True)
    comparison = compare([variants[i] for i in order], unfinished)
    places = [
        Place(
            chosen[i].trial,
            before=i + 1,
            value=repeats.value(chosen[i].trial),
            scores={run.seed: run.score for run in variants[i].runs},
            difference=difference,
        )
        for i, difference in zip(order, comparison.differences, strict=True)
    ]
    missing = [f"{run.name}, seed {run.seed}: {run.reason}" for run in unfinished]
    return Repeated(comparison.metric, tuple(chosen[0].runs), tuple(places), tuple(missing)), comparison


def _with_seed(job: Job, seed: int) -> JobSpec:
    return JobSpec((*job.overrides, f"seed={seed}"), {**job.parameters, "seed": seed}, f"{job.folder}-seed{seed}")


def _folders_of(chosen: Sequence[Contender]) -> set[str]:
    return {run.folder for contender in chosen for run in contender.runs.values()}


def _unfinished(name: str, seed: int, path: Path, job: Job | None, found: str) -> Unfinished:
    """Why a run has no result here: its own failure, as the ledger has it, or what its folder lacks."""
    failed = job is not None and job.state is State.failed
    if not is_begun(path):
        found = f"{path} is not on this machine"
    reason = job.reason if job is not None and job.reason else found
    return Unfinished(name, seed, path, reason, failed=failed)


def _mean(variant: VariantResult) -> float:
    """Below all others where there is none."""
    return float("-inf") if variant.mean is None else variant.mean


def _as_json(place: Place) -> dict[str, Any]:
    difference, interval = place.difference, place.interval
    return {
        "trial": place.trial.number,
        "place_by_single_runs": place.before,
        "value_of_the_trial": place.value,
        "scores": {str(seed): score for seed, score in place.scores.items()},
        "mean": place.mean,
        "interval": [interval.low, interval.high] if interval else None,
        "difference_to_the_best": None
        if difference is None
        else {
            "mean": difference.mean,
            "interval": [difference.interval.low, difference.interval.high] if difference.interval else None,
            "verdict": difference.verdict,
        },
    }
