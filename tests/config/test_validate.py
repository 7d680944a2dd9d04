"""What is refused, and in which words: one line a problem, in one style."""

import re
from dataclasses import replace

import pytest

from dcnrun.config.compose import compose
from dcnrun.config.settings import all_settings, kinds_with
from dcnrun.config.validate import config_problems, range_problems

SGD = ["conv=standard", "optim=sgd"]


@pytest.mark.parametrize(
    ("overrides", "problem"),
    [
        (["seed=-1"], "seed=-1 must be from 0 to 4294967295"),
        (["optim.lr=-1"], "optim.lr=-1.0 must be at least 0"),
        (["optim.momentum=nan"], "optim.momentum=nan must be at least 0"),
        (["optim.clip_norm=0"], "optim.clip_norm=0.0 must be above 0"),
        (
            ["optim.schedule=step", "optim.step_at=[1.5]"],
            "optim.step_at=[1.5] must be above 0 and below 1 (shares of trainer.steps)",
        ),
        (["trainer.steps=0"], "trainer.steps=0 must be at least 1"),
        (["trainer.steps=99999999999999999999"], "trainer.steps=99999999999999999999 must be at most 9223372036854775807"),
        (["model.width=100000000"], "model.width=100000000 must be at most 65536"),
        (["trainer.threads=1000000000"], "trainer.threads=1000000000 must be at most 4096"),
        (["data=shapes", "data.train_images=99999999"], "data.train_images=99999999 must be at most 10000000"),
        (["data.crop_size=1000000000"], "data.crop_size=1000000000 must be at most 32768"),
        (["optim.lr=1e308"], "optim.lr=1e+308 must be at most 9223372036854775807"),
        (["trainer.threads=-1"], "trainer.threads=-1 must be at least 0"),
        (
            ["optim.warmup_steps=10", "trainer.steps=10"],
            "optim.warmup_steps=10 must be less than trainer.steps=10",
        ),
        (["model.output_stride=12"], "model.output_stride=12 must be 8, 16 or 32"),
        (["model.head_kernel=5"], "model.head_kernel=5 must be 1 or 3"),
        (["model.frozen_stages=6"], "model.frozen_stages=6 must be from 0 to 5 (none to the whole backbone)"),
        (["conv.groups=0"], "conv.groups=0 must be at least 1"),
        (["conv=modulated", "conv.mask_start=0.7"], "conv.mask_start=0.7 must be 0.5 or 1"),
        (["model=faster_rcnn", "model.proposals=0"], "model.proposals=0 must be at least 1"),
        (["model=retinanet", "model.score_threshold=1.5"], "model.score_threshold=1.5 must be from 0 to 1"),
        (["model=retinanet", "model.anchor_ratios=[]"], "model.anchor_ratios=[] must be 1 or more numbers above 0"),
        (["model=faster_rcnn", "model.roi_pool=deformable", "model.roi_gamma=0"], "model.roi_gamma=0.0 must be above 0"),
        (["data.flip=2"], "data.flip=2.0 must be from 0 to 1 (a probability)"),
        (["data.std=[0,1,1]"], "data.std=[0.0,1.0,1.0] must be above 0, or auto"),
        (["data.crop_size=8"], "data.crop_size=8 must be 0 or at least 16"),
        (["conv=dilated", "conv.dilation=null"], "conv.dilation=null: conv=dilated needs a dilation, e.g. conv.dilation=4"),
        (["conv=standard", "conv.dilation=2"], "conv.dilation=2 does nothing with conv=standard: use conv=dilated"),
    ],
)  # fmt: skip
def test_a_problem_is_said_once(overrides, problem):
    assert config_problems(compose([*SGD, *overrides])) == [problem]


def test_several_problems_come_together():
    wrong = compose([*SGD, "optim.lr=-1", "data.flip=2", "seed=-1", "optim.warmup_steps=10", "trainer.steps=5"])
    assert len(config_problems(wrong)) == 4


def test_a_consequence_is_no_problem_of_its_own():
    assert config_problems(compose([*SGD, "trainer.steps=0", "optim.warmup_steps=1"])) == [
        "trainer.steps=0 must be at least 1"
    ]


@pytest.mark.parametrize(
    "key", [key for key, setting in all_settings().items() if re.search(r"\d", str(setting.range))]
)
def test_every_default_is_in_its_range_and_what_is_not_is_refused_by_name(key):
    """The range of each setting, tried with numbers just outside of what its own words say."""
    setting = all_settings()[key]
    section = key.rpartition(".")[0]
    kinds = kinds_with(key)
    config = compose([f"{section}={kinds[0]}"] if kinds else [])
    assert setting.range.holds(setting.default)
    number = float(re.findall(r"\d+(?:\.\d+)?", str(setting.range))[-1])
    outside = number + 1 if setting.range.le or setting.range.lt or setting.range.one_of else number - 1
    value = [outside] if isinstance(setting.default, list) else outside
    owner = getattr(config, section) if section else config
    name = key.rpartition(".")[2]
    problems = range_problems(replace(owner, **{name: value}), f"{section}." if section else "")
    assert list(problems) == [key]
