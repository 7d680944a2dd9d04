"""Runs that the tests of this folder share."""

import pytest

from dcnrun.visualize.measures import measure_run
from tests.training.factories import TINY_DETECTOR
from tests.visualize.factories import FINE, THRESHOLDS, trained


@pytest.fixture(scope="session")
def modulated(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("runs") / "modulated", "conv=modulated", "conv.offset_groups=2")


@pytest.fixture(scope="session")
def standard(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("runs") / "standard", "conv=standard")


@pytest.fixture(scope="session")
def detector(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "detector"
    return trained(folder, "conv=deformable", "model.roi_pool=modulated", base=TINY_DETECTOR)


@pytest.fixture(scope="session")
def fine(tmp_path_factory):
    """A run with more filters to measure."""
    folder = tmp_path_factory.mktemp("runs") / "fine"
    return trained(folder, *FINE, "conv=modulated", "conv.offset_groups=2")


@pytest.fixture(scope="session")
def measures(fine):
    return measure_run(fine, thresholds=THRESHOLDS)
