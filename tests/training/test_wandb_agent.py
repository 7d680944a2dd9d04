"""What an agent of Weights & Biases gives to a run, read as overrides."""

from unittest.mock import Mock

import pytest
from typer.testing import CliRunner
from wandb.sdk.launch.sweeps.utils import create_sweep_command_args

from dcnrun.cli import app
from dcnrun.config.compose import compose
from dcnrun.config.overrides import parse
from dcnrun.training import loggers, run
from dcnrun.training.wandb_agent import as_overrides, train
from tests.training.factories import TINY


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


@pytest.mark.parametrize(
    "override",
    ["conv=dilated", "conv.layers=c3,c4", "name='None'", "optim={lr: 0.1}", "seed=3", "quick", "conv.layers=[c3,c4]"],
)
def test_what_is_an_override_already_stays_as_it_is(override):
    assert as_overrides([override]) == [override]


@pytest.mark.parametrize("text", ["/data/a(1)", "/x=y,z", "it's", "c3,c4", "a b"])
def test_texts_come_through(text):
    for given in ({"data.root": text}, {"data": {"root": text}}):
        (override,) = as_overrides(arguments(**given))
        assert parse(override).elements == [text]


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


def test_the_folder_is_found_again_and_a_completed_run_is_left_as_it_is(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_SWEEP_ID", "s1")
    monkeypatch.setenv("WANDB_RUN_ID", "r1")
    monkeypatch.setattr(loggers, "start_wandb", Mock())
    started = ["train", *TINY, "conv=standard", "trainer.steps=2", f"runs_dir={tmp_path}"]
    assert CliRunner().invoke(app, started).exit_code == 0
    summary = (tmp_path / "wandb-s1" / "r1" / "summary.json").read_text()
    again = CliRunner().invoke(app, [*started, "_wandb={'framework': 'torch'}"])
    assert again.exit_code == 0
    assert "is completed: nothing to resume" in " ".join(again.output.split())
    assert [path.name for path in tmp_path.rglob("summary.json")] == ["summary.json"]
    assert (tmp_path / "wandb-s1" / "r1" / "summary.json").read_text() == summary
