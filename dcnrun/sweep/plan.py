"""The plan that all agents of a sweep share: the sweep file, the overrides beside it, and how settings are chosen."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from dcnrun.config.overrides import as_override
from dcnrun.jobs.ledger import Job, JobSpec
from dcnrun.jobs.worker import Verdict
from dcnrun.sweep import hyperband
from dcnrun.sweep.engines.engine import Sampler
from dcnrun.sweep.search import Search
from dcnrun.sweep.spec.reading import parse_sweep
from dcnrun.sweep.spec.sweep_file import SweepFile
from dcnrun.tasks.registry import metric_text

_MAY_CHANGE = ("run_cap", "description")


@dataclass(frozen=True)
class Plan:
    """A sweep as the ledger keeps it: all that an agent anywhere needs.

    Two sweeps are the same when their texts are: comments, `description` and `run_cap` may change while a sweep runs.
    """

    sweep: SweepFile
    overrides: tuple[str, ...]  # given to every trial, after the file's own and the parameters
    seed: int
    sampler: Sampler

    def as_text(self) -> str:
        """Return the text that `plan_from` reads."""
        settled = {key: value for key, value in self.sweep.raw.items() if key not in _MAY_CHANGE}
        kept = {
            "sweep": yaml.dump({**settled, "name": self.sweep.name}, Dumper=_Dumper, sort_keys=False),
            "overrides": self.overrides,
            "seed": self.seed,
            "search": self.sampler,
        }
        return json.dumps(kept, indent=1) + "\n"

    def trial(self, parameters: Mapping[str, Any], number: int) -> JobSpec:
        """Return the trial of a setting."""
        chosen = [as_override(name, value) for name, value in parameters.items()]
        return JobSpec((*self.sweep.fixed, *chosen, *self.overrides), parameters, f"trial-{number:04d}")


def plan_from(text: str) -> Plan:
    """Read a sweep that a ledger kept."""
    kept = json.loads(text)
    sweep = parse_sweep(kept["sweep"], Path("sweep.yaml"))
    return Plan(sweep, tuple(kept["overrides"]), kept["seed"], Sampler(kept["search"]))


class _Dumper(yaml.SafeDumper):
    """Writes every text in quotes, since 1e-5 without them is read as a number."""


_Dumper.add_representer(str, lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"'))


class Searching:
    """Draws the next trial for an agent, and decides whether one that runs must stop."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._search = Search(plan.sweep, plan.seed, plan.sampler)

    def draw(self, jobs: Sequence[Job]) -> JobSpec | None:
        """Return the trial after these; None when a grid is exhausted or the metric's target is reached."""
        if self._search.target_reached(jobs):
            return None
        parameters = self._search.suggest(jobs)
        return None if parameters is None else self.plan.trial(parameters, len(jobs))

    def judge(self, jobs: Sequence[Job], job: Job) -> Verdict | None:
        """Return why a trial that has just reported must stop, by the target or by the stop rule; None lets it continue."""
        metric, rule = self.plan.sweep.metric, self.plan.sweep.early_terminate
        if metric is None:
            return None
        if self._search.target_reached(jobs):
            return Verdict(
                f"the sweep is over: {metric.name} reached its target {metric_text(metric.name, metric.target)}"
            )
        if rule is None:
            return None
        histories = {each.number: [value for _, value in each.history] for each in jobs}
        stop = hyperband.judge(rule, metric.goal, histories, job.number)
        return Verdict(stop.sentence(metric.name), stop.band) if stop else None
