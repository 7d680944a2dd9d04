"""Sweep files and jobs for the tests of the search."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dcnrun.jobs.ledger import Job, State
from dcnrun.sweep.spec.distributions import Distribution
from dcnrun.sweep.spec.sweep_file import Method, Metric, Parameter, SweepFile


def sweep_file(method: Method, metric: Metric | None = None, **distributions: Distribution) -> SweepFile:
    parameters = tuple(Parameter(name.replace("__", "."), each) for name, each in distributions.items())
    return SweepFile(Path("sweep.yaml"), "", "test", method, parameters, metric, None, None, (), {}, ())


def job(
    number: int, parameters: dict[str, Any], values: Sequence[float] = (), state: State = State.completed, **others: Any
) -> Job:
    """A job with these reports."""
    fields = dict.fromkeys(["owner", "reason", "band", "started", "ended", "beat"]) | others
    return Job(
        number=number,
        overrides=(),
        parameters=parameters,
        folder=f"trial-{number:04d}",
        state=state,
        attempts=1,
        history=tuple(enumerate(values, start=1)),
        **fields,
    )
