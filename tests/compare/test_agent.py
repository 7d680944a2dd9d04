"""The process of an agent; several that share the runs of a comparison are in test_runner.py."""

from pathlib import Path

import pytest

from dcnrun.compare.agent import agent_command, main
from dcnrun.errors import UsageError
from dcnrun.jobs.database import STORAGE, sqlite_url
from dcnrun.jobs.ledger import Ledger


def test_an_agent_takes_the_runs_of_its_ledger_and_the_url_is_in_its_environment(tmp_path, monkeypatch):
    url = sqlite_url(tmp_path / "ledger.db")
    ledger = Ledger.create(url, "compare-a", kind="grid", text="a", folder=str(tmp_path), cap=None)
    overrides = ["conv=standard", f"runs_dir={tmp_path / 'runs'}"]
    command = agent_command(ledger, tmp_path / "out", None, overrides, ["fake", "dcnrun"])
    assert not any(str(tmp_path / "ledger.db") in word for word in command)
    (tmp_path / "out").mkdir()
    monkeypatch.setenv(STORAGE, url)
    main(command[3:])  # nothing waits
    monkeypatch.setenv(STORAGE, sqlite_url(Path(tmp_path, "none.db")))
    with pytest.raises(UsageError, match="nothing named compare-a was started there"):
        main(command[3:])
