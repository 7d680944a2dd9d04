import re
import shlex
from pathlib import Path

import pytest

from dcnrun.config.compose import compose
from dcnrun.resources import resource_dir
from dcnrun.sweep.engines.local import LocalEngine
from dcnrun.sweep.engines.wandb import WandbEngine
from dcnrun.sweep.spec.checks import check_against_settings
from dcnrun.sweep.spec.reading import parse_sweep, read_sweep

SWEEPS = resource_dir("sweeps")
README = (SWEEPS / "README.md").read_text()
# What it does to a shipped file, and the sweep that it starts then.
ON_OWN_DATA = re.findall(r"^sed 's/(.*)\$/(.*)/' sweeps/(.*) > (.*)\ndcnrun sweep \4 (.*?) --", README, re.MULTILINE)


def budget(name):
    """What makes results of two sweeps comparable."""
    sweep = read_sweep(SWEEPS / name)
    trainer = compose(sweep.fixed).trainer
    return sweep.method, sweep.metric, sweep.early_terminate, sweep.run_cap, trainer.steps, trainer.eval_every


def test_the_control_has_the_same_budget():
    assert budget("offset_lr_bayes.yaml") == budget("dilation_control.yaml")
    assert budget("offset_lr_bayes_detection.yaml") == budget("dilation_control_detection.yaml")


def test_runs_are_judged_before_they_end():
    for path in SWEEPS.glob("*.yaml"):
        sweep = read_sweep(path)
        trainer = compose(sweep.fixed).trainer
        if sweep.early_terminate is not None:
            assert sweep.early_terminate.min_iter * sweep.early_terminate.eta < trainer.steps / trainer.eval_every


def test_every_file_is_told_of():
    names = {path.name for path in SWEEPS.glob("*.yaml")}
    assert names == {
        f"{name}{twin}.yaml"
        for name in ("offset_lr_bayes", "dilation_control", "groups_grid")
        for twin in ("", "_detection")
    }
    assert all(f"`{name}`" in README for name in names if "detection" not in name)


@pytest.mark.parametrize(("old", "new", "file", "copy", "overrides"), ON_OWN_DATA)
def test_on_own_data_as_the_readme_says(old, new, file, copy, overrides):
    text = re.sub(f"{old}$", new, (SWEEPS / file).read_text(), flags=re.MULTILINE)
    sweep = parse_sweep(text, Path(copy))
    check_against_settings(sweep, shlex.split(overrides))
    assert LocalEngine().problems(sweep) == WandbEngine().problems(sweep) == []


def test_the_readme_says_it_of_masks_and_boxes():
    assert [file for _, _, file, _, _ in ON_OWN_DATA] == ["offset_lr_bayes.yaml", "offset_lr_bayes_detection.yaml"]
