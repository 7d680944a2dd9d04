"""Runs from start to end: the folder they leave, the numbers they give, how they fail."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from dcnrun.config.compose import compose, load
from dcnrun.errors import ConfigError, RunError, UsageError
from dcnrun.runs import RunFolder, write_text
from dcnrun.training import checkpoint
from dcnrun.training import run as training_run
from dcnrun.training.run import train
from tests.training.factories import losses, metrics, run


@pytest.mark.parametrize("kind", ["standard", "dilated", "deformable", "modulated"])
def test_a_run_leaves_everything_that_is_promised(kind, tiny, tmp_path):
    folder = RunFolder(run([*tiny, f"conv={kind}", "logger=csv"], tmp_path))
    summary = folder.read_summary()
    assert summary["status"] == "completed"
    assert summary["step"] == summary["steps"] == 6
    assert 0 <= summary["metrics"]["val/miou"] <= 1
    assert summary["parameters"] > 0
    assert summary["flops"] > 0
    assert summary["peak_memory_bytes"] > 10**7
    assert summary["train_images_per_second"] > 0
    assert summary["inference_images_per_second"] > 0
    assert load(folder.config_file) == compose([*tiny, f"conv={kind}", "logger=csv"])
    assert f"conv={kind}\n" in folder.overrides_file.read_text()
    environment = json.loads(folder.environment_file.read_text())
    assert {"torch", "git_commit", "seed", "cpu"} <= environment.keys()
    assert environment["train_images"].startswith("16 images, names ")
    assert [line["step"] for line in metrics(folder.path, "train")] == [1, 2, 3, 4, 5, 6]
    assert [line["step"] for line in metrics(folder.path, "val")] == [3, 6]
    assert checkpoint.load(folder.last_checkpoint)["step"] == 6
    assert checkpoint.load(folder.previous_checkpoint)["step"] == 4
    kept = np.load(folder.per_image_file)
    assert kept["confusion"].sum() == 5 * 48 * 48
    assert len(kept["names"]) == 5
    rows = folder.csv_file.read_text().splitlines()
    assert rows[0] == "step,epoch,split,metric,value"
    assert any(row.startswith("3,") and ",val,val/miou," in row for row in rows)
    assert not list(folder.path.rglob("*.part"))


def test_a_run_without_its_config_has_not_begun(tiny, tmp_path, monkeypatch):
    """A run that is killed before is started again; one that is resumed needs what is written at the start."""

    def killed_at_the_config(path, text):
        if path.name == "config.yaml":
            raise KeyboardInterrupt
        write_text(path, text)

    monkeypatch.setattr(training_run, "write_text", killed_at_the_config)
    with pytest.raises(KeyboardInterrupt):
        train(compose(tiny), tiny, tmp_path / "run")
    folder = RunFolder(tmp_path / "run")
    assert not folder.config_file.exists()
    assert all(file.is_file() for file in (folder.overrides_file, folder.paths_file, folder.environment_file))


@pytest.mark.parametrize("kind", ["deformable", "modulated"])
def test_offset_rate_zero_is_the_standard_network(kind, tiny, tmp_path):
    """Zhu et al. 2018: without offset learning the network degenerates to the regular one. Rounding aside, step by step."""
    steps = [*tiny, "trainer.steps=5"]
    standard = losses(run([*steps, "conv=standard"], tmp_path, "standard"))
    frozen = losses(run([*steps, f"conv={kind}", "optim.offset_lr_mult=0"], tmp_path, "frozen"))
    learning = losses(run([*steps, f"conv={kind}"], tmp_path, "learning"))
    assert frozen == pytest.approx(standard, rel=2e-4)
    assert learning != pytest.approx(standard, rel=2e-4)


def test_the_same_seed_gives_the_same_run_and_another_does_not(tiny, tmp_path):
    first, again = (run([*tiny, "conv=deformable"], tmp_path, name) for name in ("first", "again"))
    assert metrics(first) == metrics(again)
    other = run([*tiny, "conv=deformable", "seed=1"], tmp_path, "other")
    assert losses(other) != losses(first)


def test_it_learns(tiny, tmp_path):
    """Sixteen images by heart: the loss falls by far."""
    overrides = [
        *tiny,
        "conv=deformable",
        "trainer.steps=60",
        "trainer.log_every=10",
        "trainer.eval_every=60",
        "data.flip=0",
    ]
    curve = losses(run(overrides, tmp_path))
    assert curve[-1] < 0.6 * curve[0]


def test_effective_rates_are_logged(tiny, tmp_path):
    overrides = [*tiny, "conv=modulated", "optim.offset_lr_mult=0.1", "optim.schedule=constant", "optim.lr=0.02"]
    line = metrics(run(overrides, tmp_path), "train")[0]
    assert line["train/lr"] == pytest.approx(0.02)
    assert line["train/lr_offset"] == pytest.approx(0.002)


def test_share_of_sampling_points_outside_the_feature_map(tiny, tmp_path, capsys):
    """Undeformed at step 1: on a 3x3 map with dilation 2, 5 of 9 (row, tap) pairs lie inside, and 5 of 9 columns."""
    folder = run([*tiny, "conv=deformable", "trainer.steps=3", "optim.lr=0.001"], tmp_path)
    line = metrics(folder, "train")[0]
    assert line["offset_outside/backbone.layer4.1.conv2"] == pytest.approx(1 - (5 / 9) ** 2)
    assert line["offset_abs/backbone.layer4.1.conv2"] == 0
    assert 0 < line["train/offset_outside"] < 1
    assert "out of the feature map" not in capsys.readouterr().out
    run([*tiny, "conv=deformable", "trainer.steps=4", "optim.offset_lr_mult=30000"], tmp_path, "runaway")
    text = " ".join(capsys.readouterr().out.split())
    assert text.count("of the sampling points of backbone.layer4.1.conv2 out of the feature map") == 1


def test_a_multiplier_without_offsets_is_an_error(tiny):
    with pytest.raises(ConfigError, match=r"optim\.offset_lr_mult=0\.1 does nothing with conv=standard"):
        train(compose([*tiny, "conv=standard", "optim.offset_lr_mult=0.1"]))


def test_all_problems_of_a_config_are_reported_together(tiny):
    overrides = [
        *tiny,
        "conv=deformable",
        "conv.groups=3",
        "data.batch_size=0",
        "optim.lr=-1",
        "trainer.precision=fp16",
    ]
    with pytest.raises(ConfigError) as caught:
        train(compose(overrides))
    text = str(caught.value)
    for key in ("conv.groups=3", "data.batch_size=0", "optim.lr=-1", "trainer.precision=fp16"):
        assert key in text


def test_a_loss_that_explodes_names_layer_step_and_setting(tiny, tmp_path):
    overrides = [*tiny, "conv=standard", "optim.lr=1e18", "trainer.steps=20"]
    with pytest.raises(RunError, match=r"not finite at step \d+, first in layer backbone\..*optim\.lr \(now 1e\+18\)"):
        run(overrides, tmp_path)
    summary = RunFolder(tmp_path / "run").read_summary()
    assert summary["status"] == "failed"
    assert "not finite" in summary["reason"]


def test_a_disk_that_is_full_for_the_log_is_the_reason(tiny, tmp_path):
    device = Path("/dev/full")
    if not device.exists():
        pytest.skip("needs /dev/full")
    (tmp_path / "run").mkdir()
    RunFolder(tmp_path / "run").metrics_file.symlink_to(device)
    with pytest.raises(RunError, match=r"Can't write .*metrics\.jsonl: No space left on device"):
        run([*tiny, "conv=standard"], tmp_path)
    summary = RunFolder(tmp_path / "run").read_summary()
    assert summary["status"] == "failed"
    assert "No space left" in summary["reason"]


def test_offsets_that_are_not_finite_name_the_layer_and_the_multiplier(tiny, tmp_path, monkeypatch):
    import dcnrun.training.run as module

    original = module.prepare

    def poisoned(config):
        training, model = original(config)
        with torch.no_grad():
            training.raw_model.backbone.layer4[1].conv1.offset_branch.bias[3] = math.nan
        return training, model

    monkeypatch.setattr(module, "prepare", poisoned)
    with pytest.raises(RunError, match=r"Offsets are not finite at step 1.*layer4\.1\.conv1.*optim\.offset_lr_mult"):
        run([*tiny, "conv=deformable"], tmp_path)


def test_a_folder_that_holds_a_run_is_not_overwritten(tiny, finished):
    with pytest.raises(UsageError, match="already holds a run"):
        train(compose([*tiny, "conv=standard"]), run_dir=finished.path)


def test_precision_bf16(tiny, tmp_path):
    assert all(map(math.isfinite, losses(run([*tiny, "conv=modulated", "trainer.precision=bf16"], tmp_path))))
