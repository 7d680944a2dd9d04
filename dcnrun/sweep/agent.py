"""`dcnrun agent SWEEP`: joins a sweep from any machine. There is no head node: agents share only the ledger."""

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from dcnrun.console import console
from dcnrun.jobs.database import STORAGE
from dcnrun.jobs.ledger import Job, Ledger, State
from dcnrun.jobs.source import LedgerSource
from dcnrun.jobs.supervisor import AgentSpec, agent_specs, split_count, supervise
from dcnrun.jobs.train import PROGRAM
from dcnrun.jobs.worker import Watcher, work
from dcnrun.sweep.plan import Plan, Searching
from dcnrun.sweep.status import one_line, settings_in_words
from dcnrun.sweep.storage import occupy, open_ledger, open_repeats, repeats_in
from dcnrun.sweep.trial import gpu_groups_for, trial_command


def run_agent(
    sweep: str,
    storage: str | None = None,
    count: int | None = None,
    gpus: Sequence[str] = (),
    out: Path | None = None,
    program: Sequence[str] = PROGRAM,
    supervise: Callable[[Sequence[str], Sequence[AgentSpec]], None] = supervise,
) -> dict[str, Any]:
    """Run trials of a sweep until none is left or `count` were taken; return how they ended.

    After the last trial come the runs of the best settings over seeds, where the sweep has such. An interrupt lets the trial
    save and gives it back, for any agent to resume. UsageError if there is no such sweep or no such GPU.

    Args:
        sweep: The sweep's name in the database at `storage`, or its folder.
        storage: The URL of the ledger's database; None: it is in the sweep's folder.
        count: The most trials to take, over all GPUs.
        gpus: The GPUs to use. With more than a trial needs, there is an agent for each (or each few), as a process of its own.
        out: The folder of trials on this machine; None: the sweep's own.
        program: What stands for `dcnrun`.
        supervise: What runs the agents of several GPUs.
    """
    ledger, plan, folder = open_ledger(sweep, storage, out)
    occupy(folder, plan)
    for job in ledger.jobs():
        if job.damaged:
            _Lines("trial").ends(job)
    groups = gpu_groups_for([*plan.sweep.fixed, *plan.overrides], gpus)[:count]
    if len(groups) > 1:
        environment = {STORAGE: storage} if storage else {}
        specs = agent_specs(0, groups, folder / "logs", environment)
        counts = [("--count", str(share)) if share else () for share in split_count(count, len(specs))]
        command = [*PROGRAM, *agent_arguments(ledger.name, folder, storage)]
        supervise(command, [replace(spec, arguments=own) for spec, own in zip(specs, counts, strict=True)])
        return {"sweep": plan.sweep.name, "folder": str(folder), "agents": len(groups)}
    if groups:
        os.environ["CUDA_VISIBLE_DEVICES"] = groups[0]
    taken = _take("trial", ledger, plan, folder, count, program, Searching(plan))
    ended = [{"trial": job.number, "state": job.state.value, "reason": job.reason} for job in taken]
    left = None if count is None else count - len(taken)
    repeats = open_repeats(sweep, storage, plan)
    runs = _take("repeat", repeats, plan, repeats_in(folder), left, program) if repeats else []
    repeated = [{"run": job.folder, "state": job.state.value, "reason": job.reason} for job in runs]
    return {"sweep": plan.sweep.name, "folder": str(folder), "trials": ended, "repeats": repeated}


def agent_arguments(name: str, folder: Path, storage: str | None) -> list[str]:
    """Return the arguments of `dcnrun` for an agent of the sweep of this name; the URL of its database goes by the environment."""
    return ["agent", name, "--out", str(folder)] if storage else ["agent", str(folder)]


def _take(
    what: str,
    ledger: Ledger,
    plan: Plan,
    folder: Path,
    count: int | None,
    program: Sequence[str],
    searching: Searching | None = None,
) -> list[Job]:
    """Run jobs to their ends; with `searching`, also draw new ones, and stop those that its rule stops."""
    metric = plan.sweep.metric
    return work(
        LedgerSource(ledger, searching.draw, searching.judge) if searching else LedgerSource(ledger),
        folder,
        lambda job, path: trial_command(job, path, program),
        metric=metric.name if metric else None,
        count=count,
        watcher=_Lines(what),
        environment={"WANDB_RUN_GROUP": plan.sweep.name},
    )


class _Lines(Watcher):
    """Prints a line when a trial begins and when it ends."""

    def __init__(self, what: str) -> None:
        self._what = what

    def begins(self, job: Job) -> None:
        attempt = f", attempt {job.attempts}" if job.attempts > 1 else ""
        self._print(job, f"{settings_in_words(job.parameters)}{attempt}")

    def ends(self, job: Job) -> None:
        state = "taken over by another agent" if job.state is State.running else job.state.value
        self._print(job, f"{state}: {job.reason}" if job.reason else state)

    def waits(self, jobs: Sequence[Job]) -> None:
        console.print(f"nothing is left but what other agents run: {len(jobs)}", markup=False)

    def _print(self, job: Job, said: str) -> None:
        console.print(f"{self._what} {job.number}: {one_line(said)}", markup=False, soft_wrap=True)
