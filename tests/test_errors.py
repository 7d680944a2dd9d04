"""Errors of Python, the system and PyTorch in a user's words."""

import errno
import mmap
import multiprocessing.synchronize
import os
import pickle
import signal

import pytest
import torch

from dcnrun.config.schema import ShapesConfig
from dcnrun.data import build_dataset, train_batches
from dcnrun.errors import ConfigError, ProblemsError, RunError, explained


def test_memory_that_no_system_has():
    for ask in (lambda: torch.empty(2**60), lambda: bytearray(2**62), lambda: mmap.mmap(-1, 2**62)):
        with pytest.raises(Exception) as failed:  # noqa: PT011  whichever it is
            ask()
        assert "Memory ran out" in str(explained(failed.value)), failed.value


def test_memory_of_a_gpu():
    assert "smaller data.batch_size" in str(
        explained(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate ..."))
    )


def test_errors_that_are_none_of_these():
    for error in (RuntimeError("shapes differ"), OSError("no number"), KeyError("a"), RunError("a")):
        assert explained(error) is None


def test_a_killed_process_that_prepares_data(monkeypatch):
    config = ShapesConfig(image_size=16, train_images=4, batch_size=2, workers=1)
    dataset = build_dataset(config, "train")
    monkeypatch.setattr(type(dataset), "__getitem__", lambda *_: os.kill(os.getpid(), signal.SIGKILL))
    with pytest.raises(RuntimeError) as failed:
        next(iter(train_batches(dataset, config, seed=0, first_step=0, steps=2)))
    message = str(explained(failed.value))
    assert message.startswith(
        tuple(f"A process that prepares data {how}, as" for how in HOW)
    )  # whichever is seen first
    assert "fewer data.workers" in message


HOW = ("is killed by signal: Killed", "exited unexpectedly")


@pytest.mark.parametrize(
    ("text", "how"),
    [
        ("DataLoader worker (pid(s) 12, 13) exited unexpectedly", "exited unexpectedly"),
        ("DataLoader worker (pid 12) is killed by signal: Killed. ", "is killed by signal: Killed"),
        (
            "DataLoader worker (pid 12) is killed by signal: Bus error. It is possible that ...",
            "is killed by signal: Bus error",
        ),
    ],
)
def test_other_ends_of_such_a_process(text, how):
    assert str(explained(RuntimeError(text))).startswith(f"A process that prepares data {how}, as")


def test_shared_memory_that_cannot_be_used(monkeypatch):
    """As where /dev/shm of a container belongs to another user."""

    def refuse(*_):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(multiprocessing.synchronize._multiprocessing, "SemLock", refuse)
    with pytest.raises(PermissionError) as failed:
        multiprocessing.Lock()  # as PyTorch's loader asks for several
    message = str(explained(failed.value))
    assert "/dev/shm" in message
    assert "Permission denied. data.workers=0" in message


def test_they_reach_another_process_whole():
    settings = pickle.loads(pickle.dumps(ConfigError(["seed=-1: at least 0", "optim.lr=a: a number"])))
    assert settings.problems == ["seed=-1: at least 0", "optim.lr=a: a number"]
    found = pickle.loads(pickle.dumps(ProblemsError("2 files are damaged.", {"problems": 2})))
    assert (str(found), found.report) == ("2 files are damaged.", {"problems": 2})
