"""An agent of a comparison: a process that takes runs of its ledger, one after the other, beside others.

`dcnrun compare --agents 2` starts two; the database's URL, which may hold a password, is in the environment.
"""

import os
import sys
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from dcnrun.compare.grid import expand
from dcnrun.compare.grid_cells import GridCell, grid_cells
from dcnrun.console import console
from dcnrun.errors import DcnrunError
from dcnrun.jobs.database import STORAGE
from dcnrun.jobs.ledger import Job, Ledger
from dcnrun.jobs.source import LedgerSource
from dcnrun.jobs.train import PROGRAM
from dcnrun.jobs.worker import Watcher, work


def agent_command(
    ledger: Ledger, folder: Path, config_dir: Path | None, overrides: Sequence[str], program: Sequence[str] = PROGRAM
) -> list[str]:
    """Return the command of an agent; `program` is what it starts runs with."""
    arguments = [ledger.name, str(folder), str(config_dir or ""), str(len(program)), *program, *overrides]
    return [sys.executable, "-m", "dcnrun.compare.agent", *arguments]


def take_runs(
    ledger: Ledger,
    folder: Path,
    cells: Collection[GridCell],
    config_dir: Path | None,
    program: Sequence[str] = PROGRAM,
    watcher: Watcher | None = None,
) -> None:
    """Take the runs of these cells until none of them waits or runs; of several, each is taken by one agent."""
    by_folder: Mapping[str, GridCell] = {cell.path.name: cell for cell in cells}

    def command(job: Job, _: Path) -> list[str]:
        return by_folder[job.folder].command(config_dir, program)

    source = LedgerSource(ledger, only=by_folder.keys())
    work(source, folder, command, watcher=watcher, gives_up=False, environment=environment(folder))


def environment(folder: Path) -> dict[str, str]:
    """Return what runs of the comparison in this folder find in their environment: they are a group at W&B."""
    return {"WANDB_RUN_GROUP": folder.resolve().name}


class _Lines(Watcher):
    """Prints a line when a run begins and when it ends."""

    def begins(self, job: Job) -> None:
        console.print(f"{job.folder}: attempt {job.attempts}", markup=False)

    def ends(self, job: Job) -> None:
        console.print(f"{job.folder}: {job.state.value} {job.reason or ''}", markup=False)


def main(arguments: Sequence[str]) -> None:
    """Do what `agent_command` asks for."""
    name, folder, config_dir, length, *rest = arguments
    program, overrides = rest[: int(length)], rest[int(length) :]
    grid = expand(overrides, Path(config_dir) if config_dir else None)
    cells = [cell for cell in grid_cells(grid, Path(folder)) if not cell.is_elsewhere]
    ledger = Ledger.open(os.environ[STORAGE], name)
    take_runs(ledger, Path(folder), cells, Path(config_dir) if config_dir else None, program, _Lines())


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except KeyboardInterrupt:
        sys.exit("interrupted")
    except DcnrunError as error:
        sys.exit(str(error))
