"""`dcnrun compare OVERRIDE...`: train every variant with every seed, and compare the completed runs after each."""

import socket
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from dcnrun.compare.grid import Grid, build_grid
from dcnrun.compare.grid_cells import GridCell, grid_cells
from dcnrun.compare.progress import GridProgress
from dcnrun.compare.report import print_report
from dcnrun.console import console
from dcnrun.errors import UsageError
from dcnrun.jobs.database import sqlite_url
from dcnrun.jobs.ledger import Job, JobSpec, Ledger, State
from dcnrun.jobs.owner import host_of
from dcnrun.jobs.train import PROGRAM
from dcnrun.jobs.worker import work
from dcnrun.runs import locked, write_json


def run_grid(
    overrides: Sequence[str],
    out: Path | None = None,
    config_dir: Path | None = None,
    dry_run: bool = False,
    storage: str | None = None,
    program: Sequence[str] = PROGRAM,
) -> dict[str, Any]:
    """Train every variant with every seed, one run after the other; print, write and return the comparison.

    Everything is in `out`, or in a folder of `runs_dir` named after the variants, so that the same command goes on with
    its own runs: completed ones are kept, failed ones tried again, others resumed. A run that fails is listed under
    "failed" and the rest go on; RunError if every one fails. `dry_run` prints the runs and trains nothing.
    With `storage`, a database's URL, the same command on other machines shares the runs; each writes a report of the
    runs that it finds in its folder at the end.
    """
    grid = build_grid(overrides, config_dir)
    name = f"compare-{grid.digest}"
    folder = out or Path(grid.variants[0].config.runs_dir) / name
    runs = grid_cells(grid, folder)
    if dry_run:
        return _show_plan(grid, runs, folder)
    _make(folder)
    # A second command would train beside this one on the same devices, unless they are to share the runs.
    busy = f"Another `dcnrun compare` is at work in {folder}: wait, or stop it."
    with locked(folder / ".lock", busy, shared=storage is not None):
        write_json(folder / "grid.json", {"overrides": list(overrides), **_plan(grid, runs, folder)})
        url = storage or sqlite_url(folder / "ledger.db")
        ledger = Ledger.create(url, name, kind="grid", text=grid.digest, folder=str(folder), cap=None)
        _enter(runs, ledger, shared=storage is not None)
        planned = {run.path.name: run for run in runs}

        def command(job: Job, _: Path) -> list[str]:
            return [*program, *planned[job.folder].arguments(config_dir)]

        with closing(GridProgress(grid, runs, folder, ledger)) as progress:
            try:
                work(ledger, folder, command, only=planned.keys(), watcher=progress, gives_up=False)
            except KeyboardInterrupt:
                progress.interrupted()
                raise
            comparison, report = progress.final_report()
    print_report(comparison, folder)
    return report


def _enter(runs: Sequence[GridCell], ledger: Ledger, shared: bool) -> None:
    """Have the ledger hold these runs, and those that failed, or whose folder was deleted, wait again."""
    ledger.add([JobSpec(run.overrides, {}, run.path.name) for run in runs])
    planned = {run.path.name: run for run in runs}
    jobs = [job for job in ledger.jobs() if job.folder in planned]
    ledger.reopen([job.number for job in jobs if _is_to_do_again(planned[job.folder], job, shared)])


def _is_to_do_again(run: GridCell, job: Job, shared: bool) -> bool:
    if job.state is State.completed:
        should_be_here = not shared or host_of(job.owner or "") == socket.gethostname()
        return should_be_here and run.finished() is None
    return job.state is State.failed


def _plan(grid: Grid, runs: Sequence[GridCell], folder: Path) -> dict[str, Any]:
    return {
        "folder": str(folder),
        "variants": [{"name": variant.name, "overrides": list(variant.overrides)} for variant in grid.variants],
        "seeds": list(grid.seeds),
        "left_out": list(grid.left_out),
        "runs": [str(run.path) for run in runs],
        "total_steps": sum(run.steps for run in runs),
    }


def _show_plan(grid: Grid, runs: Sequence[GridCell], folder: Path) -> dict[str, Any]:
    """Print the runs in their order and the steps left to train."""
    states = ["done" if run.finished() else "resumes" if run.is_begun else "new" for run in runs]
    table = Table("run", "overrides", "state", title=f"{len(runs)} runs in {folder}", title_justify="left")
    for run, state in zip(runs, states, strict=True):
        table.add_row(Text(run.title), Text(" ".join(run.overrides)), state)
    console.print(table)
    if grid.left_out:
        console.print(f"Left out where a variant does not have it: {', '.join(grid.left_out)}", markup=False)
    plan = _plan(grid, runs, folder)
    to_train = sum(run.steps for run, state in zip(runs, states, strict=True) if state != "done")
    console.print(f"{plan['total_steps']} steps in all; at most {to_train} are still to train. Nothing was trained.")
    return {**plan, "states": states}


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"The folder {folder} can't be made: {error.strerror}.") from error
