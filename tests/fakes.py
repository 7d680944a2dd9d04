"""Stand-ins that the tests of any part may use."""

import ctypes
import os
import random
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

from dcnrun.jobs import process, supervisor
from dcnrun.jobs.parent_death_signal import PR_SET_PDEATHSIG
from dcnrun.jobs.process import start_process

_HOLD = """
import pathlib, sys
from dcnrun.runs import locked
with locked(pathlib.Path(sys.argv[1]), "busy", shared=sys.argv[2] == "shared"):
    print(flush=True)
    sys.stdin.read()
"""


@contextmanager
def locked_elsewhere(file: Path, shared: bool = False) -> Iterator[None]:
    """Another process holds the lock of a file."""
    command = [sys.executable, "-c", _HOLD, file, "shared" if shared else "alone"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"\n"
        yield
        other.communicate()


class ForkedProcess:
    """`dcnrun`, or another main function, in a fork of this process: it has nothing to import, and starts at once.

    It stands for what `start_process` of `dcnrun.jobs.process` starts: a session of its own that is asked to stop when
    its parent dies. Of subprocess.Popen it has what dcnrun uses.
    """

    def __init__(
        self, command: Sequence[str], log: Path, environment: Mapping[str, str], main: Callable[[list[str]], object]
    ) -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        self.returncode: int | None = None
        parent = os.getpid()
        self.pid = os.fork()
        if self.pid == 0:
            _become(command, log, environment, main, parent)

    def poll(self) -> int | None:
        if self.returncode is None:
            ended, status = os.waitpid(self.pid, os.WNOHANG)
            self.returncode = os.waitstatus_to_exitcode(status) if ended else None
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        end = float("inf") if timeout is None else time.monotonic() + timeout
        while (status := self.poll()) is None:
            if time.monotonic() > end:
                raise subprocess.TimeoutExpired("fork", timeout or 0)
            time.sleep(0.005)
        return status

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def _become(
    command: Sequence[str], log: Path, environment: Mapping[str, str], main: Callable[[list[str]], object], parent: int
) -> NoReturn:
    status = 1
    try:
        os.setsid()
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() == parent:
            own = dict(environment)
            os.environ.clear()
            os.environ.update(own)
            descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
            os.dup2(descriptor, 1)
            os.dup2(descriptor, 2)
            sys.stdout, sys.stderr = (os.fdopen(number, "w", buffering=1, closefd=False) for number in (1, 2))
            random.seed()  # as in a process that is started, nothing is as it was in another
            main([*command])
            status = 0
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else int(error.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def forking(main: Callable[[list[str]], object], is_ours: Callable[[Sequence[str]], bool]) -> Callable[..., object]:
    """What may stand for `start_process`: our commands become forks of this process, which call `main` with them."""

    def start(
        command: Sequence[str], log: Path, environment: Mapping[str, str], keep_open: Sequence[int] = ()
    ) -> "ForkedProcess | subprocess.Popen[bytes]":
        if is_ours(command):
            return ForkedProcess(command, log, environment, main)  # it inherits all that is open
        return start_process(command, log, environment, keep_open)

    return start


def is_dcnrun(command: Sequence[str]) -> bool:
    """Whether a command is `python -m dcnrun ...`."""
    return tuple(command[1:3]) == ("-m", "dcnrun")


def call_dcnrun(command: list[str]) -> None:
    """Call the command line with what follows `python -m dcnrun`."""
    from dcnrun.cli import main

    sys.argv = ["dcnrun", *command[3:]]
    main()


def call_dcnrun_with_forks(command: list[str], log: Path) -> None:
    """Call the command line, whose agents and runs are forks too; what all of them print is in `log`."""
    process.start_process = supervisor.start_process = forking(call_dcnrun, is_dcnrun)
    forked = ForkedProcess(command, log, os.environ, call_dcnrun)
    sys.exit(forked.wait())
