import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from dcnrun.jobs.owner import host_of, is_alive, this_process

NEEDS_PROC = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere only heartbeats tell")
TELL = "from dcnrun.jobs.owner import this_process; print(this_process(), flush=True); input()"


@pytest.fixture
def other():
    """A process and its name as an owner."""
    with subprocess.Popen(
        [sys.executable, "-c", TELL], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield process, process.stdout.readline().strip()
        process.kill()


@NEEDS_PROC
def test_a_process_that_is_there_is_alive(other):
    assert is_alive(this_process())
    assert is_alive(other[1])


def test_each_process_has_a_name_of_its_own(other):
    assert this_process() == this_process() != other[1]
    assert host_of(this_process()) == os.uname().nodename


@NEEDS_PROC
def test_a_process_is_not_when_it_was_killed_and_when_its_parent_knows(other):
    process, owner = other
    process.send_signal(signal.SIGKILL)
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # it is a zombie now
    assert is_alive(owner) is False
    process.wait()
    assert is_alive(owner) is False


@NEEDS_PROC
def test_its_name_has_the_start_as_the_kernel_counts_it():
    """Owners in ledgers outlive a change of this code, and of the system clock."""
    _, pid, start, _ = this_process().split(":")
    assert start == Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19]
    assert int(pid) == os.getpid()


@NEEDS_PROC
def test_a_process_id_that_was_given_again_is_another_process():
    host, pid, started, kernel = this_process().split(":")
    assert is_alive(":".join([host, pid, str(int(started) - 1), kernel])) is False


@NEEDS_PROC
def test_of_another_users_process_that_proc_hides_nothing_is_known(other, monkeypatch):
    """As with /proc mounted with hidepid=1 or 2."""

    def refuse(pid, number):
        raise PermissionError

    def hide(pid):
        raise psutil.NoSuchProcess(pid)

    monkeypatch.setattr(psutil, "Process", hide)
    monkeypatch.setattr(os, "kill", refuse)
    assert is_alive(other[1]) is None


def test_of_another_machine_or_container_or_start_of_this_one_nothing_is_known(other):
    process, owner = other
    process.kill()
    process.wait()
    host, pid, started, kernel = owner.split(":")
    boot, _, pids = kernel.partition("/")
    for elsewhere in (
        ["elsewhere", pid, started, kernel],
        [host, pid, started, f"another/{pids}"],
        [host, pid, started, f"{boot}/another"],
        [host, pid, "", ""],
    ):
        assert is_alive(":".join(elsewhere)) is None
    assert is_alive("somebody") is None
