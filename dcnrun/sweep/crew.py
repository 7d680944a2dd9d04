"""The agents that one command keeps at work on this machine, each a process of its own."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dcnrun.console import console
from dcnrun.errors import RunError
from dcnrun.jobs.process import SECONDS_TO_SAVE, last_lines, sigterm_as_interrupt, start_process

MOST_STARTS = 4
"""An agent that was killed is started again, but not for ever: then something here kills it each time."""
_SECONDS_TO_END = SECONDS_TO_SAVE + 15  # its trial's, and to tell the ledger
_SECONDS_BETWEEN_LOOKS = 0.5


@dataclass(frozen=True)
class Post:
    """A place for an agent: what its environment has besides this process's, and where it prints."""

    name: str
    environment: Mapping[str, str]
    log: Path
    arguments: tuple[str, ...] = ()
    """What its command has besides everybody's."""


def posts(number: int, gpus: Sequence[str], logs: Path, environment: Mapping[str, str]) -> list[Post]:
    """A post for each of `gpus` (what CUDA_VISIBLE_DEVICES is to be), else `number` of them; cores are shared evenly."""
    shown: Sequence[Mapping[str, str]] = [{"CUDA_VISIBLE_DEVICES": gpu} for gpu in gpus] or [{}] * number
    own = {**_share_of_cores(len(shown)), **environment}
    host = socket.gethostname()
    return [
        Post(f"agent {i}", {**own, **gpu}, logs / f"{host}-agent-{i}{_suffix(gpu)}.log") for i, gpu in enumerate(shown)
    ]


def gpu_groups(gpus: Sequence[str], devices: int) -> list[str]:
    """GPUs in groups of as many as a trial needs: ["0,1", "2,3"]; those left over stay idle."""
    return [",".join(gpus[i : i + devices]) for i in range(0, len(gpus) - devices + 1, devices)]


def run_crew(command: Sequence[str], at: Sequence[Post], look: Callable[[], None] = lambda: None) -> None:
    """Run an agent at each post until all have ended; `look` is called twice a second, and then once more.

    One that is killed is started again, three times at most. RunError, with their last words, if none ended well. An
    interrupt is passed on: each agent lets its trial save and gives it back; then it goes on as KeyboardInterrupt.
    """
    agents = [_Agent(post, command) for post in at]
    with sigterm_as_interrupt():
        try:
            for agent in agents:
                agent.start()
            while any(agent.status is None or agent.is_to_start_again for agent in agents):
                look()
                time.sleep(_SECONDS_BETWEEN_LOOKS)
                for agent in agents:
                    agent.start_again_if_killed()
            look()
        finally:
            _end(agents)
    if all(agent.status for agent in agents):
        reasons = "\n".join(dict.fromkeys(agent.last_words() for agent in agents))
        raise RunError(f"No agent could go on:\n{reasons}")


@dataclass
class _Agent:
    """A post and the process that stands there."""

    post: Post
    command: Sequence[str]
    starts: int = 0
    start_of_log: int = 0
    process: "subprocess.Popen[bytes]" = field(init=False)

    @property
    def status(self) -> int | None:
        """Its exit status; None while it runs."""
        return self.process.poll()

    @property
    def is_to_start_again(self) -> bool:
        """Whether it was killed: one that ended by itself has said why, and is let be."""
        return self.status is not None and self.status < 0 and self.starts < MOST_STARTS

    def start(self) -> None:
        self.starts += 1
        self.post.log.parent.mkdir(parents=True, exist_ok=True)
        self.start_of_log = self.post.log.stat().st_size if self.post.log.exists() else 0
        self.process = start_process(
            [*self.command, *self.post.arguments], self.post.log, {**os.environ, **self.post.environment}
        )

    def start_again_if_killed(self) -> None:
        if self.is_to_start_again:
            console.print(f"{self.last_words()}: started again", markup=False, soft_wrap=True)
            self.start()

    def last_words(self) -> str:
        assert self.status is not None
        ending = f"was killed by signal {-self.status}" if self.status < 0 else f"ended with status {self.status}"
        said = last_lines(self.post.log, self.start_of_log)
        return f"{self.post.name} {ending}{f': {said}' if said else ''} (all of it: {self.post.log})"


def _end(agents: Sequence[_Agent]) -> None:
    """Ask agents that still run to stop, and kill those that take too long, or all at a second interrupt."""
    running = [agent.process for agent in agents if agent.starts and agent.status is None]
    for process in running:
        process.terminate()
    deadline = time.monotonic() + _SECONDS_TO_END
    try:
        while any(process.poll() is None for process in running) and time.monotonic() < deadline:
            time.sleep(0.05)
    finally:
        for process in running:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def _share_of_cores(agents: int) -> dict[str, str]:
    """Threads for each agent's trials, where nobody has said otherwise: all of them together use each core once."""
    if agents == 1 or "OMP_NUM_THREADS" in os.environ:
        return {}
    return {"OMP_NUM_THREADS": str(max((len(os.sched_getaffinity(0))) // agents, 1))}


def _suffix(gpu: Mapping[str, str]) -> str:
    return "".join(f"-gpu-{value.replace(',', '-')}" for value in gpu.values())
