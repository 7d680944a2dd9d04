"""The database that a ledger is in: a SQLite file, or PostgreSQL for agents on several machines."""

import os
import signal
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar

from sqlalchemy import URL, ColumnElement, Connection, Double, Engine, create_engine, event, literal_column, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, InterfaceError, OperationalError
from sqlalchemy.pool import NullPool

from dcnrun.console import console, in_words
from dcnrun.errors import RunError, UsageError
from dcnrun.masking import masked, masked_words

STORAGE = "DCNRUN_STORAGE"
"""The environment variable that holds the URL where --storage does not; it may hold a password."""
PATIENCE = 600.0  # seconds for which a call is repeated while a database is away: a server may be restarted, or moved
_SECONDS_BETWEEN_TRIES = 1.0
_SECONDS_UNSAID = 5.0
"""While a database is away for no longer, nobody is told."""
_SECONDS_FOR_A_LOCK = 60.0
_SECONDS_FOR_A_JOURNAL = 10.0
"""While what a killed process began to write is undone, SQLite calls its file locked at once, whatever the time for a lock."""
_TRANSIENT_IN_SQLITE = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_FULL}
_URLS = "sqlite:///FILE or postgresql://USER:PASSWORD@HOST/DATABASE"

T = TypeVar("T")


class Database:
    """Runs transactions, repeated while the database is away, and knows the database's own clock.

    Each transaction has a connection of its own: a restarted server is no special case, a forked process inherits none,
    and a hundred waiting agents hold none. SQLite keeps its rollback journal: a write-ahead log is quicker for many
    writers, but needs memory that the processes share, which network file systems lack, and here each agent writes a
    few rows in five seconds.
    """

    def __init__(self, url: str) -> None:
        """Raise UsageError for a URL of another kind of database, or without the driver for it."""
        self._url = _parsed(url)
        self._shown = masked(url)
        self._engine = _create_engine(self._url)
        self._is_sqlite = self._url.get_backend_name() == "sqlite"
        self.last_trouble = float("-inf")  # when the database last could not be reached, by time.monotonic()
        self._waiting: list[_Write] = []
        self._is_writing = False
        self._turn = threading.Condition()

    @property
    def file(self) -> Path | None:
        """The file of a SQLite database."""
        return Path(str(self._url.database)) if self._is_sqlite else None

    @property
    def shown_url(self) -> str:
        """The URL for messages: the file, or the server without user, password and options."""
        return str(self.file) if self.file else self._shown

    @property
    def now(self) -> ColumnElement[float]:
        """Seconds since 1970 by the database's clock, at the moment when the statement runs."""
        if self._is_sqlite:
            return literal_column("((julianday('now') - 2440587.5) * 86400.0)", Double)
        return literal_column("CAST(EXTRACT(EPOCH FROM clock_timestamp()) AS DOUBLE PRECISION)", Double)

    def read(self, action: Callable[[Connection], T], patience: float = PATIENCE) -> T:
        """Return what `action` reads in one statement."""
        return self._with_retries(lambda: self._in_transaction(action, None), patience)

    def write(self, action: Callable[[Connection], T], patience: float = PATIENCE) -> T:
        """Run `action` in one transaction and return its result: all of it is written, or nothing.

        It is repeated after a transient error, even one at the commit, after which it may have been written already: it
        must mean the same the second time. RunError after `patience` seconds of such errors, and at once after others.

        What other threads of this process write meanwhile waits, and then shares a transaction: the disk is waited for once.
        """
        write, mine = _Write(action, patience), list[_Write]()
        try:
            with self._turn:
                self._waiting.append(write)
                self._turn.wait_for(lambda: write.is_done or not self._is_writing)
                if not write.is_done:
                    mine, self._waiting, self._is_writing = self._waiting, [], True
            if mine:
                self._write_together(mine)
        finally:
            if mine:
                with self._turn:
                    # after an interrupt here those of other threads are still to be written
                    self._waiting += [other for other in mine if other is not write and not other.is_done]
                    self._is_writing = False
                    self._turn.notify_all()
        if write.error is not None:
            raise write.error
        result: T = write.result
        return result

    def lock_for_setup(self, connection: Connection) -> None:
        """Serialize the creation of tables; SQLite's transactions do so anyway."""
        if not self._is_sqlite:
            connection.exec_driver_sql("SELECT pg_advisory_xact_lock(hashtext('dcnrun tables'))")

    def _write_together(self, writes: "Sequence[_Write]") -> None:
        """Run writes in one transaction, or each by itself if one fails, for it is to fail alone."""
        # A machine that vanishes inside a transaction must not hold its locks until the network times out.
        begin = "BEGIN IMMEDIATE" if self._is_sqlite else "SET LOCAL idle_in_transaction_session_timeout = '120s'"

        def run_all(connection: Connection) -> list[Any]:
            return [write.action(connection) for write in writes]

        try:
            patience = min(write.patience for write in writes)
            results = self._with_retries(lambda: self._in_transaction(run_all, begin), patience)
        except Exception as error:
            if len(writes) > 1:
                for write in writes:
                    self._write_together([write])
            else:
                writes[0].error, writes[0].is_done = error, True
        else:
            for write, result in zip(writes, results, strict=True):
                write.result, write.is_done = result, True

    def _in_transaction(self, action: Callable[[Connection], T], begin: str | None) -> T:
        with _interrupts_wait() if self._is_sqlite else nullcontext(), self._engine.begin() as connection:
            if begin:
                connection.exec_driver_sql(begin)
            return action(connection)

    def _with_retries(self, action: Callable[[], T], patience: float) -> T:
        began, is_said = time.monotonic(), False
        while True:
            try:
                return action()
            except DBAPIError as error:
                self.last_trouble = time.monotonic()
                enough = max(patience, _SECONDS_FOR_A_JOURNAL) if _is_locked(error) else patience
                waited = self.last_trouble - began
                if not _is_transient(error) or waited >= enough:
                    raise RunError(self._message(error)) from None
                if waited >= _SECONDS_UNSAID and not is_said:
                    is_said = True
                    console.print(
                        f"{self._message(error)}. Trying again for {in_words(enough)}.", markup=False, soft_wrap=True
                    )
            time.sleep(_SECONDS_BETWEEN_TRIES)

    def _message(self, error: DBAPIError) -> str:
        """The database's own message, without user and password: what stands as the user may be the password."""
        options = (str(value) for name, value in self._url.query.items() if "pass" in name or name == "user")
        said = masked_words(" ".join(str(error.orig).split()), self._url.username, self._url.password, *options)
        return f"The database {self.shown_url} can't be used: {said}"


@dataclass(eq=False)
class _Write:
    """What a thread wants written."""

    action: Callable[[Connection], Any]
    patience: float
    is_done: bool = False
    result: Any = None
    error: Exception | None = None


def storage_url(option: str | None) -> str | None:
    """Return the URL given by --storage, or else by $DCNRUN_STORAGE."""
    return option or os.environ.get(STORAGE) or None


def sqlite_url(file: Path) -> str:
    """Return the URL of a SQLite file."""
    return URL.create("sqlite", database=str(file.absolute())).render_as_string()


def _parsed(text: str) -> URL:
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):  # whose messages may hold the password
        raise UsageError(f"--storage is no URL of a database: give {_URLS}.") from None
    kind = url.get_backend_name()
    if kind in ("postgresql", "postgres"):
        if text.count("@") > 1:
            raise UsageError(f"--storage {masked(text)} has more than one @: write %40 for one that is part of a name.")
        return url.set(drivername="postgresql+psycopg")
    if kind != "sqlite":
        raise UsageError(f"--storage can't be {kind}: give {_URLS}.")
    if url.host or url.username or url.password or url.port or url.query or url.database in (None, "", ":memory:"):
        raise UsageError(f"--storage {masked(text)} is no file: a path follows sqlite:///, with no host; give {_URLS}.")
    return url.set(drivername="sqlite")


def _create_engine(url: URL) -> Engine:
    if url.get_backend_name() == "sqlite":
        # isolation_level None: no transactions but those begun here
        settings = {"timeout": _SECONDS_FOR_A_LOCK, "isolation_level": None}
        engine = create_engine(url, poolclass=NullPool, connect_args=settings)
        event.listen(engine, "connect", _read_any_text)
        return engine
    timeouts = {"connect_timeout": 10, "tcp_user_timeout": 20_000}
    try:
        engine = create_engine(url, poolclass=NullPool, isolation_level="READ COMMITTED", connect_args=timeouts)
        engine.dialect.create_connect_args(url)
    except ImportError:
        raise UsageError("--storage postgresql://... needs a driver: pip install 'dcnrun[postgres]'.") from None
    except (ArgumentError, ValueError):  # whose messages may hold the password
        raise UsageError(f"--storage has options that a URL of PostgreSQL can't have: give {_URLS}.") from None
    return engine


def _read_any_text(connection: sqlite3.Connection, _: object) -> None:
    """Have SQLite give text that is no UTF-8, as something else may have written it, instead of an error of all rows."""
    connection.text_factory = lambda data: data.decode(errors="replace")


@contextmanager
def _interrupts_wait() -> Iterator[None]:
    """Have SIGINT and SIGTERM wait until a transaction is over, in the main thread, where they become exceptions.

    One within it could leave its connection open, with a lock that this process then waits for itself, and all others with it.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    waiting: list[int] = []

    def wait(number: int, _: FrameType | None) -> None:
        waiting.append(number)

    on_interrupt, on_termination = (signal.signal(number, wait) for number in (signal.SIGINT, signal.SIGTERM))
    try:
        yield
    finally:
        try:
            signal.signal(signal.SIGINT, on_interrupt or signal.SIG_DFL)
        finally:
            signal.signal(signal.SIGTERM, on_termination or signal.SIG_DFL)
        for number in waiting:
            signal.raise_signal(number)


def _is_locked(error: DBAPIError) -> bool:
    return getattr(error.orig, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY


def _is_transient(error: DBAPIError) -> bool:
    """Whether a repetition may help: a lock, a lost connection, a server that starts."""
    if isinstance(error.orig, sqlite3.Error):
        return getattr(error.orig, "sqlite_errorcode", 0) & 0xFF in _TRANSIENT_IN_SQLITE
    return isinstance(error, OperationalError | InterfaceError) or error.connection_invalidated
