"""Run folders: names, damaged files, metrics, locks."""

import json
import math
import os
import random
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from dcnrun.errors import RunError, UsageError
from dcnrun.runs import (
    CheckpointChoice,
    CurveReader,
    MetricRecord,
    RunFolder,
    RunStatus,
    locked,
    new_run_folder,
    write_json,
)
from tests.fakes import locked_elsewhere

METRIC = "val/miou"


def line(step, **values):
    return json.dumps({"step": step, "epoch": 0.5, "split": "val", **values}) + "\n"


def curve_in(path):
    """The values of METRIC in a file by reading all of it."""
    found = []
    for text in path.read_text().split("\n")[:-1]:
        record = json.loads(text)
        value = record.get(METRIC)
        if value is not None and math.isfinite(value):
            found.append((record["step"], value))
    return tuple(found)


def metrics_of(path, text):
    folder = RunFolder(path)
    folder.metrics_file.write_text(text)
    return folder


def test_folders_made_in_the_same_second_are_distinct(tmp_path):
    paths = {new_run_folder(tmp_path / "runs", "name").path for _ in range(20)}
    assert len(paths) == 20
    assert all(path.is_dir() for path in paths)


def test_names_stay_inside_the_folder(tmp_path):
    path = new_run_folder(tmp_path, "../../etc/x y").path
    assert path.parent == tmp_path
    assert "/" not in path.name
    assert " " not in path.name


@pytest.mark.parametrize("content", ["", "{", "[1]", "3"])
def test_a_damaged_summary_is_named(tmp_path, content):
    folder = RunFolder(tmp_path)
    folder.summary_file.write_text(content)
    with pytest.raises(RunError, match=r"summary\.json is damaged"):
        folder.read_summary()


def test_a_missing_summary_and_a_folder_of_something_else(tmp_path):
    with pytest.raises(RunError, match=r"summary\.json is missing"):
        RunFolder(tmp_path).read_summary()
    with pytest.raises(UsageError, match=r"has no config\.yaml"):
        RunFolder(tmp_path).require()


def test_json_holds_no_nan(tmp_path):
    write_json(tmp_path / "x.json", {"a": [float("nan"), 1.5], "b": float("inf")})
    assert (tmp_path / "x.json").read_text().split() == ["{", '"a":', "[", "null,", "1.5", "],", '"b":', "null", "}"]


def test_a_run_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").touch()
    for runs_dir, name, why in (
        (tmp_path / "file", "name", "Not a directory"),
        (Path("/proc/none"), "name", "No such file"),
        (tmp_path, "a" * 300, "File name too long"),
    ):
        with pytest.raises(UsageError, match=rf"can't be made: {why}.*Give another runs_dir or name"):
            new_run_folder(runs_dir, name)


def test_a_file_that_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    for path, why in (
        (tmp_path / "file" / "x.json", f"{tmp_path / 'file'} is not a folder"),
        (tmp_path / "file" / "folder" / "x.json", "Not a directory"),
        (Path("/proc/none/x.json"), "No such file"),
    ):
        with pytest.raises(RunError, match=rf"Can't write {path}: {why}") as refused:
            write_json(path, {})
        assert "room" not in str(refused.value), "no disk is full"


def test_what_a_killed_process_left_is_deleted_and_nothing_else(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    left = [tmp_path / ".summary.json.12.part", tmp_path / "checkpoints" / ".last.pt.345.part"]
    others = [
        tmp_path / name for name in ("a.part", ".b.part", ".c.x.part", ".d.1.partial", ".lock", "checkpoints/last.pt")
    ]
    for path in left + others:
        path.touch()
    RunFolder(tmp_path).remove_leftovers()
    assert not any(path.exists() for path in left)
    assert all(path.exists() for path in others)


@pytest.mark.parametrize("content", ["", "{", "[1]", '{"a": 1, "b": {"c": 2}}'])
def test_damaged_paths_are_none(tmp_path, content):
    folder = RunFolder(tmp_path)
    assert folder.read_paths() == {}
    folder.paths_file.write_text(content)
    assert folder.read_paths() == {}


def test_text_is_utf8_whatever_the_locale(tmp_path):
    write = "import sys, pathlib, dcnrun.runs; dcnrun.runs.write_text(pathlib.Path(sys.argv[1]), chr(177))"
    posix = {"LC_ALL": "POSIX", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    subprocess.run([sys.executable, "-c", write, tmp_path / "x"], env=os.environ | posix, check=True)
    assert (tmp_path / "x").read_text(encoding="utf-8") == "±"


def test_a_checkpoint_is_chosen_by_name(tmp_path):
    folder = RunFolder(tmp_path)
    assert [folder.checkpoint(choice).name for choice in CheckpointChoice] == ["best.pt", "last.pt"]
    assert folder.checkpoint("best") == folder.best_checkpoint
    with pytest.raises(ValueError, match="bset"):
        folder.checkpoint("bset")


@pytest.mark.parametrize("status", RunStatus)
def test_a_run_is_completed_by_its_summary(tmp_path, status):
    folder = RunFolder(tmp_path)
    assert not folder.is_completed()
    folder.write_summary({"status": status})
    assert folder.read_summary() == {"status": status.value}
    assert folder.is_completed() == (status.value == "completed")
    folder.summary_file.write_text("{")
    assert not folder.is_completed()


def test_metrics_are_read_but_for_what_is_damaged(tmp_path):
    assert [*RunFolder(tmp_path).read_metrics()] == []
    whole = line(1, a=2, b=None, c="0.3", d=True, e=math.inf), '{"step": 2, "b": 1}\n', line(4, a=5)
    damage = ("\n", "[1]\n", "null\n", '{"a": 3}\n', '{"step": null}\n', "\0\0\0\n", '{"step": 9, "a"')
    folder = metrics_of(tmp_path, "".join([*whole[:2], *damage[:-1], whole[2], damage[-1]]))
    with folder.metrics_file.open("ab") as file:
        file.write(b"\xff\n" + line(5).encode().replace(b"val", b"\xe9"))
    wanted = [MetricRecord(1, 0.5, "val", {"a": 2}), MetricRecord(2, None, None, {"b": 1})]
    assert [*folder.read_metrics()] == [*wanted, MetricRecord(4, 0.5, "val", {"a": 5})]
    assert folder.curve("a") == ((1, 2), (4, 5))
    assert folder.last_step() == 4


def test_a_curve_is_in_the_order_of_steps_and_has_the_later_value(tmp_path):
    folder = metrics_of(tmp_path, line(4, a=1) + line(2, a=2) + line(3, b=3) + line(4, a=5))
    assert folder.curve("a") == ((2, 2), (4, 5))
    assert folder.curve("none") == ()


def test_metrics_past_a_step_are_forgotten_and_the_others_stay_as_they_are(tmp_path):
    RunFolder(tmp_path).forget_metrics_after(1)
    kept = '{"step":1,  "loss": 0.1}\n' + line(2, name="é")
    folder = metrics_of(tmp_path, kept[:25] + "torn\n" + kept[25:] + line(3) + '{"step": 2')
    folder.forget_metrics_after(2)
    assert folder.metrics_file.read_text() == kept


def test_what_of_the_metrics_cannot_be_used_is_said_and_kept_beside(tmp_path):
    good = line(1, a=1), line(2, a=2), line(4, a=4)
    damaged = b'{"step": 3, "a": 0.\n', b"\xff\xfe\n", b'{"step": -1}\n', b'{"step": 1e400}\n', b"[" * 5000 + b"\n"
    folder = RunFolder(tmp_path)
    repeated, text = line(2, a=9).encode(), line(3, a="0.3", b=10**400 * 7).encode()
    folder.metrics_file.write_bytes(
        good[0].encode() + repeated + b"".join(damaged) + good[1].encode() + text + good[2].encode() + b'{"step": 5, "a'
    )
    (said,) = folder.metrics_problems()
    assert str(folder.metrics_file) in said
    assert "line 2 is repeated by line 8, line 3 is no JSON, line 4 is not UTF-8, line 5 has no step" in said
    assert "and 3 more" in said
    assert folder.curve("a") == ((1, 1), (2, 2), (4, 4))
    said = folder.forget_metrics_after(3)
    assert folder.metrics_file.read_bytes() == good[0].encode() + good[1].encode() + text
    assert folder.damaged_metrics_file.read_bytes() == repeated + b"".join(damaged)
    assert "line 3 has another thing in 'a', 'b'" in folder.metrics_problems()[0]
    assert said[-1] == f"What can't be used of it is kept in {folder.damaged_metrics_file}."
    folder.metrics_file.write_bytes(b"new damage\n" + good[0].encode())
    folder.forget_metrics_after(3)
    assert folder.damaged_metrics_file.read_bytes() == repeated + b"".join(damaged) + b"new damage\n"
    assert folder.metrics_problems() == folder.forget_metrics_after(3) == []


def test_nothing_is_waited_for_where_a_file_should_be(tmp_path):
    folder = RunFolder(tmp_path)
    for file in (folder.metrics_file, folder.summary_file, folder.config_file):
        os.mkfifo(file)
    assert ([*folder.read_metrics()], folder.last_step(), CurveReader(folder, METRIC).read()) == ([], 0, ())
    assert "it is no file" in folder.metrics_problems()[0]
    with pytest.raises(RunError, match=r"metrics\.jsonl can't be read: it is no file"):
        folder.forget_metrics_after(3)
    with pytest.raises(RunError, match=r"summary\.json can't be read: it is no file"):
        folder.read_summary()
    with pytest.raises(UsageError, match=r"its config\.yaml is no file"):
        folder.require()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"metrics": ["val/miou", 1]}, "metrics should be numbers by name"),
        ({"metrics": {METRIC: "0.5"}}, "metrics should be numbers by name"),
        ({"best": 3}, "best should be numbers by name"),
        ({"per_class": {METRIC: [1]}}, "per_class should be scores"),
        ({"parameters": "many"}, "parameters should be a number"),
        ({"flops": 10**400}, "flops should be a number"),
        ({"step": 1.5}, "step should be a whole number"),
        ({"status": True}, "status should be a text"),
        ({"reason": "\ud800"}, "damaged"),
    ],
)
def test_a_summary_of_another_shape_is_damaged(tmp_path, change, said):
    folder = RunFolder(tmp_path)
    folder.summary_file.write_text(json.dumps({"status": "completed", "metrics": {METRIC: 0.5}} | change))
    with pytest.raises(RunError, match=rf"summary\.json is damaged.*{said}|surrogates"):
        folder.read_summary()


def test_files_that_were_changed_after_the_run_are_named(tmp_path):
    folder = metrics_of(tmp_path, line(1, a=2))
    folder.config_file.write_text("lr: 0.1\n")
    assert folder.changed_files() == []
    summary = {"status": "completed", "metrics": {METRIC: 0.5}, "seed": 3, "flops": math.nan}
    folder.write_summary(summary)
    assert folder.read_summary() == summary | {"flops": None}
    assert folder.changed_files() == []
    for file in (folder.config_file, folder.metrics_file, folder.summary_file):
        whole = file.read_text()
        file.write_text(whole.replace("0.1", "0.2").replace('"a": 2', '"a": 3').replace("0.5", "0.6"))
        assert folder.changed_files() == [f"{file} is not as the run wrote it: it was damaged, or changed by hand."]
        file.write_text(whole)
    folder.summary_file.write_text("{")
    assert "summary.json is damaged" in folder.changed_files()[0]
    folder.summary_file.write_text('{"status": "completed", "checksums": [1]}')
    assert folder.changed_files() == [], "older runs say nothing of their files"
    folder.write_summary({"status": "running"})
    folder.metrics_file.unlink()
    assert folder.changed_files() == [], "metrics of a run that trains are not complete"


def test_the_last_step_is_read_from_the_end_of_the_metrics(tmp_path):
    folder = RunFolder(tmp_path)
    assert folder.last_step() == 0
    for filling in (90, 5_000, 20_000):
        metrics_of(tmp_path, "".join(line(step, filling="x" * filling) for step in range(50)) + '{"step": 50')
        assert folder.last_step() == 49
    assert metrics_of(tmp_path, "null\n[1]\n").last_step() == 0


@pytest.mark.parametrize("size", [2**29, 2**33])
def test_of_a_file_that_is_a_hole_little_is_read(tmp_path, size):
    """As a crash of the file system leaves it: `sweep --status` took minutes, and as much memory."""
    folder = metrics_of(tmp_path, line(1))
    os.truncate(folder.metrics_file, size)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert folder.last_step() == 0
    if size > 2**30:
        assert CurveReader(folder, METRIC).read() == ()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2**18  # KiB


def test_finite_values_of_the_metric_alone_are_on_a_curve(tmp_path):
    folder = RunFolder(tmp_path)
    reader = CurveReader(folder, METRIC)
    assert reader.read() == ()
    values = [0.5, None, 1, math.nan, -math.inf, True, "0.3"]
    metrics_of(
        tmp_path,
        "".join(line(step, **{METRIC: value}) for step, value in enumerate(values)) + line(9) + "not JSON\n",
    )
    assert reader.read() == folder.curve(METRIC) == ((0, 0.5), (2, 1.0))


@pytest.mark.parametrize("seed", range(5))
def test_reading_while_it_grows_and_is_replaced_is_reading_the_whole(tmp_path, seed):
    rng = random.Random(seed)
    path = RunFolder(tmp_path).metrics_file
    reader = CurveReader(RunFolder(tmp_path), METRIC)
    step, torn = 0, ""
    for _ in range(200):
        action = rng.random()
        if action < 0.1 and path.exists():  # a resumed run forgets what is past its checkpoint
            kept = [text for text in path.read_text().split("\n")[:-1] if rng.random() < 0.9]
            (tmp_path / "beside").write_text("".join(f"{text}\n" for text in kept))
            (tmp_path / "beside").replace(path)
            torn = ""
        else:
            values = {METRIC: rng.choice([rng.random(), math.nan])} if rng.random() < 0.5 else {"train/loss": 0.1}
            step += 1
            text = torn + line(step, **values)
            cut = rng.randrange(len(text) + 1) if rng.random() < 0.4 else len(text)
            with path.open("a") as file:
                file.write(text[:cut])
            torn = text[cut:]
        if rng.random() < 0.5 and path.exists():
            assert reader.read() == curve_in(path)
    reader.close()


def test_a_lock_keeps_other_processes_out_unless_both_share_it(tmp_path):
    file = tmp_path / ".lock"
    for theirs, ours in ((False, False), (False, True), (True, False)):
        with (
            locked_elsewhere(file, shared=theirs),
            pytest.raises(UsageError, match="taken"),
            locked(file, "taken", ours),
        ):
            pass
        with locked(file, "taken", ours):
            assert file.exists()
    with locked_elsewhere(file, shared=True), locked(file, "taken", shared=True):
        pass


def test_a_lock_is_free_once_its_process_is_killed_though_its_forked_workers_live(tmp_path):
    """As DataLoader's workers do for some seconds."""
    file = tmp_path / ".lock"
    hold = (
        "import os, pathlib, sys, time; from dcnrun.runs import locked\n"
        "with locked(pathlib.Path(sys.argv[1]), 'busy'):\n"
        "    worker = os.fork()\n"
        "    if worker: print(worker, flush=True)\n"
        "    time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", hold, file], stdout=subprocess.PIPE) as run:
        worker = int(run.stdout.readline())
        with pytest.raises(UsageError), locked(file, "taken"):
            pass
        run.kill()
        run.wait()
        os.kill(worker, 0)  # it lives
        with locked(file, "taken"):
            os.kill(worker, 9)


def test_a_file_system_without_locks_keeps_nobody_out(tmp_path, monkeypatch):
    monkeypatch.setattr("fcntl.lockf", lambda *_: (_ for _ in ()).throw(OSError(37, "No locks available")))
    with locked(tmp_path / ".lock", "taken"):
        assert True
