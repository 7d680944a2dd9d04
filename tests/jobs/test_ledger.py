import multiprocessing
import subprocess
import sys
import time
from collections import Counter

import pytest
from sqlalchemy.exc import OperationalError

from dcnrun.errors import UsageError
from dcnrun.jobs import ledger as ledgers
from dcnrun.jobs.database import Database, sqlite_url
from dcnrun.jobs.ledger import JobSpec, Ledger, State
from dcnrun.jobs.owner import this_process
from tests.jobs.factories import cells, draw

FORK = multiprocessing.get_context("fork")


def numbers(jobs):
    return [job.number for job in jobs]


def test_what_is_drawn_comes_back_whole(ledger, storage):
    parameters = {
        "optim.lr": 1e-5,
        "conv.layers": 3,
        "conv.kind": "deformable",
        "on": True,
        "none": None,
        "list": [1, 2],
    }
    drawn = JobSpec(("optim.lr=1e-05", "name='ü \"x\"'"), parameters, "trial-0000")
    job = ledger.claim("a", lambda jobs: drawn)
    assert (job.overrides, job.parameters, job.folder) == (drawn.overrides, drawn.parameters, drawn.folder)
    assert (job.number, job.state, job.attempts, job.owner) == (0, State.running, 1, "a")
    history = [(10, 0.1), (20, 1 / 3), (30, -1e300)]
    assert ledger.record(job, "a", history)
    assert ledger.finish(job, "a", State.stopped, reason="worse than 0.4", band=9)
    (seen,) = Ledger.open(storage, "first").jobs()
    assert seen.history == tuple(history)
    assert (seen.state, seen.reason, seen.band, seen.owner) == (State.stopped, "worse than 0.4", 9, "a")
    assert time.time() - 30 < seen.started <= seen.ended < time.time() + 30


def test_waiting_jobs_come_before_new_ones_and_no_more_than_the_cap_are_drawn(ledger, storage):
    ledger.add(cells("x", "y"))
    ledger.add(cells("y", "z"))
    folders = [ledger.claim(f"agent{i}", draw).folder for i in range(5)]
    assert folders == ["x", "y", "z", "trial-0003", "trial-0004"]
    assert ledger.claim("agent5", draw) is None
    ledger.set_cap(6)
    assert Ledger.open(storage, "first").cap == 6
    assert ledger.claim("agent5", draw).number == 5
    assert ledger.claim("agent6", draw) is None
    ledger.set_cap(None)
    assert ledger.claim("agent6", lambda jobs: None) is None
    assert numbers(ledger.jobs()) == list(range(6))


def test_only_jobs_of_the_folders_asked_for_are_taken(ledger):
    ledger.add(cells("x", "y"))
    assert ledger.claim("a", folders={"y", "z"}).folder == "y"
    assert ledger.claim("b", folders={"y", "z"}) is None
    assert ledger.claim("b").folder == "x"


def test_an_agent_is_given_the_job_that_it_holds(ledger):
    job = ledger.claim("a", draw)
    assert ledger.claim("a", draw) == job
    ledger.finish(job, "a", State.completed)
    assert ledger.claim("a", draw).number == 1


def test_what_was_reassigned_is_no_longer_the_old_owners(ledger, storage):
    impatient = Ledger.open(storage, "first", lost_after=0.2)
    job = impatient.claim("old", draw)
    impatient.record(job, "old", [(1, 0.1)])
    assert impatient.claim("new") is None
    time.sleep(0.3)
    taken = impatient.claim("new")
    assert (taken.number, taken.owner, taken.attempts, taken.started) == (0, "new", 2, job.started)
    assert impatient.claim("third") is None
    assert not ledger.beat(job, "old")
    assert not ledger.record(job, "old", [(1, 0.9)])
    assert not ledger.finish(job, "old", State.failed, "not mine to say")
    ledger.release("old")
    assert ledger.jobs()[0].history == ((1, 0.1),)
    assert ledger.beat(job, "new")
    assert ledger.finish(job, "new", State.completed)
    assert not ledger.finish(job, "new", State.failed)
    assert (ledger.jobs()[0].state, ledger.jobs()[0].reason) == (State.completed, None)


def test_a_beating_heart_keeps_the_job(ledger, storage):
    impatient = Ledger.open(storage, "first", lost_after=0.5)
    job = impatient.claim("a", draw)
    for _ in range(6):
        time.sleep(0.15)
        assert impatient.beat(job, "a")
        assert impatient.claim("b") is None


def test_a_job_whose_agents_die_three_times_fails(ledger, storage):
    impatient = Ledger.open(storage, "first", lost_after=0.05)
    for attempt in (1, 2, 3):
        assert impatient.claim(f"agent{attempt}", draw if attempt == 1 else None).attempts == attempt
        time.sleep(0.1)
    assert impatient.claim("agent4") is None
    (job,) = impatient.jobs()
    assert (job.state, job.reason) == (State.failed, "its agent died 3 times")
    assert job.ended is not None


def test_a_job_given_back_waits_and_was_not_attempted(ledger):
    for _ in range(5):
        assert ledger.claim("a", draw).attempts == 1
        ledger.release("a")
    (job,) = ledger.jobs()
    assert (job.state, job.attempts, job.owner) == (State.waiting, 0, None)


def test_jobs_that_ended_can_be_run_again(ledger):
    ledger.add(cells("x", "y", "z"))
    ledger.finish(ledger.claim("a"), "a", State.failed, "no luck")
    ledger.finish(ledger.claim("a"), "a", State.completed)
    ledger.claim("a")
    ledger.reopen([0, 2])
    assert [job.state for job in ledger.jobs()] == [State.waiting, State.completed, State.running]
    job = ledger.claim("b")
    assert (job.number, job.attempts, job.reason, job.ended) == (0, 1, None, None)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere only heartbeats tell")
def test_the_job_of_a_process_that_slept_stays_its_own(ledger, storage):
    """As after a laptop was closed, where others wake first."""
    impatient = Ledger.open(storage, "first", lost_after=0.05)
    job = impatient.claim(this_process(), draw)
    time.sleep(0.1)
    assert impatient.claim("neighbour") is None
    assert impatient.beat(job, this_process())


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere only heartbeats tell")
def test_the_job_of_a_dead_process_of_this_host_is_reassigned_at_once(ledger, storage):
    code = (
        "from dcnrun.jobs.ledger import Ledger, JobSpec; from dcnrun.jobs.owner import this_process\n"
        f"print(Ledger.open({storage!r}, 'first').claim(this_process(), lambda jobs: JobSpec((), {{}}, 'x')).number, flush=True)\n"
        "input()"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"0\n"
        assert ledger.claim("a") is None
        process.kill()
    assert ledger.claim("a").attempts == 2


def test_the_same_batch_is_opened_and_another_is_refused(storage):
    def create(name="tune", kind="sweep", text="method: bayes", cap=3):
        return Ledger.create(storage, name, kind, text, "runs/tune", cap)

    create().claim("a", draw)
    again = create(cap=9)
    assert len(again.jobs()) == 1
    assert (again.name, again.kind, again.text, again.folder, again.cap) == (
        "tune",
        "sweep",
        "method: bayes",
        "runs/tune",
        3,
    )
    for other in ({"text": "method: grid"}, {"kind": "grid"}):
        with pytest.raises(UsageError, match="already holds a sweep named tune"):
            create(**other)
    create("another").add(cells("x"))
    assert [job.folder for job in create().jobs()] == ["trial-0000"]
    with pytest.raises(UsageError, match="nothing named tuna: there are another, tune"):
        Ledger.open(storage, "tuna")


def test_a_batch_without_jobs_is_made_anew_of_other_content(storage):
    Ledger.create(storage, "tune", "sweep", "method: bayes", "runs/tune", 3)
    other = Ledger.create(storage, "tune", "sweep", "method: grid", "elsewhere", None)
    assert (other.text, other.folder, other.cap) == ("method: grid", "elsewhere", None)
    assert other.claim("a", draw).number == 0
    assert Ledger.open(storage, "tune").text == "method: grid"


def test_where_there_is_no_ledger_none_is_made(storage, tmp_path):
    with pytest.raises(UsageError, match="nothing named tune"):
        Ledger.open(storage, "tune")
    assert not (tmp_path / "ledger.db").exists()


def test_a_folder_that_cannot_be_made_is_a_usage_error(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="can't be made"):
        Ledger.create(sqlite_url(tmp_path / "file" / "x.db"), "tune", "sweep", "", "", None)


def _claim_all(url, claimed, barrier):
    """Create or open the ledger and take jobs until there is none."""
    barrier.wait()
    ledger = Ledger.create(url, "hammer", "sweep", "", "", cap=60)
    owner = f"agent {multiprocessing.current_process().pid}"
    while job := ledger.claim(owner, draw):
        claimed.put((job.number, job.overrides))
        ledger.finish(job, owner, State.completed)


def test_many_agents_claim_each_job_exactly_once(storage):
    claimed, barrier = FORK.SimpleQueue(), FORK.Barrier(8)
    processes = [FORK.Process(target=_claim_all, args=(storage, claimed, barrier)) for _ in range(8)]
    for process in processes:
        process.start()
    found = Counter(claimed.get() for _ in range(60))
    for process in processes:
        process.join(30)
    assert [process.exitcode for process in processes] == [0] * 8
    assert claimed.empty()
    assert found == {(number, (f"optim.lr={number}",)): 1 for number in range(60)}
    jobs = Ledger.open(storage, "hammer").jobs()
    assert numbers(jobs) == list(range(60))
    assert len({job.owner for job in jobs}) > 1


def break_once(ledger, monkeypatch, error, after):
    """Have the next transaction fail before it, or after its commit, of which the answer is lost."""
    whole, broken = Database._in_transaction, []

    def breaking(self, action, begin):
        if broken:
            return whole(self, action, begin)
        broken.append(True)
        if after:
            whole(self, action, begin)
        raise error

    monkeypatch.setattr(Database, "_in_transaction", breaking)


@pytest.mark.parametrize("after", [False, True])
def test_a_lost_answer_loses_no_job_and_makes_no_second_one(ledger, monkeypatch, impatience, after):
    lost = OperationalError("", None, Exception("server closed the connection"), connection_invalidated=True)
    break_once(ledger, monkeypatch, lost, after)
    job = ledger.claim("a", draw)
    assert (job.number, job.attempts) == (0, 1)
    break_once(ledger, monkeypatch, lost, after)
    assert ledger.record(job, "a", [(1, 0.5)])
    break_once(ledger, monkeypatch, lost, after)
    ledger.add(cells("x", "y"))
    break_once(ledger, monkeypatch, lost, after)
    ledger.release("a")
    assert [(job.folder, job.attempts) for job in ledger.jobs()] == [("trial-0000", 0), ("x", 0), ("y", 0)]


def test_after_an_outage_old_heartbeats_prove_nothing_for_a_while(ledger, storage, monkeypatch, impatience):
    impatient = Ledger.open(storage, "first", lost_after=0.4)
    job = impatient.claim("a", draw)
    time.sleep(0.5)
    break_once(impatient, monkeypatch, OperationalError("", None, Exception("away")), after=False)
    impatient.jobs()
    assert impatient.claim("b") is None
    time.sleep(0.5)
    assert impatient.claim("b").number == job.number


def test_lost_after_is_a_minute():
    assert ledgers.LOST_AFTER == 60
