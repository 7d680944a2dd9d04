"""What all agents of a sweep go by: the sweep file, the overrides beside it, and how settings are chosen."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.override_parser.types import Quote, QuotedString

from dcnrun.config.overrides import as_typed, parse
from dcnrun.errors import ConfigError
from dcnrun.jobs.ledger import Drawn, Job
from dcnrun.jobs.worker import Verdict
from dcnrun.sweep import hyperband
from dcnrun.sweep.search import SamplerName, Search
from dcnrun.sweep.spec.reading import parse_sweep
from dcnrun.sweep.spec.sweep_file import SweepFile


@dataclass(frozen=True)
class Plan:
    """A sweep as the ledger keeps it, so that an agent anywhere needs nothing else."""

    sweep: SweepFile
    overrides: tuple[str, ...]
    """Given to every trial, after the file's own and the parameters."""
    seed: int
    sampler: SamplerName

    def as_text(self) -> str:
        """What `plan_from` reads."""
        kept = {
            "file": self.sweep.path.name,
            "sweep": self.sweep.text,
            "overrides": self.overrides,
            "seed": self.seed,
            "search": self.sampler,
        }
        return json.dumps(kept, indent=1) + "\n"

    def trial(self, parameters: Mapping[str, Any], number: int) -> Drawn:
        """The trial of a setting."""
        chosen = [as_override(name, value) for name, value in parameters.items()]
        return Drawn((*self.sweep.fixed, *chosen, *self.overrides), parameters, f"trial-{number:04d}")


def plan_from(text: str) -> Plan:
    """Read a sweep that a ledger kept."""
    kept = json.loads(text)
    sweep = parse_sweep(kept["sweep"], Path(kept["file"]))
    return Plan(sweep, tuple(kept["overrides"]), kept["seed"], kept["search"])


def as_override(name: str, value: Any) -> str:
    """A setting as `dcnrun train` is given it; a text that would be read as something else is quoted."""
    plain = f"{name}={as_typed(value)}"
    if not isinstance(value, str) or _is_read_as(plain, value):
        return plain
    return f"{name}={QuotedString(value, Quote.single).with_quotes()}"


class Searching:
    """What an agent asks while it works: the next trial, and whether one that runs is to stop."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._search = Search(plan.sweep, plan.seed, plan.sampler)

    def draw(self, jobs: Sequence[Job]) -> Drawn | None:
        """The trial after these; None when a grid is exhausted or the metric's target is reached."""
        if self._search.target_reached(jobs):
            return None
        parameters = self._search.suggest(jobs)
        return None if parameters is None else self.plan.trial(parameters, len(jobs))

    def judge(self, jobs: Sequence[Job], job: Job) -> Verdict | None:
        """Why a trial that has just reported is to stop, by the target or by the stop rule; None lets it go on."""
        metric, rule = self.plan.sweep.metric, self.plan.sweep.early_terminate
        if metric is None:
            return None
        if self._search.target_reached(jobs):
            return Verdict(f"the sweep is over: {metric.name} reached its target {metric.target:g}")
        if rule is None:
            return None
        histories = {each.number: [value for _, value in each.history] for each in jobs}
        stop = hyperband.judge(rule, metric.goal, histories, job.number)
        return Verdict(stop.sentence(metric.name), stop.band) if stop else None


def _is_read_as(override: str, value: str) -> bool:
    try:
        return parse(override).elements == [value]
    except ConfigError:
        return False
