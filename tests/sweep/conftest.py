"""Sweeps of trials that pretend, and what they left."""

import json
from pathlib import Path

import pytest

from dcnrun.sweep import local, prepare
from dcnrun.sweep.agent import run_agent
from dcnrun.sweep.report import write
from tests.sweep import pretend

COMMAND = ["${env}", "dcnrun", "train", "trainer.steps=4", "${args_no_hyphens}"]
RANDOM = {
    "method": "random",
    "run_cap": 5,
    "parameters": {"optim.lr": {"distribution": "log_uniform_values", "min": 0.0001, "max": 1.0}},
}


class Sweeps:
    """Writes sweep files and runs them with trials that pretend."""

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

    def run(self, *overrides: str, **options: object) -> dict:
        given = {"out": self.out, **options}
        return local.run_sweep(self.file, overrides, prepare.Options(**given), pretend.PROGRAM)

    def run_here(self, *overrides: str, **options: object) -> dict:
        """The same with the one agent in this process: as a process of its own it takes longer to start than all its trials."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(local, "run_crew", _agent_here)
            return self.run(*overrides, **options)

    def does(self, trial: int, action: str | None) -> None:
        file = self.out / f"trial-{trial:04d}.does"
        file.write_text(action) if action else file.unlink()

    def pause(self, seconds: float) -> None:
        (self.out / "pause").write_text(str(seconds))

    def starts(self, trial: int) -> list[str]:
        return (self.out / f"trial-{trial:04d}" / "starts").read_text().splitlines()


def _agent_here(command, at, look):
    look()
    try:
        run_agent(command[-1], program=pretend.TRIAL)
    finally:
        look()


@pytest.fixture
def sweeps(tmp_path, monkeypatch):
    # Checks and figures would take longer than all the rest.
    monkeypatch.setattr(prepare, "check_against_settings", lambda *_: None)
    monkeypatch.setattr(write, "write_figures", lambda *_: {})
    return Sweeps(tmp_path)
