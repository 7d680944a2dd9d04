"""`dcnrun compare ... --engine ray`: the runs of a comparison on a Ray cluster."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from dcnrun.compare.agent import environment
from dcnrun.compare.grid_cells import GridCell
from dcnrun.config.paths import paths_to_read
from dcnrun.config.schema import Accelerator
from dcnrun.jobs.cluster.agents import Batch, ToDo, Work, run_on_cluster
from dcnrun.jobs.cluster.nodes import has_gpus
from dcnrun.jobs.cluster.options import ClusterOptions, Runs, resources_of
from dcnrun.jobs.cluster.served import Opened
from dcnrun.jobs.ledger import Job, Ledger, State
from dcnrun.jobs.train import PROGRAM


def take_runs_on_cluster(
    ledger: Ledger,
    url: str,
    folder: Path,
    cells: Collection[GridCell],
    config_dir: Path | None,
    options: ClusterOptions,
    look: Callable[[], None],
    is_alone: bool,
    program: Sequence[str] | None = None,
) -> None:
    """Run these cells on the cluster that this process is connected to until none of them waits or runs.

    Args:
        ledger: Where their jobs are.
        url: Its database.
        folder: The comparison's folder.
        cells: The cells.
        config_dir: A folder of further choices, on every node.
        options: What the user says of the cluster.
        look: Called twice a second.
        is_alone: Whether no other machine shares the runs.
        program: What stands for `dcnrun` on every node; None: the node's own.
    """
    configs = [cell.variant.config for cell in cells]
    folders = frozenset(cell.path.name for cell in cells)
    paths = {path: name for config in configs for path, name in paths_to_read(config).items()}
    if config_dir:
        paths[str(config_dir.absolute())] = "--config-dir"
    on_gpus = any(config.trainer.accelerator is not Accelerator.cpu for config in configs) and has_gpus()
    devices = max((config.trainer.devices for config in configs), default=1)
    threads = max((config.trainer.threads for config in configs), default=0)
    work = Work(
        folder.absolute(),
        partial(_command, {cell.path.name: cell for cell in cells}, config_dir and config_dir.absolute(), program),
        None,
        environment(folder),
        gives_up=False,
        waits=not is_alone,
        is_copied=options.runs is Runs.copied,
    )
    resources = resources_of(devices, threads, on_gpus)
    batch = Batch(partial(_open, url, ledger.name, folders), work, resources, paths, is_alone)

    def to_do() -> ToDo:
        look()
        states = [job.state for job in ledger.jobs() if job.folder in folders]
        underway = sum(state in (State.waiting, State.running) for state in states)
        return ToDo(underway, states.count(State.running), 0)

    run_on_cluster(batch, options, to_do)


def _command(
    by_folder: Mapping[str, GridCell], config_dir: Path | None, program: Sequence[str] | None, job: Job, path: Path
) -> list[str]:
    """Return the command of a job on the node where it runs, in this folder there."""
    return replace(by_folder[job.folder], path=path).command(config_dir, program or PROGRAM)


def _open(url: str, name: str, folders: frozenset[str]) -> Opened:
    """Open the runs of the comparison, on the head node."""
    return Ledger.open(url, name), None, None, folders
