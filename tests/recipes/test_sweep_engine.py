"""The recipe "Add a sweep engine", followed to the letter: it writes the trials' commands for the queue of a cluster."""

import json
import shlex

from tests.recipes.factories import TINY_HEAD, TINY_SHAPES

SWEEP = f"""\
name: rates
method: grid
metric: {{name: val/miou, goal: maximize}}
parameters:
  optim.offset_lr_mult: {{values: [0.1, 1.0, 10.0]}}
command: {json.dumps(["${env}", "dcnrun", "train", *TINY_SHAPES, *TINY_HEAD, "conv.layers=1", "${args_no_hyphens}"])}
"""


def add_sweep_engine(package):
    package.insert_after(
        "dcnrun/sweep/engines/engine.py",
        '    wandb = "wandb"\n',
        '    script = "script"\n',
    )
    package.insert_after(
        "dcnrun/sweep/engines/engine.py",
        """\
            from dcnrun.sweep.engines.wandb import WandbEngine

            return WandbEngine()
""",
        """\
        case Engine.script:
            from dcnrun.sweep.engines.script import ScriptEngine

            return ScriptEngine()
""",
    )
    package.write(
        "dcnrun/sweep/engines/script.py",
        '''\
"""The engine that runs nothing: it writes the command of each trial, for the queue of a cluster."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dcnrun.console import console
from dcnrun.errors import UsageError
from dcnrun.runs import write_text
from dcnrun.sweep.dry_run import first_trials, show_plan
from dcnrun.sweep.engines.engine import Options, Sampler, SweepEngine
from dcnrun.sweep.plan import Plan
from dcnrun.sweep.spec.sweep_file import Method, SweepFile
from dcnrun.sweep.storage import folder_of
from dcnrun.sweep.trial import command_line


class ScriptEngine(SweepEngine):
    """`dcnrun sweep FILE --engine script`: a line of `commands.sh` for each trial."""

    def problems(self, sweep: SweepFile) -> list[str]:
        """Return what can't be known before the first trial has ended."""
        if sweep.method is Method.grid:
            return []
        return [f"{sweep.at('method')}: method: {sweep.method} has no last trial: a script can be written of a grid."]

    def run(self, path: Path, overrides: Sequence[str], options: Options) -> dict[str, Any]:
        """Write the script; print and return its path and its commands."""
        plan, cap, folder = self._plan(path, overrides, options)
        trials = first_trials(plan, cap)
        commands = [command_line([*trial.overrides, f"runs_dir={folder / trial.folder}"]) for trial in trials]
        folder.mkdir(parents=True, exist_ok=True)
        script = folder / "commands.sh"
        write_text(script, "".join(f"{command}\\n" for command in commands))
        console.print(f"Written: {script}, {len(commands)} trials", markup=False, soft_wrap=True)
        return {"script": str(script), "commands": commands}

    def show_plan(self, path: Path, overrides: Sequence[str], options: Options) -> dict[str, Any]:
        """Print and return what the trials are."""
        return show_plan(*self._plan(path, overrides, options))

    def show_status(self, sweep: str, options: Options) -> dict[str, Any]:
        """Raise UsageError: who runs the script knows."""
        raise UsageError(f"{sweep}: a script's trials are known where it runs: compare their run folders.")

    def _plan(self, path: Path, overrides: Sequence[str], options: Options) -> tuple[Plan, int, Path]:
        """Return the plan, the number of its trials, and the sweep's folder."""
        sweep = self.read(path, overrides)
        plan = Plan(sweep, tuple(overrides), options.seed or 0, options.sampler or Sampler.tpe)
        count = len(first_trials(plan, 10_000))
        return plan, min(count, options.cap(sweep) or count), folder_of(sweep, options)
''',
    )
    package.write(
        "tests/sweep/engines/test_script.py",
        '''\
"""The script of a sweep's trials, and what it can't be written of."""

import shlex

import pytest

from dcnrun.errors import ConfigError
from dcnrun.sweep.engines.engine import Engine, Options, engine_for

GRID = """\\
method: grid
parameters:
  optim.lr: {values: [0.1, 0.2, 0.3]}
command: ["${env}", dcnrun, train, trainer.steps=4, "${args_no_hyphens}"]
"""


def test_a_line_is_the_command_of_a_trial(tmp_path):
    (tmp_path / "grid.yaml").write_text(GRID)
    engine = engine_for(Engine.script)
    engine.run(tmp_path / "grid.yaml", ["seed=1"], Options(count=2, out=tmp_path / "out"))
    lines = (tmp_path / "out" / "commands.sh").read_text().splitlines()
    assert [shlex.split(line)[:5] for line in lines] == [
        ["dcnrun", "train", "trainer.steps=4", f"optim.lr={lr}", "seed=1"] for lr in (0.1, 0.2)
    ]


def test_a_search_that_learns_is_refused(tmp_path):
    (tmp_path / "random.yaml").write_text(GRID.replace("grid", "random"))
    with pytest.raises(ConfigError, match=r"random\\.yaml:1: method: random has no last trial"):
        engine_for(Engine.script).run(tmp_path / "random.yaml", [], Options())
''',
    )


def test_an_engine_plans_and_its_trials_are_compared(package, recipes):
    add_sweep_engine(package)
    assert package.touched("script") == recipes["Add a sweep engine"].files
    (package.folder / "rates.yaml").write_text(SWEEP)
    sweep = ("sweep", "rates.yaml", "--engine", "script", "--count", "2", "--out", "rates")
    _, plan, written, _ = package.run(
        ("sweep", "--help"),
        (*sweep, "--dry-run"),
        sweep,
        ("pytest", "tests/sweep/engines/test_script.py"),
    )
    assert "optim.offset_lr_mult" in plan
    assert "Written: rates/commands.sh, 2 trials" in written
    trials = [shlex.split(line)[1:] for line in (package.folder / "rates" / "commands.sh").read_text().splitlines()]
    package.run(*([*trial, "--run-dir", f"run-{number}"] for number, trial in enumerate(trials)))
    package.run(("compare", "run-0", "run-1", "--out", "compared"))
    comparison = json.loads((package.folder / "compared" / "compare.json").read_text())
    assert [variant["name"] for variant in comparison["variants"]] == [
        "deformable offset_lr_mult=0.1",
        "deformable offset_lr_mult=1.0",
    ]
    assert (package.folder / "compared" / "compare.png").stat().st_size > 10_000
