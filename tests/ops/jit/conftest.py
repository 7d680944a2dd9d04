import pytest

from tests.ops.jit.fakes import Sandbox


@pytest.fixture
def sandbox(tmp_path, monkeypatch):
    return Sandbox(tmp_path, monkeypatch)
