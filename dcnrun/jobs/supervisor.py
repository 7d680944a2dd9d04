"""Keeps the agents of one command running on this machine, each a process of its own."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dcnrun.console import console
from dcnrun.errors import RunError, UsageError
from dcnrun.jobs.process import SECONDS_TO_SAVE, last_lines, sigterm_as_interrupt, start_process

MOST_STARTS = 4
"""An agent that was killed is restarted, but no more often than this: then something here kills it each time."""
SECONDS_TO_END = SECONDS_TO_SAVE + 15
"""The time that an agent has to end: for its trial to save, and to tell the ledger."""
_SECONDS_BETWEEN_LOOKS = 0.5


@dataclass(frozen=True)
class AgentSpec:
    """An agent to start: what it adds to this process's environment, and where it prints."""

    name: str
    environment: Mapping[str, str]
    log: Path
    arguments: tuple[str, ...] = ()  # what it adds to the command that all agents share


def agent_specs(number: int, gpus: Sequence[str], logs: Path, environment: Mapping[str, str]) -> list[AgentSpec]:
    """Return an agent for each of `gpus` (what CUDA_VISIBLE_DEVICES is to be), else `number` of them; cores are shared evenly."""
    number, host, own = len(gpus) or number, socket.gethostname(), dict(environment)
    if number > 1 and "OMP_NUM_THREADS" not in os.environ:  # together their trials use each core once
        own = {"OMP_NUM_THREADS": str(max(len(os.sched_getaffinity(0)) // number, 1)), **own}
    if not gpus:
        return [AgentSpec(f"agent {i}", own, logs / f"{host}-agent-{i}.log") for i in range(number)]
    return [
        AgentSpec(
            f"agent {i}",
            {**own, "CUDA_VISIBLE_DEVICES": gpu},
            logs / f"{host}-agent-{i}-gpu-{gpu.replace(',', '-')}.log",
        )
        for i, gpu in enumerate(gpus)
    ]


def gpu_groups(gpus: Sequence[str], devices: int) -> list[str]:
    """Return GPUs in groups of as many as a run needs: ["0,1", "2,3"]; those left over stay idle.

    UsageError if there are not enough for one run.
    """
    if len(gpus) < devices:
        raise UsageError(f"A run needs trainer.devices={devices} GPUs, but --gpus names {len(gpus)}.")
    return [",".join(gpus[i : i + devices]) for i in range(0, len(gpus) - devices + 1, devices)]


def split_count(count: int | None, agents: int) -> list[int | None]:
    """Split a count of runs over agents as evenly as integers allow; None is no limit.

    Where there are more agents than runs, those that would take none are left out.
    """
    if count is None:
        return [None] * agents
    agents = min(agents, count)
    return [count // agents + (i < count % agents) for i in range(agents)]


def supervise(
    command: Sequence[str],
    specs: Sequence[AgentSpec],
    look: Callable[[], object] = lambda: None,
    seconds_to_end: float = SECONDS_TO_END,
) -> None:
    """Run the agents until all have ended; `look` is called twice a second, and then once more.

    An agent that is killed is restarted, three times at most. RunError, with the ends of their logs, if none succeeded. An
    interrupt is passed on: each agent lets its trial save and gives it back, or is killed; then KeyboardInterrupt is raised.
    """
    agents = [_Agent(spec, command) for spec in specs]
    with sigterm_as_interrupt():
        try:
            for agent in agents:
                agent.start()
            while any(agent.status is None or agent.needs_restart for agent in agents):
                look()
                time.sleep(_SECONDS_BETWEEN_LOOKS)
                for agent in agents:
                    agent.restart_if_killed()
            look()
        finally:
            _end(agents, seconds_to_end)
    if all(agent.status for agent in agents):
        reasons = "\n".join(dict.fromkeys(agent.how_it_ended() for agent in agents))
        raise RunError(f"No agent could go on:\n{reasons}")


@dataclass
class _Agent:
    """An agent and its process."""

    spec: AgentSpec
    command: Sequence[str]
    starts: int = 0
    start_of_log: int = 0
    process: "subprocess.Popen[bytes]" = field(init=False)

    @property
    def status(self) -> int | None:
        """Its exit status; None while it runs."""
        return self.process.poll()

    @property
    def needs_restart(self) -> bool:
        """Whether it was killed and may be restarted: an agent that ended by itself has said why."""
        return self.status is not None and self.status < 0 and self.starts < MOST_STARTS

    def start(self) -> None:
        self.starts += 1
        self.spec.log.parent.mkdir(parents=True, exist_ok=True)
        self.start_of_log = self.spec.log.stat().st_size if self.spec.log.exists() else 0
        command = [*self.command, *self.spec.arguments]
        self.process = start_process(command, self.spec.log, {**os.environ, **self.spec.environment})

    def restart_if_killed(self) -> None:
        if self.needs_restart:
            console.print(f"{self.how_it_ended()}: started again", markup=False, soft_wrap=True)
            self.start()

    def how_it_ended(self) -> str:
        assert self.status is not None
        ending = f"was killed by signal {-self.status}" if self.status < 0 else f"ended with status {self.status}"
        said = last_lines(self.spec.log, self.start_of_log)
        return f"{self.spec.name} {ending}{f': {said}' if said else ''} (all of it: {self.spec.log})"


def _end(agents: Sequence[_Agent], seconds: float) -> None:
    """Ask agents that still run to stop, and kill those that take too long, or all at a second interrupt."""
    running = [agent.process for agent in agents if agent.starts and agent.status is None]
    for process in running:
        process.terminate()
    deadline = time.monotonic() + seconds
    try:
        while any(process.poll() is None for process in running) and time.monotonic() < deadline:
            time.sleep(0.05)
    finally:
        for process in running:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
