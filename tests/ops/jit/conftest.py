import pytest

from tests.ops.jit.fakes import Workshop


@pytest.fixture
def workshop(tmp_path, monkeypatch):
    return Workshop(tmp_path, monkeypatch)
