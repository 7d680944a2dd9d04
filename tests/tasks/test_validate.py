"""What a run is refused for, whatever part of the package it concerns, all at once."""

import pytest

from dcnrun.config.compose import compose
from dcnrun.errors import ConfigError
from dcnrun.tasks import validate
from dcnrun.tasks.validate import check, model_problems


def wrong_layers(*overrides):
    return compose(["conv=deformable", "conv.groups=3", *overrides])


def test_problems_of_layers_are_reported_together():
    problems = model_problems(wrong_layers("conv.offset_groups=5"))
    assert "conv.groups=3 does not divide the 512 input channels of layer4.0.conv2 (and of 2 more layers)" in problems
    assert any(problem.startswith("conv.offset_groups=5") for problem in problems)
    assert "must be a number" in model_problems(compose(["conv=deformable", "conv.layers=all"]))[0]


def test_a_backbone_is_laid_out_once_for_all_checks(monkeypatch):
    problems = model_problems(wrong_layers())
    assert problems
    monkeypatch.setattr(validate, "ResNetBackbone", None)
    assert model_problems(wrong_layers()) == problems
    assert model_problems(compose(["conv=deformable", "conv.groups=2", "conv.layers=c2-c5"])) == []


def test_every_part_of_the_package_is_asked_and_each_problem_said_once():
    config = compose(
        [
            *("conv=deformable", "conv.groups=3", "seed=-1", "data=shapes", "data.objects_min=9"),
            *("data.batch_size=0", "trainer.devices=2", "trainer.metric=val/map", "optim=adamw", "optim.momentum=0.5"),
        ]
    )
    with pytest.raises(ConfigError) as error:
        check(config)
    starts = [problem.split("=")[0] for problem in error.value.problems]
    assert sorted(starts) == sorted(
        [
            *("seed", "data.batch_size"),  # out of range
            *("optim.momentum",),  # inactive
            *("conv.groups", "conv.groups", "trainer.metric"),  # input and output channels; the task
            *("data.objects_max", "trainer.devices"),  # the source's rules; the machine
        ]
    )
