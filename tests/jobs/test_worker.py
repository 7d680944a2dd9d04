import fcntl
import itertools
import os
import random
import signal
import sys
import threading
import time
from pathlib import Path

import pytest

from dcnrun.errors import RunError
from dcnrun.jobs import owner, worker
from dcnrun.jobs.database import STORAGE, sqlite_url
from dcnrun.jobs.ledger import JobSpec, Ledger, State
from dcnrun.jobs.source import LedgerSource, Verdict
from dcnrun.jobs.worker import Watcher, work
from tests.jobs.factories import METRIC, Batch, command, start_agent, wait_until


@pytest.fixture
def batch(tmp_path):
    return lambda *settings: Batch(tmp_path / "runs", *settings)


@pytest.fixture
def during():
    """Do something beside the work that starts now."""
    threads = []

    def begin(action):
        threads.append(threading.Thread(target=action))
        threads[-1].start()

    yield begin
    for thread in threads:
        thread.join()


def is_there(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_jobs_are_run_one_after_the_other_and_what_they_report_is_recorded(batch):
    runs = batch("value=0.5", "value=0.7 steps=2")
    first, second = runs.work()
    assert (first.state, first.history) == (State.completed, ((1, 0.5), (2, 0.51), (3, 0.52)))
    assert second.history == ((1, 0.7), (2, 0.71))
    assert [first, second] == runs.ledger.jobs()
    assert first.ended <= second.started
    assert runs.work() == []


def test_no_more_than_count_are_taken(batch):
    runs = batch("value=0", "value=1", "value=2")
    assert len(runs.work(count=2)) == 2
    assert runs.states() == [State.completed, State.completed, State.waiting]
    assert [job.number for job in runs.work(only=["trial-2", "trial-9"], count=5)] == [2]


def test_drawn_jobs_see_how_those_before_them_ended(batch):
    seen = []

    def draw(jobs):
        seen.append([(job.state, job.history[-1][1]) for job in jobs])
        return JobSpec(("steps=1", f"value={len(jobs)}"), {}, f"trial-{len(jobs)}") if len(jobs) < 3 else None

    batch().work(draw=draw)
    assert seen == [[(State.completed, float(n)) for n in range(count)] for count in range(4)]


def test_a_run_that_fails_or_is_killed_touches_no_other(batch):
    runs = batch("crash_at=2", "die_at=2", "value=1")
    crashed, killed, whole = runs.work()
    assert (crashed.state, crashed.reason) == (State.failed, "exit status 3: ValueError: no such luck")
    assert killed.state is State.failed
    assert killed.reason.startswith("killed by signal 9")
    assert "memory" in killed.reason
    assert len(killed.history) == 2
    assert whole.state is State.completed
    assert [job.attempts for job in runs.ledger.jobs()] == [1, 1, 1]


def test_an_exit_without_a_completed_run_is_a_failure(batch):
    runs = batch("value=1")
    (job,) = work(runs.source(), runs.folder, lambda job, path: ["true"])
    assert (job.state, job.reason) == (State.failed, "exit status 0")


def test_a_run_that_ended_early_is_completed_and_says_why(batch):
    (job,) = batch("steps=1 early=1").work()
    assert (job.state, job.reason) == (State.completed, "ended early")


def test_a_job_without_a_command_fails_for_that_reason(batch):
    def refuse(job, path):
        raise RunError("no such thing")

    runs = batch("value=1")
    (job,) = work(runs.source(), runs.folder, refuse)
    assert (job.state, job.reason) == (State.failed, "no such thing")


def test_an_agent_that_does_not_wait_ends_while_another_runs_the_last_job(batch):
    runs = batch("value=1")
    runs.ledger.claim("elsewhere:1:1:none")
    assert runs.work(waits=False) == []
    assert runs.states() == [State.running]


def test_three_failures_stop_the_agent_with_the_reasons_however_long_they_took(batch, monkeypatch):
    clock = itertools.count(step=100.0)
    monkeypatch.setattr(worker.time, "monotonic", lambda: next(clock))
    runs = batch(*["crash_at=1"] * 5)
    with pytest.raises(
        RunError, match=r"(?s)first 3 runs of this agent failed.*trial-0: exit status 3: ValueError: no such luck"
    ):
        runs.work()
    assert runs.states() == [State.failed] * 3 + [State.waiting] * 2
    assert len(runs.work(gives_up=False)) == 2


def test_failures_after_a_success_do_not_stop_the_agent(batch):
    runs = batch("value=1", *["crash_at=1"] * 4)
    assert len(runs.work()) == 5


def test_a_run_that_is_judged_stops_and_is_asked_about_at_each_new_report(batch):
    asked = []

    def judge(changes, job):
        assert job in changes.jobs
        asked.append(len(job.history))
        return Verdict("worse than the others", band=2) if asked[-1] >= 2 else None

    runs = batch("steps=1000 pause=0.4", "steps=1")
    stopped, completed = runs.work(judge=judge)
    assert (stopped.state, stopped.reason, stopped.band) == (State.stopped, "worse than the others", 2)
    assert asked == sorted(set(asked))
    assert asked[-1] <= 3
    assert completed.state is State.completed
    assert not is_there(runs.process_of(0))


def test_a_run_that_does_not_stop_is_killed(batch):
    runs = batch("steps=1000 deaf=1")
    (job,) = runs.work(judge=lambda jobs, job: Verdict("enough"), seconds_to_save=0.3)
    assert (job.state, job.reason) == (State.stopped, "enough")
    assert not is_there(runs.process_of())


def test_a_run_that_ends_while_it_is_told_to_stop_is_completed(batch):
    runs = batch("steps=60 deaf=1")
    (job,) = runs.work(judge=lambda jobs, job: Verdict("enough"))
    assert (job.state, job.reason, len(job.history)) == (State.completed, None, 60)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_gives_the_job_back_and_it_is_resumed(batch, during, number):
    runs = batch("steps=40 pause=0.05")

    def interrupt():
        wait_until(lambda: (runs.folder / "trial-0" / "checkpoint").exists())
        os.kill(os.getpid(), number)

    during(interrupt)
    with pytest.raises(KeyboardInterrupt):
        runs.work()
    (job,) = runs.ledger.jobs()
    assert (job.state, job.attempts, job.owner) == (State.waiting, 0, None)
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    (job,) = runs.work()
    assert (job.state, job.attempts) == (State.completed, 1)
    assert [step for step, _ in job.history] == list(range(1, 41))
    assert runs.starts() == ["--run-dir", "--resume"]


def test_a_job_that_was_reassigned_is_let_go(batch, during, monkeypatch):
    monkeypatch.setattr(owner, "is_alive", lambda _: None)  # as on another machine
    runs = batch("steps=1000")
    other = Ledger.open(runs.url, "tune", lost_after=-1e9)  # for which everybody is dead

    def take_over():
        wait_until(lambda: (runs.folder / "trial-0" / "checkpoint").exists())
        assert other.claim("other").number == 0

    during(take_over)
    (job,) = runs.work(count=1)
    assert (job.state, job.owner, job.attempts) == (State.running, "other", 2)
    assert not is_there(runs.process_of())


def test_a_job_of_a_dead_agent_is_resumed_and_judged_by_what_it_had_reported(batch):
    runs = batch("steps=1000")
    Ledger.open(runs.url, "tune").claim("dead")
    assert runs.work(only=[]) == []
    runs.ledger.lost_after = 0.1
    time.sleep(0.2)
    (job,) = runs.work(judge=lambda jobs, job: Verdict(f"{len(job.history) > 0}"))
    assert (job.state, job.reason, job.attempts) == (State.stopped, "True", 2)


def test_the_last_agent_waits_for_the_jobs_of_others(batch, during):
    class Waiting(Watcher):
        waits_for = ()

        def waits(self, jobs):
            self.waits_for += tuple(job.number for job in jobs)

    runs, watcher = batch("steps=2", "steps=2"), Waiting()
    runs.ledger.claim("other")

    def finish():
        wait_until(lambda: watcher.waits_for)
        other = Ledger.open(runs.url, "tune")
        job = other.jobs()[0]
        time.sleep(0.5)
        other.finish(job, "other", State.completed)

    during(finish)
    assert [job.number for job in runs.work(watcher=watcher)] == [1]
    assert watcher.waits_for == (0,)
    assert runs.states() == [State.completed] * 2


def test_no_job_is_started_while_an_orphan_of_it_still_saves(batch, during):
    runs = batch("steps=1")
    with (runs.folder / ".trial-0.lock").open("w") as orphans:
        fcntl.flock(orphans, fcntl.LOCK_EX)
        beats = []

        def end():
            wait_until(lambda: runs.states() == [State.running])
            time.sleep(0.6)
            beats.extend(job.beat - job.started for job in Ledger.open(runs.url, "tune").jobs())
            assert runs.starts() == []
            fcntl.flock(orphans, fcntl.LOCK_UN)

        during(end)
        (job,) = runs.work()
    assert job.state is State.completed
    assert beats[0] > 0.1  # it showed that it lives while it waited


@pytest.mark.timeout(20)
def test_a_pipe_in_place_of_the_lock_is_not_waited_for(batch):
    runs = batch("steps=1")
    os.mkfifo(runs.folder / ".trial-0.lock")
    with pytest.raises(OSError, match="it is no file"):
        runs.work()
    assert runs.states() == [State.waiting]


def test_an_orphan_that_does_not_end_fails_the_job(batch, monkeypatch):
    monkeypatch.setattr(worker, "SECONDS_FOR_AN_ORPHAN", 0.1)
    runs = batch("steps=1")
    with (runs.folder / ".trial-0.lock").open("w") as orphans:
        fcntl.flock(orphans, fcntl.LOCK_EX)
        (job,) = runs.work()
    assert job.state is State.failed
    assert "trial-0.lock" in job.reason
    assert runs.starts() == []


def test_a_run_that_was_completed_unseen_is_not_started_again(batch):
    runs = batch("value=0.5")
    runs.work()
    runs.ledger.reopen([0])
    (job,) = runs.work()
    assert (job.state, len(job.history)) == (State.completed, 3)
    assert runs.starts() == ["--run-dir"]


def test_the_url_of_the_ledger_is_not_in_the_environment_of_a_run(batch, monkeypatch):
    monkeypatch.setenv(STORAGE, "postgresql://u:secret@h/d")
    runs = batch("steps=1")
    runs.work()
    assert (runs.folder / "trial-0" / "starts").read_text().split()[2] == "False"


def test_an_error_beside_the_run_ends_it_and_gives_the_job_back(batch):
    def fails(jobs, job):
        raise ZeroDivisionError

    runs = batch("steps=1000")
    with pytest.raises(ZeroDivisionError):
        runs.work(judge=fails)
    assert runs.states() == [State.waiting]
    assert not is_there(runs.process_of())


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
    agents = [start_agent(storage, folder, cap) for _ in range(4)]
    wait_until(lambda: len(list(folder.glob("trial-*/starts"))) >= 5)
    agents[0].kill()
    for each in agents:
        each.join(60)
    assert [each.exitcode for each in agents] == [-9, 0, 0, 0]
    jobs = assert_whole(storage, folder, cap)
    again = [job for job in jobs if job.attempts > 1]
    assert len(again) <= 1
    assert all(starts_of(folder, job) == 1 for job in jobs if job not in again)


def test_killed_at_random_moments_and_started_again_it_ends_with_each_trial_done(storage, tmp_path):
    rng, folder, cap = random.Random(0), tmp_path / "runs", 6
    ledger = Ledger.create(storage, "tune", "sweep", "", str(folder), cap)
    done: set[int] = set()
    for kill in range(6):
        started = start_agent(storage, folder, cap)
        if kill % 2:  # past what was taken over, since a trial has three attempts
            wait_until(lambda: started.exitcode is not None or completed(ledger) > done)  # noqa: B023
        time.sleep(rng.uniform(0, 0.6))
        started.kill()
        started.join()
        assert completed(ledger) >= done, "a finished trial was lost"
        done = completed(ledger)
    last = start_agent(storage, folder, cap)
    last.join(60)
    assert last.exitcode == 0
    assert_whole(storage, folder, cap)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a run goes on without its agent")
def test_the_orphan_of_a_killed_agent_saves_before_its_run_is_resumed(tmp_path):
    folder, url = tmp_path / "runs", sqlite_url(tmp_path / "ledger.db")
    ledger = Ledger.create(url, "tune", "sweep", "", str(folder), cap=1)
    ledger.add([JobSpec(("steps=30", "pause=0.03", "save=1"), {}, "trial")])
    killed = start_agent(url, folder, 1)
    wait_until((folder / "trial" / "checkpoint").exists)
    killed.kill()
    killed.join()
    (job,) = work(LedgerSource(ledger), folder, command, metric=METRIC)
    assert (job.state, job.attempts) == (State.completed, 2)
    assert [step for step, _ in job.history] == list(range(1, 31))
    assert not (folder / "trial" / "twice").exists()


def completed(ledger):
    """The jobs that the ledger has as completed: a run's own summary says so a moment earlier."""
    return {job.number for job in ledger.jobs() if job.state is State.completed}
