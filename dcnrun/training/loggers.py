"""Where metrics go: metrics.jsonl always, CSV, TensorBoard, Weights & Biases and MLflow when asked.

Another logger is a subclass of `Logger` and a row of `LOGGERS`.
"""

import csv
import fcntl
import json
import os
import re
import secrets
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import yaml
from PIL import Image

from dcnrun.config.compose import to_yaml
from dcnrun.config.schema import Config, LoggerConfig, WandbMode
from dcnrun.console import console
from dcnrun.errors import RunError
from dcnrun.masking import masked_urls
from dcnrun.runs import RunFolder, RunStatus, json_ready, read_bytes, write_json, write_text

if TYPE_CHECKING:
    import wandb

Values = Mapping[str, float]

_CSV_ROW = re.compile(r"(?P<step>\d{1,18}),[^,]*,[^,]*,.+,[^,]*")

# 255 is what the client itself reports for a run that Ctrl-C ended.
_WANDB_EXIT_CODES = {RunStatus.completed: 0, RunStatus.failed: 1, RunStatus.stopped: 255}


_MLFLOW_STATUS = {RunStatus.completed: "FINISHED", RunStatus.failed: "FAILED", RunStatus.stopped: "KILLED"}
_MLFLOW_METRICS, _MLFLOW_PARAMS = 1000, 100
"""What MLflow takes at once of metrics and of settings."""
_MLFLOW_LONGEST, _MLFLOW_LONGEST_NAME = 6000, 200
"""Letters of a setting's value, and of a class's name: with its metric a name may have 250."""


class Logger(ABC):
    """Takes the metrics of one step and split; opened with the folder and the config of a run."""

    @abstractmethod
    def __init__(self, folder: RunFolder, config: Config) -> None: ...

    @abstractmethod
    def log(self, step: int, epoch: float, split: str, values: Values) -> None:
        """Record values."""

    def log_classes(self, scores: Mapping[str, Values]) -> None:  # noqa: B027  metrics.jsonl has no place for them
        """Record the newest scores of each class, by metric and class."""

    def log_picture(self, step: int, picture: Path) -> None:  # noqa: B027  most have no place for one
        """Record the sheet of pictures of a validation, before its values."""

    def sync(self) -> None:  # noqa: B027  most have no file of their own
        """Put on disk what was logged, before a checkpoint that counts on it."""

    @abstractmethod
    def close(self, status: RunStatus) -> None:
        """Finish; status is completed, stopped or failed."""

    @classmethod
    def forget_after(cls, folder: RunFolder, step: int) -> list[str]:
        """Drop what was logged past a step, which a resumed run logs again; return what there is to say of the rest."""
        return []


class JsonLinesLogger(Logger):
    """metrics.jsonl: one object a line, flushed."""

    def __init__(self, folder: RunFolder, config: Config) -> None:
        self._path = folder.metrics_file
        self._file = self._path.open("a", encoding="utf-8")

    def log(self, step: int, epoch: float, split: str, values: Values) -> None:
        """Append one line."""
        record = json_ready({"step": step, "epoch": round(epoch, 4), "split": split, **values})
        with _full_disk_explained(self._path):
            self._file.write(json.dumps(record) + "\n")
            self._file.flush()
            if os.fstat(self._file.fileno()).st_nlink == 0:
                raise RunError(
                    f"{self._path} was deleted or replaced while the run was training: what it held is lost."
                )

    def sync(self) -> None:
        """Have the system write the lines to its disk."""
        with _full_disk_explained(self._path):
            os.fsync(self._file.fileno())

    def close(self, status: RunStatus) -> None:
        """Close the file."""
        self._file.close()

    @classmethod
    def forget_after(cls, folder: RunFolder, step: int) -> list[str]:
        """Drop lines past a step, and a torn last one; what can't be used is kept beside."""
        return folder.forget_metrics_after(step)


class CsvLogger(Logger):
    """metrics.csv in long form, so that new metrics never change its columns."""

    COLUMNS = ("step", "epoch", "split", "metric", "value")

    def __init__(self, folder: RunFolder, config: Config) -> None:
        self._path = folder.csv_file
        is_new = not self._path.exists()
        self._file = self._path.open("a", newline="", encoding="utf-8")
        self._writer = csv.writer(self._file)
        if is_new:
            self._writer.writerow(self.COLUMNS)

    def log(self, step: int, epoch: float, split: str, values: Values) -> None:
        """Append one row per value."""
        with _full_disk_explained(self._path):
            self._writer.writerows([step, round(epoch, 4), split, name, value] for name, value in values.items())
            self._file.flush()

    def sync(self) -> None:
        """Have the system write the rows to its disk."""
        with _full_disk_explained(self._path):
            os.fsync(self._file.fileno())

    def close(self, status: RunStatus) -> None:
        """Close the file."""
        self._file.close()

    @classmethod
    def forget_after(cls, folder: RunFolder, step: int) -> list[str]:
        """Drop rows past a step, a torn last one, and what is no row."""
        try:
            rows = read_bytes(folder.csv_file).decode(errors="replace").splitlines()[1:]
        except FileNotFoundError:
            return []
        except OSError as error:
            raise RunError(f"{folder.csv_file} can't be read: {error.strerror}. Move it away.") from error
        if rows and not _CSV_ROW.fullmatch(rows[-1]):
            rows.pop()  # torn
        read = [match for row in rows if (match := _CSV_ROW.fullmatch(row))]
        kept = [match[0] for match in read if int(match["step"]) <= step]
        write_text(folder.csv_file, "".join(f"{row}\n" for row in [",".join(cls.COLUMNS), *kept]))
        lost = len(rows) - len(read)
        return [f"{folder.csv_file}: {lost} lines are no rows and were left out."] if lost else []


class TensorBoardLogger(Logger):
    """Event files for TensorBoard: curves, the settings and what they led to (its HParams page), the config as text."""

    def __init__(self, folder: RunFolder, config: Config) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._path = folder.tensorboard
        with _full_disk_explained(self._path):
            self._writer = SummaryWriter(str(self._path))
        text = to_yaml(config)
        self._settings = _flat(yaml.safe_load(text))
        self._step = 0
        # Indented: as it stands.
        self._writer.add_text("config", "".join(f"    {line}\n" for line in text.splitlines()))

    def log(self, step: int, epoch: float, split: str, values: Values) -> None:
        """Add a point to each curve; the first validation says which of them the settings are judged by."""
        self._step = step
        with _full_disk_explained(self._path):
            for name, value in {**values, **({"epoch": epoch} if split == "train" else {})}.items():
                if value is not None:
                    self._writer.add_scalar(name, value, step)
            if split == "val":
                self._log_settings(values)
                self._writer.flush()

    def log_classes(self, scores: Mapping[str, Values]) -> None:
        """Add a point to the curve of each class that can be scored, `val/miou/road`."""
        with _full_disk_explained(self._path):
            for metric, own in scores.items():
                for name, value in own.items():
                    if not isnan(value):
                        self._writer.add_scalar(f"{metric}/{name}", value, self._step)

    def log_picture(self, step: int, picture: Path) -> None:
        """Show the sheet as a picture of that step."""
        with Image.open(picture) as image, _full_disk_explained(self._path):
            self._writer.add_image("pictures", np.asarray(image), step, dataformats="HWC")

    def sync(self) -> None:
        """Write what waits in memory."""
        with _full_disk_explained(self._path):
            self._writer.flush()

    def close(self, status: RunStatus) -> None:
        """Close the file."""
        self._writer.close()

    @classmethod
    def forget_after(cls, folder: RunFolder, step: int) -> list[str]:
        """Have TensorBoard show nothing past a step: a mark in its files, to which it only ever adds."""
        if not folder.tensorboard.is_dir():
            return []
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            return [f"{folder.tensorboard} still shows what was logged past step {step}: tensorboard isn't installed."]
        with _full_disk_explained(folder.tensorboard), SummaryWriter(str(folder.tensorboard), purge_step=step + 1):
            return []

    def _log_settings(self, values: Values) -> None:
        if self._settings:
            from torch.utils.tensorboard.summary import hparams

            for summary in hparams(self._settings, dict.fromkeys(values)):  # type: ignore[no-untyped-call]
                self._writer.file_writer.add_summary(summary)  # type: ignore[attr-defined]  # there since add_text
            self._settings = {}


class WandbLogger(Logger):
    """A run on Weights & Biases: offline unless the config says online, or an agent of a sweep started it."""

    def __init__(self, folder: RunFolder, config: Config) -> None:
        self._run = start_wandb(folder, **_identity(folder, config), config=yaml.safe_load(to_yaml(config)))

    def log(self, step: int, epoch: float, split: str, values: Values) -> None:
        """Send values of one step; those of validation, its last, at once, since sweeps are judged by them."""
        self._run.log({"epoch": epoch, **values}, step=step, commit=True if split == "val" else None)

    def log_picture(self, step: int, picture: Path) -> None:
        """Upload the sheet with the values of that step."""
        import wandb

        self._run.log({"pictures": wandb.Image(str(picture))}, step=step)

    def log_classes(self, scores: Mapping[str, Values]) -> None:
        """Put them into the run's summary, as `val/miou/road`; classes that can't be scored are left out."""
        named = {f"{metric}/{name}": value for metric, own in scores.items() for name, value in own.items()}
        self._run.summary.update({name: value for name, value in named.items() if not isnan(value)})

    def close(self, status: RunStatus) -> None:
        """Finish the run as completed, as failed, or as interrupted, and say how it is uploaded where it was offline."""
        offline = self._run.settings.sync_dir if self._run.offline else None
        self._run.finish(exit_code=_WANDB_EXIT_CODES[status])
        if offline:
            console.print(f"Upload it to Weights & Biases with: wandb sync {offline}", markup=False, soft_wrap=True)


def under_wandb_agent() -> bool:
    """Return whether an agent of Weights & Biases started this process: the run's id, project and sweep are in its environment."""
    return bool(os.environ.get("WANDB_SWEEP_ID") and os.environ.get("WANDB_RUN_ID"))


def wandb_is_off() -> bool:
    """Return whether Weights & Biases is switched off for every program: nothing is written or sent."""
    return os.environ.get("WANDB_MODE") == "disabled"


def _identity(folder: RunFolder, config: Config) -> dict[str, Any]:
    """Return which run this is at Weights & Biases, and of what kind; one that is resumed online continues as the same run."""
    own_tags = [tag for tag in os.environ.get("WANDB_TAGS", "").split(",") if tag]
    kind = {
        "job_type": os.environ.get("WANDB_JOB_TYPE", "train"),
        "tags": list(
            dict.fromkeys([*own_tags, config.conv.kind.value, config.model.head.value, config.data.source.value])
        ),
    }
    if under_wandb_agent():
        return {"resume": "allow", **kind}
    logger = config.logger
    return {
        "project": logger.wandb_project,
        "name": folder.path.name,
        **_id_and_group(folder),
        "mode": logger.wandb_mode.value,
        "resume": "allow" if logger.wandb_mode is WandbMode.online else None,
        **kind,
    }


def _id_and_group(folder: RunFolder) -> dict[str, str | None]:
    """Return the run's id, its own whatever the folder's name, and its group (a comparison or a sweep), kept for a resume."""
    try:
        kept = json.loads(read_bytes(folder.wandb_file).decode())
        return {"id": str(kept["id"]), "group": kept["group"] and str(kept["group"])}
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        pass
    # Runs from before there was such a file have the folder's name.
    own = folder.path.name[:64] if (folder.path / "wandb").is_dir() else secrets.token_hex(8)
    new = {"id": own, "group": os.environ.get("WANDB_RUN_GROUP")}
    write_json(folder.wandb_file, new)
    return new


def start_wandb(folder: RunFolder, **arguments: Any) -> "wandb.Run":
    """Start a run on Weights & Biases whose files lie in the run folder; RunError says what to do where that fails.

    `arguments` are those of `wandb.init`.
    """
    import wandb

    try:
        return wandb.init(dir=folder.path, settings=wandb.Settings(console="off", silent=True), **arguments)
    except Exception as error:  # no login, no network: the client raises many kinds
        raise RunError(
            f"Weights & Biases can't start a run ({masked_urls(str(error))}). Log in with `wandb login`, or set logger.wandb_mode=offline."
        ) from error


class MLflowLogger(Logger):
    """A run in MLflow's store: a database in `runs_dir` unless a server or another is named."""

    def __init__(self, folder: RunFolder, config: Config) -> None:
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # else the import starts to send what is used where
        os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
        from mlflow import MlflowClient

        self._local = Path(config.runs_dir).absolute()
        uri = config.logger.mlflow_uri or os.environ.get("MLFLOW_TRACKING_URI")
        self._uri = uri or f"sqlite:///{self._local / 'mlflow.db'}"
        self._waiting: list[Any] = []
        self._step = 0
        with _mlflow_explained(self._uri):
            self._local.mkdir(parents=True, exist_ok=True)
            with _one_at_a_time(
                self._local / ".mlflow.lock"
            ):  # of those that make a database at once all but one would fail
                self._client = MlflowClient(tracking_uri=self._uri)
                self._run_id = self._resumed(folder) or self._begun(folder, config, is_local=uri is None)

    def log(self, step: int, epoch: float, split: str, values: Values) -> None:
        """Keep values until the next validation or checkpoint: each time that a store is written to takes a while."""
        self._step = step
        self._add({**values, **({"epoch": epoch} if split == "train" else {})})
        if split == "val":
            self.sync()

    def log_classes(self, scores: Mapping[str, Values]) -> None:
        """Log the score of each class that can be scored, `val/miou/road`."""
        named = [
            (f"{metric}/{_mlflow_name(name)}", value) for metric, own in scores.items() for name, value in own.items()
        ]
        self._add(dict(named))

    def log_picture(self, step: int, picture: Path) -> None:
        """Keep the sheet as an artifact, `pictures/step-000250.jpg`."""
        with _mlflow_explained(self._uri):
            self._client.log_artifact(self._run_id, str(picture), "pictures")

    def sync(self) -> None:
        """Write what waits in memory."""
        waiting, self._waiting = self._waiting, []
        with _mlflow_explained(self._uri):
            for start in range(0, len(waiting), _MLFLOW_METRICS):
                self._client.log_batch(self._run_id, metrics=waiting[start : start + _MLFLOW_METRICS])

    def close(self, status: RunStatus) -> None:
        """Say how the run ended; that MLflow can't be told so does not change it."""
        try:
            self.sync()
            with _mlflow_explained(self._uri):
                self._client.set_terminated(self._run_id, _MLFLOW_STATUS[status])
        except RunError as error:
            console.print(f"Warning: {error}", markup=False, soft_wrap=True)

    def _add(self, values: Values) -> None:
        from mlflow.entities import Metric

        now = round(1000 * time.time())
        self._waiting += [
            Metric(name, float(value), now, self._step)
            for name, value in values.items()
            if value is not None and not isnan(value)
        ]

    def _resumed(self, folder: RunFolder) -> str | None:
        """Return the id of the run that this folder has in the store, which runs again; None where it has none there."""
        from mlflow.exceptions import MlflowException

        try:
            run_id = str(json.loads(read_bytes(folder.mlflow_file).decode())["id"])
            self._client.update_run(run_id, status="RUNNING")
        except (OSError, ValueError, TypeError, KeyError, RecursionError, MlflowException):
            return None
        return run_id

    def _begun(self, folder: RunFolder, config: Config, is_local: bool) -> str:
        """Begin a run with the settings of a config, and return its id, kept for a resume."""
        from mlflow.entities import Param, RunTag

        tags = {"kind": config.conv.kind.value, "group": os.environ.get("WANDB_RUN_GROUP", "")}
        experiment = self._experiment(config.logger.mlflow_experiment, is_local)
        run = self._client.create_run(experiment, run_name=folder.path.name)
        settings = [
            Param(key, str(value)[:_MLFLOW_LONGEST]) for key, value in _flat(yaml.safe_load(to_yaml(config))).items()
        ]
        self._client.log_batch(run.info.run_id, tags=[RunTag(key, value) for key, value in tags.items() if value])
        for start in range(0, len(settings), _MLFLOW_PARAMS):
            self._client.log_batch(run.info.run_id, params=settings[start : start + _MLFLOW_PARAMS])
        write_json(folder.mlflow_file, {"id": run.info.run_id})
        return str(run.info.run_id)

    def _experiment(self, name: str, is_local: bool) -> str:
        """Return the id of an experiment, which is begun if it is not there; artifacts of the local store lie beside it."""
        from mlflow.exceptions import MlflowException

        found = self._client.get_experiment_by_name(name)
        if found is None:
            try:
                artifacts = (self._local / "mlflow-artifacts").as_uri() if is_local else None
                return str(self._client.create_experiment(name, artifact_location=artifacts))
            except MlflowException:  # another run was faster, or there is another reason, which is raised
                found = self._client.get_experiment_by_name(name)
                if found is None:
                    raise
        return str(found.experiment_id)


def _mlflow_name(name: str) -> str:
    """Return the name of a class with those letters alone that MLflow takes as the last part of a metric's name."""
    readable = re.sub(r"[^\w\-. :]", "_", name)[:_MLFLOW_LONGEST_NAME]
    return readable if readable.strip(". ") else f"_{readable}_"


@contextmanager
def _one_at_a_time(lock: Path) -> Iterator[None]:
    """Wait until no other process holds the lock; the system lets go of that of a killed one."""
    with lock.open("ab") as file:
        fcntl.lockf(file, fcntl.LOCK_EX)
        yield


@contextmanager
def _mlflow_explained(uri: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # a database, a server, a network: many kinds
        raise RunError(
            f"MLflow's store {masked_urls(uri)} can't be written ({masked_urls(str(error))}). Set logger.mlflow_uri, or resume the run "
            "without it: logger.mlflow=false."
        ) from error


LOGGERS: Mapping[type[Logger], Callable[[LoggerConfig], bool]] = {
    JsonLinesLogger: lambda _: True,
    CsvLogger: lambda logger: logger.csv,
    TensorBoardLogger: lambda logger: logger.tensorboard,
    WandbLogger: lambda logger: logger.wandb or under_wandb_agent(),
    MLflowLogger: lambda logger: logger.mlflow,
}
"""Every logger, and whether a config asks for it."""


def open_loggers(folder: RunFolder, config: Config) -> list[Logger]:
    """Open the loggers that a config asks for; Weights & Biases unless it is switched off."""
    wanted = [logger for logger, is_wanted in LOGGERS.items() if is_wanted(config.logger)]
    if WandbLogger in wanted and wandb_is_off():
        console.print("WANDB_MODE=disabled: nothing goes to Weights & Biases.")
        wanted.remove(WandbLogger)
    return [logger(folder, config) for logger in wanted]


def forget_after(folder: RunFolder, step: int) -> list[str]:
    """Drop what was logged past a step, which a resumed run will log again; return what there is to say of the rest."""
    return [line for logger in LOGGERS for line in logger.forget_after(folder, step)]


def _flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, str | float]:
    """Return the settings of a config's sections by key, `optim.lr`; what is neither text nor a number is text, since TensorBoard shows
    true as 1.0000."""
    flat: dict[str, str | float] = {}
    for name, value in settings.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            is_kept = isinstance(value, str | float | int) and not isinstance(value, bool)
            flat[prefix + name] = value if is_kept else json.dumps(value)
    return flat


@contextmanager
def _full_disk_explained(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise RunError(
            f"Can't write {path}: {os.strerror(error.errno or 0)}. Make room and resume the run from its last checkpoint."
        ) from error
