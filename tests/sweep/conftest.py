import pytest

from dcnrun.sweep.report import write
from tests.sweep.factories import Sweeps


@pytest.fixture
def sweeps(tmp_path, monkeypatch):
    """A folder in which whole sweeps run with fake trials, and their reports have no figures, which take seconds."""
    monkeypatch.setattr(write, "write_figures", lambda *_: {})
    return Sweeps(tmp_path)
