"""Runs that the tests of this folder share, and none changes."""

import pytest

from tests.predict.factories import MASK_RCNN, saved_run
from tests.training.factories import TINY_DETECTOR


@pytest.fixture(scope="session")
def segmenter(tmp_path_factory):
    return saved_run(tmp_path_factory.mktemp("runs") / "segmenter", "conv=deformable")


@pytest.fixture(scope="session")
def detector(tmp_path_factory):
    return saved_run(tmp_path_factory.mktemp("runs") / "detector", base=TINY_DETECTOR)


@pytest.fixture(scope="session")
def instances(tmp_path_factory):
    return saved_run(tmp_path_factory.mktemp("runs") / "instances", base=MASK_RCNN)
