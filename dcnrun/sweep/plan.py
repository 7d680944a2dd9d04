"""The plan that all agents of a sweep share: the sweep file, the overrides beside it, and how settings are chosen."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from dcnrun.config.overrides import as_override
from dcnrun.errors import ConfigError, UsageError
from dcnrun.jobs.ledger import Changes, Job, JobSpec, next_number
from dcnrun.jobs.source import Verdict
from dcnrun.sweep import hyperband
from dcnrun.sweep.engines.engine import Sampler
from dcnrun.sweep.search import Search
from dcnrun.sweep.spec.distributions import may_be, sample_values
from dcnrun.sweep.spec.reading import parse_sweep
from dcnrun.sweep.spec.sweep_file import SweepFile

SEED = "seed"
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

    def refuses(self, job: Job) -> str | None:
        """Return why a job of the ledger is no trial of this sweep; None if it is one."""
        return self._difference(job.parameters)

    def refuses_repeat(self, job: Job) -> str | None:
        """Return why a job of the ledger repeats no trial of this sweep, with a seed of its own; None if it does."""
        own = {each.name: sample_values(each.distribution)[0] for each in self.sweep.parameters if each.name == SEED}
        return self._difference({name: value for name, value in job.parameters.items() if name != SEED} | own)

    def _difference(self, parameters: Mapping[str, Any]) -> str | None:
        distributions = {each.name: each.distribution for each in self.sweep.parameters}
        if parameters.keys() != distributions.keys():
            return f"its parameters are {', '.join(parameters) or 'none'}, and not {', '.join(distributions)}"
        for name, value in parameters.items():
            if not may_be(distributions[name], value):
                return f"{name} is {value!r}, which the sweep file does not have"
        return None


def plan_from(text: str) -> Plan:
    """Read a sweep that a ledger kept; UsageError where it is none."""
    try:
        kept = json.loads(text)
        sweep = parse_sweep(kept["sweep"], Path("sweep.yaml"))
        return Plan(sweep, tuple(map(str, kept["overrides"])), int(kept["seed"]), Sampler(kept["search"]))
    except ConfigError as error:
        raise UsageError(f"The ledger holds a sweep that can't be read: {error}") from error
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise UsageError(
            "What the ledger holds is no sweep: its text was changed. Give another --name or --out."
        ) from error


class _Dumper(yaml.SafeDumper):
    """Writes every text in quotes, since 1e-5 without them is read as a number."""


_Dumper.add_representer(str, lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"'))


class Searching:
    """Draws the next trial for an agent, and decides whether one that runs must stop."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.search = Search(plan.sweep, plan.seed, plan.sampler)
        self.judge = None if plan.sweep.metric is None or plan.sweep.early_terminate is None else self._judge
        """Decides whether a trial that runs must stop; None without a rule."""
        self._ladder: hyperband.Ladder | None = None

    def draw(self, jobs: Sequence[Job]) -> JobSpec | None:
        """Return the trial after these; None when every setting has been tried or the metric's target is reached."""
        if self.search.target_reached(jobs):
            return None
        parameters = self.search.suggest(jobs)
        return None if parameters is None else self.plan.trial(parameters, next_number(jobs))

    def _judge(self, changes: Changes, job: Job) -> Verdict | None:
        """Return why the stop rule stops a trial that has just reported; None lets it continue, also past the metric's target."""
        metric, rule = self.plan.sweep.metric, self.plan.sweep.early_terminate
        assert metric is not None
        assert rule is not None
        if self._ladder is None or changes.are_all:
            self._ladder = hyperband.Ladder(rule, metric.goal)
        self._ladder.keep({each.number: each.values for each in changes.jobs})
        stop = self._ladder.judge(job.number)
        return Verdict(stop.sentence(metric.name), stop.band) if stop else None
