"""Whether the search of `dcnrun sweep` finds a known optimum, and how long a suggestion takes.

    python benchmarks/sweep_search.py benchmarks/results/sweep_search.json

The objective is made up: val/miou falls off as a parabola in the logarithm of the offset learning rate, one number of offset
groups is the best, the weight's groups don't matter, and every run has noise. A search has found the optimum if the setting
it reports as the best (by its noisy value, as a sweep does) is without noise within half a point of mIoU of the optimum:
that needs the right number of offset groups, and a learning rate within a factor of 5. This was laid down before anything
was run.
"""

import argparse
import json
import math
import statistics
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from optuna.exceptions import ExperimentalWarning
from optuna.trial import FrozenTrial, TrialState, create_trial

from dcnrun.bench.machine import describe
from dcnrun.jobs.ledger import Job, State
from dcnrun.sweep.engines.engine import Sampler
from dcnrun.sweep.hyperband import Ladder
from dcnrun.sweep.search import Search
from dcnrun.sweep.spec.distributions import Categorical, LogUniform
from dcnrun.sweep.spec.sweep_file import EarlyTerminate, Goal, Method, Metric, Parameter, SweepFile

TRIALS = 30
SEEDS = 20
MORE_SEEDS = 200
"""For the searches that are quick: 20 tell little about how often one finds the optimum."""
NOISE = 0.005
"""Standard deviation of val/miou between seeds of the same setting: half a point."""
WITHIN = 0.005
PEAK = 0.70
BEST_MULT = 0.3
PER_DECADE = 0.01
"""Lost a decade away from the best learning rate; two decades away it is four times as much."""
OFFSET_GROUPS = {1: 0.03, 2: 0.01, 4: 0.0, 8: 0.01}
"""What each number of offset groups loses."""
REPORTS = 27
RULE = EarlyTerminate(min_iter=3, eta=3)

SPACE = (
    Parameter("optim.offset_lr_mult", LogUniform(1e-3, 10)),
    Parameter("conv.offset_groups", Categorical(tuple(OFFSET_GROUPS))),
    Parameter("conv.groups", Categorical((1, 2, 4))),
)
METRIC = Metric("val/miou", Goal.maximize)


def sweep_file(method: Method) -> SweepFile:
    return SweepFile(
        Path("sweep.yaml"), "", "synthetic", method, SPACE, METRIC, RULE, TRIALS, fixed=(), raw={}, notes=()
    )


def true_value(parameters: dict[str, Any]) -> float:
    decades = math.log10(parameters["optim.offset_lr_mult"] / BEST_MULT)
    return PEAK - PER_DECADE * decades**2 - OFFSET_GROUPS[parameters["conv.offset_groups"]]


def one_report(parameters: dict[str, Any], rng: np.random.Generator) -> list[float]:
    """A run that reports once, at its end."""
    return [true_value(parameters) + rng.normal(0, NOISE)]


def curve(parameters: dict[str, Any], rng: np.random.Generator) -> list[float]:
    """A run that reports as it learns: at the same pace with every setting, and with its own luck at all its reports."""
    steps = np.arange(1, REPORTS + 1)
    luck = rng.normal(0, NOISE)
    values = true_value(parameters) + luck - 0.3 * np.exp(-steps / 5) + rng.normal(0, NOISE / 4, REPORTS)
    return [float(value) for value in values]


Objective = Callable[[dict[str, Any], np.random.Generator], list[float]]


class PrunedSearch(Search):
    """Tells Optuna of stopped runs as pruned, by their reports, where Search gives the best of them as their value."""

    def _trial(self, job: Job, metric: Metric, jobs: Sequence[Job]) -> FrozenTrial | None:
        trial = super()._trial(job, metric, jobs)
        if trial is None or job.state is not State.stopped:
            return trial
        return create_trial(
            state=TrialState.PRUNED,
            params=trial.params,
            distributions=trial.distributions,
            intermediate_values=dict(job.history),
        )


def running(number: int, parameters: dict[str, Any]) -> Job:
    return Job(number, (), parameters, f"trial-{number:04d}", State.running, attempts=1)


def finished(job: Job, jobs: Sequence[Job], objective: Objective, rng: np.random.Generator) -> Job:
    """Run a job to its end, or until the stop rule stops it."""
    reports: list[float] = []
    ladder = Ladder(RULE, METRIC.goal)
    ladder.keep({other.number: other.values for other in jobs})
    for value in objective(dict(job.parameters), rng):
        reports.append(value)
        ladder.keep({job.number: reports})
        if ladder.judge(job.number):
            return replace(job, state=State.stopped, history=tuple(enumerate(reports, start=1)))
    return replace(job, state=State.completed, history=tuple(enumerate(reports, start=1)))


def sweep(search: Search, objective: Objective, agents: int, trials: int = TRIALS) -> list[Job]:
    """Run a whole sweep; with several agents, as many jobs run whenever a setting is asked for, less one."""
    rng = np.random.default_rng(search.seed)
    jobs: list[Job] = []
    for number in range(trials):
        parameters = search.suggest(jobs)
        assert parameters is not None
        jobs.append(running(number, parameters))
        oldest = number - agents + 1
        if oldest >= 0:
            jobs[oldest] = finished(jobs[oldest], jobs, objective, rng)
    return [finished(job, jobs, objective, rng) if job.state is State.running else job for job in jobs]


def lost(jobs: Sequence[Job]) -> float:
    """How far below the optimum, without noise, the setting lies that a sweep reports as the best."""
    best = max(jobs, key=lambda job: max(value for _, value in job.history))
    return PEAK - true_value(dict(best.parameters))


def measure(name: str, make: Callable[[int], Search], objective: Objective, agents: int, seeds: int) -> dict[str, Any]:
    """Run the sweep with every seed."""
    sweeps = [sweep(make(seed), objective, agents) for seed in range(seeds)]
    losses = [lost(jobs) for jobs in sweeps]
    return {
        "search": name,
        "agents": agents,
        "seeds": seeds,
        "found": sum(loss <= WITHIN for loss in losses),
        "median_points_lost": round(100 * statistics.median(losses), 3),
        "worst_points_lost": round(100 * max(losses), 3),
        "reports_per_sweep": round(statistics.mean(sum(len(job.history) for job in jobs) for jobs in sweeps), 1),
    }


def make(name: str) -> Callable[[int], Search]:
    """Give what makes a search of this name for a seed."""
    method = Method.random if name == "random" else Method.bayes
    kind = PrunedSearch if name.endswith("pruned") else Search
    return lambda seed: kind(sweep_file(method), seed, Sampler.gp if name.startswith("gp") else Sampler.tpe)


def suggestion_times(name: str) -> dict[str, Any]:
    """Median time of a suggestion, in s, after 10, 100 and 500 finished jobs, one more running."""
    jobs = [running(0, {"optim.offset_lr_mult": 0.1, "conv.offset_groups": 1, "conv.groups": 1})]
    rng = np.random.default_rng(0)
    draw = make("random")(0)
    for number in range(1, 501):
        parameters = draw.suggest(jobs)
        assert parameters is not None
        history = tuple(enumerate(one_report(parameters, rng), start=1))
        jobs.append(replace(running(number, parameters), state=State.completed, history=history))
    return {
        "search": name,
        "median_seconds": {count: seconds(make(name), jobs[: count + 1]) for count in (10, 100, 500)},
    }


def seconds(make: Callable[[int], Search], jobs: Sequence[Job], repeats: int = 7) -> float:
    """Median time of a suggestion; the first, which imports what it needs, is not counted."""
    times = []
    for seed in range(repeats + 1):
        search = make(seed)
        started = time.perf_counter()
        search.suggest(jobs)
        times.append(time.perf_counter() - started)
    return round(statistics.median(times[1:]), 4)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--seeds", type=int, default=SEEDS)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore", ExperimentalWarning)
    rows = []
    for agents in (1, 4):
        for name in ("random", "tpe", "gp"):
            rows.append(measure(name, make(name), one_report, agents, arguments.seeds))
            print(json.dumps(rows[-1]), flush=True)
    more = [measure(name, make(name), one_report, 1, MORE_SEEDS) for name in ("random", "tpe")]
    print(json.dumps(more), flush=True)
    stopping = []
    for name in ("random", "tpe", "tpe, pruned", "gp", "gp, pruned"):
        stopping.append(measure(name, make(name), curve, 1, arguments.seeds))
        print(json.dumps(stopping[-1]), flush=True)
    times = [suggestion_times(name) for name in ("random", "tpe", "gp")]
    result = {
        "machine": describe(),
        "trials": TRIALS,
        "noise": NOISE,
        "found_within": WITHIN,
        "objective": {
            "peak": PEAK,
            "best_offset_lr_mult": BEST_MULT,
            "per_decade_squared": PER_DECADE,
            "offset_groups": OFFSET_GROUPS,
        },
        "one_report_a_run": rows,
        "more_seeds": more,
        "with_the_stop_rule": stopping,
        "suggestion": times,
    }
    arguments.out.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(times))


if __name__ == "__main__":
    main()
