import pytest

from tests.sweep.factories import Sweeps


@pytest.fixture
def sweeps(tmp_path):
    """A folder in which whole sweeps run with fake trials."""
    return Sweeps(tmp_path)
