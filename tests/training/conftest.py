"""Fixtures of the training tests."""

import pytest

from tests.training.running import TINY, TINY_DETECTOR


@pytest.fixture
def tiny(tmp_path):
    return [*TINY, f"runs_dir={tmp_path / 'runs'}"]


@pytest.fixture
def tiny_detector(tmp_path):
    return [*TINY_DETECTOR, f"runs_dir={tmp_path / 'runs'}"]
