"""Where a ledger may be."""

import pytest

from dcnrun.jobs import database
from dcnrun.jobs.database import sqlite_url
from dcnrun.jobs.ledger import Ledger


@pytest.fixture(params=["sqlite", "postgresql"])
def storage(request, tmp_path):
    """The URL of an empty database, of each kind."""
    if request.param == "sqlite":
        return sqlite_url(tmp_path / "ledger.db")
    return request.getfixturevalue("postgres").new_database()


@pytest.fixture
def ledger(storage, tmp_path):
    """A ledger of at most 5 jobs."""
    return Ledger.create(storage, "first", "sweep", "its text", str(tmp_path / "runs"), cap=5)


@pytest.fixture
def impatience(monkeypatch):
    """A database that is away is asked again at once."""
    monkeypatch.setattr(database, "_SECONDS_BETWEEN_TRIES", 0.02)
