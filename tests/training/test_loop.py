"""One step of the loop, and what it says while it trains."""

import math

import pytest

from dcnrun.config.compose import compose
from dcnrun.data import train_batches
from dcnrun.training.loop import train_step
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
