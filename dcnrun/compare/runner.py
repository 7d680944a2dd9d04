"""`dcnrun compare OVERRIDE...`: train every variant with every seed, and compare the completed runs after each."""

import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import psutil
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from dcnrun.compare import PICTURES
from dcnrun.compare.agent import agent_command, take_runs
from dcnrun.compare.earlier_runs import GRID_FILE, remember
from dcnrun.compare.grid import Grid, build_grid, idle_controls
from dcnrun.compare.grid_cells import GridCell, changed_since, grid_cells
from dcnrun.compare.progress import GridProgress
from dcnrun.compare.report import print_report
from dcnrun.console import console
from dcnrun.errors import UsageError
from dcnrun.jobs.cluster.options import ClusterOptions, require_ray
from dcnrun.jobs.database import STORAGE, sqlite_url
from dcnrun.jobs.ledger import Job, JobSpec, Ledger, State
from dcnrun.jobs.owner import host_of
from dcnrun.jobs.supervisor import agent_specs, gpu_groups, supervise
from dcnrun.jobs.train import PROGRAM
from dcnrun.runs import locked, remove_leftovers, write_json


def run_grid(
    overrides: Sequence[str],
    out: Path | None = None,
    config_dir: Path | None = None,
    dry_run: bool = False,
    storage: str | None = None,
    agents: int = 1,
    gpus: Sequence[str] = (),
    pictures: int = PICTURES,
    cluster: ClusterOptions | None = None,
    program: Sequence[str] = PROGRAM,
) -> dict[str, Any]:
    """Train every variant with every seed; print, write and return the comparison.

    Everything is in `out`, or in a folder of `runs_dir` named after the variants, so that the same command goes on with
    its own runs: completed ones are kept, failed ones tried again, others resumed. Runs of the same settings and seed that
    were completed elsewhere are taken as they are. A run that fails is listed under "failed" and the rest go on; RunError
    if every one fails. UsageError for what is wrong before the first run.

    Args:
        overrides: Settings, each with one value or several; those of `seed` are the seeds.
        out: The folder of the comparison.
        config_dir: A folder of further choices.
        dry_run: Print the runs and train nothing.
        storage: The URL of a database, by which the same command on other machines shares the runs; each writes a report
            of the runs that it finds in its folder at the end.
        agents: How many runs at a time.
        gpus: The GPUs to use: an agent for each, or for as many as a run trains on.
        pictures: How many of the images on which the variants differ most are drawn into the page.
        cluster: The Ray cluster to use instead of this machine; None: this machine.
        program: What stands for `dcnrun` when runs are started.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UsageError("`dcnrun compare` starts the processes of each run itself: start it without torchrun.")
    grid = build_grid(overrides, config_dir)
    name = f"compare-{grid.digest}"
    runs_dir = Path(grid.variants[0].config.runs_dir)
    folder = out or runs_dir / name
    groups = gpu_groups(gpus, max(variant.config.trainer.devices for variant in grid.variants)) if gpus else []
    runs = grid_cells(grid, folder)
    for line in idle_controls(grid):
        console.print(f"Warning: {line}", markup=False, soft_wrap=True)
    for line in changed_since(runs):
        console.print(f"Warning: {line}", markup=False, soft_wrap=True)
    if grid.left_out:
        console.print(f"Left out where a variant does not have it: {', '.join(grid.left_out)}", markup=False)
    if dry_run:
        return _show_plan(grid, runs, folder)
    _make(folder)
    # A second command would train beside this one on the same devices, unless they are to share the runs.
    busy = f"Another `dcnrun compare` is at work in {folder}: wait, or stop it."
    with locked(folder / ".lock", busy, shared=storage is not None), _connected(cluster):
        remove_leftovers(folder, psutil.pid_exists)
        write_json(folder / GRID_FILE, {"overrides": list(overrides), **_plan(grid, runs, folder)})
        remember(folder, runs_dir)
        url = storage or sqlite_url(folder / "ledger.db")
        ledger = Ledger.create(url, name, kind="grid", text=grid.digest, folder=str(folder), cap=None)
        to_run = [run for run in runs if not run.is_elsewhere]
        if len(to_run) < len(runs):
            found = f"{len(runs) - len(to_run)} of {len(runs)} runs were trained before, elsewhere: they are not trained again."
            console.print(found, markup=False)
        _enter(to_run, ledger, shared=storage is not None)
        with closing(GridProgress(grid, runs, folder, ledger)) as progress:
            try:
                if cluster:
                    from dcnrun.compare.on_cluster import take_runs_on_cluster

                    own = None if program == PROGRAM else program
                    look, is_alone = progress.look_at_agents, storage is None
                    take_runs_on_cluster(ledger, url, folder, to_run, config_dir, cluster, look, is_alone, own)
                elif agents > 1 or groups:
                    specs = agent_specs(agents, groups, folder / "logs", {STORAGE: url})
                    supervise(
                        agent_command(ledger, folder, config_dir, overrides, program), specs, progress.look_at_agents
                    )
                else:
                    take_runs(ledger, folder, to_run, config_dir, program, progress)
                comparison, report = progress.final_report(pictures)
            except KeyboardInterrupt:
                progress.interrupted()
                raise
    print_report(comparison, folder)
    return report


@contextmanager
def _connected(cluster: ClusterOptions | None) -> Iterator[None]:
    """Be connected to a cluster, where there is one; UsageError where this is not its head node. Ray is an extra."""
    if cluster is None:
        yield
        return
    require_ray()
    from dcnrun.jobs.cluster.nodes import connected

    with connected(cluster.address) as is_head:
        if not is_head:
            there = "Start a comparison on the head node of the Ray cluster"
            raise UsageError(f"{there}, from elsewhere by `ray job submit -- dcnrun compare ...`.")
        yield


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
    elsewhere = sum(run.is_elsewhere for run in runs)
    number = "1 run" if len(runs) == 1 else f"{len(runs)} runs"
    table = Table("run", "overrides", "state", title=escape(f"{number} in {folder}"), title_justify="left")
    for run, state in zip(runs, states, strict=True):
        table.add_row(Text(run.title), Text(" ".join(run.overrides)), state)
    console.print(table)
    plan = _plan(grid, runs, folder)
    to_train = sum(run.steps for run, state in zip(runs, states, strict=True) if state != "done")
    if elsewhere:
        console.print(
            f"{elsewhere} of {len(runs)} runs were trained before, elsewhere: they would not be trained again."
        )
    console.print(f"{plan['total_steps']} steps in all; at most {to_train} are still to train. Nothing was trained.")
    return {**plan, "states": states}


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"The folder {folder} can't be made: {error.strerror}.") from error
