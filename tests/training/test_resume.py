"""Runs that are killed, stopped or short of disk resume with the numbers of one that never was."""

import contextlib
import json
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from dcnrun.config.compose import compose
from dcnrun.errors import ConfigError, RunError, UsageError
from dcnrun.runs import CheckpointChoice, RunFolder
from dcnrun.training import checkpoint, loop
from dcnrun.training.evaluate import evaluate
from dcnrun.training.optim import update_average
from dcnrun.training.run import resume, train
from dcnrun.training.validation import validate
from tests.data.factories import folder_tree, labels, save_mask
from tests.fakes import locked_elsewhere
from tests.training.factories import TINY, metrics
from tests.training.fakes import finish, on_two_ranks, start, under_torchrun


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
    ("task", "settings", "is_imported"),
    [
        ("tiny", ["conv=deformable", "model=fcn", "optim=adamw", "data.workers=1"], False),
        ("tiny_detector", ["conv=deformable", "model.roi_pool=modulated"], True),
    ],
)
def test_killed_at_random_steps_it_ends_with_the_same_numbers(task, settings, is_imported, request, forked, tmp_path):
    """The FCN head has dropout, and a detector draws the regions that it learns from: the random state counts too."""
    overrides = [*request.getfixturevalue(task), *settings, "trainer.steps=14", "trainer.eval_every=5"]
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    train(compose(overrides), overrides, whole)
    process = (forked if is_imported else start)("train", *overrides, "--run-dir", killed)
    chosen = random.Random()
    kills = sorted(chosen.sample(range(1, 14), 2))
    for step in kills:
        wait_until_logged(killed, step, process)
        time.sleep(chosen.random() * 0.05)
        process.kill()
        process.communicate()
        process = forked("train", "--resume", killed)
    code, _, err = finish(process)
    assert code == 0, err
    assert metrics(killed) == metrics(whole), f"killed at {kills}"
    assert same_weights(killed, whole), f"killed at {kills}"
    summary, wanted = RunFolder(killed).read_summary(), RunFolder(whole).read_summary()
    assert summary["status"] == "completed"
    assert (summary["metrics"], summary["best"]) == (wanted["metrics"], wanted["best"])


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_asked_to_stop_it_saves_and_exits_130(number, tiny, forked, tmp_path):
    overrides = [*tiny, "conv=standard", "trainer.steps=2000", "trainer.save_every=100000", "data.workers=1"]
    process = forked("train", *overrides, "--run-dir", tmp_path / "run")
    wait_until_logged(tmp_path / "run", 3, process)
    process.send_signal(number)
    code, out, err = finish(process)
    assert code == 130, err
    assert "Traceback" not in err
    assert "--resume" in out
    summary = RunFolder(tmp_path / "run").read_summary()
    assert summary["status"] == "stopped"
    assert checkpoint.load(RunFolder(tmp_path / "run").last_checkpoint)["step"] == summary["step"] >= 3


def test_a_damaged_checkpoint_falls_back_and_still_ends_the_same(finished, stopped, capsys):
    data = stopped.last_checkpoint.read_bytes()
    stopped.last_checkpoint.write_bytes(data[: len(data) // 2])
    resume(stopped.path)
    assert "last.pt is damaged" in capsys.readouterr().out
    assert metrics(stopped.path) == metrics(finished.path)
    assert same_weights(stopped.path, finished.path)


def test_a_completed_run_is_left_alone(finished):
    before = {path: path.stat().st_mtime_ns for path in finished.path.rglob("*")}
    assert resume(finished.path)["status"] == "completed"
    assert {path: path.stat().st_mtime_ns for path in finished.path.rglob("*")} == before


@pytest.mark.parametrize("summary", ["another status", "damaged"])
def test_killed_after_the_last_checkpoint_it_still_records_its_metrics(summary, finished, stopped):
    if summary == "damaged":
        stopped.summary_file.write_text("{")
    wanted = finished.read_summary()
    got = resume(stopped.path)
    assert got["status"] == "completed"
    assert got["metrics"] == wanted["metrics"]
    assert got["per_class"] == wanted["per_class"]


def test_a_torn_log_line_is_dropped(finished, stopped):
    stopped.last_checkpoint.unlink()
    with stopped.metrics_file.open("a") as file:
        file.write('{"step": 6, "split": "tr')
    resume(stopped.path)
    assert metrics(stopped.path) == metrics(finished.path)


def test_data_weights_and_runs_are_found_wherever_it_is_resumed_from(tmp_path, monkeypatch, capsys):
    """From another folder, moved together, and the data alone, which an override tells once."""
    project, moved = tmp_path / "project", tmp_path / "moved"
    folder_tree(project / "data")
    monkeypatch.chdir(project)
    own = [
        "data=folder",
        "data.root=data",
        "data.classes=[a,b]",
        "data.crop_size=16",
        "trainer.steps=1",
        "runs_dir=runs",
    ]
    overrides = [*(setting for setting in TINY if not setting.startswith(("data", "trainer.steps"))), *own]
    overrides += ["data.workers=0", "data.batch_size=2", "data.eval_batch_size=1", "conv=standard"]
    name = Path(train(compose(overrides), overrides)["run"]).name
    monkeypatch.chdir(tmp_path)
    wanted = evaluate(project / "runs" / name)["metrics"]
    project.rename(moved)
    run = RunFolder(moved / "runs" / name)
    assert evaluate(run.path)["metrics"] == wanted
    assert f"data.root: {project}/data is gone; taken instead: {moved}/data" in capsys.readouterr().out
    (moved / "data").rename(tmp_path / "elsewhere")
    with pytest.raises(UsageError, match=f"data.root={project}/data"):
        resume_stopped(run)
    assert resume_stopped(run, ["data.root=elsewhere", "logger.csv=true"])["metrics"] == wanted
    assert "since the run began" not in capsys.readouterr().out
    save_mask(tmp_path / "elsewhere/masks/train/a.png", labels(values=(0, 1), seed=9))
    resume_stopped(run)
    assert "Warning: labels of the training images have changed since the run began" in capsys.readouterr().out
    monkeypatch.chdir(project.parent.parent)
    assert resume_stopped(run)["metrics"] == wanted
    assert run.csv_file.exists()


def resume_stopped(run, overrides=()):
    run.write_summary(run.read_summary() | {"status": "stopped"})
    return resume(run.path, overrides)


def test_a_longer_run_is_the_one_that_was_longer_from_the_start(tiny, tmp_path):
    constant = [*tiny, "conv=standard", "optim.schedule=constant", "trainer.accumulate=2", "data.batch_size=2"]
    whole, longer = ([*constant, f"trainer.steps={steps}", "trainer.save_every=1"] for steps in (2, 1))
    train(compose(whole), whole, tmp_path / "whole")
    train(compose(longer), longer, tmp_path / "longer")
    with pytest.raises(ConfigError, match=r"optim\.lr can't change"):
        resume(tmp_path / "longer", ["trainer.steps=2", "optim.lr=1"])
    assert resume(tmp_path / "longer", ["trainer.steps=2"])["steps"] == 2
    assert same_weights(tmp_path / "longer", tmp_path / "whole")
    assert metrics(tmp_path / "longer", "train") == metrics(tmp_path / "whole", "train")
    assert resume(tmp_path / "longer", ["trainer.steps=2"])["step"] == 2, "it is completed"


def test_a_run_that_ends_early_is_completed_and_resumes_to_the_same_end(tiny, tmp_path, monkeypatch, capsys):
    """Killed before its last checkpoint, and between that and its summary."""
    scores = {1: 0.3, 2: 0.3, 3: 0.2}

    def scored(training):
        result = validate(training)
        scores_of = result.metrics | {"val/miou": scores[training.step]}
        return SimpleNamespace(images=result.images, per_class=result.per_class, metrics=scores_of)

    monkeypatch.setattr(loop, "validate", scored)
    overrides = [*tiny, "conv=standard", "trainer.eval_every=1", "trainer.patience=2", "data.image_size=32"]
    whole = RunFolder(tmp_path / "whole")
    wanted = train(compose(overrides), overrides, whole.path)
    assert (wanted["status"], wanted["step"], wanted["steps"]) == ("completed", 3, 6)
    said = capsys.readouterr().out.replace("\n", " ")
    why = "ended after 3 of 6 steps, since val/miou was no better in 2 validations than at step 1 (trainer.patience=2)"
    assert wanted["reason"] == why
    assert said.rstrip().endswith(f"Done, {why}: {whole.path}")
    assert whole.per_image_file.exists()
    assert resume(whole.path) == wanted
    for name, lost in (("earlier", True), ("end", False)):
        again = RunFolder(shutil.copytree(whole.path, tmp_path / name))
        again.write_summary(wanted | {"status": "running", "reason": None, "metrics": {}})
        if lost:
            again.last_checkpoint.unlink()
        got = resume(again.path)
        assert [got[key] for key in ("status", "reason", "step", "metrics", "best")] == [
            wanted[key] for key in ("status", "reason", "step", "metrics", "best")
        ]
        assert metrics(again.path) == metrics(whole.path)
        assert same_weights(again.path, whole.path)


@pytest.mark.slow
def test_the_average_of_weights_is_what_is_kept_and_a_resumed_run_has_the_same(finished, tiny, tmp_path, monkeypatch):
    """Training itself is that of the run without it, `finished`, to the bit."""
    overrides, decay = [*tiny, "conv=deformable", "optim.ema=0.5"], 0.5
    wanted: dict[int, dict[str, torch.Tensor]] = {}

    def recorded(average, network):
        update_average(average, network)
        now = {name: value.double() for name, value in network.state_dict().items()}
        before = wanted[max(wanted)] if wanted else now
        wanted[len(wanted) + 1] = {name: decay * before[name] + (1 - decay) * now[name] for name in now}

    with monkeypatch.context() as patched:
        patched.setattr(loop, "update_average", recorded)
        train(compose(overrides), overrides, tmp_path / "run")
    folder = RunFolder(tmp_path / "run")
    assert metrics(folder.path, "train") == metrics(finished.path, "train")
    last, without = (checkpoint.load(run.last_checkpoint) for run in (folder, finished))
    assert all(torch.equal(last[checkpoint.IN_TRAINING][name], value) for name, value in without["network"].items())
    for state in (last, checkpoint.load(folder.best_checkpoint)):
        for name, value in state["network"].items():
            if value.is_floating_point():
                torch.testing.assert_close(value.double(), wanted[state["step"]][name], rtol=1e-4, atol=1e-6)
    summary = folder.read_summary()
    assert evaluate(folder.path, CheckpointChoice.last)["metrics"] == summary["metrics"]
    again = RunFolder(shutil.copytree(folder.path, tmp_path / "again"))
    again.last_checkpoint.unlink()
    again.write_summary(summary | {"status": "stopped"})
    assert resume(again.path)["metrics"] == summary["metrics"]
    assert metrics(again.path) == metrics(folder.path)
    resumed = checkpoint.load(again.last_checkpoint)
    for part in ("network", checkpoint.IN_TRAINING):
        assert all(torch.equal(resumed[part][name], value) for name, value in last[part].items())
    del resumed[checkpoint.IN_TRAINING]
    checkpoint.save_last(again, resumed)
    again.write_summary(summary | {"status": "stopped"})
    with pytest.raises(RunError, match="it has no in_training"):
        resume(again.path)


def test_what_is_lost_of_a_run_is_said(finished, stopped, capsys):
    stopped.best_checkpoint.write_bytes(stopped.best_checkpoint.read_bytes()[:-100])
    lines = stopped.metrics_file.read_text().splitlines(keepends=True)
    stopped.metrics_file.write_text("".join(line for line in lines if '"step": 3,' not in line or '"val"' in line))
    wanted = finished.read_summary()
    assert resume(stopped.path)["best"] == wanted["best"]
    said = " ".join(capsys.readouterr().out.split())
    assert "best.pt is damaged" in said
    assert f"The best so far is val/miou {wanted['best']['val/miou']:.4f} at step {wanted['best']['step']}" in said
    assert "metrics.jsonl lacks what was logged at step 3: it is lost" in said


def test_the_best_is_what_its_file_holds(stopped):
    """Killed after a validation that it had not saved yet, which need not give the same numbers again on every device."""
    stopped.last_checkpoint.replace(stopped.previous_checkpoint)
    best = checkpoint.load(stopped.best_checkpoint) | {"best": {"step": 6, "val/miou": 0.99}}
    checkpoint.save_best(stopped, best)
    held = stopped.best_checkpoint.read_bytes()
    assert resume(stopped.path)["best"] == {"step": 6, "val/miou": 0.99}
    assert stopped.best_checkpoint.read_bytes() == held


def test_other_images_than_it_began_with_are_refused(stopped):
    config = stopped.config_file.read_text()
    stopped.config_file.write_text(config.replace("train_images: 16", "train_images: 15"))
    with pytest.raises(RunError, match=r"The images are not those .* 16 and 5 then, 15 and 5 now"):
        resume(stopped.path)


@pytest.mark.parametrize(
    "change",
    [
        {"random": [3]},
        {"random": []},
        {"random": [{"torch": torch.zeros(3)}]},
        {"optimizer": {}},
        {"losses": {"sums": {}, "steps": "3"}},
        {"network": {}},
        {"images": [{"count": 3}, {"count": 4}]},
    ],
    ids=str,
)
def test_a_state_that_can_not_be_restored_names_its_file_and_changes_nothing(change, stopped):
    state = checkpoint.load(stopped.last_checkpoint)
    stopped.last_checkpoint.write_bytes(b"")
    torch.save(state | change, stopped.previous_checkpoint)
    before = {file: file.read_bytes() for file in stopped.path.rglob("*") if file.is_file()}
    with pytest.raises(RunError, match=f"^{stopped.previous_checkpoint}: "):
        resume(stopped.path)
    assert {file: file.read_bytes() for file in before} == before


def test_a_run_that_another_process_trains_is_refused(stopped):
    before = stopped.metrics_file.read_text()
    with locked_elsewhere(stopped.lock_file):
        stopped.metrics_file.write_text(before + "{")
        leftover = stopped.last_checkpoint.with_name(".last.pt.1.part")
        leftover.touch()
        with pytest.raises(UsageError, match=r"Another process is training in .*run: wait, or stop it"):
            resume(stopped.path)
    assert stopped.metrics_file.read_text() == before + "{"
    assert leftover.exists()
    assert stopped.read_summary()["status"] == "stopped"
    assert resume(stopped.path)["status"] == "completed"
    assert not leftover.exists()


def test_full_disk_is_a_clear_error_and_the_last_good_checkpoint_stays(tiny, tmp_path, monkeypatch):
    """A disk of 40 MB in memory, where the test may mount one, that is full after step 4."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=40m", "tmpfs", str(disk)], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip("needs the right to mount a small disk")
    overrides = [*tiny, "conv=standard", "trainer.save_every=1"]
    folder, filler = RunFolder(disk / "run"), disk / "filler"
    save_last = checkpoint.save_last

    def save_and_fill(folder, state):
        save_last(folder, state)
        if state["step"] == 4:
            with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
                while file.write(b"0" * 4096):
                    pass

    try:
        monkeypatch.setattr(checkpoint, "save_last", save_and_fill)
        with pytest.raises(RunError, match=r"Can't write .*: No space left on device"):
            train(compose(overrides), overrides, folder.path)
        state, _, _ = checkpoint.load_last(folder)
        assert state["step"] == 4
        filler.unlink()
        monkeypatch.undo()
        assert resume(folder.path)["status"] == "completed"
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


@pytest.mark.slow
def test_two_processes_count_each_validation_image_once_and_resume(tiny, forked, tmp_path):
    """Five images on two processes; the gradient of the whole batch, so the weights are close to one process's."""
    run = tmp_path / "run"
    overrides = [*tiny, "conv=deformable", "optim.ema=0.5", "trainer.devices=2", "trainer.accelerator=cpu"]
    under_torchrun("train", *overrides, "--run-dir", run)
    folder = RunFolder(run)
    assert np.load(folder.per_image_file)["confusion"].sum((1, 2)).tolist() == [48 * 48] * 5
    whole = metrics(run)
    assert evaluate(run, CheckpointChoice.last)["metrics"] == pytest.approx(folder.read_summary()["metrics"], abs=1e-3)
    folder.last_checkpoint.unlink()
    folder.write_summary(folder.read_summary() | {"status": "stopped"})
    on_two_ranks(forked, "train", "--resume", run)
    assert metrics(run) == whole
    folder.write_summary(folder.read_summary() | {"status": "stopped"})
    with pytest.raises(ConfigError, match="need 2 processes, but 1 were started: use torchrun"):
        resume(run)
