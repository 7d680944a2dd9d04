"""The Ray engine: the local engine, whose agents run wherever a Ray cluster has room for a trial."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from dcnrun.config.compose import compose
from dcnrun.config.paths import paths_to_read
from dcnrun.config.schema import Accelerator
from dcnrun.errors import UsageError
from dcnrun.jobs.cluster.agents import Batch, ToDo, Work, run_on_cluster
from dcnrun.jobs.cluster.nodes import connected, has_gpus, run_on_head
from dcnrun.jobs.cluster.options import ClusterOptions, Runs, resources_of
from dcnrun.jobs.cluster.served import Opened
from dcnrun.jobs.database import storage_url
from dcnrun.jobs.ledger import Ledger, State
from dcnrun.jobs.worker import Command
from dcnrun.runs import write_text
from dcnrun.sweep.engines.engine import Options
from dcnrun.sweep.engines.local import LocalEngine, RunAgents
from dcnrun.sweep.objective import ENDED
from dcnrun.sweep.plan import Plan, Searching
from dcnrun.sweep.status import Progress
from dcnrun.sweep.storage import REPEATS, folder_of, name_of, open_ledger, open_repeats
from dcnrun.sweep.trial import trial_command


class RayEngine(LocalEngine):
    """`dcnrun sweep FILE --engine ray`."""

    def __init__(self, command: Command = trial_command) -> None:
        """`command` returns the command of a trial, on the node where it runs."""
        super().__init__()
        self._command = command

    def run(self, path: Path, overrides: Sequence[str], options: Options) -> dict[str, Any]:
        """Run a sweep file to its end on a Ray cluster, or resume it, as the local engine does on this machine.

        All of it is on the head node, in the folder of the same path there, wherever the command was started. UsageError also
        where there is no such cluster, or where trials can't be on one of its nodes.
        """
        with connected(_cluster(options).address) as is_head:
            if is_head:
                return super().run(path, overrides, options)
            sweep = self.read(path, overrides)
            given = replace(options, out=folder_of(sweep, options).absolute(), storage=storage_url(options.storage))
            result: dict[str, Any] = run_on_head(partial(_run_text, self, path.stem, sweep.text, overrides, given))
            return result

    def show_status(self, sweep: str, options: Options) -> dict[str, Any]:
        """Print and return how a sweep stands, by the ledger on the head node where it is not seen from here."""
        try:
            return super().show_status(sweep, options)
        except UsageError:
            with connected(_cluster(options).address) as is_head:
                if is_head:
                    raise
                given = replace(options, storage=storage_url(options.storage))
                result: dict[str, Any] = run_on_head(partial(self.show_status, sweep, given))
                return result

    def agents(self, plan: Plan, options: Options) -> RunAgents:
        """Return what runs the agents of a sweep on the cluster that this process is connected to."""
        cluster, storage = _cluster(options), storage_url(options.storage)
        sweep = name_of(plan.sweep, options) if storage else str(folder_of(plan.sweep, options).absolute())
        config = compose([*plan.sweep.fixed, *plan.overrides])
        on_gpus = config.trainer.accelerator is not Accelerator.cpu and has_gpus()

        def run(ledger: Ledger, folder: Path, look: Callable[[], Progress]) -> None:
            work = Work(
                folder.absolute(),
                self._command,
                plan.sweep.metric.name if plan.sweep.metric else None,
                {"WANDB_RUN_GROUP": plan.sweep.name},
                is_copied=cluster.runs is Runs.copied,
                waits=storage is not None,
            )
            batch = Batch(
                partial(_open_repeats if ledger.kind == REPEATS else _open_trials, sweep, storage),
                work,
                resources_of(config.trainer.devices, config.trainer.threads, on_gpus),
                paths_to_read(config),
                is_alone=storage is None,
            )
            run_on_cluster(batch, cluster, lambda: _to_do(look()))

        return run


def _cluster(options: Options) -> ClusterOptions:
    return options.cluster or ClusterOptions()


def _run_text(engine: RayEngine, name: str, text: str, overrides: Sequence[str], options: Options) -> dict[str, Any]:
    """Run a sweep file of which the head node has but the text."""
    with TemporaryDirectory() as own:
        file = Path(own) / f"{name}.yaml"
        write_text(file, text)
        return engine.run(file, overrides, options)


def _open_trials(sweep: str, storage: str | None) -> Opened:
    """Open the trials of a sweep, on the head node."""
    ledger, plan, _ = open_ledger(sweep, storage)
    searching = Searching(plan)
    return ledger, searching.draw, searching.judge, None


def _open_repeats(sweep: str, storage: str | None) -> Opened:
    """Open the runs over seeds of a sweep's best settings, on the head node."""
    _, plan, _ = open_ledger(sweep, storage)
    batch = open_repeats(sweep, storage, plan)
    if batch is None:
        raise UsageError(f"{sweep} holds no runs over seeds.")
    return batch, None, None, None


def _to_do(progress: Progress) -> ToDo:
    """Return what is left of a sweep."""
    underway = sum(job.state not in ENDED for job in progress.jobs)
    running = sum(job.state is State.running for job in progress.jobs)
    to_come = None if progress.most is None else progress.most - len(progress.jobs)
    return ToDo(underway, running, 0 if progress.target_reached else to_come)
