"""Where metrics go: metrics.jsonl always, CSV and Weights & Biases when asked."""

import csv
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from dcnrun.config.schema import Config, WandbMode
from dcnrun.errors import RunError
from dcnrun.runs import RunFolder, RunStatus, json_ready, write_text

Values = Mapping[str, float]

# 255 is what the client itself reports for a run that Ctrl-C ended.
_WANDB_EXIT_CODES = {RunStatus.completed: 0, RunStatus.failed: 1, RunStatus.stopped: 255}


class Logger(Protocol):
    """Takes the metrics of one step and split."""

    def log(self, step: int, epoch: float, split: str, values: Values) -> None:
        """Record values."""

    def close(self, status: RunStatus) -> None:
        """Finish; status is completed, stopped or failed."""


class JsonLinesLogger:
    """metrics.jsonl: one object a line, flushed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = path.open("a", encoding="utf-8")

    def log(self, step: int, epoch: float, split: str, values: Values) -> None:
        """Append one line."""
        record = json_ready({"step": step, "epoch": round(epoch, 4), "split": split, **values})
        with _full_disk_explained(self._path):
            self._file.write(json.dumps(record) + "\n")
            self._file.flush()

    def close(self, status: RunStatus) -> None:
        """Close the file."""
        self._file.close()


class CsvLogger:
    """metrics.csv in long form, so that new metrics never change its columns."""

    def __init__(self, path: Path) -> None:
        self._path = path
        is_new = not path.exists()
        self._file = path.open("a", newline="", encoding="utf-8")
        self._writer = csv.writer(self._file)
        if is_new:
            self._writer.writerow(["step", "epoch", "split", "metric", "value"])

    def log(self, step: int, epoch: float, split: str, values: Values) -> None:
        """Append one row per value."""
        with _full_disk_explained(self._path):
            self._writer.writerows([step, round(epoch, 4), split, name, value] for name, value in values.items())
            self._file.flush()

    def close(self, status: RunStatus) -> None:
        """Close the file."""
        self._file.close()


class WandbLogger:
    """A run on Weights & Biases: offline unless the config says online, or an agent of a sweep started it."""

    def __init__(self, folder: RunFolder, config: Config, settings: dict[str, Any]) -> None:
        import wandb

        try:
            self._run = wandb.init(
                **_identity(folder, config),
                dir=folder.path,
                config=settings,
                settings=wandb.Settings(console="off", silent=True),
            )
        except Exception as error:  # no login, no network: the client raises many kinds
            raise RunError(
                f"Weights & Biases can't start a run ({error}). Log in with `wandb login`, or set logger.wandb_mode=offline."
            ) from error

    def log(self, step: int, epoch: float, split: str, values: Values) -> None:
        """Send values of one step; those of validation, its last, at once, since sweeps are judged by them."""
        self._run.log({"epoch": epoch, **values}, step=step, commit=True if split == "val" else None)

    def close(self, status: RunStatus) -> None:
        """Finish the run as completed, as failed, or as interrupted."""
        self._run.finish(exit_code=_WANDB_EXIT_CODES[status])


def under_wandb_agent() -> bool:
    """Whether an agent of Weights & Biases started this process: the run's id, project and sweep are in its environment."""
    return bool(os.environ.get("WANDB_SWEEP_ID") and os.environ.get("WANDB_RUN_ID"))


def _identity(folder: RunFolder, config: Config) -> dict[str, Any]:
    """Which run this is at Weights & Biases; one that is resumed online goes on as the same run."""
    if under_wandb_agent():
        return {"resume": "allow"}
    name, logger = folder.path.name, config.logger
    return {
        "project": logger.wandb_project,
        "name": name,
        "id": name[:64],
        "mode": logger.wandb_mode.value,
        "resume": "allow" if logger.wandb_mode is WandbMode.online else None,
    }


def open_loggers(folder: RunFolder, config: Config, settings: dict[str, Any]) -> list[Logger]:
    """The loggers a config asks for; `settings` is the resolved config as plain values."""
    loggers: list[Logger] = [JsonLinesLogger(folder.metrics_file)]
    if config.logger.csv:
        loggers.append(CsvLogger(folder.csv_file))
    if config.logger.wandb or under_wandb_agent():
        loggers.append(WandbLogger(folder, config, settings))
    return loggers


def forget_after(folder: RunFolder, step: int) -> None:
    """Drop what was logged past a step, which a resumed run will log again; also a torn last line."""
    folder.forget_metrics_after(step)
    if folder.csv_file.exists():
        header, *rows = folder.csv_file.read_text(encoding="utf-8").splitlines() or ["step,epoch,split,metric,value"]
        whole = [row for row in rows if row.count(",") == 4 and int(row.split(",")[0]) <= step]
        write_text(folder.csv_file, "".join(row + "\n" for row in [header, *whole]))


@contextmanager
def _full_disk_explained(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise RunError(
            f"Can't write {path}: {os.strerror(error.errno or 0)}. Make room and resume the run from its last checkpoint."
        ) from error
