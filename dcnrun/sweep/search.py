"""The next setting of a sweep, chosen by Optuna (bayes and random) or in turn (grid) from the jobs there are."""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import optuna
from optuna.samplers import BaseSampler, GPSampler, RandomSampler, TPESampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState, create_trial

from dcnrun.jobs.ledger import Job
from dcnrun.sweep.grid import next_of_grid
from dcnrun.sweep.space import dimension, in_words
from dcnrun.sweep.spec.sweep_file import Method, Metric, SweepFile
from dcnrun.sweep.values import ENDED, target_reached, value_in_search

SamplerName = Literal["tpe", "gp"]

DRAWS = 5
"""How often a sampler is asked while what it gives is a setting that another agent is busy with."""


class Search:
    """Chooses settings for a sweep; it keeps nothing, so that any agent may ask: the same jobs give the same setting."""

    def __init__(self, sweep: SweepFile, seed: int, sampler: SamplerName) -> None:
        self.sweep = sweep
        self.seed = seed
        self.sampler = sampler
        self.dimensions = {each.name: dimension(each.distribution) for each in sweep.parameters}
        self.domains = {name: each.domain for name, each in self.dimensions.items()}

    def suggest(self, jobs: Sequence[Job]) -> dict[str, Any] | None:
        """Give the setting to try after these jobs: parameters by name; None when a grid has no more."""
        if self.sweep.method is Method.grid:
            return next_of_grid(self.sweep, [job.parameters for job in jobs])
        seed = self._seed(jobs)
        study = self._study(jobs, seed)
        underway = [job.parameters for job in jobs if job.state not in ENDED]
        drawn: dict[str, Any] = {}
        for attempt in range(2 * DRAWS):
            if attempt == DRAWS:  # it insists on what is being tried: any other setting tells more
                study.sampler = RandomSampler(seed)
            drawn = self._draw(study)
            if drawn not in underway:
                break
        return drawn

    def describe(self) -> list[tuple[str, str, str]]:
        """Name, distribution and range of every parameter, in words."""
        return [(each.name, *in_words(each.distribution)) for each in self.sweep.parameters]

    def target_reached(self, jobs: Sequence[Job]) -> bool:
        """Whether a job has reported the value at which the sweep is over."""
        return self.sweep.metric is not None and target_reached(self.sweep.metric, jobs)

    def _draw(self, study: Study) -> dict[str, Any]:
        points = study.ask(self.domains).params
        return {name: each.value(points[name]) for name, each in self.dimensions.items()}

    def _seed(self, jobs: Sequence[Job]) -> int:
        """Another seed after every job, so that draws differ while nothing is known yet."""
        return int(np.random.SeedSequence([self.seed, len(jobs)]).generate_state(1)[0])

    def _study(self, jobs: Sequence[Job], seed: int) -> Study:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        metric = self.sweep.metric
        if self.sweep.method is Method.random or metric is None:
            return optuna.create_study(sampler=RandomSampler(seed))
        study = optuna.create_study(direction=metric.goal.value, sampler=self._bayes(seed))
        study.add_trials([trial for job in jobs if (trial := self._trial(job, metric, jobs)) is not None])
        return study

    def _bayes(self, seed: int) -> BaseSampler:
        if self.sampler == "gp":
            return GPSampler(seed=seed, warn_independent_sampling=False)
        return TPESampler(seed=seed, multivariate=True, constant_liar=True)

    def _trial(self, job: Job, metric: Metric, jobs: Sequence[Job]) -> FrozenTrial | None:
        """Give a job as Optuna knows it; None for one that ended with nothing to learn from.

        One that was stopped counts as completed with its best report: TPE finds the optimum as often as when it is told that
        the trial was pruned, and Gaussian processes take no notice of pruned trials (benchmarks/sweep_search.py).
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
