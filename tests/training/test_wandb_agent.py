"""What an agent of Weights & Biases gives to a run, read as overrides."""

import os
import subprocess

import pytest
from typer.testing import CliRunner
from wandb.sdk.launch.sweeps.utils import create_sweep_command_args

from dcnrun.cli import app
from dcnrun.config.compose import compose
from dcnrun.training import run
from dcnrun.training.wandb_agent import as_overrides, train
from tests.training.running import TINY, command


def arguments(**args):
    """What the client itself makes of a run's parameters for ${args_no_hyphens}."""
    return create_sweep_command_args({"args": {name: {"value": value} for name, value in args.items()}})[
        "args_no_hyphens"
    ]


def test_flat_nested_null_and_lists():
    config = compose(
        as_overrides(
            arguments(
                **{
                    "optim.offset_lr_mult": 1e-05,
                    "conv": "dilated",
                    "conv.layers": "c4,c5",
                    "trainer.channels_last": False,
                    "optim": {"lr": 0.25, "clip_norm": None},
                    "data": {"batch_size": 6},
                    "seed": 3,
                    "_wandb": {"framework": "torch", "t": {"1": [1, 5]}},
                }
            )
        )
    )
    assert (config.optim.offset_lr_mult, config.optim.lr, config.optim.clip_norm) == (1e-05, 0.25, None)
    assert (config.conv.kind.value, config.conv.layers) == ("dilated", "c4,c5")
    assert (config.trainer.channels_last, config.data.batch_size, config.seed) == (False, 6, 3)


@pytest.mark.parametrize("override", ["conv=dilated", "conv.layers=c3,c4", "name='None'", "optim={lr: 0.1}", "seed=3"])
def test_what_is_an_override_already_stays_as_it_is(override):
    assert as_overrides([override]) == [override]


def test_without_an_agent_its_argument_is_an_error(monkeypatch):
    for name in ("WANDB_SWEEP_ID", "WANDB_RUN_ID"):
        monkeypatch.delenv(name, raising=False)
    result = CliRunner().invoke(app, ["train", *TINY, "_wandb={}", "--dry-run"])
    assert result.exit_code == 2
    assert "_wandb" in result.output


def test_a_run_that_was_asked_to_stop_is_no_failure(tmp_path, monkeypatch):
    def stopped(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(run, "train", stopped)
    assert train(TINY, None, tmp_path) == {"status": "stopped", "run": str(tmp_path)}


def test_the_folder_is_found_again_and_a_completed_run_is_left_as_it_is(tmp_path):
    own = {name: value for name, value in os.environ.items() if not name.startswith("WANDB")}
    environment = own | {"WANDB_SWEEP_ID": "s1", "WANDB_RUN_ID": "r1", "WANDB_MODE": "disabled"}
    started = ["train", *TINY, "conv=standard", "trainer.steps=2", f"runs_dir={tmp_path}"]
    subprocess.run(command(*started), env=environment, check=True)
    summary = (tmp_path / "wandb-s1" / "r1" / "summary.json").read_text()
    again = subprocess.run(
        command(*started, "_wandb={'framework': 'torch'}"), env=environment, check=True, capture_output=True, text=True
    )
    assert "is completed: nothing to resume" in " ".join(again.stdout.split())
    assert [path.name for path in tmp_path.rglob("summary.json")] == ["summary.json"]
    assert (tmp_path / "wandb-s1" / "r1" / "summary.json").read_text() == summary
