"""Finished sweeps for the tests of their report."""

import math
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from dcnrun.jobs.ledger import Job
from dcnrun.sweep.engines.engine import Sampler
from dcnrun.sweep.plan import Plan
from dcnrun.sweep.report.write import DrawFigures, write_report
from dcnrun.sweep.spec.distributions import Categorical, Constant, Distribution, IntUniform, LogUniform
from dcnrun.sweep.spec.sweep_file import Goal, Method, Metric, SweepFile
from dcnrun.sweep.status import Progress
from tests.sweep.factories import job, sweep_file

MIOU = Metric("val/miou", Goal.maximize)
SPACE: dict[str, Distribution] = {
    "optim__offset_lr_mult": LogUniform(0.001, 10.0),
    "conv__offset_groups": Categorical((1, 2, 4)),
    "conv__groups": Categorical((1, 2)),
    "trainer__threads": IntUniform(1, 4),
    "optim__lr": Constant(0.01),
}


def settings(seed: int = 0) -> Iterator[dict[str, Any]]:
    """Settings of SPACE."""
    rng = random.Random(seed)
    while True:
        yield {
            "optim.offset_lr_mult": 10 ** rng.uniform(-3, 1),
            "conv.offset_groups": rng.choice((1, 2, 4)),
            "conv.groups": rng.choice((1, 2)),
            "trainer.threads": rng.randint(1, 4),
            "optim.lr": 0.01,
        }


def trials(count: int, value: Callable[[Mapping[str, Any]], float], seed: int = 0) -> list[Job]:
    """Completed trials, whose best report is this value of their settings."""
    drawn = settings(seed)
    return [job(number, own := next(drawn), [value(own) - 0.1, value(own)]) for number in range(count)]


def parabola(settings: Mapping[str, Any]) -> float:
    """Best where the learning rate of the offsets is 0.1; nothing else matters."""
    rate: float = settings["optim.offset_lr_mult"]
    return 0.5 - 0.1 * (math.log10(rate) + 1) ** 2


def sweep_of(metric: Metric | None = MIOU, **space: Distribution) -> SweepFile:
    return sweep_file(Method.random, metric, **(space or SPACE))


def progress(jobs: Sequence[Job], folder: Path = Path("nowhere"), metric: Metric | None = MIOU) -> Progress:
    return Progress("test", folder, metric, len(jobs), jobs)


def write(
    jobs: Sequence[Job],
    folder: Path,
    sweep: SweepFile | None = None,
    overrides: tuple[str, ...] = (),
    draw: DrawFigures | None = None,
) -> tuple[dict[str, Any], str]:
    """Write the report of these trials; return it as an object and as Markdown."""
    sweep = sweep or sweep_of()
    plan = Plan(sweep, overrides, 0, Sampler.tpe)
    jobs = [replace(each, overrides=plan.trial(each.parameters, each.number).overrides) for each in jobs]
    report = write_report(plan, progress(jobs, folder, sweep.metric), draw=draw)
    return report, (folder / "report.md").read_text()
