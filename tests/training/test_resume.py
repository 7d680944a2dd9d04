"""Runs that are killed, stopped or short of disk go on with the numbers of one that never was."""

import contextlib
import json
import random
import signal
import subprocess
import sys
import time

import pytest
import torch

from dcnrun.config.compose import compose
from dcnrun.errors import ConfigError
from dcnrun.runs import RunFolder
from dcnrun.training import checkpoint
from dcnrun.training.evaluate import evaluate
from dcnrun.training.run import resume, train
from tests.training.running import finish, metrics, start


def same_weights(a, b):
    first, second = (checkpoint.load(RunFolder(run).last_checkpoint)["network"] for run in (a, b))
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def wait_until_logged(run, step, process):
    path = run / "metrics.jsonl"
    while process.poll() is None:
        if path.exists() and any(json.loads(line)["step"] >= step for line in path.read_text().splitlines()[:-1]):
            return
        time.sleep(0.01)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("task", "settings"),
    [
        ("tiny", ["conv=deformable", "model=fcn", "optim=adamw"]),
        ("tiny", ["conv=standard", "data.workers=1"]),
        ("tiny_detector", ["conv=deformable", "model.roi_pool=modulated"]),
    ],
)
def test_killed_at_random_steps_it_ends_with_the_same_numbers(task, settings, request, tmp_path):
    """The FCN head has dropout, and a detector draws the regions that it learns from: the random state counts too."""
    overrides = [*request.getfixturevalue(task), *settings, "trainer.steps=14", "trainer.eval_every=5"]
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    train(compose(overrides), overrides, whole)
    process = start("train", *overrides, "--run-dir", killed)
    chosen = random.Random()
    kills = sorted(chosen.sample(range(1, 14), 3))
    for step in kills:
        wait_until_logged(killed, step, process)
        time.sleep(chosen.random() * 0.05)
        process.kill()
        process.communicate()
        process = start("train", "--resume", killed)
    code, _, err = finish(process)
    assert code == 0, err
    assert metrics(killed) == metrics(whole), f"killed at {kills}"
    assert same_weights(killed, whole), f"killed at {kills}"
    summary = RunFolder(killed).read_summary()
    assert summary["status"] == "completed"
    assert summary["metrics"] == RunFolder(whole).read_summary()["metrics"]


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_asked_to_stop_it_saves_and_exits_130(number, tiny, tmp_path):
    overrides = [*tiny, "conv=standard", "trainer.steps=2000", "trainer.save_every=100000", "data.workers=1"]
    process = start("train", *overrides, "--run-dir", tmp_path / "run")
    wait_until_logged(tmp_path / "run", 3, process)
    process.send_signal(number)
    code, out, err = finish(process)
    assert code == 130, err
    assert "Traceback" not in err
    assert "--resume" in out
    summary = RunFolder(tmp_path / "run").read_summary()
    assert summary["status"] == "stopped"
    assert checkpoint.load(RunFolder(tmp_path / "run").last_checkpoint)["step"] == summary["step"] >= 3


def test_a_damaged_checkpoint_falls_back_and_still_ends_the_same(tiny, tmp_path, capsys):
    overrides = [*tiny, "conv=modulated"]
    whole, damaged = tmp_path / "whole", tmp_path / "damaged"
    for run in (whole, damaged):
        train(compose(overrides), overrides, run)
    folder = RunFolder(damaged)
    data = folder.last_checkpoint.read_bytes()
    folder.last_checkpoint.write_bytes(data[: len(data) // 2])
    folder.write_summary(folder.read_summary() | {"status": "stopped"})
    resume(damaged)
    assert "last.pt is damaged" in " ".join(capsys.readouterr().out.split())
    assert metrics(damaged) == metrics(whole)
    assert same_weights(damaged, whole)


def test_a_completed_run_is_left_alone(tiny, tmp_path):
    overrides = [*tiny, "conv=standard", "trainer.steps=2"]
    train(compose(overrides), overrides, tmp_path / "run")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*")}
    assert resume(tmp_path / "run")["status"] == "completed"
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*")} == before


def test_killed_after_the_last_checkpoint_it_still_records_its_metrics(tiny, tmp_path):
    overrides = [*tiny, "conv=standard"]
    wanted = train(compose(overrides), overrides, tmp_path / "run")
    folder = RunFolder(tmp_path / "run")
    folder.write_summary(folder.read_summary() | {"status": "running", "metrics": {}, "per_class": {}})
    summary = resume(folder.path)
    assert summary["status"] == "completed"
    assert summary["metrics"] == wanted["metrics"]
    assert summary["per_class"] == wanted["per_class"]


def test_a_torn_log_line_is_dropped(tiny, tmp_path):
    overrides = [*tiny, "conv=standard"]
    for name in ("whole", "torn"):
        train(compose(overrides), overrides, tmp_path / name)
    folder = RunFolder(tmp_path / "torn")
    folder.last_checkpoint.unlink()
    folder.write_summary(folder.read_summary() | {"status": "running"})
    with folder.metrics_file.open("a") as file:
        file.write('{"step": 6, "split": "tr')
    resume(folder.path)
    assert metrics(tmp_path / "torn") == metrics(tmp_path / "whole")


def test_full_disk_is_a_clear_error_and_the_last_good_checkpoint_stays(tiny, tmp_path):
    """A disk of 40 MB in memory, where the test may mount one."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=40m", "tmpfs", str(disk)], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip("needs the right to mount a small disk")
    overrides = [
        *tiny,
        "conv=standard",
        "trainer.steps=400",
        "trainer.save_every=1",
        "trainer.eval_every=400",
        "data.train_images=4",
    ]
    filler = disk / "filler"
    try:
        process = start("train", *overrides, "--run-dir", disk / "run")
        wait_until_logged(disk / "run", 4, process)
        with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while file.write(b"0" * 4096):
                pass
        code, _, err = finish(process)
        assert code == 1
        assert "No space left on device" in err
        assert "Traceback" not in err
        state, _ = checkpoint.load_last(RunFolder(disk / "run"))
        assert state["step"] >= 3
        filler.unlink()
        resume(disk / "run")
        assert RunFolder(disk / "run").read_summary()["status"] == "completed"
    finally:
        process.kill()
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


@pytest.mark.slow
def test_two_processes_count_each_validation_image_once_and_resume(tiny, tmp_path):
    """Five images on two processes; the gradient of the whole batch, so the weights are close to one process's."""
    import numpy as np

    run = tmp_path / "run"
    torchrun = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--nproc-per-node",
        "2",
        "--master-port",
        str(random.randint(20000, 50000)),
    ]
    overrides = [*tiny, "conv=deformable", "trainer.devices=2", "trainer.accelerator=cpu"]
    subprocess.run([*torchrun, "-m", "dcnrun", "train", *overrides, "--run-dir", str(run)], check=True, timeout=200)
    folder = RunFolder(run)
    assert np.load(folder.per_image_file)["confusion"].sum((1, 2)).tolist() == [48 * 48] * 5
    whole = metrics(run)
    assert evaluate(run, "last")["metrics"] == pytest.approx(folder.read_summary()["metrics"], abs=1e-3)
    folder.last_checkpoint.unlink()
    folder.write_summary(folder.read_summary() | {"status": "stopped"})
    subprocess.run([*torchrun, "-m", "dcnrun", "train", "--resume", str(run)], check=True, timeout=200)
    assert metrics(run) == whole
    folder.write_summary(folder.read_summary() | {"status": "stopped"})
    with pytest.raises(ConfigError, match="need 2 processes, but 1 were started: use torchrun"):
        resume(run)
