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


def is_alive(owner: str) -> bool | None:
    """Whether an owner's process is still there; None where that can't be seen from here, and only its heartbeat tells."""
    host, _, rest = owner.partition(":")
    pid, _, rest = rest.partition(":")
    started, _, kernel = rest.partition(":")
    if not (started and kernel) or (host, kernel) != (socket.gethostname(), _kernel()):
        return None
    now = _started(int(pid))
    return None if now is None and _is_anothers(int(pid)) else now == started


def _started(pid: int) -> str | None:
    """When a process started, in ticks since the machine did; None if it is not there, or has ended and is a zombie."""
    try:
        # the name, in parentheses, may hold anything; after it come the state (field 3) and, as field 22, the start
        fields = (_PROCESSES / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else fields[19]


def _is_anothers(pid: int) -> bool:
    """Whether there is such a process of another user, whom /proc may hide (its mount option hidepid)."""
    try:
        os.kill(pid, 0)  # sends nothing
    except PermissionError:
        return True
    except OSError:
        pass
    return False


@cache
def _kernel() -> str:
    """What tells apart all whose processes can't be seen from here: this start of the machine, and the container's own pids."""
    try:
        boot = (_PROCESSES / "sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}/{(_PROCESSES / 'self/ns/pid').readlink()}".replace(":", "")
    except OSError:
        return ""
