"""The owner of a job: a process, named so that no other process is ever mistaken for it."""

import os
import re
import socket
from functools import cache
from pathlib import Path

import psutil

_PROC = Path("/proc")
_PID = re.compile(r"[1-9][0-9]{0,8}")


def this_process() -> str:
    """Name this process as an owner: host:pid:start:kernel, the last empty where there is no /proc."""
    pid = os.getpid()
    return f"{socket.gethostname()}:{pid}:{_start_ticks(pid) or ''}:{_kernel()}"


def host_of(owner: str) -> str:
    """The machine's name, for people."""
    return owner.partition(":")[0]


def is_alive(owner: str) -> bool | None:
    """Whether an owner's process still runs; None where that can't be seen from here, and only its heartbeat tells."""
    host, pid, start, kernel = [*owner.split(":", 3), "", "", ""][:4]
    if not (start and kernel) or (host, kernel) != (socket.gethostname(), _kernel()) or not _PID.fullmatch(pid):
        return None
    now = _start_ticks(int(pid))
    return None if now is None and _belongs_to_another_user(int(pid)) else now == start


def _start_ticks(pid: int) -> str | None:
    """Clock ticks from the machine's start to the process's; None if there is no such process, or only its zombie.

    The name of an owner outlives changes of the system clock, by which `psutil.Process.create_time` shifts; the
    difference to the boot time, which shifts with it, does not.
    """
    try:
        process = psutil.Process(pid)
        with process.oneshot():
            if process.status() in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD):
                return None
            seconds = process.create_time() - psutil.boot_time()
    except psutil.Error:
        return None
    return str(round(seconds * os.sysconf("SC_CLK_TCK")))


def _belongs_to_another_user(pid: int) -> bool:
    """Whether a process exists that /proc may hide (its mount option hidepid): `psutil.pid_exists` would miss it."""
    try:
        os.kill(pid, 0)  # sends nothing
    except OSError as error:
        return isinstance(error, PermissionError)
    return False


@cache
def _kernel() -> str:
    """The boot and the PID namespace: processes of others with the same host name can't be seen from here."""
    try:
        boot = (_PROC / "sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}/{(_PROC / 'self/ns/pid').readlink()}".replace(":", "")
    except OSError:
        return ""
