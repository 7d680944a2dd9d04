"""The run folder: the one place that knows its file names, how they are written, and how its metrics are read."""

import errno
import fcntl
import json
import math
import os
import shutil
import stat
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from io import BufferedReader
from pathlib import Path
from typing import Any

from dcnrun.errors import RunError, UsageError

_TAIL = 4096


class RunStatus(StrEnum):
    """What summary.json says of a run."""

    running = "running"
    completed = "completed"
    stopped = "stopped"
    failed = "failed"


class CheckpointChoice(StrEnum):
    """Which of a run's weights: those with the best validation metric, or the newest."""

    best = "best"
    last = "last"


@dataclass(frozen=True)
class MetricRecord:
    """One line of metrics.jsonl; `values` has the finite numbers alone."""

    step: int
    epoch: float | None
    split: str | None
    values: Mapping[str, float]


@dataclass(unsafe_hash=True)
class RunFolder:
    """A run on disk: config, metrics, summary, checkpoints."""

    path: Path

    def __post_init__(self) -> None:
        self.config_file = self.path / "config.yaml"  # resolved: enough to run again
        self.overrides_file = self.path / "overrides.txt"  # those that were given, one a line
        self.paths_file = self.path / "paths.json"  # where the paths among the settings lead, absolute and from here
        self.environment_file = self.path / "env.json"  # versions, git commit, hardware and seed
        self.metrics_file = self.path / "metrics.jsonl"  # one JSON object a line: step, epoch, split and values
        self.csv_file = self.path / "metrics.csv"  # the same metrics, when asked for
        self.summary_file = self.path / "summary.json"  # status, last and best metrics, cost
        self.per_image_file = self.path / "per_image.npz"  # results on each validation image at the last step
        self.wandb_file = self.path / "wandb.json"  # the run's id and group at Weights & Biases, kept for a resume
        self.confusion_file = self.path / "val_confusion.npz"  # what older runs have in place of per_image_file
        self.best_checkpoint = self.checkpoint(CheckpointChoice.best)
        self.last_checkpoint = self.checkpoint(CheckpointChoice.last)
        self.previous_checkpoint = self.path / "checkpoints" / "previous.pt"  # in case the last is damaged
        self.lock_file = self.path / ".lock"  # empty; locked while a process trains here
        self.figures = self.path / "figures"  # pictures made from this run

    def checkpoint(self, choice: CheckpointChoice) -> Path:
        """Return the file of the best weights, or of the newest state of training."""
        return self.path / "checkpoints" / f"{CheckpointChoice(choice)}.pt"

    def require(self) -> None:
        """Raise UsageError unless this is a run folder."""
        if not self.config_file.is_file():
            raise UsageError(
                f"{self.path} is not a run folder: it has no {self.config_file.name}. Give the folder that `dcnrun train` made."
            )

    def require_in_place(self) -> None:
        """Raise RunError if a folder that held a run when it began no longer does: what is written would be lost."""
        if not self.config_file.is_file():
            raise RunError(
                f"The run folder {self.path} was moved or deleted while the run was training, which ends here. If it was moved, "
                "resume it where it is now with `dcnrun train --resume`."
            )

    def remove_leftovers(self) -> None:
        """Delete what a killed process left half written; for the one that holds the run's lock."""
        for folder in (self.path, self.last_checkpoint.parent):
            remove_leftovers(folder)

    def read_paths(self) -> dict[str, dict[str, str]]:
        """Return what `paths.json` holds of each setting; nothing where it is missing, as in older runs, or damaged."""
        try:
            paths = json.loads(self.paths_file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        entries = paths.items() if isinstance(paths, dict) else ()
        return {
            key: entry
            for key, entry in entries
            if isinstance(entry, dict) and all(type(v) is str for v in entry.values())
        }

    def read_summary(self) -> dict[str, Any]:
        """Read summary.json; RunError names the file when it is missing or damaged."""
        try:
            summary = json.loads(self.summary_file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise RunError(f"{self.summary_file} is missing: the run never started, or was killed at once.") from None
        except ValueError as error:
            raise RunError(f"{self.summary_file} is damaged ({error}): resume the run, or delete its folder.") from None
        if not isinstance(summary, dict):
            raise RunError(f"{self.summary_file} is damaged: it should hold one JSON object.")
        return summary

    def write_summary(self, summary: dict[str, Any]) -> None:
        """Replace summary.json."""
        write_json(self.summary_file, summary)

    def is_completed(self) -> bool:
        """Return whether summary.json says so."""
        try:
            return self.read_summary().get("status") == RunStatus.completed
        except (RunError, OSError):
            return False

    def read_metrics(self) -> Iterator[MetricRecord]:
        """Yield what was logged; nothing where there is no file, and no damaged line nor a torn last one."""
        for _, record in _whole_lines(self.metrics_file):
            yield record

    def curve(self, metric: str) -> tuple[tuple[int, float], ...]:
        """Return step and value of each record that has the metric, by step; of two at one step, the later."""
        records = ((record.step, record.values.get(metric)) for record in self.read_metrics())
        return tuple(sorted({step: value for step, value in records if value is not None}.items()))

    def last_step(self) -> int:
        """Return the last step that was logged, 0 before the first; reads the end of the file alone."""
        try:
            with self.metrics_file.open("rb") as file:
                size = file.seek(0, os.SEEK_END)
                tail = min(_TAIL, size)
                while True:
                    file.seek(size - tail)
                    for line in reversed(file.read(tail).splitlines()):
                        if record := _parsed(line):
                            return record.step
                    if tail == size:
                        return 0
                    tail = min(2 * tail, size)
        except OSError:
            return 0

    def forget_metrics_after(self, step: int) -> None:
        """Drop what was logged past a step, and lines that are damaged."""
        if self.metrics_file.exists():
            kept = [line for line, record in _whole_lines(self.metrics_file) if record.step <= step]
            write_text(self.metrics_file, "".join(line.decode() + "\n" for line in kept))


def per_class_of(summary: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """Return a summary's scores of each class, in the order of the network's outputs, by metric; older runs have one metric alone."""
    return summary.get("per_class") or {"val/miou": summary.get("class_iou") or {}}


class CurveReader:
    """Reads the values of one metric in metrics.jsonl while a run writes it: each line once.

    A resumed run replaces the file by one without the lines past its checkpoint: then all is read anew.
    """

    def __init__(self, folder: RunFolder, metric: str) -> None:
        self._path = folder.metrics_file
        self._metric = metric
        self._file: BufferedReader | None = None
        self._curve: list[tuple[int, float]] = []
        self._torn = b""

    def read(self) -> tuple[tuple[int, float], ...]:
        """Return step and value of each record that has the metric so far, in the order of the file."""
        if not self._is_current():
            self._start_anew()
        if self._file is not None:
            *lines, self._torn = (self._torn + self._file.read()).split(b"\n")
            for line in lines:
                record = _parsed(line)
                if record and self._metric in record.values:
                    self._curve.append((record.step, record.values[self._metric]))
        return tuple(self._curve)

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()

    def _is_current(self) -> bool:
        """Return whether the file that is open is the one at the path; while it is open, no other has its number."""
        if self._file is None:
            return False
        try:
            there, held = self._path.stat(), os.fstat(self._file.fileno())
        except OSError:
            return False
        return os.path.samestat(there, held) and there.st_size >= self._file.tell()

    def _start_anew(self) -> None:
        self.close()
        self._curve, self._torn = [], b""
        try:
            self._file = self._path.open("rb")
        except OSError:
            self._file = None


def _whole_lines(metrics_file: Path) -> Iterator[tuple[bytes, MetricRecord]]:
    try:
        lines = metrics_file.read_bytes().splitlines()
    except OSError:
        return
    for line in lines:
        if record := _parsed(line):
            yield line, record


def _parsed(line: bytes) -> MetricRecord | None:
    """Return the record of a line; None where a killed run, a full disk or an editor left something else."""
    try:
        logged = json.loads(line.decode())
    except ValueError:
        return None
    if not isinstance(logged, dict):
        return None
    # the exact types: True is an int as well
    numbers = {
        name: float(value) for name, value in logged.items() if type(value) in (int, float) and math.isfinite(value)
    }
    step, epoch, split = numbers.pop("step", None), numbers.pop("epoch", None), logged.get("split")
    return None if step is None else MetricRecord(int(step), epoch, split, numbers)


def require_regular(path: Path) -> None:
    """Raise OSError unless a path is a file: reading a FIFO, say, would wait for ever."""
    if not stat.S_ISREG(path.stat().st_mode):
        raise OSError(errno.EINVAL, "it is no file, but a folder, a pipe or a device")


def read_bytes(path: Path) -> bytes:
    """Read a file; OSError where it is not there or no regular file."""
    require_regular(path)
    return path.read_bytes()


def new_run_folder(runs_dir: Path, name: str) -> RunFolder:
    """Make `runs_dir/<date>-<time>-<name>`, never one that exists."""
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
    safe_name = "".join(c if c.isalnum() or c in "-_." else "-" for c in name)
    for attempt in range(1000):
        path = runs_dir / (f"{stamp}-{safe_name}" + (f"-{attempt}" if attempt else ""))
        try:
            path.mkdir(parents=True)
        except FileExistsError:
            continue
        except OSError as error:
            raise UsageError(
                f"The run folder {path} can't be made: {error.strerror}. Give another runs_dir or name."
            ) from error
        return RunFolder(path)
    raise RunError(f"No free name for a run folder in {runs_dir}.")


@contextmanager
def locked(file: Path, busy: str, shared: bool = False) -> Iterator[None]:
    """Hold the lock of a file, alone or with others that share it; UsageError says `busy` where it can't be had at once.

    A file system without locks keeps nobody out.
    """
    with ExitStack() as opened:
        try:
            # A POSIX lock is this process's alone. One of flock, which filelock takes, is inherited by workers of a data
            # loader: they outlive a killed run for a moment, and the run could not be resumed at once.
            fcntl.lockf(
                opened.enter_context(file.open("a+")), (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB
            )
        except BlockingIOError:
            raise UsageError(busy) from None
        except OSError:
            pass
        yield


@contextmanager
def replacing(path: Path, previous: Path | None = None) -> Iterator[Path]:
    """Give a path beside `path` to write to; it takes `path`'s place once it is whole and on disk.

    What stood there before becomes `previous`, where one is given. RunError when it can't be written.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield beside
        with beside.open("rb") as written:
            os.fsync(written.fileno())
        if previous is not None and path.exists():
            path.replace(previous)
        beside.replace(path)
    except OSError as error:
        raise RunError(f"Can't write {path}: {_reason(error, path)} What stood there before is unchanged.") from error
    finally:
        with suppress(OSError):
            beside.unlink(missing_ok=True)


def remove_leftovers(folder: Path) -> None:
    """Delete the files that `replacing` began in a folder and never finished; none may be in writing."""
    for part in folder.glob(".*.part"):
        if part.name.split(".")[-2].isdecimal():
            with suppress(OSError):
                part.unlink()


def _reason(error: OSError, path: Path) -> str:
    if isinstance(error, FileExistsError):  # from mkdir
        return f"{error.filename} is not a folder."
    reason = error.strerror or str(error)
    if error.errno not in (errno.ENOSPC, errno.EDQUOT):
        return f"{reason}."
    free = shutil.disk_usage(path.parent).free
    return f"{reason} ({free / 2**20:.0f} MiB free): make room and resume the run."


def write_text(path: Path, text: str) -> None:
    """Replace a text file, in UTF-8 whatever the locale."""
    with replacing(path) as beside:
        beside.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Replace a JSON file; numbers that JSON lacks (NaN, infinity) become null."""
    write_text(path, json.dumps(json_ready(value), indent=2) + "\n")


def json_ready(value: Any) -> Any:
    """Return the value with every non-finite float as None, so that the JSON is valid."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: json_ready(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [json_ready(item) for item in value]
    return value
