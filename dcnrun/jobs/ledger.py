"""The ledger: the jobs of a sweep or a grid, which any number of agents on any number of machines share."""

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import (
    JSON,
    Column,
    Connection,
    Double,
    ForeignKey,
    Integer,
    MetaData,
    RowMapping,
    Table,
    Text,
    UniqueConstraint,
    func,
    insert,
    inspect,
    select,
    update,
)

from dcnrun.errors import UsageError
from dcnrun.jobs import owner as owners
from dcnrun.jobs.database import PATIENCE, Database

LOST_AFTER = 60.0
"""Seconds without a heartbeat, by the database's clock, after which a job's agent on another machine is taken for dead.

SQLite's clock is that of the machine that asks, so a SQLite ledger is for the agents of one machine.
"""
MOST_ATTEMPTS = 3


class State(StrEnum):
    """Where a job stands."""

    waiting = "waiting"
    running = "running"
    completed = "completed"
    stopped = "stopped"  # early, by the stop rule
    failed = "failed"


@dataclass(frozen=True)
class Job:
    """A training run: a process and a run folder."""

    number: int  # 0, 1, ... in its ledger
    overrides: tuple[str, ...]  # what `dcnrun train` is given, besides the folder
    parameters: Mapping[str, Any]  # what a search drew; none in a grid
    folder: str  # the run folder's name in the batch's folder, which may be elsewhere on another machine
    state: State
    attempts: int = 0  # times it was started
    owner: str | None = None  # the agent that holds it, or held it last
    history: tuple[tuple[int, float], ...] = ()  # (step, metric) of each report so far; finite values alone
    reason: str | None = None  # why it was stopped or failed
    band: int | None = None  # at which it was stopped
    started: float | None = None  # when first claimed: seconds, the database's clock
    ended: float | None = None
    beat: float | None = None  # last sign of life from its agent


@dataclass(frozen=True)
class Drawn:
    """A job to be: what a search drew, or a cell of a grid."""

    overrides: tuple[str, ...]
    parameters: Mapping[str, Any]
    folder: str


Draw = Callable[[Sequence[Job]], Drawn | None]
"""The next job, given all that there are; None: nothing is left to draw."""

_tables = MetaData()
_batches = Table(
    "dcnrun_batches",
    _tables,
    Column("id", Integer, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("kind", Text, nullable=False),
    Column("text", Text, nullable=False),
    Column("folder", Text, nullable=False),
    Column("cap", Integer),
)
_jobs = Table(
    "dcnrun_jobs",
    _tables,
    Column("batch", ForeignKey(_batches.c.id), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("overrides", JSON, nullable=False),
    Column("parameters", JSON, nullable=False),
    Column("folder", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("owner", Text),
    Column("history", JSON, nullable=False),
    Column("reason", Text),
    Column("band", Integer),
    Column("started", Double),
    Column("ended", Double),
    Column("beat", Double),
    UniqueConstraint("batch", "folder"),
)


class Ledger:
    """One batch of jobs (a sweep or a grid) in a database.

    Everything that hands out jobs is one transaction that locks the batch, so that no job is given twice and the cap
    holds over any number of agents. What an agent writes of its job is written only while the job is its own: one that
    was taken for dead and is not learns it by False. A database that is away for a while is waited for; RunError if it
    stays away.
    """

    def __init__(self, database: Database, batch: RowMapping, lost_after: float) -> None:
        """Use `create` or `open`."""
        self._database = database
        self._batch: int = batch["id"]
        self.name: str = batch["name"]
        self.kind: str = batch["kind"]
        self.text: str = batch["text"]
        self.folder: str = batch["folder"]
        self.lost_after = lost_after

    @staticmethod
    def create(
        url: str, name: str, kind: str, text: str, folder: str, cap: int | None, lost_after: float = LOST_AFTER
    ) -> "Ledger":
        """A new batch of at most `cap` jobs, or the one there is of this name, kind and text, whose cap and folder then stay.

        `text` is what it was made of (a sweep file); UsageError if the name belongs to another one that has jobs. A SQLite
        file is made with its folder.
        """
        database = Database(url)
        if database.file:
            _make_folder_of(database)

        def find_or_make(connection: Connection) -> RowMapping:
            database.lock_for_setup(connection)
            _tables.create_all(connection)
            found = _find(connection, name)
            values = {"kind": kind, "text": text, "folder": folder, "cap": cap}
            if found is None:
                connection.execute(insert(_batches).values(name=name, **values))
            elif not is_same(found) and _is_empty(connection, found["id"]):
                connection.execute(update(_batches).where(_batches.c.id == found["id"]).values(values))
            batch = _find(connection, name)
            assert batch is not None
            return batch

        def is_same(batch: RowMapping) -> bool:
            return (batch["kind"], batch["text"]) == (kind, text)

        batch = database.write(find_or_make, patience=0)
        if not is_same(batch):
            raise UsageError(
                f"{database.place} already holds a {batch['kind']} named {name}, of another content: "
                "give this one another name, or go on with that one as it was."
            )
        return Ledger(database, batch, lost_after)

    @staticmethod
    def open(url: str, name: str, lost_after: float = LOST_AFTER) -> "Ledger":
        """The batch of this name; UsageError lists the names there are."""
        database = Database(url)
        if database.file and not database.file.is_file():
            raise UsageError(f"There is no {database.file}: nothing named {name} was started there.")

        def find(connection: Connection) -> tuple[RowMapping | None, list[str]]:
            if not inspect(connection).has_table(_batches.name):
                return None, []
            return _find(connection, name), list(connection.scalars(select(_batches.c.name).order_by(_batches.c.name)))

        batch, names = database.read(find, patience=0)
        if batch is None:
            there = f"there are {', '.join(names)}" if names else "there is none"
            raise UsageError(f"{database.place} holds nothing named {name}: {there}.")
        return Ledger(database, batch, lost_after)

    @property
    def cap(self) -> int | None:
        """The most jobs that there may be; None: as many as are drawn."""
        cap: int | None = self._database.read(
            lambda connection: connection.scalar(select(_batches.c.cap).where(_batches.c.id == self._batch))
        )
        return cap

    def set_cap(self, cap: int | None) -> None:
        """Allow more jobs, or fewer; those that there are stay."""
        self._database.write(
            lambda connection: (
                connection.execute(update(_batches).where(_batches.c.id == self._batch).values(cap=cap)).rowcount
            )
        )

    def jobs(self) -> list[Job]:
        """All jobs, in the order of their numbers."""
        return self._database.read(self._read)

    def add(self, drawn: Sequence[Drawn]) -> None:
        """Jobs known at the start; those whose folder there is already are left as they are."""

        def add_new(connection: Connection) -> None:
            _lock(connection, self._batch)
            held = {job.folder for job in self._read(connection)}
            new = [one for one in drawn if one.folder not in held]
            for number, one in enumerate(new, start=len(held)):
                self._insert(connection, number, one)

        self._database.write(add_new)

    def reopen(self, numbers: Collection[int]) -> None:
        """Let jobs that ended be run again, as if they had never been tried."""

        def wait_again(connection: Connection) -> None:
            _lock(connection, self._batch)
            ended = (_jobs.c.number.in_(numbers), _jobs.c.state.notin_([State.waiting, State.running]))
            values = {"state": State.waiting, "attempts": 0, "owner": None, "reason": None, "band": None, "ended": None}
            connection.execute(update(_jobs).where(_jobs.c.batch == self._batch, *ended).values(values))

        self._database.write(wait_again)

    def claim(self, owner: str, draw: Draw | None = None, folders: Collection[str] | None = None) -> Job | None:
        """The next job for an agent, now running as its own; None: nothing is to be had.

        First the job that it holds already (an answer may have been lost: an agent has one job at a time); then one whose
        agent is dead, to be gone on with, or failed after three attempts; then the first that waits; then, while there
        are fewer than the cap, one that `draw` draws, in the transaction: others wait for it, and it may be called again
        after a lost connection. With `folders`, only jobs of these are taken.
        """
        return self._database.write(lambda connection: self._claim(connection, owner, draw, folders))

    def beat(self, job: Job, owner: str) -> bool:
        """A sign of life; False: the job is no longer this owner's, and its process must end."""
        return self._write_own(job, owner, beat=self._database.now)

    def record(self, job: Job, owner: str, history: Sequence[tuple[int, float]]) -> bool:
        """Replace the job's history, whose values are finite."""
        return self._write_own(job, owner, beat=self._database.now, history=[list(report) for report in history])

    def finish(self, job: Job, owner: str, state: State, reason: str | None = None, band: int | None = None) -> bool:
        """The job has ended."""
        return self._write_own(job, owner, state=state, reason=reason, band=band, ended=self._database.now)

    def release(self, owner: str, patience: float = PATIENCE) -> None:
        """Give back what an owner holds, after a clean interrupt: it waits again, and the attempt does not count."""
        held = (_jobs.c.owner == owner, _jobs.c.state == State.running)
        values = {"state": State.waiting, "owner": None, "attempts": _jobs.c.attempts - 1}
        self._database.write(
            lambda connection: (
                connection.execute(update(_jobs).where(_jobs.c.batch == self._batch, *held).values(values)).rowcount
            ),
            patience,
        )

    def _claim(
        self, connection: Connection, owner: str, draw: Draw | None, folders: Collection[str] | None
    ) -> Job | None:
        cap = _lock(connection, self._batch)
        jobs = [job for job in self._read(connection) if folders is None or job.folder in folders]
        held = next((job for job in jobs if job.state is State.running and job.owner == owner), None)
        if held is not None:
            return held
        for job in self._lost(connection, jobs):
            if job.attempts >= MOST_ATTEMPTS:
                self._update(connection, job, state=State.failed, reason=_DIED, ended=self._database.now)
            elif taken := self._take(connection, job, owner):
                return taken
        waiting = next((job for job in jobs if job.state is State.waiting), None)
        if waiting is not None:
            return self._take(connection, waiting, owner)
        return self._draw(connection, owner, draw, cap) if draw is not None else None

    def _draw(self, connection: Connection, owner: str, draw: Draw, cap: int | None) -> Job | None:
        jobs = self._read(connection)
        if cap is not None and len(jobs) >= cap:
            return None
        drawn = draw(jobs)
        return self._take(connection, self._insert(connection, len(jobs), drawn), owner) if drawn else None

    def _lost(self, connection: Connection, jobs: Sequence[Job]) -> list[Job]:
        """Running jobs whose agents are dead: those that can be seen from here as processes, others by their heartbeats.

        An agent that sleeps, as in a laptop that was closed, has an old heartbeat and lives. After an outage of the database
        every heartbeat is old, so that they count again only when there was time for new ones.
        """
        now = connection.execute(select(self._database.now)).scalar_one()
        beats_count = time.monotonic() - self._database.last_trouble > self.lost_after

        def is_dead(job: Job) -> bool:
            alive = owners.is_alive(job.owner or "")
            return beats_count and now - (job.beat or 0) > self.lost_after if alive is None else not alive

        return [job for job in jobs if job.state is State.running and is_dead(job)]

    def _take(self, connection: Connection, job: Job, owner: str) -> Job | None:
        """The job as the owner's own; None if its agent came back to life in this moment."""
        now = self._database.now
        taken = self._update(
            connection,
            job,
            state=State.running,
            owner=owner,
            attempts=job.attempts + 1,
            beat=now,
            started=func.coalesce(_jobs.c.started, now),
        )
        return self._read(connection, job.number)[0] if taken else None

    def _update(self, connection: Connection, job: Job, **values: Any) -> bool:
        """Write what is true of a job that nobody has changed since it was read."""
        unchanged = (
            _jobs.c.state == job.state,
            _jobs.c.owner.is_not_distinct_from(job.owner),
            _jobs.c.beat.is_not_distinct_from(job.beat),
        )
        where = (_jobs.c.batch == self._batch, _jobs.c.number == job.number, *unchanged)
        return connection.execute(update(_jobs).where(*where).values(values)).rowcount == 1

    def _write_own(self, job: Job, owner: str, **values: Any) -> bool:
        own = (_jobs.c.owner == owner, _jobs.c.state == State.running)
        where = (_jobs.c.batch == self._batch, _jobs.c.number == job.number, *own)
        return self._database.write(
            lambda connection: connection.execute(update(_jobs).where(*where).values(values)).rowcount == 1
        )

    def _read(self, connection: Connection, number: int | None = None) -> list[Job]:
        where = [_jobs.c.batch == self._batch, *([] if number is None else [_jobs.c.number == number])]
        rows = connection.execute(select(_jobs).where(*where).order_by(_jobs.c.number)).mappings()
        return [_job(row) for row in rows]

    def _insert(self, connection: Connection, number: int, drawn: Drawn) -> Job:
        values = {"overrides": list(drawn.overrides), "parameters": dict(drawn.parameters), "folder": drawn.folder}
        start = {"batch": self._batch, "number": number, "state": State.waiting, "attempts": 0, "history": []}
        connection.execute(insert(_jobs).values(**values, **start))
        return self._read(connection, number)[0]


_DIED = f"its agent died {MOST_ATTEMPTS} times"


def _find(connection: Connection, name: str) -> RowMapping | None:
    return connection.execute(select(_batches).where(_batches.c.name == name)).mappings().one_or_none()


def _is_empty(connection: Connection, batch: int) -> bool:
    """Whether a batch has no job, nor gets one before this transaction ends."""
    _lock(connection, batch)
    return connection.scalar(select(func.count()).where(_jobs.c.batch == batch)) == 0


def _lock(connection: Connection, batch: int) -> int | None:
    """Make others who hand out the jobs of a batch wait (PostgreSQL; in SQLite they do anyway), and give its cap."""
    row = select(_batches.c.cap).where(_batches.c.id == batch).with_for_update()
    cap: int | None = connection.execute(row).scalar_one()
    return cap


def _make_folder_of(database: Database) -> None:
    assert database.file is not None
    try:
        database.file.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"The folder {database.file.parent} can't be made: {error.strerror}.") from error


def _job(row: RowMapping) -> Job:
    values = {key: value for key, value in row.items() if key != "batch"}
    return Job(
        **values
        | {
            "overrides": tuple(values["overrides"]),
            "history": tuple((int(step), float(value)) for step, value in values["history"]),
            "state": State(values["state"]),
        }
    )
