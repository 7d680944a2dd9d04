"""Who holds a job: a process, named so that no other one is ever taken for it."""

import os
import socket
from functools import cache
from pathlib import Path

_PROCESSES = Path("/proc")


def this_process() -> str:
    """The name of this process as an owner: host:pid:when-it-started:kernel, the last two empty where there is no /proc."""
    pid = os.getpid()
    return f"{socket.gethostname()}:{pid}:{_started(pid) or ''}:{_kernel()}"


def host_of(owner: str) -> str:
    """The machine's name, for people."""
    return owner.partition(":")[0]


def is_gone(owner: str) -> bool:
    """Whether an owner is known to have ended: False for one on another machine, which only its heartbeat tells of."""
    host, _, rest = owner.partition(":")
    pid, _, rest = rest.partition(":")
    started, _, kernel = rest.partition(":")
    if not (started and kernel) or (host, kernel) != (socket.gethostname(), _kernel()):
        return False
    return _started(int(pid)) != started


def _started(pid: int) -> str | None:
    """When a process started, in ticks since the machine did; None if it is not there, or has ended and is a zombie."""
    try:
        # the name, in parentheses, may hold anything; after it come the state (field 3) and, as field 22, the start
        fields = (_PROCESSES / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else fields[19]


@cache
def _kernel() -> str:
    """What tells apart all whose processes can't be seen from here: this start of the machine, and the container's own pids."""
    try:
        boot = (_PROCESSES / "sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}/{(_PROCESSES / 'self/ns/pid').readlink()}".replace(":", "")
    except OSError:
        return ""
