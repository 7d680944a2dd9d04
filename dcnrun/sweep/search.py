"""Chooses the next setting of a sweep from the jobs so far: by Optuna (bayes and random), or in the order of W&B (grid)."""

import heapq
import math
import random
from collections.abc import Mapping, Sequence, Set
from typing import Any

import numpy as np
import optuna
from optuna.samplers import BaseSampler, GPSampler, RandomSampler, TPESampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState, create_trial

from dcnrun.errors import UsageError
from dcnrun.jobs.ledger import Job
from dcnrun.sweep.engines.engine import Sampler
from dcnrun.sweep.objective import ENDED, best_value, target_reached, value_in_search, worst_value
from dcnrun.sweep.space import Dimension, dimension, in_words
from dcnrun.sweep.spec.distributions import Categorical, Constant, IntUniform, Uniform, Values, setting_key
from dcnrun.sweep.spec.sweep_file import Goal, Method, Metric, Parameter, SweepFile

DRAWS = (
    5  # how often a sampler is asked again while it returns a setting that has been tried, or that another agent runs
)

MOST_TOLD = 2000
"""The most jobs that ended of which a sampler is told. TPE holds the best 25 against all others, of which it needs to know but the
density; and what it takes for a suggestion grows with their number."""
BEST_TOLD = 200


class Search:
    """Chooses settings for a sweep. It has no state, so that any agent may ask: the same jobs give the same setting."""

    def __init__(self, sweep: SweepFile, seed: int, sampler: Sampler) -> None:
        self.sweep = sweep
        self.seed = seed
        self.sampler = sampler
        self.dimensions = {each.name: dimension(each.distribution) for each in sweep.parameters}
        self.domains = {name: each.domain for name, each in self.dimensions.items()}
        self.space = _grid(sweep) if sweep.method is Method.grid else _whole_space(self.dimensions)
        self._keys: dict[int, tuple[Job, frozenset[tuple[str, str]]]] = {}  # by number: computed once of a job

    def suggest(self, jobs: Sequence[Job]) -> dict[str, Any] | None:
        """Return the setting to try after these jobs: parameters by name; None when all that there are have been tried.

        Each is tried once, however it ended: a run of the same setting would give the same result, bit for bit.
        """
        tried = self._tried(jobs)
        if self.sweep.method is Method.grid:
            return self._untried(tried, 0)
        # another seed after every job, so that draws differ while no trial has reported
        seed = int(np.random.SeedSequence([self.seed, len(jobs)]).generate_state(1)[0])
        if self.space is not None and len(tried) >= self.space.size and self._untried(tried, seed) is None:
            return None
        study, drawn = self._study(jobs, seed), {}
        for attempt in range(2 * DRAWS):
            if attempt == DRAWS:  # it insists on what has been tried: any other setting tells more
                study.sampler = RandomSampler(seed)
            points = study.ask(self.domains).params
            drawn = {name: each.value(points[name]) for name, each in self.dimensions.items()}
            if _keys(drawn) not in tried:
                return drawn
        return drawn if self.space is None else self._untried(tried, seed)

    def is_exhausted(self, jobs: Sequence[Job]) -> bool:
        """Whether every setting that there is has been tried."""
        return self.space is not None and self._untried(self._tried(jobs), 0) is None

    def _tried(self, jobs: Sequence[Job]) -> Set[frozenset[tuple[str, str]]]:
        """Return the settings of jobs, as sets of keys."""
        for job in jobs:
            if job.number not in self._keys or self._keys[job.number][0] is not job:
                self._keys[job.number] = (job, _keys(job.parameters))
        return {self._keys[job.number][1] for job in jobs}

    def _untried(self, tried: Set[frozenset[tuple[str, str]]], seed: int) -> dict[str, Any] | None:
        """Return the next setting that is not tried: of a grid the first, elsewhere one by chance; None if there is none."""
        if self.space is None:
            return None
        size = self.space.size
        first = 0 if self.sweep.method is Method.grid else random.Random(seed).randrange(size)
        after = (self.space.at((first + step) % size) for step in range(size))
        return next((setting for setting in after if _keys(setting) not in tried), None)

    def describe(self) -> list[tuple[str, str, str]]:
        """Return name, distribution and range of every parameter, in words."""
        return [(each.name, *in_words(each.distribution)) for each in self.sweep.parameters]

    def target_reached(self, jobs: Sequence[Job]) -> bool:
        """Whether a job has reported the value at which the sweep is over."""
        return self.sweep.metric is not None and target_reached(self.sweep.metric, jobs)

    def _study(self, jobs: Sequence[Job], seed: int) -> Study:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        metric = self.sweep.metric
        if self.sweep.method is Method.random or metric is None:
            return optuna.create_study(sampler=RandomSampler(seed))
        sampler: BaseSampler = TPESampler(seed=seed, multivariate=True, constant_liar=True)
        if self.sampler is Sampler.gp:
            sampler = GPSampler(seed=seed, warn_independent_sampling=False)
        study = optuna.create_study(direction=metric.goal.value, sampler=sampler)
        told, worst = told_of(jobs, metric.goal), worst_value(jobs, metric.goal)
        study.add_trials([trial for job in told if (trial := self._trial(job, metric, worst)) is not None])
        return study

    def _trial(self, job: Job, metric: Metric, worst: float | None) -> FrozenTrial | None:
        """Convert a job to a trial of Optuna; None for one that ended without a value.

        A stopped trial counts as completed with its best report: TPE finds the optimum as often as when it is told that
        the trial was pruned, and Gaussian processes ignore pruned trials (benchmarks/sweep_search.py).
        """
        if job.damaged:
            return None
        value = value_in_search(job, metric, worst)
        if value is None and job.state in ENDED:
            return None
        return create_trial(
            state=TrialState.RUNNING if value is None else TrialState.COMPLETE,
            value=value,
            params={name: each.point(job.parameters[name]) for name, each in self.dimensions.items()},
            distributions=self.domains,
        )


def told_of(jobs: Sequence[Job], goal: Goal) -> Sequence[Job]:
    """Return the jobs of which a sampler is told: all, or of very many that ended the best, and of the others as many from all times."""
    ended = [job for job in jobs if job.state in ENDED]
    if len(ended) <= MOST_TOLD:
        return jobs
    sign = -1 if goal is Goal.maximize else 1
    valued = [(sign * value, job.number) for job in ended if (value := best_value(job, goal)) is not None]
    best = {number for _, number in heapq.nsmallest(BEST_TOLD, valued)}
    others = [job.number for job in ended if job.number not in best]
    told = best.union(others[:: math.ceil(len(others) / (MOST_TOLD - BEST_TOLD))])
    return [job for job in jobs if job.state not in ENDED or job.number in told]


def grid_values(parameter: Parameter) -> Values:
    """Return the values of a parameter in a grid, each once; UsageError if it has no list of values."""
    match parameter.distribution:
        case Constant(value):
            return Values.of([value])
        case Categorical(values, None):
            return Values.of(values)
        case IntUniform(low, high):
            return Values.multiples(low, high, 1)
        case Uniform(low, high, q) if q is not None:
            step = (low + q) - low  # as numpy.arange adds, by which W&B list them: without the last
            return Values(math.ceil((high - low) / q), lambda index: low + index * step)
    raise UsageError(
        f"{parameter.name}: a grid needs `values`, int_uniform or q_uniform (and no probabilities). "
        "List the values, or use method random or bayes."
    )


def _grid(sweep: SweepFile) -> Values:
    """Return every combination as W&B order them: names sorted, the last one changing fastest, values in the order of the file."""
    parameters = sorted(sweep.parameters, key=lambda parameter: parameter.name)
    return Values.product({parameter.name: grid_values(parameter) for parameter in parameters})


def _whole_space(dimensions: Mapping[str, Dimension]) -> Values | None:
    """Return every setting that may be drawn; None where they are a continuum."""
    by_name = {name: each.values for name, each in dimensions.items() if each.values is not None}
    return Values.product(by_name) if len(by_name) == len(dimensions) else None


def _keys(settings: Mapping[str, Any]) -> frozenset[tuple[str, str]]:
    return frozenset((name, setting_key(value)) for name, value in settings.items())
