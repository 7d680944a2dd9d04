"""Agents as processes that are killed."""

import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dcnrun.jobs.database import sqlite_url
from dcnrun.jobs.ledger import JobSpec, Ledger, State
from dcnrun.jobs.worker import work
from tests.jobs import agent


def start(storage, folder, cap):
    return subprocess.Popen([sys.executable, "-m", agent.__name__, storage, str(folder), str(cap)])


def assert_whole(storage, folder, cap):
    """Each trial was run to its end, none beside another, and the ledger knows what each reported."""
    jobs = Ledger.open(storage, "tune").jobs()
    assert [(job.number, job.state, job.reason) for job in jobs] == [(n, State.completed, None) for n in range(cap)]
    for job in jobs:
        run = Path(folder) / job.folder
        assert (run / "overrides.txt").read_text().splitlines() == list(job.overrides)
        expected = tuple((step, job.number + (step - 1) / 100) for step in range(1, 5))
        assert job.history == expected, "a step is missing, or was logged twice"
        assert not (run / "twice").exists(), "two processes trained in one folder"
    return jobs


def starts_of(folder, job):
    return len((folder / job.folder / "starts").read_text().splitlines())


def test_four_agents_of_which_one_is_killed_run_each_trial_once(storage, tmp_path):
    folder, cap = tmp_path / "runs", 12
    agents = [start(storage, folder, cap) for _ in range(4)]
    wait_until(lambda: len(list(folder.glob("trial-*/starts"))) >= 5)
    agents[0].kill()
    for process in agents:
        process.wait(60)
    assert [process.returncode for process in agents] == [-9, 0, 0, 0]
    jobs = assert_whole(storage, folder, cap)
    again = [job for job in jobs if job.attempts > 1]
    assert len(again) <= 1
    assert all(starts_of(folder, job) == 1 for job in jobs if job not in again)


def test_killed_at_random_moments_and_started_again_it_ends_with_each_trial_done(storage, tmp_path):
    rng, folder, cap = random.Random(0), tmp_path / "runs", 6
    ledger = Ledger.create(storage, "tune", "sweep", "", str(folder), cap)
    done: set[int] = set()
    for kill in range(6):
        process = start(storage, folder, cap)
        before = completed(folder)
        if kill % 2:  # past what was taken over, since a trial has three attempts
            wait_until(lambda: process.poll() is not None or completed(folder) > before)  # noqa: B023
        time.sleep(rng.uniform(0, 0.6))
        process.kill()
        process.wait()
        jobs = {job.number: job for job in ledger.jobs()}
        assert all(jobs[number].state is State.completed for number in done), "a finished trial was lost"
        done = {number for number, job in jobs.items() if job.state is State.completed}
    assert start(storage, folder, cap).wait(60) == 0
    assert_whole(storage, folder, cap)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a run goes on without its agent")
def test_the_orphan_of_a_killed_agent_is_let_save_before_its_run_is_gone_on_with(tmp_path):
    folder, url = tmp_path / "runs", sqlite_url(tmp_path / "ledger.db")
    ledger = Ledger.create(url, "tune", "sweep", "", str(folder), cap=1)
    ledger.add([JobSpec(("steps=30", "pause=0.03", "save=1"), {}, "trial")])
    killed = start(url, folder, 1)
    wait_until((folder / "trial" / "checkpoint").exists)
    killed.kill()
    killed.wait()
    (job,) = work(ledger, folder, agent.command, metric=agent.METRIC)
    assert (job.state, job.attempts) == (State.completed, 2)
    assert [step for step, _ in job.history] == list(range(1, 31))
    assert not (folder / "trial" / "twice").exists()


def completed(folder):
    return sum('"completed"' in summary.read_text() for summary in folder.glob("*/summary.json"))


def wait_until(condition, seconds=30):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)
