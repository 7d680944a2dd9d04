"""The command of a job, `dcnrun train`, from the start or from the last checkpoint, and the reason why a run failed."""

import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from dcnrun.errors import RunError
from dcnrun.jobs.ledger import Job
from dcnrun.jobs.process import last_lines
from dcnrun.runs import RunFolder, RunStatus, read_bytes

PROGRAM = (sys.executable, "-m", "dcnrun")
_TORCHRUN = (sys.executable, "-m", "torch.distributed.run")


def program_on(devices: int, program: Sequence[str] = PROGRAM) -> list[str]:
    """Return what starts `dcnrun` for a run on so many devices: torchrun where there are several, with a process for each."""
    return [*program] if devices == 1 else [*_TORCHRUN, *process_arguments(devices)]


def process_arguments(devices: int) -> list[str]:
    """Return torchrun's arguments for a process on each device of this machine."""
    return ["--standalone", "--nproc-per-node", str(devices), "-m", "dcnrun"]


def log_of(path: Path) -> Path:
    """Return the file that holds what the run in this folder printed."""
    return path.with_name(f"{path.name}.log")


def is_begun(path: Path) -> bool:
    """Whether the folder holds a run to resume."""
    return RunFolder(path).config_file.exists()


def train_arguments(path: Path, overrides: Sequence[str], config_dir: Path | None = None) -> list[str]:
    """Return the arguments of `dcnrun` that start a run in this folder, or resume the one that is there."""
    if is_begun(path):
        return ["train", "--resume", str(path)]
    config = ["--config-dir", str(config_dir)] if config_dir else []
    return ["train", *config, "--run-dir", str(path), *overrides]


def train_job(job: Job, path: Path, program: Sequence[str] = PROGRAM) -> list[str]:
    """Return the command for a job; RunError if its folder holds a run that was started with other overrides."""
    held = RunFolder(path).overrides_file
    if is_begun(path) and held.exists() and _lines(held) != list(job.overrides):
        raise RunError(f"{path} holds a run of other settings (see {held.name}): move it away.")
    return [*program, *train_arguments(path, job.overrides)]


def reason_of(path: Path, status: int, began: float, start_of_output: int) -> str:
    """Say why a run is not completed: by the reason in its summary if that is newer than its start, else by the end of its log.

    `status` is the process's exit status, `began` its start (seconds since 1970), `start_of_output` where its part of the log starts.
    """
    folder = RunFolder(path)
    try:
        summary = folder.read_summary()
        fresh = folder.summary_file.stat().st_mtime >= began - 1
    except (RunError, OSError):
        summary, fresh = {}, False
    if fresh and summary.get("status") in (RunStatus.failed, RunStatus.stopped) and summary.get("reason"):
        return str(summary["reason"])
    ending = f"killed by signal {-status}" if status < 0 else f"exit status {status}"
    if status == -signal.SIGKILL:
        ending += ", as a system does that runs out of memory"
    said = last_lines(log_of(path), start_of_output)
    return f"{ending}: {said}" if said else ending


def _lines(file: Path) -> list[str]:
    try:
        return read_bytes(file).decode().splitlines()
    except (OSError, UnicodeDecodeError):
        raise RunError(f"{file} can't be read: it is damaged, or no file. Move {file.parent} away.") from None
