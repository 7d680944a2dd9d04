import json
import os
import sys
import time

import pytest

from dcnrun.errors import RunError
from dcnrun.jobs.ledger import Job, State
from dcnrun.jobs.train import PROGRAM, is_begun, log_of, reason_of, train_arguments, train_job


def test_the_command_for_a_job_starts_or_resumes_and_refuses_a_run_of_other_settings(tmp_path):
    path = tmp_path / "trial-0"
    job = Job(0, ("optim.lr=1", "seed=0"), {}, path.name, State.waiting)
    assert train_job(job, path) == [*PROGRAM, "train", "--run-dir", str(path), "optim.lr=1", "seed=0"]
    assert (sys.executable, "-m", "dcnrun") == PROGRAM
    path.mkdir()
    (path / "config.yaml").touch()
    (path / "overrides.txt").write_text("optim.lr=1\nseed=0\n")
    assert train_job(job, path) == [*PROGRAM, "train", "--resume", str(path)]
    (path / "overrides.txt").write_text("optim.lr=2\nseed=0\n")
    with pytest.raises(RunError, match=r"trial-0 holds a run of other settings"):
        train_job(job, path)


def test_a_grids_own_choices_are_given_to_a_new_run_alone(tmp_path):
    assert train_arguments(tmp_path, ["a=1"], tmp_path / "conf") == [
        "train", "--config-dir", str(tmp_path / "conf"), "--run-dir", str(tmp_path), "a=1"
    ]  # fmt: skip
    (tmp_path / "config.yaml").touch()
    assert is_begun(tmp_path)
    assert train_arguments(tmp_path, ["a=1"], tmp_path / "conf") == ["train", "--resume", str(tmp_path)]


@pytest.fixture
def run(tmp_path):
    """A run folder whose log has a line of an earlier start, and where the log of this one begins."""
    path = tmp_path / "trial-0"
    path.mkdir()
    log_of(path).write_text("of an earlier start\n")
    return path, log_of(path).stat().st_size


def test_the_reason_is_the_runs_own_if_it_is_of_this_start(run):
    path, start = run
    summary = path / "summary.json"
    summary.write_text(json.dumps({"status": "failed", "reason": "the loss is not finite"}))
    log_of(path).open("a").write("Traceback\n")
    assert reason_of(path, 1, time.time(), start) == "the loss is not finite"
    os.utime(summary, (0, 0))
    assert reason_of(path, 1, time.time(), start) == "exit status 1: Traceback"


@pytest.mark.parametrize(
    ("status", "said", "reason"),
    [
        (3, "no disk\n", "exit status 3: no disk"),
        (3, "", "exit status 3"),
        (-9, "", "killed by signal 9, as a system does that runs out of memory"),
        (-15, "bye\n", "killed by signal 15: bye"),
    ],
)
def test_without_one_it_is_the_exit_status_and_the_end_of_the_log(run, status, said, reason):
    path, start = run
    log_of(path).open("a").write(said)
    assert reason_of(path, status, time.time(), start) == reason
