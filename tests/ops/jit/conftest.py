import pytest

from tests.ops.jit.fakes import Sandbox


@pytest.fixture
def sandbox(tmp_path, monkeypatch):
    made = Sandbox(tmp_path, monkeypatch)
    yield made
    made.forget()
