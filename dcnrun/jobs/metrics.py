"""What a run has logged so far, read while it writes."""

import json
import math
import os
from io import BufferedReader
from pathlib import Path
from typing import Any

_TAIL = 4096


def last_step(metrics_file: Path) -> int:
    """The last step that a run logged; 0 before the first."""
    try:
        with metrics_file.open("rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(file.tell() - _TAIL, 0))
            lines = file.read().splitlines()
    except OSError:
        return 0
    steps = (
        _number(_record(line), "step") for line in reversed(lines)
    )  # the first of the tail, and the last, may be torn
    return next((int(step) for step in steps if step is not None), 0)


class MetricReader:
    """The reports of one metric in a run's metrics.jsonl, each line of which is read once.

    A resumed run replaces the file by one without the lines past its checkpoint: then all is read anew.
    """

    def __init__(self, metrics_file: Path, metric: str) -> None:
        self._path = metrics_file
        self._metric = metric
        self._file: BufferedReader | None = None
        self._reports: list[tuple[int, float]] = []
        self._torn = b""

    def read(self) -> tuple[tuple[int, float], ...]:
        """Step and value of every report so far; values that are not finite are none."""
        if not self._is_current():
            self._start_anew()
        if self._file is not None:
            *lines, self._torn = (self._torn + self._file.read()).split(b"\n")
            for record in map(_record, lines):
                step, value = _number(record, "step"), _number(record, self._metric)
                if step is not None and value is not None:
                    self._reports.append((int(step), value))
        return tuple(self._reports)

    def close(self) -> None:
        """Let go of the file."""
        if self._file is not None:
            self._file.close()

    def _is_current(self) -> bool:
        """Whether the file that is open is the one at the path; while it is open, no other has its number."""
        if self._file is None:
            return False
        try:
            there, held = self._path.stat(), os.fstat(self._file.fileno())
        except OSError:
            return False
        return os.path.samestat(there, held) and there.st_size >= self._file.tell()

    def _start_anew(self) -> None:
        self.close()
        self._reports, self._torn = [], b""
        try:
            self._file = self._path.open("rb")
        except OSError:
            self._file = None


def _record(line: bytes) -> Any:
    try:
        return json.loads(line)
    except ValueError:
        return None


def _number(record: Any, key: str) -> float | None:
    value = record.get(key) if isinstance(record, dict) else None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)
