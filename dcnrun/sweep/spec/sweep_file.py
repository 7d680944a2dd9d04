"""A W&B sweep file, read and checked."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from dcnrun.sweep.spec.distributions import Distribution


class Method(StrEnum):
    """The search method: how the next setting is chosen."""

    bayes = "bayes"
    random = "random"
    grid = "grid"
    custom = "custom"  # by a scheduler of Weights & Biases; the local engine refuses it


class Goal(StrEnum):
    """Whether less or more of the metric is better."""

    minimize = "minimize"
    maximize = "maximize"


class Impute(StrEnum):
    """The value of a run that failed (or still runs) in the search for the next setting."""

    best = "best"
    worst = "worst"
    latest = "latest"


@dataclass(frozen=True)
class Metric:
    """The metric that a sweep optimizes."""

    name: str
    goal: Goal = Goal.minimize
    target: float | None = None  # a value at which the sweep is over
    impute: Impute | None = None  # None: not given, and W&B's own search takes `worst`
    impute_while_running: Impute | None = None


@dataclass(frozen=True)
class EarlyTerminate:
    """W&B's hyperband rule: bands from `max_iter` and `s` (they win), or from `min_iter`."""

    min_iter: int | None = None
    max_iter: int | None = None
    s: int | None = None
    eta: float = 3.0
    strict: bool = True


@dataclass(frozen=True)
class Parameter:
    """A setting that is varied: its dotted name, such as `optim.offset_lr_mult`, and its distribution."""

    name: str
    distribution: Distribution


@dataclass(frozen=True)
class SweepFile:
    """A sweep file that Weights & Biases accept. Whether an engine can honour it: `SweepEngine.problems`."""

    path: Path
    text: str
    name: str  # the name in the file, or the file's own name without its ending
    method: Method
    parameters: tuple[Parameter, ...]
    metric: Metric | None
    early_terminate: EarlyTerminate | None
    run_cap: int | None
    fixed: tuple[str, ...]
    """Overrides that `command` gives to every trial, such as `experiment=quick`, without those that only log it to Weights & Biases."""
    raw: Mapping[str, Any]  # the whole file as plain values, numbers mended: what Weights & Biases get
    notes: tuple[str, ...]  # what was mended, as sentences: `1e-5` read as a number, and the like
    lines: Mapping[str, int] = field(default_factory=dict, repr=False)
    """The line, from 1, of each top-level key, and of each parameter as `parameters.<name>`."""

    def at(self, key: str) -> str:
        """Return file and line of a key of `lines`, as messages begin: `sweeps/lr.yaml:7`."""
        line = self.lines.get(key) or self.lines.get(key.partition(".")[0])
        return f"{self.path}:{line}" if line else f"{self.path}"
