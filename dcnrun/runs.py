"""The run folder: the one place that knows its file names and how they are written."""

import errno
import json
import math
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from dcnrun.errors import RunError, UsageError


@dataclass(frozen=True)
class RunFolder:
    """A run on disk: config, metrics, summary, checkpoints."""

    path: Path

    @property
    def config_file(self) -> Path:
        """The resolved config: enough to run again."""
        return self.path / "config.yaml"

    @property
    def overrides_file(self) -> Path:
        """The overrides that were given, one a line."""
        return self.path / "overrides.txt"

    @property
    def environment_file(self) -> Path:
        """Versions, git commit, hardware and seed."""
        return self.path / "env.json"

    @property
    def metrics_file(self) -> Path:
        """One JSON object a line: step, epoch, split and values."""
        return self.path / "metrics.jsonl"

    @property
    def csv_file(self) -> Path:
        """The same metrics as CSV, when asked for."""
        return self.path / "metrics.csv"

    @property
    def summary_file(self) -> Path:
        """Status, last and best metrics, cost."""
        return self.path / "summary.json"

    @property
    def per_image_file(self) -> Path:
        """Results on each validation image at the last step."""
        return self.path / "per_image.npz"

    @property
    def confusion_file(self) -> Path:
        """What older runs have in place of `per_image_file`."""
        return self.path / "val_confusion.npz"

    @property
    def last_checkpoint(self) -> Path:
        """The newest state of training."""
        return self.path / "checkpoints" / "last.pt"

    @property
    def previous_checkpoint(self) -> Path:
        """The state before the newest, in case that is damaged."""
        return self.path / "checkpoints" / "previous.pt"

    @property
    def best_checkpoint(self) -> Path:
        """The weights with the best validation metric."""
        return self.path / "checkpoints" / "best.pt"

    @property
    def lock_file(self) -> Path:
        """Empty; locked while a process trains here."""
        return self.path / ".lock"

    @property
    def figures(self) -> Path:
        """Pictures made from this run."""
        return self.path / "figures"

    def require(self) -> None:
        """Raise UsageError unless this is a run folder."""
        if not self.config_file.is_file():
            raise UsageError(
                f"{self.path} is not a run folder: it has no {self.config_file.name}. Give the folder that `dcnrun train` made."
            )

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
    """The same value with every non-finite float as None, so that the JSON is valid."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: json_ready(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [json_ready(item) for item in value]
    return value
