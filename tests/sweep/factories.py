"""Sweep files, plans and jobs for the tests of sweeps, and a folder in which whole sweeps run with fake trials."""

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from dcnrun.jobs.ledger import Job, State
from dcnrun.jobs.supervisor import AgentSpec, supervise
from dcnrun.sweep.agent import run_agent
from dcnrun.sweep.engines.engine import Options
from dcnrun.sweep.engines.local import LocalEngine
from dcnrun.sweep.plan import Plan
from dcnrun.sweep.repeats import Repeated
from dcnrun.sweep.report.write import write_report
from dcnrun.sweep.spec.distributions import Distribution
from dcnrun.sweep.spec.reading import parse_sweep, read_sweep
from dcnrun.sweep.spec.sweep_file import Method, Metric, Parameter, SweepFile
from dcnrun.sweep.status import Progress
from tests.sweep import fakes

COMMAND = ["${env}", "dcnrun", "train", "trainer.steps=4", "${args_no_hyphens}"]
WANDB_COMMAND = 'command: ["${env}", dcnrun, train, logger=wandb, logger.wandb_mode=online, "${args_no_hyphens}"]\n'
RANDOM = {
    "method": "random",
    "run_cap": 5,
    "parameters": {"optim.lr": {"distribution": "log_uniform_values", "min": 0.0001, "max": 1.0}},
}


def sweep_file(method: Method, metric: Metric | None = None, **distributions: Distribution) -> SweepFile:
    parameters = tuple(Parameter(name.replace("__", "."), each) for name, each in distributions.items())
    return SweepFile(Path("sweep.yaml"), "", "test", method, parameters, metric, None, None, (), {}, ())


def parsed(more: str = "", parameters: str = "optim.lr: {values: [0.1, 0.2]}", method: str = "random") -> SweepFile:
    """A sweep file read from YAML, whose `more` begins at line 4."""
    return parse_sweep(f"method: {method}\nparameters:\n  {parameters}\n{more}", Path("lr.yaml"))


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


class QuickEngine(LocalEngine):
    """The local engine that checks no settings and draws no figures: each takes longer than all trials of a test."""

    def read(self, path: Path, overrides: Sequence[str]) -> SweepFile:
        return read_sweep(path)

    def write_report(self, plan: Plan, progress: Progress, repeated: Repeated | None) -> None:
        write_report(plan, progress, repeated, draw=lambda *_: {})


class Sweeps:
    """Writes sweep files and runs them with fake trials."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "lr.yaml"
        self.out = folder / "out"
        self.out.mkdir()

    def write(self, **changes: object) -> Path:
        metric = {"name": "val/miou", "goal": "maximize"}
        self.file.write_text(json.dumps({"metric": metric, "command": COMMAND, **RANDOM, **changes}))
        return self.file

    def write_grid(self, *rates: float, **changes: object) -> Path:
        return self.write(method="grid", parameters={"optim.lr": {"values": rates}}, run_cap=50, **changes)

    def options(self, **options: Any) -> Options:
        return Options(**{"out": self.out, **options})

    def run(self, *overrides: str, **options: Any) -> dict[str, Any]:
        return QuickEngine(fakes.PROGRAM, supervise).run(self.file, overrides, self.options(**options))

    def run_here(self, *overrides: str, **options: Any) -> dict[str, Any]:
        """Run with the one agent in this process: as a process of its own it takes longer to start than all its trials."""
        return QuickEngine(fakes.PROGRAM, _agent_here).run(self.file, overrides, self.options(**options))

    def does(self, trial: int, action: str | None) -> None:
        file = self.out / f"trial-{trial:04d}.does"
        file.write_text(action) if action else file.unlink()

    def pause(self, seconds: float) -> None:
        (self.out / "pause").write_text(str(seconds))

    def starts(self, trial: int) -> list[str]:
        return (self.out / f"trial-{trial:04d}" / "starts").read_text().splitlines()


def is_fake(command: Sequence[str]) -> bool:
    """Whether a command is a fake agent or trial."""
    return fakes.__name__ in command


def call_fake(command: list[str]) -> None:
    """Call a fake agent or trial with what follows its module's name."""
    sys.argv = command[command.index(fakes.__name__) :]
    sys.exit(fakes.main())


def _agent_here(command: Sequence[str], specs: Sequence[AgentSpec], look: Callable[[], None]) -> None:
    look()
    try:
        run_agent(command[-1], program=fakes.TRIAL)
    finally:
        look()
