"""Runs that can be loaded, and those that can't."""

import shutil

import pytest
import torch

from dcnrun.errors import RunError, UsageError
from dcnrun.runs import RunFolder
from dcnrun.visualize.load import load_run
from tests.visualize.factories import LAYERS


def test_a_run_is_loaded_to_be_evaluated(modulated):
    run = load_run(modulated)
    assert run.layers == tuple(LAYERS)
    assert not any(module.training for module in run.network.modules())
    assert {parameter.dtype for parameter in run.network.parameters()} == {torch.float32}
    saved = torch.load(RunFolder(modulated).best_checkpoint, weights_only=False)["network"]
    for name, value in run.network.state_dict().items():
        torch.testing.assert_close(value.cpu(), saved[name], rtol=0, atol=0)
    assert [layer.name for layer in run.capture(run.dataset[0].image).layers] == LAYERS


def test_a_run_without_a_checkpoint(standard, tmp_path):
    shutil.copytree(standard, copy := tmp_path / "copy")
    shutil.rmtree(copy / "checkpoints")
    with pytest.raises(RunError, match=r"best\.pt.*does not exist"):
        load_run(copy)


def test_a_checkpoint_that_does_not_fit(standard, modulated, tmp_path):
    shutil.copytree(standard, copy := tmp_path / "copy")
    shutil.copy(RunFolder(modulated).best_checkpoint, RunFolder(copy).best_checkpoint)
    with pytest.raises(UsageError, match=r"best\.pt.*does not fit"):
        load_run(copy)
