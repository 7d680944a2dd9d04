"""Fixtures of the training tests."""

import shutil

import pytest

from dcnrun.config.compose import compose
from dcnrun.runs import RunFolder
from dcnrun.training.run import train
from tests.training.factories import TINY, TINY_DETECTOR
from tests.training.fakes import Forked


@pytest.fixture
def tiny(tmp_path):
    return [*TINY, f"runs_dir={tmp_path / 'runs'}"]


@pytest.fixture
def tiny_detector(tmp_path):
    return [*TINY_DETECTOR, f"runs_dir={tmp_path / 'runs'}"]


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """A run that all tests look at and none changes: TINY with conv=deformable."""
    path = tmp_path_factory.mktemp("finished") / "run"
    overrides = [*TINY, "conv=deformable"]
    train(compose(overrides), overrides, path)
    return RunFolder(path)


@pytest.fixture
def stopped(finished, tmp_path):
    """The same run as if it had been asked to stop at its end."""
    folder = RunFolder(shutil.copytree(finished.path, tmp_path / "run"))
    folder.write_summary(folder.read_summary() | {"status": "stopped", "metrics": {}, "per_class": {}})
    return folder


@pytest.fixture
def forked():
    """Starts the command line without its imports; see Forked."""
    started = []

    def start(*args, **environment):
        started.append(Forked(*args, **environment))
        return started[-1]

    yield start
    for process in started:
        process.kill()
