"""The run folder: the one place that knows its file names, how they are written, and how its metrics are read."""

import errno
import fcntl
import hashlib
import json
import math
import os
import shutil
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from io import BufferedReader
from pathlib import Path
from typing import Any, NamedTuple

from dcnrun.errors import RunError, UsageError

_TAIL = 4096
_LONGEST_LINE = 2**24  # bytes of a line of metrics that is looked for from the end
_LARGEST = 2**30  # bytes of a file that is read whole; metrics of a million steps have half as many
_MOST_SAID = 5  # lines of a file that a message names
_CHECKSUMS = "checksums"


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
        self.damaged_metrics_file = self.path / "metrics.damaged"  # lines of it that could not be used
        self.csv_file = self.path / "metrics.csv"  # the same metrics, when asked for
        self.summary_file = self.path / "summary.json"  # status, last and best metrics, cost
        self.per_image_file = self.path / "per_image.npz"  # results on each validation image at the last step
        self.tensorboard = self.path / "tensorboard"  # TensorBoard's files of them, likewise
        self.wandb_file = self.path / "wandb.json"  # the run's id and group at Weights & Biases, kept for a resume
        self.mlflow_file = self.path / "mlflow.json"  # the run's id in MLflow's store, kept for a resume
        self.confusion_file = self.path / "val_confusion.npz"  # what older runs have in place of per_image_file
        self.best_checkpoint = self.checkpoint(CheckpointChoice.best)
        self.last_checkpoint = self.checkpoint(CheckpointChoice.last)
        self.previous_checkpoint = self.path / "checkpoints" / "previous.pt"  # in case the last is damaged
        self.lock_file = self.path / ".lock"  # empty; locked while a process trains here
        self.pictures = self.path / "pictures"  # a sheet of validation images for each validation, when asked for
        self.figures = self.path / "figures"  # pictures made from this run

    def checkpoint(self, choice: CheckpointChoice) -> Path:
        """Return the file of the best weights, or of the newest state of training."""
        return self.path / "checkpoints" / f"{CheckpointChoice(choice)}.pt"

    def require(self) -> None:
        """Raise UsageError unless this is a run folder."""
        if not self.config_file.is_file():
            name = self.config_file.name
            why = f"its {name} is no file" if self.config_file.exists() else f"it has no {name}"
            raise UsageError(f"{self.path} is not a run folder: {why}. Give the folder that `dcnrun train` made.")

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

    def read_environment(self) -> dict[str, Any]:
        """Return what the run began with, such as versions; nothing where `env.json` is missing or damaged."""
        return _read_object(self.environment_file)

    def read_paths(self) -> dict[str, dict[str, str]]:
        """Return what `paths.json` holds of each setting; nothing where it is missing, as in older runs, or damaged."""
        return {
            key: entry
            for key, entry in _read_object(self.paths_file).items()
            if isinstance(entry, dict) and all(type(v) is str and v.isprintable() for v in entry.values())
        }

    def read_summary(self) -> dict[str, Any]:
        """Read summary.json; RunError names the file when it is missing, damaged or of another shape."""
        return self._read_summary()[0]

    def _read_summary(self) -> tuple[dict[str, Any], dict[str, str]]:
        """Return the summary, and the checksums of the run's files when it was written: none in older runs."""
        file, then = self.summary_file, "resume the run, or delete its folder"
        try:
            summary = json.loads(read_bytes(file).decode())
            json.dumps(summary, ensure_ascii=False).encode()  # half a character can't be printed
        except FileNotFoundError:
            raise RunError(f"{file} is missing: the run never started, or was killed at once.") from None
        except OSError as error:
            raise RunError(f"{file} can't be read: {error.strerror}.") from error
        except (ValueError, RecursionError) as error:
            raise RunError(f"{file} is damaged ({error}): {then}.") from None
        if not isinstance(summary, dict):
            raise RunError(f"{file} is damaged: it should hold one JSON object.")
        checksums = summary.pop(_CHECKSUMS, {})
        for key, expected in _SUMMARY.items():
            if key in summary and not expected.holds(summary[key]):
                raise RunError(f"{file} is damaged: {key} should be {expected.words}; {then}.")
        return summary, checksums if isinstance(checksums, dict) else {}

    def write_summary(self, summary: dict[str, Any]) -> None:
        """Replace summary.json; it holds what shows later whether it, or a file of the run that is written whole, was changed."""
        summary = json_ready(summary)
        checksums = {self.summary_file.name: _checksum(_canonical(summary))}
        is_over = summary.get("status") != RunStatus.running
        of_its_end = (self.metrics_file, self.per_image_file) if is_over else ()
        checksums |= _checksums(self.config_file, self.paths_file, *of_its_end)
        write_json(self.summary_file, {**summary, _CHECKSUMS: checksums})

    def changed_files(self) -> list[str]:
        """Return a line for each file that is not as it was when the run wrote its summary, and for a summary that can't be read."""
        if not self.summary_file.exists():
            return []
        try:
            summary, checksums = self._read_summary()
        except RunError as error:
            return [str(error)]
        now = {self.summary_file.name: _checksum(_canonical(summary))}
        now |= _checksums(self.config_file, self.paths_file, self.metrics_file, self.per_image_file)
        return [
            f"{self.path / name} is not as the run wrote it: it was damaged, or changed by hand."
            for name, checksum in checksums.items()
            if now.get(name) != checksum
        ]

    def is_completed(self) -> bool:
        """Return whether summary.json says so."""
        try:
            return self.read_summary().get("status") == RunStatus.completed
        except (RunError, OSError):
            return False

    def read_metrics(self) -> Iterator[MetricRecord]:
        """Yield what was logged; nothing where there is no file, and no damaged line nor a torn last one."""
        with suppress(OSError):
            yield from (line.record for line in _read_lines(self.metrics_file) if line.record)

    def metrics_problems(self) -> list[str]:
        """Return what keeps metrics.jsonl, or lines of it, from being used: a line in all, or none."""
        try:
            return _in_words(self.metrics_file, _read_lines(self.metrics_file))
        except FileNotFoundError:
            return [f"{self.metrics_file} is missing."]
        except OSError as error:
            return [f"{self.metrics_file} can't be read: {error.strerror}."]

    def curve(self, metric: str) -> tuple[tuple[int, float], ...]:
        """Return step and value of each record that has the metric, by step; of two at one step, the later."""
        return self.curves(metric)[metric]

    def curves(self, *metrics: str) -> dict[str, tuple[tuple[int, float], ...]]:
        """Return the curves of several metrics, which takes reading the file once."""
        found: dict[str, dict[int, float]] = {metric: {} for metric in metrics}
        for record in self.read_metrics():
            for metric in found.keys() & record.values.keys():
                found[metric][record.step] = record.values[metric]
        return {metric: tuple(sorted(curve.items())) for metric, curve in found.items()}

    def last_step(self) -> int:
        """Return the last step that was logged, 0 before the first; reads the end of the file alone."""
        try:
            _require_readable(self.metrics_file)
            with self.metrics_file.open("rb") as file:
                size = file.seek(0, os.SEEK_END)
                tail, longest = min(_TAIL, size), min(_LONGEST_LINE, size)
                while True:
                    file.seek(size - tail)
                    for line in reversed(file.read(tail).splitlines()):
                        if record := _read_line(line)[0]:
                            return record.step
                    if tail == longest:
                        return 0
                    tail = min(2 * tail, longest)
        except OSError:
            return 0

    def forget_metrics_after(self, step: int) -> list[str]:
        """Drop what was logged past a step; lines that can't be used go to a file beside. Return what there is to say of them.

        A last line that a killed run left half written is dropped: it is of a later step than the checkpoint.
        """
        try:
            lines = _read_lines(self.metrics_file)
        except FileNotFoundError:
            return []
        except OSError as error:
            raise RunError(f"{self.metrics_file} can't be read: {error.strerror}. Move it away.") from error
        if lines and lines[-1].is_torn:
            lines.pop()
        said = _in_words(self.metrics_file, lines)
        if unusable := [line.text for line in lines if not line.record]:
            before = read_bytes(self.damaged_metrics_file) if self.damaged_metrics_file.is_file() else b""
            write_bytes(self.damaged_metrics_file, before + _joined(unusable))
            said.append(f"What can't be used of it is kept in {self.damaged_metrics_file}.")
        write_bytes(
            self.metrics_file, _joined([line.text for line in lines if line.record and line.record.step <= step])
        )
        return said


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
        self._curve: dict[int, float] = {}
        self._torn = b""

    def read(self) -> tuple[tuple[int, float], ...]:
        """Return step and value of each record that has the metric so far, by step; of two at one step, the later."""
        if not self._is_current():
            self._start_anew()
        if self._file is not None:
            *lines, self._torn = (self._torn + self._file.read()).split(b"\n")
            for line in lines:
                record, _ = _read_line(line)
                if record and self._metric in record.values:
                    self._curve[record.step] = record.values[self._metric]
        return tuple(sorted(self._curve.items()))

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
        self._curve, self._torn = {}, b""
        try:
            _require_readable(self._path)
            self._file = self._path.open("rb")
        except OSError:
            self._file = None


@dataclass(frozen=True)
class _Line:
    """A line of metrics.jsonl: its record, None where it holds none, and what is wrong with it in words, or nothing."""

    number: int
    text: bytes
    record: MetricRecord | None
    wrong: str
    is_torn: bool


def _read_lines(file: Path) -> list[_Line]:
    """Read metrics.jsonl; OSError where that can't be read. Of two records of one step and split, the later counts."""
    data = read_bytes(file)
    texts = data.splitlines()
    read = [(number, text, *_read_line(text)) for number, text in enumerate(texts, start=1) if text.strip()]
    newest = {(record.step, record.split): number for number, _, record, _ in read if record}
    lines = []
    for number, text, record, wrong in read:
        if record and (later := newest[record.step, record.split]) != number:
            record, wrong = None, f"is repeated by line {later}"
        is_torn = record is None and number == len(texts) and not data.endswith(b"\n")
        lines.append(_Line(number, text, record, wrong, is_torn))
    return lines


def _read_line(line: bytes) -> tuple[MetricRecord | None, str]:
    """Return the record of a line, and what is wrong: a killed run, a full disk or an editor may have left anything."""
    try:
        logged = json.loads(line.decode())
    except UnicodeDecodeError:
        return None, "is not UTF-8"
    except (ValueError, RecursionError):
        return None, "is no JSON"
    if not isinstance(logged, dict):
        return None, "is no JSON object"
    split = logged.pop("split", None)
    numbers = {name: float(value) for name, value in logged.items() if _is_number(value)}
    wrong = [ascii(name) for name, value in logged.items() if not (value is None or _is_float(value))]
    step, epoch = numbers.pop("step", -1.0), numbers.pop("epoch", None)
    if not (step >= 0 and step.is_integer()):
        return None, "has no step"
    if not (split is None or isinstance(split, str)):
        split, wrong = None, [*wrong, "'split'"]
    return MetricRecord(int(step), epoch, split, numbers), f"has another thing in {', '.join(wrong)}" if wrong else ""


def _in_words(file: Path, lines: Sequence[_Line]) -> list[str]:
    wrong = [f"line {line.number} {line.wrong}" for line in lines if line.wrong]
    more = f" and {len(wrong) - _MOST_SAID} more" if len(wrong) > _MOST_SAID else ""
    return [f"{file} can't be used in full: {', '.join(wrong[:_MOST_SAID])}{more}."] if wrong else []


def _joined(lines: Sequence[bytes]) -> bytes:
    return b"".join(line + b"\n" for line in lines)


def _is_float(value: Any) -> bool:
    """Return whether a value of JSON is a number that a float can hold; True is no number."""
    return type(value) is float or (type(value) is int and abs(value) < 2**63)


def _is_number(value: Any) -> bool:
    """Return whether it is a finite one."""
    return _is_float(value) and math.isfinite(value)


class _Shape(NamedTuple):
    """What a value of summary.json must be."""

    holds: Callable[[Any], bool]
    words: str


def _is_number_or_null(value: Any) -> bool:
    return value is None or _is_number(value)


def _holds_numbers(value: Any) -> bool:
    return value is None or (isinstance(value, dict) and all(map(_is_number_or_null, value.values())))


def _holds_scores(value: Any) -> bool:
    return value is None or (isinstance(value, dict) and all(map(_holds_numbers, value.values())))


_TEXT = _Shape(lambda value: value is None or isinstance(value, str), "a text")
_WHOLE = _Shape(lambda value: _is_number_or_null(value) and (value is None or value == int(value)), "a whole number")
_NUMBER = _Shape(_is_number_or_null, "a number")
_NUMBERS = _Shape(_holds_numbers, "numbers by name")
_SUMMARY: Mapping[str, _Shape] = {
    **dict.fromkeys(("status", "reason", "run", "metric", "device"), _TEXT),
    **dict.fromkeys(("step", "steps", "seed"), _WHOLE),
    **dict.fromkeys(("metrics", "best", "class_iou"), _NUMBERS),
    "per_class": _Shape(_holds_scores, "scores of the classes by metric"),
    **dict.fromkeys(("parameters", "flops", "inference_images_per_second", "train_images_per_second"), _NUMBER),
    **dict.fromkeys(("data_wait_share", "peak_memory_bytes", "wall_seconds"), _NUMBER),
}


def _checksum(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]


def _checksums(*files: Path) -> dict[str, str]:
    """Return the checksums of the files that can be read, by name."""
    found = {}
    for file in files:
        with suppress(OSError):
            found[file.name] = _checksum(read_bytes(file))
    return found


def _canonical(summary: Mapping[str, Any]) -> bytes:
    return json.dumps(summary, sort_keys=True).encode()


def require_regular(path: Path) -> None:
    """Raise OSError unless a path is a file: reading a FIFO, say, would wait for ever."""
    if not stat.S_ISREG(path.stat().st_mode):
        raise OSError(errno.EINVAL, "it is no file, but a folder, a pipe or a device", str(path))


def read_bytes(path: Path) -> bytes:
    """Read a file; OSError where it is not there, no regular file, or too large to be one of a run."""
    _require_readable(path)
    return path.read_bytes()


def _read_object(path: Path) -> dict[str, Any]:
    """Read a JSON object; nothing where the file is missing, damaged or holds something else."""
    try:
        content = json.loads(read_bytes(path).decode())
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _require_readable(path: Path) -> None:
    require_regular(path)
    if path.stat().st_size > _LARGEST:
        raise OSError(errno.EFBIG, f"it is larger than {_LARGEST >> 20} MiB", str(path))


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


def remove_leftovers(folder: Path, is_alive: Callable[[int], bool] = lambda _: False) -> None:
    """Delete the files that `replacing` began in a folder and never finished, but for those of processes that live."""
    for part in folder.glob(".*.part"):
        pid = part.name.split(".")[-2]
        if pid.isdecimal() and not is_alive(int(pid)):
            with suppress(OSError):
                part.unlink()


def _reason(error: OSError, path: Path) -> str:
    if isinstance(error, FileExistsError):  # from mkdir
        return f"{error.filename} is not a folder."
    reason = error.strerror or str(error)
    if error.errno not in (errno.ENOSPC, errno.EDQUOT):
        return f"{reason}."
    free = shutil.disk_usage(path.parent).free
    return f"{reason} ({free / 2**20:.0f} MiB free): make room, and resume the run or repeat the command."


def write_text(path: Path, text: str) -> None:
    """Replace a text file, in UTF-8 whatever the locale."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, data: bytes) -> None:
    """Replace a file."""
    with replacing(path) as beside:
        beside.write_bytes(data)


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
