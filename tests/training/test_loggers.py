"""What is logged, and what a resumed run forgets."""

import json
import math
from pathlib import Path

import pytest

from dcnrun.config.compose import compose
from dcnrun.errors import RunError
from dcnrun.runs import RunFolder, RunStatus
from dcnrun.training.loggers import LOGGERS, CsvLogger, JsonLinesLogger, WandbLogger, forget_after
from tests.training.factories import run


def write(folder, steps):
    for kind in (JsonLinesLogger, CsvLogger):
        logger = kind(folder, compose([]))
        for step in steps:
            logger.log(step, step / 3, "train", {"train/loss": 1 / step, "train/odd": math.nan})
        logger.close(RunStatus.completed)


def test_forgets_what_comes_after_a_step_and_a_torn_line(tmp_path):
    folder, wanted = RunFolder(tmp_path / "a"), RunFolder(tmp_path / "b")
    for each in (folder, wanted):
        each.path.mkdir()
    write(folder, range(1, 7))
    with folder.metrics_file.open("a") as file:
        file.write('{"step": 3, "split"')
    with folder.csv_file.open("a") as file:
        file.write("7,2.3")
    forget_after(folder, 4)
    write(wanted, range(1, 5))
    assert folder.metrics_file.read_text() == wanted.metrics_file.read_text()
    assert folder.csv_file.read_text() == wanted.csv_file.read_text()


def test_every_line_is_json_and_not_a_number_is_null(tmp_path):
    folder = RunFolder(tmp_path)
    write(folder, [1, 2])
    lines = [json.loads(line) for line in folder.metrics_file.read_text().splitlines()]
    assert lines[1] == {"step": 2, "epoch": 0.6667, "split": "train", "train/loss": 0.5, "train/odd": None}


def test_a_full_disk_names_the_file(tmp_path):
    folder = RunFolder(tmp_path)
    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")
    folder.metrics_file.symlink_to("/dev/full")
    with pytest.raises(RunError, match=r"Can't write .*metrics[.]jsonl: No space left on device.*resume"):
        JsonLinesLogger(folder, compose([])).log(1, 0.1, "train", {"train/loss": 1.0})


@pytest.mark.parametrize(
    ("overrides", "agent", "wanted"),
    [
        ([], {}, [JsonLinesLogger]),
        (["logger.csv=true"], {}, [JsonLinesLogger, CsvLogger]),
        (["logger=wandb"], {}, [JsonLinesLogger, WandbLogger]),
        ([], {"WANDB_SWEEP_ID": "s", "WANDB_RUN_ID": "r"}, [JsonLinesLogger, WandbLogger]),
        ([], {"WANDB_SWEEP_ID": "s"}, [JsonLinesLogger]),
    ],
)
def test_a_config_asks_for_loggers(monkeypatch, overrides, agent, wanted):
    for name in ("WANDB_SWEEP_ID", "WANDB_RUN_ID"):
        monkeypatch.delenv(name, raising=False)
    for name, value in agent.items():
        monkeypatch.setenv(name, value)
    config = compose(overrides)
    assert [logger for logger, is_wanted in LOGGERS.items() if is_wanted(config.logger)] == wanted


def test_wandb_logs_offline_and_leaves_no_key(tiny, tmp_path, monkeypatch):
    key = "0123456789abcdef" * 2 + "01234567"
    monkeypatch.setenv("WANDB_API_KEY", key)
    folder = run([*tiny, "conv=standard", "logger=wandb", "trainer.steps=2"], tmp_path)
    assert list(folder.rglob("*.wandb"))
    for path in folder.rglob("*"):
        if path.is_file():
            assert key.encode() not in path.read_bytes(), path
