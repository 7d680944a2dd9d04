"""Fixtures of the training tests."""

import pytest

from tests.training.running import TINY


@pytest.fixture
def tiny(tmp_path):
    return [*TINY, f"runs_dir={tmp_path / 'runs'}"]
