"""The ledger: the jobs of a sweep or a grid, shared by any number of agents on any number of machines.

It guarantees, for all agents together and whatever is killed (the tests are in tests/jobs, `ledger` for test_ledger.py
and so on):

- **Exact cap.** Never more jobs than the cap are drawn: counting and inserting are one transaction that locks the batch
  (ledger: `test_waiting_jobs_come_before_new_ones_and_no_more_than_the_cap_are_drawn`,
  `test_many_agents_claim_each_job_exactly_once`).
- **Each suggestion once.** A job is drawn outside of any transaction, where that may take minutes, from the jobs at that
  moment, and counts only if no other was inserted meanwhile; else it is drawn again
  (`test_what_was_drawn_beside_another_agents_job_is_drawn_again`, `test_drawing_holds_up_no_other_agent`). What was drawn in
  a moment before is drawn inside (`test_a_quick_draw_is_made_once_inside_the_transaction`).
- **Only what agents write.** A row that no agent wrote so, that names a folder elsewhere, or that the batch's owner
  refuses, is a failed job with the reason; it is never started (rows: all of it, `test_damaged_rows_are_left_out`).
- **Exclusive claim.** A job runs at one agent at a time (`test_many_agents_claim_each_job_exactly_once`), and an orphan
  of it ends before it is started again (worker: `test_no_job_is_started_while_an_orphan_of_it_still_saves`).
- **Fencing by owner.** What an agent writes counts only while the job is its own; afterwards the call returns False,
  and the agent ends its process (`test_what_was_reassigned_is_no_longer_the_old_owners`, worker:
  `test_a_job_that_was_reassigned_is_let_go`).
- **Takeover.** The job of a dead agent is reassigned: at once where the process can be seen to be gone, or a cluster has
  seen it go, else after a minute without a heartbeat, also where a process lives that has nothing to do with it, and
  failed after three attempts (`test_the_job_of_a_dead_process_of_this_host_is_reassigned_at_once`,
  `test_the_job_of_an_agent_that_a_cluster_saw_die_is_reassigned_at_once`, `test_a_beating_heart_keeps_the_job`,
  `test_a_row_that_names_a_living_process_which_never_beats_is_taken_over`,
  `test_a_job_whose_agents_die_three_times_fails`). It resumes in its own folder.
- **Each report once.** A job's history is replaced as a whole by what its run logged, so that a resumed run repeats and
  loses nothing (worker: `test_four_agents_of_which_one_is_killed_run_each_trial_once`,
  `test_killed_at_random_moments_and_started_again_it_ends_with_each_trial_done`).
- **Safe repetition.** A transaction whose answer was lost means the same the second time
  (`test_a_lost_answer_loses_no_job_and_makes_no_second_one`), and an outage of the database reassigns nothing
  (`test_after_an_outage_old_heartbeats_prove_nothing_for_a_while`).
- **Free return.** A clean interrupt gives the job back and costs no attempt
  (`test_a_job_given_back_waits_and_was_not_attempted`).

Optuna's storage does not do: it counts trials after they were started, so that several workers exceed `n_trials`; its
trials have no owner, so that a worker that was given up may still report; a trial without heartbeat is failed and
queued as a new one with another number, where ours resumes; and it knows studies with an objective, where a comparison
is a list of runs. Optuna is asked for settings alone (`dcnrun/sweep/search.py`).
"""

import math
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cached_property, partial
from pathlib import Path
from typing import Any, NamedTuple

import sqlalchemy as sa

from dcnrun.errors import RunError, UsageError
from dcnrun.jobs import owner as owners
from dcnrun.jobs.database import PATIENCE, Database
from dcnrun.jobs.rows import DamagedRow, is_plain_name, read_row

LOST_AFTER = 60.0
"""Seconds without a heartbeat, by the database's clock, after which the job of an agent on another machine is reassigned.

SQLite's clock is that of the machine that asks, so a SQLite ledger is for the agents of one machine.
"""
MOST_ATTEMPTS = 3
_SECONDS_INSIDE = 1.0  # a draw that took no longer may be repeated inside a transaction, which others wait for
_A_MOMENT = 0.1  # seconds; where the last draw took no longer, the next is made inside at once


class State(StrEnum):
    """The state of a job."""

    waiting = "waiting"
    running = "running"
    completed = "completed"
    stopped = "stopped"  # early, by the stop rule
    failed = "failed"


_UNDERWAY = (State.waiting, State.running)


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
    reason: str | None = None  # why it was stopped, failed or was completed before its last step
    band: int | None = None  # at which it was stopped
    started: float | None = None  # when first claimed: seconds, the database's clock
    ended: float | None = None
    beat: float | None = None  # last sign of life from its agent
    damaged: bool = False  # whether its row is not as agents write it, as the reason says; then it is failed

    @cached_property
    def values(self) -> tuple[float, ...]:
        """What it reported, without the steps."""
        return tuple(value for _, value in self.history if math.isfinite(value))

    @cached_property
    def lowest(self) -> float | None:
        """The lowest value that it reported."""
        return min(self.values, default=None)

    @cached_property
    def highest(self) -> float | None:
        """The highest value that it reported."""
        return max(self.values, default=None)


@dataclass(frozen=True)
class JobSpec:
    """A job that is not in a ledger yet: what a search drew, or a cell of a grid."""

    overrides: tuple[str, ...]
    parameters: Mapping[str, Any]
    folder: str


Draw = Callable[[Sequence[Job]], JobSpec | None]
"""Returns the next job, given all that there are; None when nothing is left to draw."""


class Changes(NamedTuple):
    """What of a ledger has changed."""

    jobs: Sequence[Job]
    are_all: bool  # whether these are all that there are: what was known before holds no more


def next_number(jobs: Sequence[Job]) -> int:
    """Return the number of the job after these."""
    return max((job.number for job in jobs), default=-1) + 1


_tables = sa.MetaData()
_batches = sa.Table(
    "dcnrun_batches",
    _tables,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("name", sa.Text, nullable=False, unique=True),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("text", sa.Text, nullable=False),
    sa.Column("folder", sa.Text, nullable=False),
    sa.Column("cap", sa.Integer),
)
_jobs = sa.Table(
    "dcnrun_jobs",
    _tables,
    sa.Column("batch", sa.ForeignKey(_batches.c.id), primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("overrides", sa.JSON, nullable=False),
    sa.Column("parameters", sa.JSON, nullable=False),
    sa.Column("folder", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("owner", sa.Text),
    sa.Column("history", sa.JSON, nullable=False),
    sa.Column("reason", sa.Text),
    sa.Column("band", sa.Integer),
    sa.Column("started", sa.Double),
    sa.Column("ended", sa.Double),
    sa.Column("beat", sa.Double),
    sa.UniqueConstraint("batch", "folder"),
    sa.Index("dcnrun_jobs_by_end", "batch", "ended"),
)
# JSON as the text that it should be: one row that is none must not hide the others. The heartbeat is the last.
_columns = [
    sa.cast(column, sa.Text).label(column.name) if isinstance(column.type, sa.JSON) else column for column in _jobs.c
]
# What of a row that has not ended tells whether it has changed: agents change state and owner with one of these, and the rest never.
_signs = [_jobs.c.number, _jobs.c.attempts, _jobs.c.beat, sa.func.length(sa.cast(_jobs.c.history, sa.Text))]
_FEW = 50  # rows that have not ended and are read whole, since that is one statement less


class Ledger:
    """One batch of jobs (a sweep or a grid) in a database.

    Its guarantees are at the top of the module. Calls wait for a database that is away for a while; RunError if it stays away.
    """

    def __init__(self, database: Database, batch: sa.RowMapping, lost_after: float) -> None:
        """Use `create` or `open`."""
        if damaged := [column for column in ("kind", "text", "folder") if not isinstance(batch[column], str)]:
            raise RunError(f"{database.shown_url}: of {batch['name']}, {damaged[0]} is damaged: {batch[damaged[0]]!r}.")
        self._database = database
        self._batch: int = batch["id"]
        self.name: str = batch["name"]
        self.kind: str = batch["kind"]
        self.text: str = batch["text"]
        self.folder: str = batch["folder"]
        self.lost_after = lost_after
        self.refuses: Callable[[Job], str | None] = lambda job: None
        """Returns why a job can be none of this batch; such a job is never started."""
        self._seen: dict[int, tuple[tuple[str | None, float | None], float]] = {}
        self._known = _Known(self.refuses)
        self._last_draw = math.inf  # seconds that it took
        self._drawing = threading.Lock()  # one thread at a time draws what is not drawn in a moment

    @staticmethod
    def create(
        url: str, name: str, kind: str, text: str, folder: str, cap: int | None, lost_after: float = LOST_AFTER
    ) -> "Ledger":
        """Create a batch, or open the one of this name, kind and text, whose cap and folder then stay as they are.

        UsageError if the name belongs to a batch of another kind or text that has jobs.

        Args:
            url: The database; a SQLite file is created with its folder.
            name: The batch's name, unique in the database.
            kind: `sweep` or `grid`.
            text: What the batch was made of, such as a sweep file.
            folder: The folder of its run folders, on the machine that created it.
            cap: The most jobs that there may be; None: as many as are drawn.
            lost_after: Seconds without a heartbeat after which a job is reassigned.
        """
        database = Database(url)
        if database.file:
            _make_folder(database.file.parent)

        def find_or_make(connection: sa.Connection) -> sa.RowMapping:
            database.lock_for_setup(connection)
            _tables.create_all(connection)
            found = _find(connection, name)
            values = {"kind": kind, "text": text, "folder": folder, "cap": cap}
            if found is None:
                connection.execute(sa.insert(_batches).values(name=name, **values))
            elif not is_same(found) and _is_empty(connection, found["id"]):
                connection.execute(sa.update(_batches).where(_batches.c.id == found["id"]).values(values))
            return connection.execute(sa.select(_batches).where(_batches.c.name == name)).mappings().one()

        def is_same(batch: sa.RowMapping) -> bool:
            return (batch["kind"], batch["text"]) == (kind, text)

        batch = database.write(find_or_make, patience=0)
        if not is_same(batch):
            raise UsageError(
                f"{database.shown_url} already holds a {batch['kind']} named {name}, of another content: "
                "give this one another name, or resume that one as it was."
            )
        return Ledger(database, batch, lost_after)

    @staticmethod
    def open(url: str, name: str, lost_after: float = LOST_AFTER) -> "Ledger":
        """Open the batch of this name; UsageError lists the names there are."""
        database = Database(url)
        if database.file and not database.file.is_file():
            raise UsageError(f"There is no {database.file}: nothing named {name} was started there.")

        def find(connection: sa.Connection) -> tuple[sa.RowMapping | None, list[str]]:
            if not sa.inspect(connection).has_table(_batches.name):
                return None, []
            return _find(connection, name), list(
                connection.scalars(sa.select(_batches.c.name).order_by(_batches.c.name))
            )

        batch, names = database.read(find, patience=0)
        if batch is None:
            there = f"there are {', '.join(names)}" if names else "there is none"
            raise UsageError(f"{database.shown_url} holds nothing named {name}: {there}.")
        return Ledger(database, batch, lost_after)

    @property
    def cap(self) -> int | None:
        """The most jobs that there may be; None: as many as are drawn."""
        cap = sa.select(_batches.c.cap).where(_batches.c.id == self._batch)
        return self._checked(self._database.read(lambda connection: connection.scalar(cap)))

    def set_cap(self, cap: int | None) -> None:
        """Allow more jobs, or fewer; those that there are stay."""
        self._execute(sa.update(_batches).where(_batches.c.id == self._batch).values(cap=cap))

    def jobs(self) -> list[Job]:
        """Return all jobs, in the order of their numbers."""
        return self._database.read(self._read_all)

    def changes(self) -> Changes:
        """Read what has changed, and return all jobs that were read anew, by whoever it was, since this was last called.

        There may be one such caller.
        """
        self._database.read(self._read_changes)
        known = self._known
        numbers = []
        while known.fresh:  # others may add to it meanwhile, which is then told the next time at the latest
            numbers.append(known.fresh.pop())
        jobs = [known.read[number][1] for number in numbers]
        are_all, known.is_told = not known.is_told, True
        return Changes(jobs, are_all)

    def last_read(self, job: Job) -> Job:
        """Return a job as it was last read; itself where its row is gone. The database is not asked."""
        return self._known.read.get(job.number, ((), job))[1]

    def job(self, number: int) -> Job | None:
        """Return a job; None if there is no such row."""
        return self._database.read(lambda connection: self._read_one(connection, number))

    def add(self, specs: Sequence[JobSpec]) -> None:
        """Add jobs known at the start; those whose folder is in the ledger already are left as they are."""

        def add_new(connection: sa.Connection) -> None:
            self._lock(connection)
            jobs = self._read_all(connection)
            held = {job.folder for job in jobs}
            new = [spec for spec in specs if spec.folder not in held]
            for number, spec in enumerate(new, start=next_number(jobs)):
                self._insert(connection, number, spec)

        self._database.write(add_new)

    def reopen(self, numbers: Collection[int]) -> None:
        """Let jobs that ended run again, with all attempts left."""

        ended = (_jobs.c.number.in_(numbers), _jobs.c.state.notin_([State.waiting, State.running]))
        values = {"state": State.waiting, "attempts": 0, "owner": None, "reason": None, "band": None, "ended": None}
        self._execute(sa.update(_jobs).where(_jobs.c.batch == self._batch, *ended).values(values))

    def claim(self, owner: str, draw: Draw | None = None, folders: Collection[str] | None = None) -> Job | None:
        """Give an agent its next job, now running as its own; None if there is none to take.

        First the job that it holds already (an answer may have been lost: an agent has one job at a time); then one whose
        agent is dead, which is failed instead after three attempts; then the first that waits; then, while there are fewer
        than the cap, one that `draw` draws. It may take its time, while others go on, and is called again if another job was
        drawn meanwhile: inside the transaction where it was quick, so that of many agents each draws twice at most. With
        `folders`, only jobs of these folders are taken.
        """
        if draw is not None and self._last_draw <= _A_MOMENT:
            job, _ = self._database.write(partial(self._claim, owner, folders, draw, None))
            return job
        with self._drawing:
            return self._claim_slowly(owner, folders, draw)

    def beat(self, job: Job, owner: str) -> bool:
        """Record a heartbeat. If the job was reassigned meanwhile, the call returns False, and its process must end."""
        return self._write_own(job, owner, beat=self._database.now)

    def record(self, job: Job, owner: str, history: Sequence[tuple[int, float]]) -> bool:
        """Replace the job's history, whose values are finite; False if the job was reassigned."""
        return self._write_own(job, owner, beat=self._database.now, history=[list(report) for report in history])

    def finish(self, job: Job, owner: str, state: State, reason: str | None = None, band: int | None = None) -> bool:
        """Record how the job ended; False if it was reassigned.

        Args:
            job: The job.
            owner: The agent that reports it.
            state: Completed, stopped or failed.
            reason: Why it was stopped, failed or was completed before its last step.
            band: The band at which it was stopped.
        """
        return self._database.write(lambda connection: self._finish(connection, job, owner, state, reason, band))

    def finish_and_claim(
        self,
        job: Job,
        owner: str,
        state: State,
        reason: str | None = None,
        band: int | None = None,
        draw: Draw | None = None,
        folders: Collection[str] | None = None,
    ) -> tuple[Job, Job | None]:
        """Record how a job ended as `finish` does, and claim as `claim` does, in one transaction.

        What is drawn in a moment is drawn: how a job ended waits for no other draw, since nobody gives a sign of life for it meanwhile.

        Returns:
            The job as it stands now, which is another's where it was reassigned; and the owner's next job, or None where `claim` is to be
            asked.
        """
        quick = draw if self._last_draw <= _A_MOMENT else None

        def both(connection: sa.Connection) -> tuple[Job, Job | None]:
            self._lock(connection)  # before any of its rows, as all claims do
            self._finish(connection, job, owner, state, reason, band)
            taken, _ = self._claim(owner, folders, quick, None, connection)
            return self._read_one(connection, job.number) or job, taken

        return self._database.write(both)

    def release(self, owner: str, patience: float = PATIENCE) -> None:
        """Give back the job that an owner holds, after a clean interrupt: it waits again, and the attempt does not count."""
        held = (_jobs.c.owner == owner, _jobs.c.state == State.running)
        values = {"state": State.waiting, "owner": None, "attempts": _jobs.c.attempts - 1}
        self._execute(sa.update(_jobs).where(_jobs.c.batch == self._batch, *held).values(values), patience)

    def lose(self, owner: str) -> None:
        """Forget the heartbeat of an owner that somebody saw die: its job is reassigned at the next claim, not after a minute."""
        held = (_jobs.c.owner == owner, _jobs.c.state == State.running)
        self._execute(sa.update(_jobs).where(_jobs.c.batch == self._batch, *held).values(beat=None))

    def _claim_slowly(self, owner: str, folders: Collection[str] | None, draw: Draw | None) -> Job | None:
        """Claim, and draw outside of the transaction."""
        inside: Draw | None = None
        drawn: _Drawn | None = None
        while True:
            job, jobs = self._database.write(partial(self._claim, owner, folders, inside, drawn))
            if job is not None or draw is None or jobs is None:
                return job
            spec = self._draw(draw, jobs)
            if spec is None:
                return None
            drawn = _Drawn(spec, next_number(jobs))
            inside = draw if self._last_draw < _SECONDS_INSIDE else None

    def _draw(self, draw: Draw, jobs: list[Job]) -> JobSpec | None:
        began = time.monotonic()
        spec = draw(jobs)
        self._last_draw = time.monotonic() - began
        return spec

    def _claim(
        self,
        owner: str,
        folders: Collection[str] | None,
        draw: Draw | None,
        drawn: "_Drawn | None",
        connection: sa.Connection,
    ) -> tuple[Job | None, list[Job] | None]:
        """Return the job that the owner has now, if any, else all jobs where a new one may be drawn from them.

        `draw` draws inside the transaction, unless `drawn` is the next.
        """
        cap = self._lock(connection)
        everything = self._read_all(connection)
        underway = [job for job in everything if job.state in _UNDERWAY and (folders is None or job.folder in folders)]
        running = [job for job in underway if job.state is State.running]
        if held := next((job for job in running if job.owner == owner), None):
            return held, None
        for job in self._lost(connection, running):
            if job.attempts >= MOST_ATTEMPTS:
                self._update(connection, job, state=State.failed, reason=_DIED, ended=self._database.now)
                everything = self._read_all(connection)
            elif taken := self._take(connection, job, owner):
                return taken, None
        if waiting := next((job for job in underway if job.state is State.waiting), None):
            return self._take(connection, waiting, owner), None
        if cap is not None and len(everything) >= cap:
            return None, None
        number = next_number(everything)
        if drawn is not None and drawn.number == number:
            spec: JobSpec | None = drawn.spec
        elif draw is not None:
            spec = self._draw(draw, everything)
        else:
            return None, everything
        return self._take(connection, self._insert(connection, number, spec), owner) if spec else None, None

    def _lost(self, connection: sa.Connection, running: Sequence[Job]) -> list[Job]:
        """Return those running jobs whose agents are dead, as seen by their processes or, from elsewhere, by their heartbeats.

        An agent that sleeps, as in a laptop that was closed, has an old heartbeat and lives: a process that is seen to live
        has let the job go only if its heartbeat stood still while this process was awake beside it. After an outage of the
        database every heartbeat is old, so that they count again only when there was time for new ones.
        """
        now = connection.execute(sa.select(self._database.now)).scalar_one()
        beats_count = time.monotonic() - self._database.last_trouble > self.lost_after

        def is_dead(job: Job) -> bool:
            alive, stood_still = owners.is_alive(job.owner or ""), self._seconds_without_a_beat(job)
            if alive is False:
                return True
            # a heartbeat of the future is none: the clock was set back, or nobody wrote it
            is_old = beats_count and abs(now - (job.beat or 0)) > self.lost_after
            return is_old and (alive is None or stood_still > self.lost_after)

        return [job for job in running if is_dead(job)]

    def _seconds_without_a_beat(self, job: Job) -> float:
        """Return for how long this process, while it was awake, has seen no other owner or heartbeat of a job."""
        sign, now = (job.owner, job.beat), time.monotonic()
        if self._seen.get(job.number, (None, now))[0] != sign:
            self._seen[job.number] = (sign, now)
        return now - self._seen[job.number][1]

    def _take(self, connection: sa.Connection, job: Job, owner: str) -> Job | None:
        """Make a job the owner's own; None if its agent gave a sign of life in this moment."""
        now = self._database.now
        started = sa.func.coalesce(_jobs.c.started, now)
        own = {"state": State.running, "owner": owner, "attempts": job.attempts + 1, "beat": now, "started": started}
        return self._read_one(connection, job.number) if self._update(connection, job, **own) else None

    def _lock(self, connection: sa.Connection) -> int | None:
        """Lock the batch for the rest of the transaction, and return its cap."""
        return self._checked(_lock(connection, self._batch))

    def _checked(self, cap: Any) -> int | None:
        if cap is None or type(cap) is int:
            return cap
        raise RunError(f"{self._database.shown_url}: of {self.name}, the cap is damaged: {cap!r} is no number.")

    def _update(self, connection: sa.Connection, job: Job, **values: Any) -> bool:
        """Change a job, provided that nobody has changed it since it was read; False otherwise."""
        where = (
            _jobs.c.batch == self._batch,
            _jobs.c.number == job.number,
            _jobs.c.state == job.state,
            _jobs.c.owner.is_not_distinct_from(job.owner),
            _jobs.c.beat.is_not_distinct_from(job.beat),
        )
        return connection.execute(sa.update(_jobs).where(*where).values(values)).rowcount == 1

    def _finish(
        self, connection: sa.Connection, job: Job, owner: str, state: State, reason: str | None, band: int | None
    ) -> bool:
        ended = {"state": state, "reason": reason, "band": band, "ended": self._database.now}
        return connection.execute(self._own(job, owner).values(ended)).rowcount == 1

    def _write_own(self, job: Job, owner: str, **values: Any) -> bool:
        return self._execute(self._own(job, owner).values(values)) == 1

    def _own(self, job: Job, owner: str) -> sa.Update:
        """Return a change of a job that is made only while it is the owner's own."""
        own = (_jobs.c.number == job.number, _jobs.c.owner == owner, _jobs.c.state == State.running)
        return sa.update(_jobs).where(_jobs.c.batch == self._batch, *own)

    def _execute(self, change: sa.Update, patience: float = PATIENCE) -> int:
        """Change rows in a transaction of its own, and return how many."""
        return self._database.write(lambda connection: connection.execute(change).rowcount, patience)

    def _read_all(self, connection: sa.Connection) -> list[Job]:
        """Return all jobs."""
        self._read_changes(connection)
        return [job for _, job in tuple(self._known.read.values())]

    def _read_changes(self, connection: sa.Connection) -> None:
        """Read all jobs anew that may have changed. One that ended has not: nothing changes it but `reopen`, after which it has not ended.

        Read are the rows that have not ended or did so since, those known that are no longer among them, and how many rows
        there are. Where this is another number than is known, all are read, and so they are where one is damaged.
        """
        known = self._known
        if not known.is_whole or known.refuses is not self.refuses:
            known = _Known(self.refuses)
        not_ended, ended_since = _jobs.c.ended.is_(None), _jobs.c.ended > known.last_end
        if len(known.underway) <= _FEW:
            changing = self._rows(connection, sa.or_(not_ended, ended_since))
            missed = known.underway.keys() - {row["number"] for row in changing}
        else:
            signs = connection.execute(sa.select(*_signs).where(_jobs.c.batch == self._batch, not_ended)).all()
            changing = self._rows(connection, ended_since)
            missed = known.underway.keys() - {number for number, *_ in signs} - {row["number"] for row in changing}
            missed |= {number for number, *sign in signs if known.underway.get(number) != sign}
        known.keep(changing)
        if missed:
            known.keep(self._rows(connection, _jobs.c.number.in_(missed)))
        number = sa.select(sa.func.count()).where(_jobs.c.batch == self._batch)
        if connection.scalar(number) != len(known.read):
            known = _Known(self.refuses)
            known.keep(self._rows(connection))
        self._known = known

    def _read_one(self, connection: sa.Connection, number: int) -> Job | None:
        """Return a job; None if there is no such row."""
        rows = self._rows(connection, _jobs.c.number == number)
        return self._known.job(rows[0], 0) if rows else None

    def _rows(self, connection: sa.Connection, *where: sa.ColumnElement[bool]) -> Sequence[sa.RowMapping]:
        query = sa.select(*_columns).where(_jobs.c.batch == self._batch, *where).order_by(_jobs.c.number)
        return connection.execute(query).mappings().all()

    def _insert(self, connection: sa.Connection, number: int, spec: JobSpec) -> Job:
        values = {"overrides": list(spec.overrides), "parameters": dict(spec.parameters), "folder": spec.folder}
        start = {"batch": self._batch, "number": number, "state": State.waiting, "attempts": 0, "history": []}
        connection.execute(sa.insert(_jobs).values(**values, **start))
        inserted = self._read_one(connection, number)
        assert inserted is not None
        return inserted


class _Known:
    """The jobs of a ledger as they were last read. Several threads may read at once: what one of them adds holds for all."""

    def __init__(self, refuses: Callable[[Job], str | None]) -> None:
        self.refuses = refuses  # `Ledger.refuses` when they were read
        self.read: dict[
            Any, tuple[tuple[Any, ...], Job]
        ] = {}  # by number: a job's row, its heartbeat at the end, and the job
        self.underway: dict[Any, list[Any]] = {}  # by number: the signs of those that wait or run
        self.fresh: set[Any] = set()  # the numbers of those that were read and not told of
        self.is_told = False  # whether anybody was told of them
        self.last_end = -math.inf
        self.is_whole = True  # whether no row was damaged

    def keep(self, rows: Sequence[sa.RowMapping]) -> None:
        """Read rows, or what has changed of them."""
        for index, row in enumerate(rows):
            job = self.job(row, index)
            if job is not self.read.get(row["number"], (None, None))[1]:
                self.read[row["number"]] = (tuple(row.values()), job)
                self.fresh.add(row["number"])
            if job.state in _UNDERWAY:
                self.underway[job.number] = [row["attempts"], row["beat"], len(row["history"])]
            else:
                self.underway.pop(job.number, None)
                self.last_end = max(self.last_end, job.ended or self.last_end)
            self.is_whole = self.is_whole and not job.damaged

    def job(self, row: sa.RowMapping, index: int) -> Job:
        """Return the job of a row: the one that is known, if it was read from the same."""
        row_now = tuple(row.values())
        row_before, job = self.read.get(row["number"], ((), None))
        if job is None or job.damaged or row_before[:-1] != row_now[:-1]:
            return self._read(row, index)
        if row_before == row_now:
            return job
        # a heartbeat alone, as most that changes is
        beat = row["beat"]
        return replace(job, beat=beat) if isinstance(beat, float) and math.isfinite(beat) else self._read(row, index)

    def _read(self, row: sa.RowMapping, index: int) -> Job:
        """Return the job of a row, or of one that is damaged, or that the batch's owner refuses, a failed one."""
        try:
            values = read_row(dict(row))
            if values["state"] not in list(State):
                raise DamagedRow(f"{values['state']!r} is no state of a job")
            job = Job(**{**values, "state": State(values["state"])})
            reason = self.refuses(job)
        except DamagedRow as problem:
            job, reason = None, str(problem)
        if job is not None and reason is None:
            return job
        number = row["number"] if type(row["number"]) is int else -1 - index  # no job has it
        folder = row["folder"] if is_plain_name(row["folder"]) else f"damaged-{number}"
        return Job(
            number, (), {}, folder, State.failed, reason=f"its row in the ledger is damaged: {reason}", damaged=True
        )


@dataclass(frozen=True)
class _Drawn:
    """A job that was drawn, and the number that it gets if no other was inserted meanwhile."""

    spec: JobSpec
    number: int


_DIED = f"its agent died {MOST_ATTEMPTS} times"


def _find(connection: sa.Connection, name: str) -> sa.RowMapping | None:
    return connection.execute(sa.select(_batches).where(_batches.c.name == name)).mappings().one_or_none()


def _is_empty(connection: sa.Connection, batch: int) -> bool:
    """Whether a batch has no job, nor gets one before this transaction ends."""
    _lock(connection, batch)
    return connection.scalar(sa.select(sa.func.count()).where(_jobs.c.batch == batch)) == 0


def _lock(connection: sa.Connection, batch: int) -> Any:
    """Lock a batch for the rest of the transaction (in SQLite it is locked already), and return its cap as it stands there."""
    return connection.execute(sa.select(_batches.c.cap).where(_batches.c.id == batch).with_for_update()).scalar_one()


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"The folder {folder} can't be made: {error.strerror}.") from error
