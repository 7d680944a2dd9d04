"""The page that is tested."""

import pytest

from tests.visualize.viewer.factories import two_runs, written


@pytest.fixture(scope="session")
def page(tmp_path_factory):
    """Two runs of three layers, with 2 and 1 offset groups, on a grey image of 128 x 128."""
    return written(tmp_path_factory.mktemp("page"), two_runs())
