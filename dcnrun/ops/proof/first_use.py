"""A verdict from its file, or from a proof in a process of its own, where one is wanted for the first time on a kind of GPU.

That process has a stream, random numbers and a state of autograd of its own, so nothing of the caller's is touched, and whatever
becomes of it, or of the GPU's memory that it has, is not the caller's.

This process does not wait for its own GPU before, though times would be truer then: among several processes that train together,
what it has queued may wait for another, which waits here for this one.
"""

import json
import logging
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import torch

from dcnrun.ops.jit import cache
from dcnrun.ops.jit.build_spec import CUDA_DTYPES
from dcnrun.ops.jit.cuda import architecture_of, build_cuda
from dcnrun.ops.jit.errors import CacheUnusable, KernelUnavailable
from dcnrun.ops.jit.memoize import memoize
from dcnrun.ops.proof import child
from dcnrun.ops.proof.verdict import FORMAT, Kind, Report, Verdict, keep, kind_of, read, verdict_of_report

_log = logging.getLogger("dcnrun")

# For all of it: to import PyTorch, compile kernels that are not in the cache, prove and time.
SECONDS_TO_PROVE = 120.0
SECONDS_TO_WAIT = 180.0  # for another process, which proves the same
_SECONDS_TO_ANSWER = 30.0
_SECONDS_TO_DIE = 10.0
# Signals that others send to a process; all further ones are what it did itself.
_FROM_OTHERS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def verdict_for(operator: str, device: torch.device) -> Verdict:
    """Return whether an operator's CUDA kernels compute unasked on a GPU; once in a process, but for what is not final.

    KernelUnavailable where nothing compiles them.
    """
    index = torch.cuda.current_device() if device.index is None else device.index
    if torch.cuda.is_current_stream_capturing():
        kept = _kept(operator, index)
        return kept or Verdict(why_not="a CUDA graph is being captured", final=False)
    return _verdict(operator, index)


@memoize
def _kind(operator: str, index: int) -> Kind:
    return kind_of(operator, index)


def _kept(operator: str, index: int) -> Verdict | None:
    try:
        return read(_kind(operator, index))
    except KernelUnavailable:
        return None


@memoize
def _verdict(operator: str, index: int) -> Verdict:
    """Return the verdict that is kept, or prove; one process of this machine at a time. KernelUnavailable without NVRTC."""
    kind = _kind(operator, index)
    if kept := read(kind):
        return kept
    with _one_proves(kind) as turn:
        if kept := read(kind):
            return kept
        if not turn:
            return Verdict(why_not=f"another process has been proving them for {SECONDS_TO_WAIT:.0f} s")
        _log.info("dcnrun: proving the CUDA kernels of %s on this GPU, once, in some seconds", operator)
        return verdict_of_report(*prove_now(kind, index))


@contextmanager
def _one_proves(kind: Kind) -> Iterator[bool]:
    try:
        file = kind.file
    except CacheUnusable:
        yield True
        return
    with cache.one_builds(file, SECONDS_TO_WAIT) as turn:
        yield turn


def prove_now(kind: Kind, index: int, seconds: float = SECONDS_TO_PROVE) -> tuple[Report, Path | None]:
    """Prove an operator's kernels on a GPU, whatever is kept; return the report, and its file where it is kept.

    It is kept where the kernels were run, right or wrong, or crashed, or hung; not where something else kept them from being run.
    """
    started = time.time()
    build_ahead(kind.operator, index)
    end, found = _run_proof(kind.operator, index, seconds)
    report: Report = {
        "format": FORMAT,
        "operator": kind.operator,
        "kind": dict(kind.facts),
        "dtypes": {},
        "failure": "",
    }
    report |= {"made": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(started))}
    report |= {"process_seconds": round(time.time() - started, 2)}
    if found is not None:
        report |= found
        return report, keep(kind, report)
    is_theirs, report["failure"] = _describe(end, seconds)
    if is_theirs:
        answers = run([child.ANSWERS, str(index), f"{_SECONDS_TO_ANSWER:.0f}"], _SECONDS_TO_ANSWER)
        if answers.status != 0:
            report["failure"] += (
                "; since then the GPU does not answer: see `nvidia-smi`, and reset it or start the machine again"
            )
    return report, keep(kind, report) if is_theirs else None


def build_ahead(operator: str, index: int) -> None:
    """Begin to compile an operator's kernels, all at once, while the process of the proof starts: it finds them in the cache."""

    def build(dtype: torch.dtype, architecture: str) -> None:
        with suppress(KernelUnavailable):  # which the proof finds out too
            build_cuda(operator, dtype, architecture)

    with suppress(KernelUnavailable):
        architecture = architecture_of(index)
        for dtype in CUDA_DTYPES:
            threading.Thread(target=build, args=(dtype, architecture), daemon=True).start()


def _run_proof(operator: str, index: int, seconds: float) -> tuple["End", Report | None]:
    try:
        with tempfile.TemporaryDirectory(prefix="dcnrun-proof-", ignore_cleanup_errors=True) as folder:
            file = Path(folder) / "found.json"
            end = run([operator, str(index), f"{seconds:.0f}", str(file)], seconds, Path(folder))
            return end, _read_found(file) if end.status == 0 else None
    except OSError as error:
        return End(1, f"no temporary folder can be made: {error.strerror or error}"), None


class End(NamedTuple):
    """How a process ended."""

    status: int | None  # negative for a signal; None where it had to be killed
    said: str  # its last line of standard error


def run(arguments: Sequence[str], seconds: float, folder: Path | None = None) -> End:
    """Run `child` and wait for it, so many seconds at most. It has no part in this process's torchrun, and of its files only modules."""
    root = str(Path(__file__).parents[3])
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])}
    with tempfile.TemporaryFile(dir=folder) as errors:
        try:
            process = subprocess.Popen(
                [sys.executable, "-P", str(Path(child.__file__)), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                start_new_session=True,
                env=environment,
            )
        except OSError as error:
            return End(1, f"no process can be started: {error.strerror or error}")
        try:
            status: int | None = process.wait(seconds)
        except subprocess.TimeoutExpired:
            status = None
        finally:
            if process.poll() is None:
                process.kill()
                # One that waits for a GPU that hangs may not even be killed; then it stays.
                with suppress(subprocess.TimeoutExpired):
                    process.wait(_SECONDS_TO_DIE)
        errors.seek(0)
        lines = errors.read().decode(errors="replace").strip().splitlines()
    return End(status, lines[-1].strip() if lines else "")


def _read_found(file: Path) -> Report | None:
    try:
        found: Report = json.loads(file.read_bytes())
        verdict_of_report(found | {"failure": ""}, None)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return found


def _describe(end: End, seconds: float) -> tuple[bool, str]:
    """Whether an end is the kernels' doing, and what to say of it."""
    if end.status is None or end.status == -signal.SIGALRM:
        return True, f"the proof did not end within {seconds:.0f} s and was killed"
    if end.status < 0 and -end.status in _FROM_OTHERS:
        return False, f"the proof was ended by a signal ({signal.strsignal(-end.status)})"
    if end.status < 0:
        return True, f"the proof crashed ({signal.strsignal(-end.status)})"
    return False, f"the proof could not be run ({end.said or f'exit status {end.status}'})"
