"""Where a sweep is stored: its folder, its ledger, and how both are found again."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from dcnrun.errors import UsageError
from dcnrun.jobs.database import sqlite_url
from dcnrun.jobs.ledger import Ledger
from dcnrun.runs import read_bytes, remove_leftovers, write_text
from dcnrun.sweep.engines.engine import Options
from dcnrun.sweep.plan import Plan, plan_from
from dcnrun.sweep.spec.sweep_file import SweepFile

SWEEPS = Path("runs") / "sweeps"
KIND = "sweep"
REPEATS = "grid"  # the kind of a batch of jobs that are known at the start: the best settings of a sweep, over seeds
_LEDGER = "ledger.db"
_PLAN = "sweep.json"
_TRIALS = "trial-*/"
# The name of the one sweep that a ledger in a folder holds: the folder may be renamed.
_NAME_IN_FOLDER = "sweep"


def slug(name: str) -> str:
    """Turn a sweep's name into a folder's; UsageError where nothing is left of it."""
    safe = re.sub(r"[^A-Za-z0-9._]+", "-", name).strip("-.")
    if not safe:
        raise UsageError(f"The sweep's name {name!r} has neither letters nor digits: give --name.")
    return safe


def name_of(sweep: SweepFile, options: Options) -> str:
    """Return a sweep's name in runs/sweeps, or in a database."""
    return slug(options.name or sweep.name)


def folder_of(sweep: SweepFile, options: Options) -> Path:
    """Return the folder of a sweep on this machine."""
    return options.out or SWEEPS / name_of(sweep, options)


def create_ledger(plan: Plan, name: str, folder: Path, storage: str | None, cap: int | None) -> Ledger:
    """Create the ledger of a sweep, or open that of the same sweep started before.

    UsageError if the folder, or the name in the database, belongs to another sweep that has a trial; nothing is written then.

    Args:
        plan: The sweep.
        name: Its name in a database.
        folder: Its folder on this machine.
        storage: The URL of the database; None: it is in the folder.
        cap: The most trials from now on.
    """
    require_same_sweep(folder, plan)
    url = storage or sqlite_url(folder / _LEDGER)
    ledger = Ledger.create(url, name if storage else _NAME_IN_FOLDER, KIND, plan.as_text(), str(folder), cap)
    if not ledger.jobs() and any(folder.glob(_TRIALS)):
        raise UsageError(
            f"{folder} holds trials of a sweep whose ledger is gone: move them away, or give another --name."
        )
    ledger.refuses = plan.refuses
    ledger.set_cap(cap)
    occupy(folder, plan)
    write_text(folder / "sweep.yaml", plan.sweep.text)
    return ledger


def open_ledger(sweep: str, storage: str | None, out: Path | None = None) -> tuple[Ledger, Plan, Path]:
    """Return the ledger of a sweep, its plan, and the folder of its trials on this machine.

    `sweep` is its name in the database at `storage`; without one, its folder, or that folder's name in runs/sweeps.
    """
    url, name, folder = _find(sweep, storage)
    ledger = Ledger.open(url, name)
    if ledger.kind != KIND:
        raise UsageError(f"{name} is a {ledger.kind}, not a sweep.")
    plan = plan_from(ledger.text)
    ledger.refuses = plan.refuses
    return ledger, plan, out or folder or Path(ledger.folder)


def create_repeats(sweep: Ledger, plan: Plan, folder: Path, storage: str | None) -> Ledger:
    """Create the ledger of the best settings' runs over seeds, beside that of their sweep, or open it."""
    url = storage or sqlite_url(folder / _LEDGER)
    batch = Ledger.create(url, _repeats_of(sweep.name), REPEATS, sweep.text, str(repeats_in(folder)), cap=None)
    batch.refuses = plan.refuses_repeat
    return batch


def open_repeats(sweep: str, storage: str | None, plan: Plan) -> Ledger | None:
    """Open the ledger of the runs over seeds of a sweep that `open_ledger` finds; None if there is none."""
    url, name, _ = _find(sweep, storage)
    try:
        batch = Ledger.open(url, _repeats_of(name))
    except UsageError:
        return None
    batch.refuses = plan.refuses_repeat
    return batch if batch.kind == REPEATS else None


def repeats_in(folder: Path) -> Path:
    """Return the folder of the runs over seeds, in a sweep's folder."""
    return folder / "repeats"


def occupy(folder: Path, plan: Plan) -> None:
    """Make a sweep's folder on this machine and record there which sweep it is; UsageError if it has another sweep's trials."""
    require_same_sweep(folder, plan)
    with _explaining(folder):
        folder.mkdir(parents=True, exist_ok=True)
        for written in (folder, folder / "figures", repeats_in(folder)):
            remove_leftovers(written, psutil.pid_exists)
        write_text(folder / _PLAN, plan.as_text())


@contextmanager
def _explaining(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UsageError(f"The folder {folder} can't be used: {error.strerror}. Give another --out.") from error


def require_same_sweep(folder: Path, plan: Plan) -> None:
    """Raise UsageError if a folder holds the trials of another sweep."""
    held = folder / _PLAN
    try:
        is_of_another = held.exists() and read_bytes(held) != plan.as_text().encode()
    except OSError as error:
        raise UsageError(f"{held} can't be read: {error.strerror}. Give another --out, or move it away.") from error
    if is_of_another and any(folder.glob(_TRIALS)):
        raise UsageError(
            f"{folder} holds another sweep: {held.name} there has other settings, other overrides, another --seed or another "
            "--search. Give another --name or --out, or resume that one by the command that started it."
        )


def _find(sweep: str, storage: str | None) -> tuple[str, str, Path | None]:
    """Return the URL of a sweep's database, its name there, and its folder where that holds the database."""
    if storage:
        return storage, sweep, None
    folder = next((path for path in (Path(sweep), SWEEPS / sweep) if (path / _LEDGER).is_file()), None)
    if folder is None:
        there = sorted(path.parent.name for path in SWEEPS.glob(f"*/{_LEDGER}"))
        known = f"there are {', '.join(there)}" if there else "there is none"
        raise UsageError(
            f"There is no sweep {sweep}: give its folder or its name in {SWEEPS} ({known}), or --storage if it is in a database."
        )
    return sqlite_url(folder / _LEDGER), _NAME_IN_FOLDER, folder


def _repeats_of(name: str) -> str:
    return f"{name}-repeats"
