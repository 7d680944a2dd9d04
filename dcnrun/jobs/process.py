"""One training run as a process of its own, and what is left of it afterwards."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from types import FrameType

import psutil

from dcnrun.jobs import parent_death_signal
from dcnrun.jobs.database import STORAGE
from dcnrun.runs import require_regular

SECONDS_TO_SAVE = 30.0
_SECONDS_BETWEEN_LOOKS = 0.5
_LINES_OF_LOG = 5
_SETPRIV = ("setpriv", "--pdeathsig", "TERM")
_UNLESS_ALONE = (
    '[ "$PPID" = "$1" ] || { echo "The process that started this run is gone." >&2; exit 1; }; shift; exec "$@"'
)


def start_process(
    command: Sequence[str], log: Path, environment: Mapping[str, str], keep_open: Sequence[int] = ()
) -> "subprocess.Popen[bytes]":
    """Start a command, its output appended to `log`, that is asked to stop when this process dies.

    It runs in a session of its own, so that Ctrl-C reaches it once, from here. It inherits the file descriptors `keep_open`.
    """
    if log.exists():
        require_regular(log)
    with log.open("ab") as output:
        return subprocess.Popen(
            [*asked_to_stop_with_its_parent(), str(os.getpid()), *command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env=environment,
            pass_fds=keep_open,
        )


@cache
def asked_to_stop_with_its_parent() -> tuple[str, ...]:
    """Return what starts a command, after the parent's number, that is asked to stop when its parent dies.

    It is `setpriv` where there is one that can (util-linux 2.33), since it starts in 2 ms of the processor's time, and Python in 18.
    """
    try:
        can = not subprocess.run([*_SETPRIV, "true"], stdin=subprocess.DEVNULL, capture_output=True).returncode
    except OSError:
        can = False
    script = (sys.executable, "-IS", str(Path(parent_death_signal.__file__)))
    return (*_SETPRIV, "sh", "-c", _UNLESS_ALONE, "dcnrun") if can else script


def run_process(
    command: Sequence[str],
    log: Path,
    look: Callable[[], None] = lambda: None,
    keep_open: Sequence[int] = (),
    seconds_to_save: float = SECONDS_TO_SAVE,
    more: Mapping[str, str] | None = None,
) -> int:
    """Run a command to its end and return its exit status.

    After an interrupt, or any error that `look` raises, the process is asked to stop, and killed if it takes too long; then the
    exception is raised. The process inherits the environment without the ledger's URL, which may hold a password.

    Args:
        command: The command, started as by `start_process`.
        log: The file that its output is appended to.
        look: Called twice a second meanwhile.
        keep_open: File descriptors that it inherits.
        seconds_to_save: The time that it has to stop.
        more: What its environment has beside this process's, which goes before.
    """
    environment = {name: value for name, value in {**(more or {}), **os.environ}.items() if name != STORAGE}
    process = start_process(command, log, environment, keep_open)
    try:
        while True:
            try:
                return process.wait(_SECONDS_BETWEEN_LOOKS)
            except subprocess.TimeoutExpired:
                look()
    finally:
        _stop(process, seconds_to_save)


def last_lines(log: Path, start: int) -> str:
    """The last few lines that a process wrote after byte `start` of its log, as one."""
    with log.open("rb") as file:
        file.seek(start)
        lines = [line.strip() for line in file.read().decode(errors="replace").splitlines()]
    return " ".join([line for line in lines if line][-_LINES_OF_LOG:])


@contextmanager
def sigterm_as_interrupt() -> Iterator[None]:
    """Treat SIGTERM as Ctrl-C, so that an agent that is asked to stop passes it on."""

    def interrupt(_: int, __: FrameType | None) -> None:
        raise KeyboardInterrupt

    with sigterm_restored():
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, interrupt)
        yield


@contextmanager
def sigterm_restored() -> Iterator[None]:
    """Have SIGTERM do afterwards what it did before, whoever has changed that; only the main thread can."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before or signal.SIG_DFL)


def _stop(process: "subprocess.Popen[bytes]", seconds: float) -> None:
    """Ask a process that still runs to stop; kill it and its descendants if it takes too long or a second interrupt comes."""
    if process.poll() is not None:
        return
    process.terminate()
    try:
        with suppress(subprocess.TimeoutExpired):
            process.wait(seconds)
    finally:
        if process.poll() is None:  # torchrun starts the ranks of a run in sessions of their own
            descendants = psutil.Process(process.pid).children(recursive=True)
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            for descendant in descendants:
                with suppress(psutil.NoSuchProcess):
                    descendant.kill()
