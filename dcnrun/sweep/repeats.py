"""`dcnrun sweep FILE --repeats K`: runs the best settings again over K seeds, since single runs differ by chance."""

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
from dcnrun.sweep.objective import ENDED
from dcnrun.sweep.plan import Plan
from dcnrun.sweep.spec.distributions import sample_values
from dcnrun.sweep.spec.sweep_file import Parameter
from dcnrun.sweep.status import Progress
from dcnrun.tasks.registry import task_traits


@dataclass(frozen=True)
class Candidate:
    """One of the best settings: its trial, and its runs over seeds.

    The trial's own run is not among them: the setting was chosen by it, so that its value is biased upwards.
    """

    trial: Job
    settings: Settings
    runs: Mapping[int, JobSpec]  # the runs by their seeds


@dataclass(frozen=True)
class RankedSetting:
    """A setting in the ranking by mean."""

    trial: Job
    rank_by_single_run: int  # its rank by the trials' own runs, among the settings that were repeated: 1 is the best
    value: float | None  # the best of the trial's reports, which decided that rank
    scores: Mapping[int, float]  # the scores at the last step, by seed
    difference: Difference | None
    """The difference to the best by mean, over the seeds that both have; None for the best itself."""

    @property
    def mean(self) -> float | None:
        """The mean of the scores."""
        return fmean(self.scores.values()) if self.scores else None

    @property
    def interval(self) -> Interval | None:
        """The interval of the mean, by Student's t over the seeds."""
        return student_interval(np.array(list(self.scores.values())))


@dataclass(frozen=True)
class Repeated:
    """The best settings of a sweep, ranked by their means over seeds."""

    metric: str
    seeds: tuple[int, ...]
    ranking: tuple[RankedSetting, ...]  # the settings, the best first
    missing: tuple[str, ...]  # runs that are not in the ranking, each with the reason

    @property
    def best(self) -> Job:
        """The trial whose settings have the best mean."""
        return self.ranking[0].trial

    @property
    def verdict(self) -> str:
        """Whether the best differs significantly from the second, as a sentence."""
        if len(self.ranking) < 2:
            return "One setting was repeated: there is nothing to compare it with."
        best, second = self.ranking[:2]
        pair = f"trial {best.trial.number} and trial {second.trial.number}, the best and the second,"
        match second.difference.verdict if second.difference else Verdict.not_judged:
            case Verdict.not_judged:
                return f"Whether {pair} differ can't be said: it takes two seeds that both have."
            case Verdict.other_images:
                return f"Whether {pair} differ can't be said: they were validated on other images."
            case Verdict.not_significant:
                return f"The means of {pair} do not differ significantly: the interval of their difference holds 0."
            case Verdict.above | Verdict.below:
                return f"The means of {pair} differ significantly: the interval of their difference leaves out 0."

    @property
    def change(self) -> str:
        """How the ranking by single runs changed, as a sentence."""
        now = ", ".join(str(each.trial.number) for each in self.ranking)
        by_single_run = sorted(self.ranking, key=lambda each: each.rank_by_single_run)
        before = ", ".join(str(each.trial.number) for each in by_single_run)
        if now == before:
            return f"The order of single runs has held: trials {now}."
        return f"The order has changed: by single runs trials {before}, by means {now}."

    def as_json(self) -> dict[str, Any]:
        """Return plain values for JSON; scores from 0 to 1."""
        return {
            "metric": self.metric,
            "seeds": list(self.seeds),
            "best": self.best.number,
            "verdict": self.verdict,
            "change": self.change,
            "missing": list(self.missing),
            "ranking": [_as_json(each) for each in self.ranking],
        }


def check_repeatable(plan: Plan) -> None:
    """Raise UsageError unless the sweep's metric is the one that compares its runs, and all its settings can be compared."""
    metric = plan.sweep.metric
    config = compose([*plan.sweep.fixed, *plan.overrides])
    compared_by = task_traits(config.model).metric(config)
    if metric is None or metric.name != compared_by:
        goes_by = f"goes by {metric.name}" if metric else "has no metric"
        advice = f"give trainer.metric={metric.name}, if a run can go by it, or" if metric else ""
        raise UsageError(
            f"--repeats compares runs by {compared_by}, but this sweep {goes_by}: {advice} leave out --repeats."
        )
    problems = [
        f"{plan.sweep.at(f'parameters.{parameter.name}')}: {problem}."
        for parameter in plan.sweep.parameters
        for problem in _differences_of_tasks(plan, parameter)[:1]
    ]
    if problems:
        advice = "leave it out, or sweep other settings"
        problems.append(f"--repeats compares runs on the same data, after the same number of steps: {advice}.")
        raise UsageError("\n".join(problems))


def _differences_of_tasks(plan: Plan, parameter: Parameter) -> list[str]:
    """Return why trials with different values of a parameter, the others at their first, can't be compared."""
    first = {other.name: sample_values(other.distribution)[0] for other in plan.sweep.parameters}
    values = sample_values(parameter.distribution)
    trials = [plan.trial({**first, parameter.name: value}, 0) for value in values]
    names = [f"{parameter.name}={value}" for value in values]
    return difference_of_tasks(names, [settings_of(compose(trial.overrides)) for trial in trials])


def choose_candidates(progress: Progress, top: int, seeds: int) -> list[Candidate]:
    """Return the best `top` settings by single runs, each with `seeds` seeds that follow those of the trials.

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
        Candidate(job, settings, {last + i: _with_seed(job, last + i) for i in range(1, seeds + 1)})
        for job, settings in chosen
    ]


def add_repeats(batch: Ledger, chosen: Sequence[Candidate]) -> None:
    """Add the new runs to the ledger; those that failed wait again."""
    batch.add([run for candidate in chosen for run in candidate.runs.values()])
    batch.reopen([job.number for job in _jobs_of(batch, chosen) if job.state is State.failed])


def progress_of_repeats(sweep: Progress, batch: Ledger, chosen: Sequence[Candidate], folder: Path) -> Progress:
    """Return how the runs over seeds, which are in `folder`, stand."""
    runs = sum(len(candidate.runs) for candidate in chosen)
    return Progress(sweep.name, folder, sweep.metric, runs, _jobs_of(batch, chosen), what="repeat")


def compare_repeats(chosen: Sequence[Candidate], repeats: Progress) -> tuple[Repeated, Comparison]:
    """Rank the settings by their means over the seeds and compare each with the best; RunError if no run is completed."""
    jobs = {job.folder: job for job in repeats.jobs}
    names = variant_names([candidate.settings for candidate in chosen])
    finished: dict[int, dict[int, FinishedRun]] = {candidate.trial.number: {} for candidate in chosen}
    unfinished: list[Unfinished] = []
    for name, candidate in zip(names, chosen, strict=True):
        for seed, run in candidate.runs.items():
            path = repeats.folder / run.folder
            try:
                finished[candidate.trial.number][seed] = read_finished(path)
            except RunError as error:
                unfinished.append(_unfinished(name, seed, path, jobs.get(run.folder), str(error)))
    if not any(finished.values()):
        reasons = [f"  {run.name}, seed {run.seed}: {run.reason} (see {log_of(run.folder)})" for run in unfinished]
        raise RunError("\n".join(["None of the repeated runs is completed:", *reasons]))
    variants = [
        VariantResult(name, candidate.settings, tuple(finished[candidate.trial.number].values()))
        for name, candidate in zip(names, chosen, strict=True)
    ]
    means = [float("-inf") if variant.mean is None else variant.mean for variant in variants]
    order = sorted(range(len(chosen)), key=means.__getitem__, reverse=True)
    comparison = compare([variants[i] for i in order], unfinished)
    ranking = [
        RankedSetting(
            chosen[i].trial,
            rank_by_single_run=i + 1,
            value=repeats.value(chosen[i].trial),
            scores={run.seed: run.score for run in variants[i].runs},
            difference=difference,
        )
        for i, difference in zip(order, comparison.differences, strict=True)
    ]
    missing = [f"{run.name}, seed {run.seed}: {run.reason}" for run in unfinished]
    return Repeated(comparison.metric, tuple(chosen[0].runs), tuple(ranking), tuple(missing)), comparison


def _with_seed(job: Job, seed: int) -> JobSpec:
    return JobSpec((*job.overrides, f"seed={seed}"), {**job.parameters, "seed": seed}, f"{job.folder}-seed{seed}")


def _jobs_of(batch: Ledger, chosen: Sequence[Candidate]) -> list[Job]:
    folders = {run.folder for candidate in chosen for run in candidate.runs.values()}
    return [job for job in batch.jobs() if job.folder in folders]


def _unfinished(name: str, seed: int, path: Path, job: Job | None, found: str) -> Unfinished:
    """Return why a run has no result here: its own failure, as the ledger has it, or what its folder lacks."""
    failed = job is not None and job.state is State.failed
    if not is_begun(path):
        found = f"{path} is not on this machine"
    reason = job.reason if job is not None and job.reason else found
    return Unfinished(name, seed, path, reason, failed=failed)


def _as_json(ranked: RankedSetting) -> dict[str, Any]:
    to_the_best = None
    if difference := ranked.difference:
        ends = _ends(difference.interval)
        to_the_best = {"mean": difference.mean, "interval": ends, "verdict": difference.verdict}
    return {
        "trial": ranked.trial.number,
        "place_by_single_runs": ranked.rank_by_single_run,
        "value_of_the_trial": ranked.value,
        "scores": {str(seed): score for seed, score in ranked.scores.items()},
        "mean": ranked.mean,
        "interval": _ends(ranked.interval),
        "difference_to_the_best": to_the_best,
    }


def _ends(interval: Interval | None) -> list[float] | None:
    return [interval.low, interval.high] if interval else None
