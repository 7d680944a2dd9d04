"""Chooses the next setting of a sweep from the jobs so far: by Optuna (bayes and random), or in the order of W&B (grid)."""

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import optuna
from optuna.samplers import BaseSampler, GPSampler, RandomSampler, TPESampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState, create_trial

from dcnrun.errors import UsageError
from dcnrun.jobs.ledger import Job
from dcnrun.sweep.engines.engine import Sampler
from dcnrun.sweep.objective import ENDED, target_reached, value_in_search
from dcnrun.sweep.space import dimension, in_words
from dcnrun.sweep.spec.distributions import Categorical, Constant, IntUniform, Uniform, setting_key
from dcnrun.sweep.spec.sweep_file import Method, Metric, Parameter, SweepFile

DRAWS = 5  # how often a sampler is asked again while it returns a setting that another agent is running


class Search:
    """Chooses settings for a sweep. It has no state, so that any agent may ask: the same jobs give the same setting."""

    def __init__(self, sweep: SweepFile, seed: int, sampler: Sampler) -> None:
        self.sweep = sweep
        self.seed = seed
        self.sampler = sampler
        self.dimensions = {each.name: dimension(each.distribution) for each in sweep.parameters}
        self.domains = {name: each.domain for name, each in self.dimensions.items()}

    def suggest(self, jobs: Sequence[Job]) -> dict[str, Any] | None:
        """Return the setting to try after these jobs: parameters by name; None when a grid has no more."""
        if self.sweep.method is Method.grid:
            return next_of_grid(self.sweep, [job.parameters for job in jobs])
        # another seed after every job, so that draws differ while no trial has reported
        seed = int(np.random.SeedSequence([self.seed, len(jobs)]).generate_state(1)[0])
        study = self._study(jobs, seed)
        underway = [job.parameters for job in jobs if job.state not in ENDED]
        drawn: dict[str, Any] = {}
        for attempt in range(2 * DRAWS):
            if attempt == DRAWS:  # it insists on what is running: any other setting tells more
                study.sampler = RandomSampler(seed)
            points = study.ask(self.domains).params
            drawn = {name: each.value(points[name]) for name, each in self.dimensions.items()}
            if drawn not in underway:
                break
        return drawn

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
        study.add_trials([trial for job in jobs if (trial := self._trial(job, metric, jobs)) is not None])
        return study

    def _trial(self, job: Job, metric: Metric, jobs: Sequence[Job]) -> FrozenTrial | None:
        """Convert a job to a trial of Optuna; None for one that ended without a value.

        A stopped trial counts as completed with its best report: TPE finds the optimum as often as when it is told that
        the trial was pruned, and Gaussian processes ignore pruned trials (benchmarks/sweep_search.py).
        """
        value = value_in_search(job, metric, jobs)
        if value is None and job.state in ENDED:
            return None
        return create_trial(
            state=TrialState.RUNNING if value is None else TrialState.COMPLETE,
            value=value,
            params={name: each.point(job.parameters[name]) for name, each in self.dimensions.items()},
            distributions=self.domains,
        )


def enumerate_grid(sweep: SweepFile) -> Iterator[dict[str, Any]]:
    """Yield every combination: parameters by name, the last one changing fastest, values in the order of the file."""
    parameters = sorted(sweep.parameters, key=lambda parameter: parameter.name)
    for combination in itertools.product(*map(grid_values, parameters)):
        yield {parameter.name: value for parameter, value in zip(parameters, combination, strict=True)}


def grid_values(parameter: Parameter) -> Sequence[Any]:
    """Return the values of a parameter in a grid; UsageError if it has no list of values."""
    match parameter.distribution:
        case Constant(value):
            return [value]
        case Categorical(values, None):
            return values
        case IntUniform(low, high):
            return range(low, high + 1)
        case Uniform(low, high, q) if q is not None:
            numbers: list[float] = np.arange(low, high, q).tolist()  # without the last, as W&B have it
            return numbers
    raise UsageError(
        f"{parameter.name}: a grid needs `values`, int_uniform or q_uniform (and no probabilities). "
        "List the values, or use method random or bayes."
    )


def next_of_grid(sweep: SweepFile, taken: Iterable[Mapping[str, Any]]) -> dict[str, Any] | None:
    """Return the first combination that is not taken yet; None when all are."""
    seen = {_keys(parameters) for parameters in taken}
    return next((settings for settings in enumerate_grid(sweep) if _keys(settings) not in seen), None)


def _keys(settings: Mapping[str, Any]) -> frozenset[tuple[str, str]]:
    return frozenset((name, setting_key(value)) for name, value in settings.items())
