"""One step of the loop, what it says while it trains, what it writes, and what makes it stop."""

import math
import os
import random
import signal
from collections import defaultdict
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from dcnrun.config.compose import compose
from dcnrun.data import IGNORE, train_batches
from dcnrun.errors import RunError
from dcnrun.runs import RunFolder
from dcnrun.training import checkpoint, loop
from dcnrun.training.loop import fit, stop_on_signals, train_step
from dcnrun.training.prepare import prepare
from dcnrun.training.run import train


def test_classes_without_validation_truth_are_named_once(tiny, tmp_path, capsys):
    overrides = [*tiny, "conv=standard", "data.objects_min=0", "data.objects_max=0"]
    train(compose(overrides), overrides, tmp_path / "run")
    said = " ".join(capsys.readouterr().out.split())
    assert said.count("val/miou") == 2
    assert said.count("Classes on no validation image, about which the scores say nothing: 'disc', 'square'") == 1


def test_gradient_clipping_bounds_the_step(tiny):
    """Plain SGD at rate 1 moves the weights by the gradient, whose norm is at most clip_norm."""
    moved = {}
    for clip in ("null", "0.01"):
        overrides = [*tiny, "conv=deformable", "optim.lr=1", "optim.momentum=0", "optim.weight_decay=0", "data.flip=0"]
        training, _ = prepare(compose([*overrides, f"optim.clip_norm={clip}"]))
        before = [parameter.detach().clone() for parameter in training.raw_model.parameters()]
        batch = next(iter(train_batches(training.train_set, training.config.data, seed=0, first_step=0, steps=1)))
        train_step(training, batch)
        pairs = zip(training.raw_model.parameters(), before, strict=True)
        moved[clip] = math.sqrt(sum(float((after.detach() - old).square().sum()) for after, old in pairs))
    assert moved["null"] > 0.02
    assert moved["0.01"] == pytest.approx(0.01, rel=1e-3)


def test_batches_of_a_step_count_as_one_batch_would(tiny):
    """Without batch normalisation, which sees one batch at a time. Half of the first image has no label."""
    weights, values, wanted = {}, {}, []
    for size, accumulate in ((4, 1), (1, 4)):
        sizes = [f"data.batch_size={size}", f"trainer.accumulate={accumulate}"]
        training, _ = prepare(compose([*tiny, "conv=deformable", "optim.clip_norm=1", *sizes]))
        for module in training.raw_model.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.eval()
        data = training.config.data
        batches = iter(train_batches(training.train_set, data, seed=0, first_step=0, steps=2 * accumulate))
        for _ in range(2):
            of_step = [next(batches) for _ in range(accumulate)]
            of_step[0]["mask"][0, :24] = IGNORE
            if accumulate == 1:
                scores, mask = training.raw_model(of_step[0]["image"]).detach(), of_step[0]["mask"]
                wanted.append(float(torch.nn.functional.cross_entropy(scores, mask, ignore_index=IGNORE)))
            values.setdefault(accumulate, []).append(train_step(training, *of_step))
            assert training.losses.take().keys() == {"train/loss"}
        assert training.step == 2
        assert training.epoch == 0.5
        weights[accumulate] = torch.cat([p.detach().flatten() for p in training.raw_model.parameters()])
    assert values[1] == pytest.approx(wanted, rel=1e-5)
    assert values[4] == pytest.approx(wanted, rel=1e-4)
    torch.testing.assert_close(weights[4], weights[1], rtol=1e-3, atol=1e-4)


def test_an_average_takes_each_step_once_in_mixed_precision_and_over_several_batches(tiny):
    overrides = [
        "conv=deformable",
        "optim.ema=0.75",
        "trainer.precision=bf16",
        "trainer.accumulate=2",
        "data.batch_size=2",
    ]
    training, _ = prepare(compose([*tiny, *overrides]))
    data, weights = training.config.data, []
    batches = iter(train_batches(training.train_set, data, seed=0, first_step=0, steps=4))
    for _ in range(2):
        train_step(training, next(batches), next(batches))
        weights.append([parameter.detach().clone() for parameter in training.raw_model.parameters()])
    for kept, first, second in zip(training.evaluated.parameters(), *weights, strict=True):
        assert kept.dtype == torch.float32
        torch.testing.assert_close(kept.detach(), 0.75 * first + 0.25 * second)
    assert any(not torch.equal(first, second) for first, second in zip(*weights, strict=True))


def test_patience_ends_a_run_where_a_count_of_validations_does_also_a_resumed_one(tiny, tmp_path, monkeypatch):
    """Steps and scores are made up; the count is kept as usual, over the whole run."""
    rng, every, steps = random.Random(0), 2, 17
    scores: dict[int, float] = {}
    images = SimpleNamespace(absent_classes=(), save=lambda path: None)
    result = SimpleNamespace(images=images, per_class={}, metrics=defaultdict(float))

    def step(training, *batches):
        training.step += 1
        return 0.0

    def validated(training):
        result.metrics["val/miou"] = scores[training.step]
        return result

    for name, fake in {"train_step": step, "validate": validated, "save_best": lambda *_: None}.items():
        monkeypatch.setattr(loop, name, fake)
    monkeypatch.setattr(loop, "_save", lambda *_: None)
    monkeypatch.setattr(loop, "train_batches", lambda *_, **__: (None for _ in range(steps)))
    training, _ = prepare(compose([*tiny, "conv=standard", f"trainer.eval_every={every}"]))
    trainer = training.config.trainer
    for _ in range(60):
        scores |= {at: float(rng.randrange(5)) for at in [*range(every, steps, every), steps]}
        trainer.patience = rng.choice([None, 1, 2, 3])
        ends, best, stale = steps, -1.0, 0
        for at, score in sorted(scores.items()):
            best, stale = (score, 0) if score > best else (best, stale + 1)
            if stale == trainer.patience:
                ends = at
                break
        training.step, training.best = 0, {}
        for last in (rng.randrange(1, steps), steps):  # as if it was killed, and resumed with the best so far
            trainer.steps = steps
            with monkeypatch.context() as killed:
                killed.setattr(loop, "_any_process", lambda fabric, _, last=last: training.step == last != steps)
                with suppress(loop.Stopped):
                    fit(training, RunFolder(tmp_path), [], None)
        assert training.step == ends
        assert (training.ended_early is None) == (ends == steps)


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGQUIT", "SIGHUP", "SIGXCPU"])
def test_what_ends_a_process_asks_the_run_to_stop(name):
    number = signal.Signals[name]
    before = signal.signal(number, signal.SIG_DFL)  # whatever the tests are under, such as nohup
    try:
        with stop_on_signals() as stop:
            os.kill(os.getpid(), number)
            assert stop.wait(1)
        assert signal.getsignal(number) is signal.SIG_DFL
    finally:
        signal.signal(number, before)


def test_a_run_under_nohup_outlives_its_terminal():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stop_on_signals() as stop:
            os.kill(os.getpid(), signal.SIGHUP)
            assert not stop.is_set()
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_folder_that_moves_ends_the_run_and_what_was_logged_was_on_disk_first(tiny, tmp_path, monkeypatch):
    """The lines up to a checkpoint's step are synced before the checkpoint is."""
    run, moved, synced = tmp_path / "run", tmp_path / "moved", []
    save_last, fsync = checkpoint.save_last, os.fsync

    def save_and_move(folder, state):
        save_last(folder, state)
        if state["step"] == 4:
            run.rename(moved)

    def recorded(number):
        synced.append(Path(f"/proc/self/fd/{number}").readlink().name)
        fsync(number)

    monkeypatch.setattr(checkpoint, "save_last", save_and_move)
    monkeypatch.setattr(os, "fsync", recorded)
    overrides = [*tiny, "conv=standard"]
    with pytest.raises(
        RunError, match=r"run was moved or deleted while the run was training.*resume it where it is now"
    ):
        train(compose(overrides), overrides, run)
    assert not run.exists()
    assert checkpoint.load(RunFolder(moved).last_checkpoint)["step"] == 4
    assert RunFolder(moved).last_step() == 4
    saved = [number for number, name in enumerate(synced) if name.startswith(".last.pt")]
    assert len(saved) == 2
    assert all(synced[number - 1] == "metrics.jsonl" for number in saved)
