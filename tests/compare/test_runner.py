import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from dcnrun.compare import progress, report
from dcnrun.compare.grid import build_grid
from dcnrun.compare.page import PAGE_NAME
from dcnrun.compare.pictures import DRAWN
from dcnrun.compare.runner import run_grid
from dcnrun.config.compose import compose
from dcnrun.data import build_dataset
from dcnrun.data.contents import contents_of
from dcnrun.errors import ConfigError, RunError, UsageError
from dcnrun.jobs.database import sqlite_url
from dcnrun.jobs.ledger import JobSpec, Ledger, State
from dcnrun.runs import RunFolder
from tests.compare.factories import Trainer, write_run
from tests.data.factories import folder_tree, labels, save_mask
from tests.fakes import locked_elsewhere
from tests.postgres import PASSWORD
from tests.training.factories import TINY


@pytest.fixture(autouse=True)
def no_figure(monkeypatch):
    """Drawing takes longer than all else in these tests."""
    monkeypatch.setattr(report, "save_png", lambda figure, path: path.touch())


@pytest.fixture
def trainer(tmp_path):
    return Trainer(tmp_path / "templates", ["conv=standard,dilated", "seed=0,1", f"runs_dir={tmp_path / 'runs'}"])


def run_names(calls):
    return [Path(call[call.index("--run-dir") + 1]).name for call in calls]


def test_runs_every_variant_of_a_seed_before_the_next_seed(trainer, tmp_path, capsys):
    result = run_grid(trainer.overrides, program=trainer.program)
    calls = trainer.calls()
    assert run_names(calls) == ["standard-seed0", "dilated-4-seed0", "standard-seed1", "dilated-4-seed1"]
    runs_dir = f"runs_dir={tmp_path / 'runs'}"
    assert calls[3] == ["train", *calls[3][1:3], "conv=dilated", runs_dir, "seed=1"]
    (folder,) = (tmp_path / "runs").iterdir()
    assert folder.name == f"compare-{build_grid(trainer.overrides).digest}"
    assert {path.name for path in folder.iterdir()} >= {"compare.md", "compare.json", "compare.png", "grid.json"}
    assert result["variants"][1]["difference"]["per_seed"].keys() == {"0", "1"}
    assert result["failed"] == result["not_included"] == []
    assert json.loads((folder / "compare.json").read_text()) == result
    assert json.loads((folder / "grid.json").read_text())["overrides"] == trainer.overrides
    assert "acting: finish" in (folder / "standard-seed0.log").read_text()
    out = capsys.readouterr().out
    assert "[1/4] standard, seed 0: val/miou " in out
    assert "│ dilated 4 │" in out


def test_finished_runs_are_not_run_again_and_seeds_can_be_added(trainer):
    first = run_grid(trainer.overrides, program=trainer.program)
    trainer.calls()
    assert run_grid(trainer.overrides, program=trainer.program) == first
    assert trainer.calls() == []
    more = [override.replace("seed=0,1", "seed=0,1,2") for override in trainer.overrides]
    trainer.prepare(more)
    result = run_grid(more, program=trainer.program)
    assert run_names(trainer.calls()) == ["standard-seed2", "dilated-4-seed2"]
    assert result["variants"][0]["seeds"] == [0, 1, 2]


def test_runs_are_found_by_their_configs_wherever_they_are(trainer, tmp_path, capsys):
    """A variant and a value more, in another folder: the names of the runs change, and those that are there are taken."""
    fewer = ["conv=standard,dilated", trainer.overrides[-1]]
    more = ["conv=standard,dilated", "optim.lr=0.001,0.05", trainer.overrides[-1]]
    trainer.prepare(more)
    run_grid(fewer, tmp_path / "one" / "a", program=trainer.program)
    trainer.calls()
    capsys.readouterr()
    result = run_grid(more, tmp_path / "elsewhere" / "b", program=trainer.program)
    assert run_names(trainer.calls()) == ["standard-lr-0.05-seed0", "dilated-4-lr-0.05-seed0"]
    assert [variant["seeds"] for variant in result["variants"]] == [[0]] * 4
    assert "2 of 4 runs were trained before, elsewhere" in capsys.readouterr().out
    assert result["variants"][0]["runs"][0]["folder"] == str(tmp_path / "one" / "a" / "standard-seed0")
    assert run_grid(more, tmp_path / "elsewhere" / "b", dry_run=True)["states"] == ["done"] * 4


def test_agents_share_the_runs(trainer, tmp_path, capsys):
    trainer.does("dilated-4-seed1", "crash")
    result = run_grid(trainer.overrides, tmp_path / "out", agents=2, program=trainer.program)
    names = ("standard-seed0", "dilated-4-seed0", "standard-seed1", "dilated-4-seed1")
    assert sorted(run_names(trainer.calls())) == sorted(names)
    assert [variant["seeds"] for variant in result["variants"]] == [[0, 1], [0]]
    assert [run["reason"] for run in result["failed"]] == ["exit status 3: acting: crash ValueError: no such luck"]
    said = capsys.readouterr().out
    for place in ("[1/4] standard, seed 0", "[2/4] dilated 4, seed 0", "[3/4] standard, seed 1"):
        assert said.count(f"{place}: val/miou ") == 1
    assert "[4/4] dilated 4, seed 1: failed: exit status 3" in said
    assert len(list((tmp_path / "out" / "logs").glob("*-agent-?.log"))) == 2


def test_it_starts_the_processes_of_runs_itself(trainer, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UsageError, match="start it without torchrun"):
        run_grid(trainer.overrides, program=trainer.program)


def test_a_failed_run_is_listed_and_the_rest_go_on(trainer):
    trainer.does("dilated-4-seed0", "fail")
    trainer.does("standard-seed1", "crash")
    result = run_grid(trainer.overrides, program=trainer.program)
    assert [(run["variant"], run["seed"]) for run in result["failed"]] == [("dilated 4", 0), ("standard", 1)]
    assert result["failed"][0]["reason"] == "the loss is nan at step 3"
    assert result["failed"][1]["reason"] == "exit status 3: acting: crash ValueError: no such luck"
    assert [variant["seeds"] for variant in result["variants"]] == [[0], [1]]
    assert result["variants"][1]["difference"] is None
    trainer.calls()
    trainer.does("dilated-4-seed0", None)
    trainer.does("standard-seed1", None)
    assert run_grid(trainer.overrides, program=trainer.program)["failed"] == []
    again, anew = trainer.calls()
    assert again[:2] == ["train", "--resume"]
    assert "--run-dir" in anew


def test_an_old_reason_is_not_given_for_a_new_failure(trainer, tmp_path):
    trainer.does("dilated-4-seed0", "fail")
    run_grid(trainer.overrides, program=trainer.program)
    (summary,) = (tmp_path / "runs").glob("*/dilated-4-seed0/summary.json")
    os.utime(summary, (time.time() - 100, time.time() - 100))
    trainer.does("dilated-4-seed0", "crash")
    result = run_grid(trainer.overrides, program=trainer.program)
    assert result["failed"][0]["reason"] == "exit status 3: acting: crash ValueError: no such luck"


def test_when_every_run_fails_so_does_the_comparison(trainer):
    for run in ("standard-seed0", "dilated-4-seed0", "standard-seed1", "dilated-4-seed1"):
        trainer.does(run, "crash")
    why = r"standard, seed 0 and 3 more: exit status 3[^\n]*standard-seed0\.log\)$"
    with pytest.raises(RunError, match=rf"Every run failed:\n  {why}"):  # the cause that all share is said once
        run_grid(trainer.overrides, program=trainer.program)


def test_a_program_that_does_not_start_is_a_failed_run(trainer):
    with pytest.raises(RunError, match=r"No such file|not found"):
        run_grid(trainer.overrides, program=["/does/not/exist"])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_lets_the_run_save_and_the_same_command_resumes_it(trainer, tmp_path, number):
    trainer.does("dilated-4-seed0", "wait")

    def interrupt():
        while not list(tmp_path.glob("runs/*/dilated-4-seed0/waiting")):
            time.sleep(0.02)
        os.kill(os.getpid(), number)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        run_grid(trainer.overrides, program=trainer.program)
    thread.join()
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    (folder,) = (tmp_path / "runs").iterdir()
    summary = json.loads((folder / "dilated-4-seed0" / "summary.json").read_text())
    assert summary["status"] == "stopped"
    partial = json.loads((folder / "compare.json").read_text())
    assert [variant["seeds"] for variant in partial["variants"]] == [[0], []]
    trainer.calls()
    trainer.does("dilated-4-seed0", None)
    result = run_grid(trainer.overrides, program=trainer.program)
    resumed, *new = trainer.calls()
    assert resumed == ["train", "--resume", str(folder / "dilated-4-seed0")]
    assert run_names(new) == ["standard-seed1", "dilated-4-seed1"]
    assert result["not_included"] == []


def test_an_interrupt_while_the_report_is_made_says_how_to_go_on(tmp_path, monkeypatch, capsys):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(progress, "finish_report", interrupted)
    overrides, out = ["conv=standard", f"runs_dir={tmp_path / 'runs'}"], tmp_path / "out"
    write_run(out / "standard-seed0", overrides)
    with pytest.raises(KeyboardInterrupt):
        run_grid(overrides, out)
    assert "kept. The same command goes on." in capsys.readouterr().out


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel tells a run of its parent's end on Linux only")
def test_a_run_stops_when_the_comparison_is_killed(trainer, tmp_path):
    trainer.does("dilated-4-seed0", "wait")
    run = tmp_path / "dilated-4-seed0"
    command = [*trainer.program, "train", "--run-dir", str(run)]
    code = f"from pathlib import Path; from dcnrun.jobs.process import run_process; run_process({command}, Path('log'))"
    parent = subprocess.Popen(
        [sys.executable, "-c", code], cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(Path.cwd())}
    )
    _wait_until((run / "waiting").exists)
    parent.kill()
    parent.wait()
    _wait_until(lambda: json.loads((run / "summary.json").read_text() or "{}").get("status") == "stopped")


def test_two_comparisons_do_not_share_a_folder(trainer, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    with locked_elsewhere(out / ".lock"), pytest.raises(UsageError, match="is at work in"):
        run_grid(trainer.overrides, out, program=trainer.program)
    assert trainer.calls() == []


def test_commands_with_one_storage_share_the_runs(trainer, tmp_path, postgres):
    """Each is a process, as on machines that share a disk."""
    url, out = postgres.new_database(), tmp_path / "out"

    def share():
        run_grid(trainer.overrides, out, storage=url, program=trainer.program)

    commands = [multiprocessing.get_context("fork").Process(target=share) for _ in range(3)]
    for command in commands:
        command.start()
    for command in commands:
        command.join(60)
    assert [command.exitcode for command in commands] == [0, 0, 0]
    assert sorted(run_names(trainer.calls())) == sorted(
        f"{name}-seed{n}" for name in ("dilated-4", "standard") for n in (0, 1)
    )
    result = json.loads((out / "compare.json").read_text())
    assert [variant["seeds"] for variant in result["variants"]] == [[0, 1], [0, 1]]
    assert result["not_included"] == result["failed"] == []
    assert not [file for file in out.rglob("*") if file.is_file() and PASSWORD.encode() in file.read_bytes()]


def test_what_another_machine_has_is_not_run_again(trainer, tmp_path):
    url, out = sqlite_url(tmp_path / "shared.db"), tmp_path / "out"
    grid = build_grid(trainer.overrides)
    elsewhere = Ledger.create(url, f"compare-{grid.digest}", "grid", grid.digest, "/elsewhere", None)
    elsewhere.add([JobSpec((), {}, "standard-seed0"), JobSpec((), {}, "dilated-4-seed0")])
    for state in (State.completed, State.failed):
        elsewhere.finish(elsewhere.claim("machine2:7::"), "machine2:7::", state, "no memory")
    result = run_grid(trainer.overrides, out, storage=url, program=trainer.program)
    assert run_names(trainer.calls()) == ["dilated-4-seed0", "standard-seed1", "dilated-4-seed1"]
    assert [variant["seeds"] for variant in result["variants"]] == [[1], [0, 1]]
    (missing,) = result["not_included"]
    assert missing["reason"] == "completed on machine2, but its folder is not here"
    assert not (out / "ledger.db").exists()


def test_a_run_whose_folder_was_deleted_is_run_again(trainer, tmp_path):
    out = tmp_path / "out"
    run_grid(trainer.overrides, out, program=trainer.program)
    trainer.calls()
    shutil.rmtree(out / "standard-seed1")
    run_grid(trainer.overrides, out, program=trainer.program)
    assert run_names(trainer.calls()) == ["standard-seed1"]


def test_fewer_seeds_than_before_are_those_that_are_run(trainer, tmp_path):
    out = tmp_path / "out"
    for run in ("dilated-4-seed0", "standard-seed1"):
        trainer.does(run, "crash")
    run_grid(trainer.overrides, out, program=trainer.program)
    trainer.calls()
    fewer = [override.replace("seed=0,1", "seed=1") for override in trainer.overrides]
    run_grid(fewer, out, program=trainer.program)
    assert run_names(trainer.calls()) == ["standard-seed1"]


def test_a_folder_that_cannot_be_made_is_a_usage_error(trainer, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="can't be made"):
        run_grid(trainer.overrides, tmp_path / "file" / "out", program=trainer.program)


def test_a_dry_run_prints_the_runs_and_trains_nothing(trainer, tmp_path, capsys):
    plan = run_grid([*trainer.overrides, "conv.dilation=2,4"], dry_run=True, program=trainer.program)
    out = capsys.readouterr().out
    assert trainer.calls() == []
    assert not (tmp_path / "runs").exists()
    assert plan["total_steps"] == 6 * 1000
    assert plan["states"] == ["new"] * 6
    assert "dilated 2, seed 1" in out
    assert "6000 steps" in out
    assert "conv.dilation (conv=standard)" in out
    one = [text for text in trainer.overrides if not text.startswith(("conv=", "seed="))]
    run_grid([*one, "conv=standard", "seed=0"], dry_run=True, program=trainer.program)
    assert "1 run in" in capsys.readouterr().out


def test_labels_that_changed_since_runs_began_are_said(tmp_path, capsys):
    root, out = folder_tree(tmp_path / "data"), tmp_path / "out"
    own = ["data=folder", f"data.root={root}", "data.classes=[no,yes]", "data.ignore_label=255", "data.workers=0"]
    overrides = [*own, "conv=standard,dilated", "conv.dilation=2", "seed=0", f"runs_dir={tmp_path / 'runs'}"]
    run = write_run(out / "standard-seed0", [*own, "conv=standard"])
    data = compose(own).data
    contents = contents_of(build_dataset(data, "train"), build_dataset(data, "val"))
    RunFolder(run).environment_file.write_text(json.dumps(contents))
    run_grid(overrides, out, dry_run=True)
    assert "began with" not in capsys.readouterr().out
    save_mask(root / "masks/val/a.png", labels(values=(0, 1), seed=9))
    run_grid(overrides, out, dry_run=True)
    assert f"Warning: labels of the validation images are not those that {run} began with" in capsys.readouterr().out


def test_a_wrong_grid_starts_nothing(trainer, tmp_path):
    with pytest.raises(ConfigError):
        run_grid([*trainer.overrides, "optim.lrr=1"], program=trainer.program)
    assert trainer.calls() == []
    assert not (tmp_path / "runs").exists()


def test_the_config_dir_is_passed_on(trainer, tmp_path):
    (tmp_path / "conf" / "optim").mkdir(parents=True)
    (tmp_path / "conf" / "optim" / "mine.yaml").write_text("optimizer: sgd\nlr: 0.2\n")
    with pytest.raises(RunError):  # the pretender has no such run
        run_grid(["conv=deformable", "optim=mine"], tmp_path / "out", tmp_path / "conf", program=trainer.program)
    (call,) = trainer.calls()
    assert call[:3] == ["train", "--config-dir", str(tmp_path / "conf")]


@pytest.mark.slow
def test_real_training(tmp_path):
    # after these steps the two find different things
    overrides = [
        "conv=standard,deformable",
        f"runs_dir={tmp_path}",
        *TINY,
        "optim=adamw",
        "optim.lr=0.01",
        "trainer.steps=8",
    ]
    result = run_grid(overrides)
    standard, deformable = result["variants"]
    assert deformable["parameters"] > standard["parameters"]
    assert deformable["difference"]["without_images"] is None
    assert result["failed"] == []
    folder = Path(result["folder"])
    drawn = (folder / DRAWN).stat().st_mtime_ns
    assert (folder / PAGE_NAME).read_text().count("<img") == 5 * 5  # images; itself, truth, two variants, difference
    assert run_grid(overrides, program=["/does/not/exist"]) == result
    assert (folder / DRAWN).stat().st_mtime_ns == drawn


def _wait_until(condition, seconds=20):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)
