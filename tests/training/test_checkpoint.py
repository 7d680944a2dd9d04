"""Checkpoints: whole or not at all, and never code."""

import os
import random

import numpy as np
import pytest
import torch

from dcnrun.errors import RunError
from dcnrun.runs import RunFolder, replacing
from dcnrun.training import checkpoint


def state(step):
    return {"step": step, "network": {"w": torch.full((1000,), float(step))}}


def test_falls_back_to_the_one_before(tmp_path):
    folder = RunFolder(tmp_path)
    checkpoint.save_last(folder, state(1))
    checkpoint.save_last(folder, state(2))
    loaded, file, warning = checkpoint.load_last(folder)
    assert (loaded["step"], file) == (2, folder.last_checkpoint)
    assert warning is None
    damaged = bytearray(folder.last_checkpoint.read_bytes())
    damaged[len(damaged) // 2] ^= 0xFF  # one bit pattern in the middle of a tensor
    folder.last_checkpoint.write_bytes(damaged)
    loaded, file, warning = checkpoint.load_last(folder)
    assert (loaded["step"], file) == (1, folder.previous_checkpoint)
    assert torch.equal(loaded["network"]["w"], torch.ones(1000))
    assert "last.pt is damaged" in warning
    assert "previous.pt, step 1" in warning


@pytest.mark.parametrize("content", [b"", b"text", None])
def test_both_unusable_is_an_error_that_names_them(tmp_path, content):
    folder = RunFolder(tmp_path)
    if content is not None:
        folder.last_checkpoint.parent.mkdir()
        folder.last_checkpoint.write_bytes(content)
    with pytest.raises(RunError, match=r"last\.pt.*previous\.pt.*Start the run anew"):
        checkpoint.load_last(folder)


class Evil:
    def __reduce__(self):
        return (exec, ("raise SystemExit('evaluated')",))


def test_code_in_a_checkpoint_is_not_run(tmp_path):
    torch.save({"step": 1, "network": Evil()}, tmp_path / "last.pt")
    with pytest.raises(RunError, match=r"last\.pt is damaged or not a checkpoint"):
        checkpoint.load(tmp_path / "last.pt")


def test_a_file_of_something_else_is_refused(tmp_path):
    torch.save({"weights": torch.zeros(1)}, tmp_path / "other.pt")
    with pytest.raises(RunError, match="not a checkpoint of dcnrun"):
        checkpoint.load(tmp_path / "other.pt")


def test_random_state_survives_saving(tmp_path):
    folder = RunFolder(tmp_path)
    random.gauss(0, 1), np.random.normal(), torch.rand(1)
    checkpoint.save_last(folder, state(1) | {"random": checkpoint.random_state()})
    wanted = (random.random(), np.random.rand(3).tolist(), torch.rand(3).tolist(), random.gauss(0, 1))
    loaded, _, _ = checkpoint.load_last(folder)
    checkpoint.restore_random_state(loaded["random"])
    assert (random.random(), np.random.rand(3).tolist(), torch.rand(3).tolist(), random.gauss(0, 1)) == wanted


def test_a_failed_write_leaves_what_was_there(tmp_path):
    path = tmp_path / "file"
    path.write_text("before")

    def fill_the_disk():
        with replacing(path) as beside:
            beside.write_text("aft")
            raise OSError(28, "No space left on device")

    with pytest.raises(RunError, match=r"Can't write .*No space left.*MiB free"):
        fill_the_disk()
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


def test_a_disk_that_fails_leaves_the_checkpoints_as_they_were(tmp_path, monkeypatch):
    folder = RunFolder(tmp_path)
    for step in (1, 2):
        checkpoint.save_last(folder, state(step))

    def failing(_):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", failing)
    with pytest.raises(
        RunError, match=r"Can't write .*last\.pt: Input/output error\. What stood there before is unchanged"
    ):
        checkpoint.save_last(folder, state(3))
    assert checkpoint.load(folder.last_checkpoint)["step"] == 2
    assert checkpoint.load(folder.previous_checkpoint)["step"] == 1


def test_without_a_whole_file_the_metrics_say_what_was_best(tmp_path):
    folder = RunFolder(tmp_path)
    assert checkpoint.best_so_far(folder, "val/miou", 9) == ({}, None)
    checkpoint.save_best(folder, state(4) | {"best": {"step": 4, "val/miou": 0.5}})
    assert checkpoint.best_so_far(folder, "val/miou", 9) == ({"step": 4, "val/miou": 0.5}, None)
    folder.best_checkpoint.write_bytes(folder.best_checkpoint.read_bytes()[:-100])
    best, warning = checkpoint.best_so_far(folder, "val/miou", 9)
    assert best == {}
    assert "best.pt is damaged" in warning
    values = {2: 0.3, 4: 0.5, 6: 0.5, 8: 0.4, 10: 0.9}
    folder.metrics_file.write_text(
        "".join(f'{{"step": {step}, "val/miou": {value}}}\n' for step, value in values.items())
    )
    best, warning = checkpoint.best_so_far(folder, "val/miou", 9)
    assert best == {"step": 4, "val/miou": 0.5}
    assert "val/miou 0.5000 at step 4, by metrics.jsonl: its weights are lost" in warning
    assert "and kept again" in checkpoint.best_so_far(folder, "val/miou", 4)[1]
    folder.best_checkpoint.unlink()
    assert "best.pt does not exist" in checkpoint.best_so_far(folder, "val/miou", 9)[1]


@pytest.mark.parametrize(
    "content",
    [
        {"step": "4"},
        {"step": True},
        {"step": -1},
        {"network": [1]},
        {"network": {"w": torch.zeros(2, 2).to_sparse()}},
        {"classes": 3},
        {"classes": [3]},
        {"network": {"w": 3}},
        {"network": {"w": torch.zeros(2, device="meta")}},
    ],
    ids=str,
)
def test_a_checkpoint_of_another_shape_is_none(tmp_path, content):
    torch.save(state(4) | content, tmp_path / "last.pt")
    with pytest.raises(RunError, match=r"last\.pt is not a checkpoint of dcnrun"):
        checkpoint.load(tmp_path / "last.pt")


def test_no_file_is_waited_for(tmp_path):
    os.mkfifo(tmp_path / "last.pt")
    for path in (tmp_path / "last.pt", tmp_path):
        with pytest.raises(RunError, match="it is no file, but a folder, a pipe or a device"):
            checkpoint.load(path)


def test_what_training_needs_is_named():
    with pytest.raises(RunError, match="it has no optimizer, scaler, random, losses, clock"):
        checkpoint.require_state_of_training(state(3))
    whole = state(3) | {"optimizer": {}, "scaler": {}, "random": [], "losses": {"sums": {}, "steps": 0}}
    with pytest.raises(RunError, match="it has no clock"):
        checkpoint.require_state_of_training(whole | {"clock": {"wall": "long"}})
    for losses in (
        {"sums": 3, "steps": 0},
        {"sums": {"loss": 0.5}, "steps": 0},
        {"sums": {"loss": "0.5"}, "steps": 1},
        {},
    ):
        with pytest.raises(RunError, match="it has no losses"):
            checkpoint.require_state_of_training(whole | {"clock": {}, "losses": losses})
    checkpoint.require_state_of_training(whole | {"clock": {}, "losses": {"sums": {"loss": 0.5}, "steps": 1}})
    with pytest.raises(RunError, match="random state can't be restored"):
        checkpoint.restore_random_state({"torch": torch.zeros(3)})
