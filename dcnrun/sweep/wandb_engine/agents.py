"""Agents of Weights & Biases as processes: `wandb agent`, which starts each of its runs as a process of its own."""

import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dcnrun.errors import RunError
from dcnrun.jobs.process import SECONDS_TO_SAVE, last_lines, sigterm_as_interrupt, start_process
from dcnrun.sweep.shares import shares

# What an agent logs, before it ends without an error, when too many of its runs failed.
_GAVE_UP = "failed runs"


@dataclass(frozen=True)
class Agent:
    """An agent that is to be started."""

    name: str
    runs: int | None
    """The most runs that it takes, failed ones counted; None: as many as the sweep has."""
    gpu: str | None
    """What CUDA_VISIBLE_DEVICES is for its runs; None: as it is here."""
    log: Path
    """What it and its runs print."""


def plan_agents(count: int | None, agents: int, gpus: Sequence[str], folder: Path) -> list[Agent]:
    """The agents among which `count` runs are split: one per GPU, else `agents`.

    None that would have no run is planned, since W&B's agents take a count of 0 for no limit.
    """
    return [
        Agent(f"agent {i}", share, gpus[i] if gpus else None, folder / f"agent-{i}.log")
        for i, share in enumerate(shares(count, len(gpus) or agents))
    ]


def run_agents(agents: Sequence[Agent], sweep: str, environment: Mapping[str, str]) -> None:
    """Run the agents of a sweep (`entity/project/id`) until all have ended; RunError when one failed or gave up.

    An interrupt asks them to end: each passes it on to its run, which has 30 s to save before it is killed. Then it goes on
    as KeyboardInterrupt.
    """
    with sigterm_as_interrupt():
        statuses = _wait([_start(agent, sweep, environment) for agent in agents])
    for agent, status in zip(agents, statuses, strict=True):
        said = last_lines(agent.log, 0)
        if status != 0 or _GAVE_UP in said:
            raise RunError(f"{agent.name} gave up; {agent.log} ends with: {said}")


def _start(agent: Agent, sweep: str, environment: Mapping[str, str]) -> "subprocess.Popen[bytes]":
    options = ["--forward-signals", "--term-timeout", str(int(SECONDS_TO_SAVE))]
    if agent.runs is not None:
        options += ["--count", str(agent.runs)]
    command = [sys.executable, "-m", "wandb", "agent", *options, sweep]
    gpu = {} if agent.gpu is None else {"CUDA_VISIBLE_DEVICES": agent.gpu}
    return start_process(command, agent.log, {**environment, **gpu})


def _wait(processes: Sequence["subprocess.Popen[bytes]"]) -> list[int]:
    interrupted = False
    while True:
        try:
            statuses = [process.wait() for process in processes]
        except KeyboardInterrupt:
            interrupted = True
            for process in processes:  # the second time an agent ends its runs at once, the third time it kills them
                process.terminate()
        else:
            break
    if interrupted:
        raise KeyboardInterrupt
    return statuses
