"""`dcnrun sweep FILE --repeats K`: the best settings again over K seeds, since one run's chance may decide who is first."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from dcnrun.compare.results import Comparison, FinishedRun, Unfinished, VariantResult, compare, read_finished
from dcnrun.compare.statistics import Difference, Interval, student_interval
from dcnrun.compare.variants import Settings, difference_of_tasks, identity, settings_of, variant_names
from dcnrun.config.compose import compose
from dcnrun.errors import RunError, UsageError
from dcnrun.jobs.ledger import Drawn, Job, Ledger, State
from dcnrun.jobs.train import is_begun, log_of
from dcnrun.sweep.plan import Plan
from dcnrun.sweep.status import Progress
from dcnrun.sweep.values import ENDED


@dataclass(frozen=True)
class Contender:
    """One of the best settings: its trial, and the folder of its run with each seed."""

    trial: Job
    settings: Settings
    runs: Mapping[int, Path]
    drawn: Mapping[int, Drawn]
    """The runs that are new, by seed: all but the trial's own, where that was completed with one of the seeds."""


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
        if difference.verdict == "not told apart":
            return f"The means of {pair} are not told apart: the interval of their difference holds 0."
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
    """UsageError unless the sweep goes by what its runs are compared by."""
    from dcnrun.tasks.choose import task_of  # imports torch

    metric = plan.sweep.metric
    config = compose([*plan.sweep.fixed, *plan.overrides])
    compared_by = task_of(config.model).metric(config)
    if metric is None or metric.name != compared_by:
        goes_by = f"goes by {metric.name}" if metric else "has no metric"
        advice = f"give trainer.metric={metric.name}, if a run can go by it, or" if metric else ""
        raise UsageError(
            f"--repeats compares runs by {compared_by}, but this sweep {goes_by}: {advice} leave out --repeats."
        )


def contenders(progress: Progress, top: int, seeds: int, folder: Path) -> list[Contender]:
    """The best `top` settings by single runs, each with `seeds` seeds from that of the best trial on; new runs are in `folder`.

    Settings that were drawn twice count once. UsageError where they are not comparable, since they train on other data
    or for other numbers of steps.
    """
    chosen: list[tuple[Job, Settings]] = []
    for job in progress.ranked():
        settings = settings_of(compose(job.overrides))
        is_new = all(identity(settings) != identity(other) for _, other in chosen)
        if job.state in ENDED and is_new and len(chosen) < top:
            chosen.append((job, settings))
    if not chosen:
        raise UsageError("--repeats: no trial has a value, so that there is nothing to repeat.")
    problems = difference_of_tasks([f"trial {job.number}" for job, _ in chosen], [settings for _, settings in chosen])
    if problems:
        raise UsageError(
            "\n".join([*problems, "--repeats compares runs on the same data, after the same number of steps."])
        )
    first = chosen[0][1]["seed"]
    return [_contender(progress, job, settings, range(first, first + seeds), folder) for job, settings in chosen]


def enter(batch: Ledger, chosen: Sequence[Contender]) -> None:
    """Have the ledger hold the new runs; those that failed wait again."""
    drawn = [one for contender in chosen for one in contender.drawn.values()]
    batch.add(drawn)
    folders = {one.folder for one in drawn}
    batch.reopen([job.number for job in batch.jobs() if job.folder in folders and job.state is State.failed])


def repeats_of(sweep: Progress, batch: Ledger, chosen: Sequence[Contender], folder: Path) -> Progress:
    """How the new runs stand."""
    folders = {one.folder for contender in chosen for one in contender.drawn.values()}
    jobs = [job for job in batch.jobs() if job.folder in folders]
    return Progress(sweep.name, folder, sweep.metric, len(folders), jobs, what="repeat")


def compared(chosen: Sequence[Contender], repeats: Progress) -> tuple[Repeated, Comparison]:
    """Rank the settings by their means over the seeds and compare each with the best; RunError if no run is completed."""
    jobs = {job.folder: job for job in repeats.jobs}
    names = variant_names([contender.settings for contender in chosen])
    finished: dict[int, dict[int, FinishedRun]] = {contender.trial.number: {} for contender in chosen}
    unfinished: list[Unfinished] = []
    for name, contender in zip(names, chosen, strict=True):
        for seed, path in contender.runs.items():
            try:
                finished[contender.trial.number][seed] = read_finished(path)
            except RunError as error:
                unfinished.append(_unfinished(name, seed, path, jobs.get(path.name), str(error)))
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


def _contender(progress: Progress, job: Job, settings: Settings, seeds: Sequence[int], folder: Path) -> Contender:
    counts = {settings["seed"]} if job.state is State.completed else set()
    drawn = {
        seed: Drawn((*job.overrides, f"seed={seed}"), {**job.parameters, "seed": seed}, f"{job.folder}-seed{seed}")
        for seed in seeds
        if seed not in counts
    }
    runs = {seed: folder / drawn[seed].folder if seed in drawn else progress.folder / job.folder for seed in seeds}
    return Contender(job, settings, runs, drawn)


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
