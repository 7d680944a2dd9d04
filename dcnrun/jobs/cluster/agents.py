"""Agents as tasks of Ray: as many as the cluster has room for and the batch has jobs, and others for those that die."""

import os
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import ray
from ray.exceptions import RayError, RayTaskError

import dcnrun
from dcnrun.console import console
from dcnrun.errors import DcnrunError, RunError, UsageError
from dcnrun.jobs.cluster.copies import CopyingSource, folder_on_this_node
from dcnrun.jobs.cluster.nodes import check_nodes, head, last_line, nodes, on, variables
from dcnrun.jobs.cluster.on_node import Wanted, run_agent
from dcnrun.jobs.cluster.options import ClusterOptions, Resources
from dcnrun.jobs.cluster.served import CLAIMS, FILES, LedgerActor, OpenJobs, ServedSource, answer
from dcnrun.jobs.owner import this_process
from dcnrun.jobs.process import sigterm_as_interrupt
from dcnrun.jobs.supervisor import MOST_STARTS, SECONDS_TO_END
from dcnrun.jobs.worker import Command, work
from dcnrun.runs import write_text

_SECONDS_BETWEEN_LOOKS = 0.5
_SECONDS_FOR_THE_LAST_COMMAND = 20.0
_LEAST_PENDING = 16
"""Agents that wait for room, so that an autoscaler makes some; with more at work, as many wait."""
_MARK = ".shared"
THREADS, _THREADS_FOR_CLAIMS = 64, 8
"""Of the actor that serves the ledger: what they write at the same time is one transaction, which waits for the disk once."""


@dataclass(frozen=True)
class Work:
    """What an agent on any node does."""

    folder: Path  # the run folders', on every node or, where they are copied, on the head node
    command: Command
    metric: str | None
    environment: Mapping[str, str]  # what a run finds in its environment, unless the node's has it already
    gives_up: bool = True  # whether three failures at the start end an agent
    is_copied: bool = (
        False  # whether each node keeps the run folders of its jobs to itself, and copies them to the head node
    )
    waits: bool = False  # whether agents stay while others, perhaps of other commands, run the last jobs
    directory: Path = field(default_factory=Path.cwd)  # that paths in the settings start from, where a node has it
    variables: Mapping[str, str] = field(default_factory=variables)  # the command's own that reach every run


@dataclass(frozen=True)
class Batch:
    """The jobs of a ledger that a cluster runs."""

    open_jobs: OpenJobs
    work: Work
    resources: Resources  # what a run needs, unless the user says otherwise
    paths: Mapping[str, str]  # what must exist on every node, each with the setting that names it
    is_alone: bool  # whether nobody but the agents of this command takes its jobs


@dataclass(frozen=True)
class ToDo:
    """What is left of a batch."""

    underway: int  # jobs that wait or run
    running: int  # those that run
    to_come: int | None  # jobs that may yet be drawn; None: nobody knows how many


def run_on_cluster(batch: Batch, options: ClusterOptions, look: Callable[[], ToDo]) -> None:
    """Run agents on the cluster that this process is connected to until no job is left; `look` is called twice a second.

    An agent that dies with its node is made up for by another, and its job reassigned at once. UsageError where runs can't be on a node;
    RunError where agents give up and jobs are left. An interrupt lets the runs save and gives their jobs back; then
    KeyboardInterrupt is raised.
    """
    resources = options.per_trial or batch.resources
    wanted = _wanted(batch)
    able = [node for node in nodes() if node.has(resources)]
    check_nodes(able, wanted)
    if not able:
        console.print(f"No node has {resources.in_words()} yet: waiting for one.", markup=False)
    actor = _start_ledger(batch)
    with sigterm_as_interrupt():
        crew = _Crew(actor, wanted, batch.work, resources)
        try:
            if batch.is_alone:
                ray.get(actor.release_orphans.remote())
            crew.run(look, options.agents)
        finally:
            crew.dismiss()
            ray.kill(actor)


def take_jobs(task: Work, number: int, actor: Any) -> str | None:
    """Be an agent on this node: take jobs while there are any, and return why it gave up, if it did."""
    os.environ.update(task.variables)
    if task.directory.is_dir():
        os.chdir(task.directory)
    answer(actor.enrol.remote(number, this_process()))
    with folder_on_this_node() if task.is_copied else nullcontext(task.folder) as folder:
        source = CopyingSource(actor, folder) if task.is_copied else ServedSource(actor)
        try:
            work(
                source,
                folder,
                task.command,
                metric=task.metric,
                gives_up=task.gives_up,
                waits=task.waits,
                environment=task.environment,
            )
        except DcnrunError as error:
            return f"An agent on {socket.gethostname()} gave up: {error}"
    answer(actor.leave.remote(number))
    return None


def agents_wanted(to_do: ToDo, most: int | None, is_dry: bool) -> int:
    """Return how many agents there should be, those included that wait for room.

    Args:
        to_do: What is left.
        most: The most that the user wants; None: as many as there is room for, and some that wait.
        is_dry: Whether an agent found no job to take, so that all there will be has been drawn.
    """
    limits = [to_do.running + max(to_do.running, _LEAST_PENDING) if most is None else most]
    if is_dry:
        limits.append(to_do.underway)
    elif to_do.to_come is not None:
        limits.append(to_do.underway + to_do.to_come)
    return min(limits)


class _Crew:
    """The agents that run or wait for room."""

    def __init__(self, actor: Any, wanted: Wanted, task: Work, resources: Resources) -> None:
        self._actor = actor
        self._task = ray.put(ray.cloudpickle.dumps(task))  # once, for all of them
        self._wanted = wanted
        self._resources = resources
        self._agents: dict[Any, int] = {}
        self._started = 0
        self._is_dry = False  # whether an agent found nothing to take: all there will be has been drawn
        self._reasons: list[str] = []  # why agents gave up: no others are started then
        self._deaths = 0  # of agents in a row that never came so far as to claim
        self._unfit: list[str] = []  # nodes that joined later and can't have runs

    def run(self, look: Callable[[], ToDo], most: int | None) -> None:
        """Keep agents at work until none is left."""
        while True:
            to_do = look()
            wanted = 0 if self._reasons else agents_wanted(to_do, most, self._is_dry)
            for _ in range(wanted - len(self._agents)):
                self._start()
            if not self._agents:
                break
            ended, _ = ray.wait(list(self._agents), timeout=_SECONDS_BETWEEN_LOOKS)
            for reference in ended:
                self._take_leave(reference, self._agents.pop(reference))
        if self._reasons and (to_do.underway or to_do.to_come != 0):
            raise RunError("\n".join(["No agent could go on:", *dict.fromkeys(self._reasons)]))

    def dismiss(self) -> None:
        """Let go of the agents that are left, when their runs have saved, and give back what they hold.

        Ray's own `cancel` interrupts no worker of a node that ignores SIGINT, as one does that a script started in its background.
        """
        if not self._agents:
            return
        ray.get(self._actor.close.remote())
        enrolled = ray.get(self._actor.enrolled.remote())
        at_work = [reference for reference, number in self._agents.items() if number in enrolled]
        if at_work:
            ray.wait(at_work, num_returns=len(at_work), timeout=SECONDS_TO_END)
        ray.get(self._actor.release_all.remote())

    def _start(self) -> None:
        remote = _as_task(self._resources, self._unfit)
        reference = remote.remote(self._wanted, self._started, self._actor, self._task)
        self._agents[reference] = self._started
        self._started += 1

    def _take_leave(self, reference: Any, number: int) -> None:
        """Look at how an agent ended."""
        try:
            node, problems, reason = ray.get(reference)
        except RayTaskError as error:
            self._reasons.append(f"An agent failed: {error.cause!r}")
        except RayError as error:
            has_begun = ray.get(self._actor.lose.remote(number))
            self._deaths = 0 if has_begun else self._deaths + 1
            if self._deaths >= MOST_STARTS:
                self._reasons.append(f"{self._deaths} agents in a row died before they could begin: {last_line(error)}")
        else:
            self._deaths = 0
            if problems:
                self._avoid(node, problems)
            elif reason:
                self._reasons.append(reason)
            else:
                self._is_dry = True

    def _avoid(self, node: str, problems: list[str]) -> None:
        if node not in self._unfit:
            self._unfit.append(node)
            name = next((each.name for each in nodes() if each.id == node), node)
            for problem in problems:
                console.print(f"No runs are on the node {name}: it {problem}.", markup=False, soft_wrap=True)


def _wanted(batch: Batch) -> Wanted:
    """Return what every node must have, and put a mark into a folder that they share."""
    if batch.work.is_copied:
        return dcnrun.__version__, batch.paths, None
    mark, text = batch.work.folder / _MARK, uuid4().hex
    write_text(mark, text)
    return dcnrun.__version__, batch.paths, (str(mark), text)


def _start_ledger(batch: Batch) -> Any:
    """Start the actor that serves the ledger; UsageError while that of another command does."""
    serving: Any = ray.remote(
        num_cpus=0,
        max_concurrency=THREADS,
        concurrency_groups={CLAIMS: _THREADS_FOR_CLAIMS, FILES: 1},
        max_restarts=-1,
        max_task_retries=-1,
    )
    actor = serving(LedgerActor).options(name=f"the ledger of {batch.work.folder}", scheduling_strategy=on(head()))
    deadline = time.monotonic() + _SECONDS_FOR_THE_LAST_COMMAND
    while True:
        try:
            started = actor.remote(batch.open_jobs, batch.work.folder)
            break
        except ValueError:  # the name is taken, perhaps by what is left of a command that was killed
            if time.monotonic() > deadline:
                raise UsageError(f"Another command is at work in {batch.work.folder}: wait, or stop it.") from None
        time.sleep(_SECONDS_BETWEEN_LOOKS)
    try:
        ray.get(started.lost_after.remote())
    except RayError as error:
        raise RunError(f"The ledger can't be served on the head node: {last_line(error)}") from None
    return started


def _as_task(resources: Resources, unfit: Sequence[str]) -> Any:
    """Return an agent as a task of Ray, for any node that has room but these."""
    return ray.remote(run_agent).options(
        num_cpus=resources.cpus,
        num_gpus=resources.gpus,
        memory=resources.memory or None,
        resources=dict(resources.others),
        max_retries=0,
        scheduling_strategy="SPREAD",
        label_selector={"ray.io/node-id": f"!in({','.join(unfit)})"} if unfit else {},
    )
