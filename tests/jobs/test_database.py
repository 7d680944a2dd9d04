import re
import signal
import sqlite3
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from dcnrun.errors import RunError, UsageError
from dcnrun.jobs import database
from dcnrun.jobs.database import STORAGE, sqlite_url, storage_url
from dcnrun.jobs.ledger import Ledger
from dcnrun.jobs.process import sigterm_as_interrupt
from tests.jobs.factories import draw
from tests.postgres import PASSWORD


def test_a_server_that_is_started_again_is_waited_for(postgres, impatience):
    ledger = Ledger.create(postgres.new_database(), "first", "sweep", "", "", cap=2, lost_after=0.5)
    job = ledger.claim("a", draw)
    postgres.stop()
    thread = threading.Timer(0.5, postgres.start)
    thread.start()
    try:
        assert ledger.beat(job, "a")
    finally:
        thread.join()
    assert ledger._database.last_trouble > float("-inf")


def test_a_file_that_is_called_locked_at_once_is_tried_again(tmp_path, impatience, monkeypatch):
    """As SQLite does it, whatever its timeout, while what a killed process began to write is undone."""
    file = tmp_path / "ledger.db"
    Ledger.create(sqlite_url(file), "first", "sweep", "", "", cap=None)
    monkeypatch.setattr(database, "_SECONDS_FOR_A_LOCK", 0)
    other = sqlite3.connect(file, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN EXCLUSIVE")
    thread = threading.Timer(0.3, other.rollback)
    thread.start()
    try:
        assert Ledger.open(sqlite_url(file), "first").jobs() == []
    finally:
        thread.join()
        other.close()


def test_a_full_disk_is_said_once_while_it_is_waited_for(tmp_path, impatience, monkeypatch, capsys):
    monkeypatch.setattr(database, "_SECONDS_UNSAID", 0)
    store = database.Database(sqlite_url(tmp_path / "ledger.db"))
    store.write(lambda connection: connection.exec_driver_sql("CREATE TABLE texts (text)"))
    tries = []

    def write(connection):
        tries.append(connection)
        if len(tries) < 4:
            connection.exec_driver_sql("PRAGMA max_page_count = 1")  # that is: no more than there are
        connection.exec_driver_sql("INSERT INTO texts VALUES (?)", (10_000 * "x",))

    store.write(write)
    assert len(tries) == 4
    (said,) = capsys.readouterr().out.splitlines()
    assert said.endswith("ledger.db can't be used: database or disk is full. Trying again for 10 min 0 s.")


def test_threads_that_write_at_once_share_a_transaction_and_fail_alone(tmp_path, monkeypatch):
    store = database.Database(sqlite_url(tmp_path / "ledger.db"))
    store.write(lambda connection: connection.exec_driver_sql("CREATE TABLE numbers (number INTEGER UNIQUE)"))
    commits, is_first_in, go_on = [], threading.Event(), threading.Event()
    whole = database.Database._in_transaction

    def counted(self, action, begin):
        result = whole(self, action, begin)
        commits.append(result)
        return result

    def insert(number):
        def action(connection):
            if number == 0:
                is_first_in.set()
                go_on.wait(30)
            return connection.exec_driver_sql(f"INSERT INTO numbers VALUES ({number})").rowcount and number

        return lambda: store.write(action)

    monkeypatch.setattr(database.Database, "_in_transaction", counted)
    with ThreadPoolExecutor(8) as threads:
        calls = [threads.submit(insert(0))]
        is_first_in.wait(30)
        calls += [threads.submit(insert(number)) for number in (1, 2, 3, 4)]
        while len(store._waiting) < 4:
            time.sleep(0.01)
        go_on.set()
        assert [call.result(30) for call in calls] == [0, 1, 2, 3, 4]
        assert sorted(map(len, commits)) == [1, 4]
        again = [threads.submit(insert(number)) for number in (0, 5, 5, 6)]
        outcomes = [again[0].exception(30), *sorted(str(call.exception(30))[:4] for call in again[1:])]
    assert isinstance(outcomes[0], RunError)
    assert [outcome[:3] for outcome in outcomes[1:]] == ["Non", "Non", "The"], "one of the two that write a 5 fails"
    assert store.read(
        lambda connection: connection.exec_driver_sql("SELECT max(number), count(*) FROM numbers").one()
    ) == (6, 7)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_waits_for_the_end_of_a_transaction_in_a_file(tmp_path, number):
    store = database.Database(sqlite_url(tmp_path / "ledger.db"))
    store.write(lambda connection: connection.exec_driver_sql("CREATE TABLE numbers (number INTEGER)"))

    def write(connection):
        connection.exec_driver_sql("INSERT INTO numbers VALUES (1)")
        signal.raise_signal(number)
        connection.exec_driver_sql("INSERT INTO numbers VALUES (2)")

    with sigterm_as_interrupt():
        handlers = [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)]
        with pytest.raises(KeyboardInterrupt):
            store.write(write)
        assert [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)] == handlers
    assert store.read(lambda connection: connection.exec_driver_sql("SELECT number FROM numbers").all()) == [(1,), (2,)]


def test_a_database_that_stays_away_is_an_error_without_the_password(postgres, impatience):
    url = postgres.new_database()
    ledger = Ledger.create(url, "first", "sweep", "", "", cap=None)
    postgres.stop()
    messages = []
    for fail in (lambda: Ledger.open(url, "first"), lambda: ledger._database.read(ledger._read_all, patience=0.1)):
        with pytest.raises(
            RunError, match=r"postgresql://\*\*\*@127\.0\.0\.1:\d+/test\d+ can't be used: .*refused"
        ) as error:
            fail()
        messages.append(str(error.value))
        assert error.value.__suppress_context__
    postgres.start()
    server = url.partition("@")[2]
    in_other_places = [
        f"postgresql://{PASSWORD}@{server}",  # where the user belongs
        f"postgresql://{PASSWORD}:@{server}",
        f"postgresql://{server}?user=tester&password={PASSWORD}2",
        f"postgresql://{server}?user={PASSWORD}&password=x",
    ]
    for wrong in (
        *(url.replace(PASSWORD, f"{PASSWORD}2"), url.replace("tester:", "other:"), f"{url}x"),
        *in_other_places,
    ):
        with pytest.raises(RunError, match="can't be used") as error:
            Ledger.open(wrong, "first")
        messages.append(str(error.value))
    for nonsense in (
        f"mysql://u:{PASSWORD}@h/d",
        f"postgresql://u:{PASSWORD}@h:p/d",
        f"postgresql://u:{PASSWORD}@h/d?host=a:b:c&host=d&port=1",
        f"sqlite://u:{PASSWORD}@h/d",
        f"sqlite:///d?timeout={PASSWORD}",
        PASSWORD,
        "sqlite://",
        "sqlite:///:memory:",
    ):
        with pytest.raises(
            UsageError, match=r"give sqlite:///FILE or postgresql://USER:PASSWORD@HOST/DATABASE"
        ) as error:
            Ledger.open(nonsense, "first")
        messages.append(str(error.value))
    assert not [message for message in messages if PASSWORD in message]


@pytest.mark.parametrize("password", ["p@ss-word", "p@ss/word", "pass?w@rd", "p@ss:word"])
def test_an_at_in_a_password_is_to_be_escaped(password):
    with pytest.raises(UsageError, match=r"--storage .*%40 for one|--storage is no URL of a database") as error:
        Ledger.open(f"postgresql://me:{password}@h/d", "first")
    assert not {"ss", "word", "w@rd", "pass", "rd"} & {*re.split(r"\W+", str(error.value))}


def test_a_host_of_sqlite_is_a_usage_error():
    with pytest.raises(
        UsageError, match=r"^--storage sqlite://host/a\.db is no file: a path follows sqlite:///, with no"
    ):
        Ledger.open("sqlite://host/a.db", "first")


def test_a_damaged_file_is_an_error_at_once(tmp_path):
    file = tmp_path / "ledger.db"
    file.write_text("not a database, but long enough to be taken for one " * 100)
    with pytest.raises(RunError, match=r"ledger\.db can't be used: file is not a database"):
        Ledger.open(sqlite_url(file), "first")


def test_without_its_driver_postgresql_is_a_usage_error(monkeypatch):
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(UsageError, match=r"pip install 'dcnrun\[postgres\]'"):
        Ledger.open("postgres://u@h/d", "first")


def test_the_url_is_the_options_or_the_environments(monkeypatch):
    monkeypatch.delenv(STORAGE, raising=False)
    assert storage_url(None) is None
    monkeypatch.setenv(STORAGE, "sqlite:///a")
    assert storage_url(None) == "sqlite:///a"
    assert storage_url("sqlite:///b") == "sqlite:///b"
