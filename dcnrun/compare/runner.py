"""`dcnrun compare OVERRIDE...`: trains every variant with every seed, and compares what is done so far after each run."""

import fcntl
import json
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from dcnrun.compare.grid import Grid, Variant, build_grid
from dcnrun.compare.process import last_lines, run_process, sigterm_as_interrupt
from dcnrun.compare.report import print_report, write_report
from dcnrun.compare.results import Comparison, FinishedRun, Unfinished, VariantResult, compare, read_finished
from dcnrun.compare.variants import identity, settings_of
from dcnrun.config.compose import load
from dcnrun.config.overrides import as_typed
from dcnrun.console import console
from dcnrun.errors import RunError, UsageError
from dcnrun.runs import RunFolder, write_json

PROGRAM = (sys.executable, "-m", "dcnrun")
_TAIL_OF_METRICS = 4096


@dataclass(frozen=True, eq=False)
class PlannedRun:
    """One cell of the grid and its folder."""

    variant: Variant
    seed: int
    path: Path

    @property
    def title(self) -> str:
        """For people: `dilated 4, seed 0`."""
        return f"{self.variant.name}, seed {self.seed}"

    @property
    def log(self) -> Path:
        """What the run printed."""
        return self.path.with_name(f"{self.path.name}.log")

    @property
    def is_begun(self) -> bool:
        """Whether there is a run to go on with."""
        return RunFolder(self.path).config_file.exists()

    def finished(self) -> FinishedRun | None:
        """Its result, if it is completed."""
        try:
            return read_finished(self.path)
        except RunError:
            return None

    def arguments(self, config_dir: Path | None) -> list[str]:
        """What `dcnrun` is given to start the run or to go on with it."""
        if self.is_begun:
            return ["train", "--resume", str(self.path)]
        config = ["--config-dir", str(config_dir)] if config_dir else []
        return ["train", *config, "--run-dir", str(self.path), *self.variant.overrides, f"seed={self.seed}"]


def run_grid(
    overrides: Sequence[str],
    out: Path | None = None,
    config_dir: Path | None = None,
    dry_run: bool = False,
    program: Sequence[str] = PROGRAM,
) -> dict[str, Any]:
    """Train every variant with every seed, one run after the other; print, write and return the comparison.

    Everything is in `out`, or in a folder of `runs_dir` named after the variants, so that the same command goes on with
    its own runs: completed ones are kept, others resumed. All variants of a seed come before the next seed, so that a
    comparison that is stopped early has complete pairs. A run that fails is listed under "failed" and the rest go on;
    RunError if every one fails. `dry_run` prints the runs and trains nothing.
    """
    grid = build_grid(overrides, config_dir)
    folder = out or Path(grid.variants[0].config.runs_dir) / f"compare-{grid.digest}"
    runs = [
        PlannedRun(variant, seed, folder / f"{variant.slug}-seed{seed}")
        for seed in grid.seeds
        for variant in grid.variants
    ]
    _check_folders(runs)
    if dry_run:
        return _show_plan(grid, runs, folder)
    with _alone_in(folder) as lock, sigterm_as_interrupt():
        write_json(folder / "grid.json", {"overrides": list(overrides), **_plan(grid, runs, folder)})
        done = _already_done(runs)
        failed: dict[PlannedRun, str] = {}
        for number, run in enumerate(runs, start=1):
            place = f"[{number}/{len(runs)}] {run.title}"
            if run in done:
                console.print(f"{place}: {_score(done[run])}, already done", markup=False)
                continue
            started = time.monotonic()
            result = _train(run, place, [*program, *run.arguments(config_dir)], lock)
            if isinstance(result, str):
                failed[run] = result
                console.print(f"{place}: failed: {result}", markup=False)
            else:
                done[run] = result
                console.print(f"{place}: {_score(result)}, {_duration(time.monotonic() - started)}", markup=False)
                if run is not runs[-1]:
                    write_report(_comparison(grid, runs, done, failed), folder)
        if not done:
            reasons = "\n".join(f"  {run.title}: {reason} (all of it: {run.log})" for run, reason in failed.items())
            raise RunError(f"Every run failed:\n{reasons}")
        comparison = _comparison(grid, runs, done, failed)
        report = write_report(comparison, folder)
    print_report(comparison, folder)
    return report


def _already_done(runs: Sequence[PlannedRun]) -> dict[PlannedRun, FinishedRun]:
    results = {run: run.finished() for run in runs}
    return {run: result for run, result in results.items() if result is not None}


def _check_folders(runs: Sequence[PlannedRun]) -> None:
    """Raise UsageError where a run's folder holds a run of another config."""
    problems = []
    for run in runs:
        if run.is_begun:
            file = RunFolder(run.path).config_file
            own = {"seed": run.seed, **identity(run.variant.settings)}
            held = settings_of(load(file))
            held = {"seed": held["seed"], **identity(held)}
            problems += [
                f"{file} has {key}={as_typed(held.get(key))}, but {run.title} needs {key}={as_typed(own.get(key))}"
                for key in sorted(own.keys() | held.keys())
                if own.get(key) != held.get(key)
            ]
    if problems:
        raise UsageError("\n".join(problems) + "\nGive another --out, or move those runs away.")


def _train(run: PlannedRun, place: str, command: Sequence[str], lock: int) -> FinishedRun | str:
    """Start or resume one run and wait for it: its result, or why there is none."""
    steps = run.variant.config.trainer.steps
    start_of_output = run.log.stat().st_size if run.log.exists() else 0
    began = time.time()
    if not console.is_terminal:
        console.print(f"{place}: {'resuming' if run.is_begun else 'training'}, {steps} steps", markup=False)
    with Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    ) as progress:
        task = progress.add_task(place, total=steps)
        try:
            status = run_process(
                command, run.log, lambda: progress.update(task, completed=_last_step(run.path)), keep_open=[lock]
            )
        except KeyboardInterrupt:
            console.print(f"{place}: stopped. The same command goes on.", markup=False)
            raise
    result = run.finished() if status == 0 else None
    return result or _reason(run, status, began, start_of_output)


def _reason(run: PlannedRun, status: int, began: float, start_of_output: int) -> str:
    """Why a run is not completed: its own word since it began, else the end of what it printed."""
    folder = RunFolder(run.path)
    try:
        summary = folder.read_summary()
        fresh = folder.summary_file.stat().st_mtime >= began - 1
    except (RunError, OSError):
        summary, fresh = {}, False
    if fresh and summary.get("status") in ("failed", "stopped") and summary.get("reason"):
        return str(summary["reason"])
    ending = f"killed by signal {-status}" if status < 0 else f"exit status {status}"
    said = last_lines(run.log, start_of_output)
    return f"{ending}: {said}" if said else ending


def _last_step(path: Path) -> int:
    """The last step that a run logged; 0 before the first."""
    try:
        with RunFolder(path).metrics_file.open("rb") as file:
            file.seek(0, 2)
            file.seek(max(file.tell() - _TAIL_OF_METRICS, 0))
            lines = file.read().splitlines()
    except OSError:
        return 0
    for line in reversed(lines):
        try:
            return int(json.loads(line)["step"])
        except (ValueError, KeyError, TypeError):
            continue  # the first of the tail, or one that is just being written
    return 0


def _comparison(
    grid: Grid, runs: Sequence[PlannedRun], done: dict[PlannedRun, FinishedRun], failed: dict[PlannedRun, str]
) -> Comparison:
    """What is done so far."""
    variants = [
        VariantResult(
            variant.name, variant.settings, tuple(done[run] for run in runs if run in done and run.variant is variant)
        )
        for variant in grid.variants
    ]
    unfinished = [
        Unfinished(run.variant.name, run.seed, run.path, failed.get(run, "not run yet"), run in failed)
        for run in runs
        if run not in done
    ]
    return compare(variants, unfinished)


def _plan(grid: Grid, runs: Sequence[PlannedRun], folder: Path) -> dict[str, Any]:
    return {
        "folder": str(folder),
        "variants": [{"name": variant.name, "overrides": list(variant.overrides)} for variant in grid.variants],
        "seeds": list(grid.seeds),
        "left_out": list(grid.left_out),
        "runs": [str(run.path) for run in runs],
        "total_steps": sum(run.variant.config.trainer.steps for run in runs),
    }


def _show_plan(grid: Grid, runs: Sequence[PlannedRun], folder: Path) -> dict[str, Any]:
    """Print the runs in their order and the steps left to train."""
    done = _already_done(runs)
    states = ["done" if run in done else "resumes" if run.is_begun else "new" for run in runs]
    table = Table("run", "overrides", "state", title=f"{len(runs)} runs in {folder}", title_justify="left")
    for run, state in zip(runs, states, strict=True):
        table.add_row(Text(run.title), Text(" ".join([*run.variant.overrides, f"seed={run.seed}"])), state)
    console.print(table)
    if grid.left_out:
        console.print(f"Left out where a variant does not have it: {', '.join(grid.left_out)}", markup=False)
    plan = _plan(grid, runs, folder)
    to_train = sum(run.variant.config.trainer.steps for run, state in zip(runs, states, strict=True) if state != "done")
    console.print(f"{plan['total_steps']} steps in all; at most {to_train} are still to train. Nothing was trained.")
    return {**plan, "states": states}


@contextmanager
def _alone_in(folder: Path) -> Iterator[int]:
    """Hold the folder's lock, which each run inherits: two commands must not train in one folder at a time."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"The folder {folder} can't be made: {error.strerror}.") from error
    with (folder / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise UsageError(
                f"Another `dcnrun compare`, or a run that it left behind, is at work in {folder}: wait, or stop it."
            ) from None
        yield file.fileno()


def _score(run: FinishedRun) -> str:
    return f"{run.metric} {100 * run.score:.2f}"


def _duration(seconds: float) -> str:
    whole = round(seconds)
    hours, minutes = whole // 3600, whole // 60 % 60
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {whole % 60} s" if minutes else f"{whole} s"
