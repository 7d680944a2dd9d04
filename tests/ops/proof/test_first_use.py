"""A verdict at first use, with a stand-in for the process that proves."""

import json
import multiprocessing
import os
import signal
import threading
import time
from types import SimpleNamespace

import pytest
import torch

from dcnrun.ops.jit import KernelUnavailable, cache
from dcnrun.ops.proof import first_use
from dcnrun.ops.proof.verdict import FORMAT, Kind, read_report

CHILD = """
import json, os, signal, sys, time
from pathlib import Path

what, index, seconds, *files = sys.argv[1:]
with open(os.environ["CHILD_LOG"], "a") as log:
    log.write(what + "\\n")
how = os.environ["CHILD"]
if what == "answers":
    sys.exit("lost" in how)
row = {"right": True, "why_not": "", "wrong": [], "times": []}
if "wrong" in how:
    row |= {"right": False, "why_not": "3x3: output 7 of 9 wrong"}
if "slow" in how:
    time.sleep(0.5)
if "hangs" in how:
    time.sleep(60)
if "alarm" in how:
    signal.alarm(1)
    time.sleep(60)
for name in ("SEGV", "KILL", "TERM"):
    if name in how:
        os.kill(os.getpid(), getattr(signal, "SIG" + name))
if "no room" in how:
    sys.exit("CUDA error: out of memory")
found = {"problems": 2, "dtypes": {"float32": row}, "seconds": {}}
Path(files[0]).write_text("{" if "nonsense" in how else json.dumps(found))
"""
FACTS = {"gpu": "GPU [0]", "architecture": "sm_90", "driver": "1", "torch": "2", "sources": "3"}
GPU = torch.device("cuda", 0)


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """One GPU, and a process that proves its kernels as `CHILD` says."""
    (tmp_path / "child.py").write_text(CHILD)
    child = SimpleNamespace(__file__=str(tmp_path / "child.py"), ANSWERS="answers")
    monkeypatch.setattr(first_use, "child", child)
    monkeypatch.setenv("CHILD", "right")
    monkeypatch.setenv("CHILD_LOG", str(tmp_path / "log"))
    monkeypatch.setenv("DCNRUN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    capturing = []
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: bool(capturing))
    monkeypatch.setattr(first_use, "_kind", lambda operator, index: Kind(operator, FACTS))
    monkeypatch.setattr(first_use, "_SECONDS_TO_DIE", 5.0)
    monkeypatch.setattr(first_use, "build_ahead", lambda operator, index: None)

    def asked():
        log = tmp_path / "log"
        return log.read_text().split() if log.exists() else []

    def forget():
        first_use._verdict.cache_clear()

    forget()
    yield SimpleNamespace(asked=asked, forget=forget, capturing=capturing, kind=Kind("deform_conv2d", FACTS))
    forget()


def verdict():
    return first_use.verdict_for("deform_conv2d", GPU)


def test_it_is_proved_once_and_then_read(machine):
    first = verdict()
    assert (first.right, first.why_not, first.final) == ({"float32"}, "", True)
    assert first.file == machine.kind.file
    report = json.loads(first.file.read_text())
    assert (report["kind"], report["format"], report["failure"]) == (FACTS, FORMAT, "")
    assert verdict() is first
    machine.forget()
    assert verdict() == first
    assert machine.asked() == ["deform_conv2d"]


def test_what_is_wrong_is_kept_too(machine, monkeypatch):
    monkeypatch.setenv("CHILD", "wrong")
    found = verdict()
    assert (found.right, found.why_not) == (frozenset(), "float32: 3x3: output 7 of 9 wrong")
    machine.forget()
    assert verdict() == found
    assert machine.asked() == ["deform_conv2d"]


@pytest.mark.parametrize(
    ("how", "why", "answers"),
    [
        ("SEGV", "the proof crashed (Segmentation fault)", True),
        ("hangs", "the proof did not end within 1 s and was killed", True),
        ("alarm", "the proof did not end within 1 s and was killed", True),
        (
            "SEGV, lost",
            "the proof crashed (Segmentation fault); since then the GPU does not answer: see `nvidia-smi`",
            False,
        ),
    ],
)
def test_kernels_that_crash_or_hang(machine, monkeypatch, how, why, answers):
    """That is kept, as what is wrong is: else every process would wait for it again."""
    monkeypatch.setenv("CHILD", how)
    began = time.monotonic()
    report, file = first_use.prove_now(machine.kind, 0, seconds=1 if how == "hangs" else 8)
    assert time.monotonic() - began < 8
    assert report["failure"].replace("within 8", "within 1").startswith(why)
    assert ("does not answer" in report["failure"]) is not answers
    assert file == machine.kind.file
    assert verdict().why_not == report["failure"]
    assert machine.asked() == ["deform_conv2d", "answers"]


@pytest.mark.parametrize(
    ("how", "why"),
    [
        ("KILL", "the proof was ended by a signal (Killed)"),
        ("TERM", "the proof was ended by a signal (Terminated)"),
        ("no room", "the proof could not be run (CUDA error: out of memory)"),
        ("nonsense", "the proof could not be run (exit status 0)"),
    ],
)
def test_what_keeps_a_proof_from_being_run_is_not_kept(machine, monkeypatch, how, why):
    """The next process tries again; this one does without."""
    monkeypatch.setenv("CHILD", how)
    found = verdict()
    assert (found.right, found.why_not, found.file) == (frozenset(), why, None)
    assert verdict() is found
    assert not machine.kind.file.exists()
    monkeypatch.setenv("CHILD", "right")
    machine.forget()
    assert verdict().right == {"float32"}
    assert machine.asked() == ["deform_conv2d"] * 2


def test_no_process_can_be_started(machine, monkeypatch):
    monkeypatch.setattr(first_use.sys, "executable", "/nowhere/python")
    assert verdict().why_not.startswith("the proof could not be run (no process can be started: No such file")


def test_no_temporary_folder_can_be_made(machine, monkeypatch):
    monkeypatch.setattr(first_use.tempfile, "tempdir", "/nowhere")
    why = "the proof could not be run (no temporary folder can be made: No such file or directory)"
    assert verdict().why_not == why


def test_while_a_graph_is_captured_nothing_is_proved(machine):
    """And nothing remembered, so that it is proved afterwards; what is kept is read."""
    machine.capturing.append(True)
    assert (verdict().right, verdict().final) == (frozenset(), False)
    assert machine.asked() == []
    machine.capturing.clear()
    assert verdict().right == {"float32"}
    machine.capturing.append(True)
    machine.forget()
    assert (verdict().right, verdict().final) == ({"float32"}, True)
    assert machine.asked() == ["deform_conv2d"]


def test_without_nvrtc(machine, monkeypatch):
    def no_nvrtc(operator, index):
        raise KernelUnavailable("NVRTC was not found", "install torch again")

    monkeypatch.setattr(first_use, "_kind", no_nvrtc)
    with pytest.raises(KernelUnavailable, match="NVRTC was not found; install torch again"):
        verdict()
    assert machine.asked() == []


def test_kernels_are_compiled_meanwhile(monkeypatch):
    """One for each dtype, at once; what can't be compiled, the proof finds out too."""
    together = threading.Barrier(3, timeout=10)
    built = []

    def build(operator, dtype, architecture):
        together.wait()
        built.append((operator, dtype, architecture))
        raise KernelUnavailable("it can't be kept", "make room")

    monkeypatch.setattr(first_use, "architecture_of", lambda index: f"sm_9{index}")
    monkeypatch.setattr(first_use, "build_cuda", build)
    before = set(threading.enumerate())
    first_use.build_ahead("deform_conv2d", 1)
    for thread in set(threading.enumerate()) - before:
        thread.join(10)
    assert set(built) == {("deform_conv2d", dtype, "sm_91") for dtype in (torch.float32, torch.float16, torch.bfloat16)}


def test_a_cache_that_can_not_be_used(machine, monkeypatch, tmp_path):
    monkeypatch.setenv("DCNRUN_CACHE", str(tmp_path / "log2" / "file"))
    (tmp_path / "log2").write_text("a file where the folder should be")
    found = verdict()
    assert (found.right, found.file) == ({"float32"}, None)


# Several processes.

processes = multiprocessing.get_context("fork")


def in_processes(count, work):
    started = [processes.Process(target=lambda i=i: os._exit(0 if work(i) else 1)) for i in range(count)]
    for process in started:
        process.start()
    for process in started:
        process.join(30)
    return [process.exitcode for process in started]


def test_one_process_proves_and_the_others_wait(machine, monkeypatch):
    monkeypatch.setenv("CHILD", "right, slow")
    assert in_processes(4, lambda i: verdict().right == {"float32"}) == [0] * 4
    assert machine.asked() == ["deform_conv2d"]


def test_they_do_not_wait_for_ever(machine, monkeypatch):
    monkeypatch.setattr(first_use, "SECONDS_TO_WAIT", 0.2)
    with cache.one_builds(machine.kind.file, 1) as turn:
        assert turn
        waited = in_processes(2, lambda i: verdict().why_not == "another process has been proving them for 0 s")
    assert waited == [0, 0]
    assert machine.asked() == []
    assert verdict().right == {"float32"}


def test_two_that_write_at_once_leave_one_whole_report(machine):
    """As two machines that share a cache may."""

    def write(i):
        for _ in range(40):
            report = {"format": FORMAT, "operator": "deform_conv2d", "kind": FACTS, "failure": "", "dtypes": {}}
            row = {"right": True, "why_not": "", "wrong": [{"problem": "x" * 5000}] * 20, "times": [], "by": i}
            if first_use.keep(machine.kind, report | {"dtypes": {f"float{i}": row}}) is None:
                return False
            if read_report(machine.kind) is None:
                return False
        return True

    assert in_processes(2, write) == [0, 0]
    assert [path.name for path in machine.kind.file.parent.iterdir()] == [machine.kind.file.name]


def test_a_killed_parent_leaves_no_lock(machine, monkeypatch):
    """And the next one proves."""
    monkeypatch.setenv("CHILD", "right, slow")
    process = processes.Process(target=verdict)
    process.start()
    while not machine.asked():
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.join(10)
    assert verdict().right == {"float32"}
    assert machine.asked() == ["deform_conv2d"] * 2
