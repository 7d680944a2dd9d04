import multiprocessing
import subprocess
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from dcnrun.errors import RunError, UsageError
from dcnrun.jobs import ledger as ledgers
from dcnrun.jobs.database import Database, sqlite_url
from dcnrun.jobs.ledger import JobSpec, Ledger, State, next_number
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
def test_a_row_that_names_a_living_process_which_never_beats_is_taken_over(ledger, storage):
    """As a row that was copied from another sweep, whose agent lives: nobody would ever end it."""
    impatient = Ledger.open(storage, "first", lost_after=0.2)
    job = impatient.claim(this_process(), draw)
    neighbour = Ledger.open(storage, "first", lost_after=0.2)
    for _ in range(4):
        time.sleep(0.1)
        assert impatient.beat(job, this_process())
        assert neighbour.claim("neighbour") is None
    time.sleep(0.3)
    assert neighbour.claim("neighbour").attempts == 2


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


def test_the_job_of_an_agent_that_a_cluster_saw_die_is_reassigned_at_once(ledger):
    elsewhere, alive = "node-1:5:1:boot", "node-2:5:1:boot"
    ledger.claim(elsewhere, draw)
    ledger.claim(alive, draw)
    ledger.lose(elsewhere)
    taken = ledger.claim("a")
    assert (taken.number, taken.attempts) == (0, 2)
    assert not ledger.finish(taken, elsewhere, State.completed)
    assert ledger.claim("b") is None, "the other's heart beats"


def test_a_job_is_read_anew_where_another_has_changed_its_row_or_why_it_may_be_refused(ledger, storage):
    job = ledger.claim("a", draw)
    assert ledger.job(job.number) == ledger.jobs()[0] == job
    assert ledger.jobs()[0] is ledger.jobs()[0], "a row that stays as it was is not read again"
    other = Ledger.open(storage, "first")
    other.record(job, "a", [(1, 0.5)])
    assert ledger.jobs()[0].history == ledger.job(job.number).history == ((1, 0.5),)
    ledger.refuses = lambda job: "it is none"
    assert ledger.jobs()[0].damaged
    assert ledger.job(7) is None


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


def test_drawing_holds_up_no_other_agent(ledger, storage, monkeypatch):
    """A search may take minutes: meanwhile others report, and take what waits, each time that it is asked again."""
    monkeypatch.setattr(ledgers, "_SECONDS_INSIDE", 0.0)
    ledger.add(cells("x"))
    held = ledger.claim("busy")
    other = Ledger.open(storage, "first")

    def slow(jobs):
        seen.append(len(jobs))
        assert other.record(held, "busy", [(len(seen), 0.5)])
        if len(seen) < 3:
            other.add(cells(f"y{len(seen)}"))
            taken = other.claim("neighbour")
            assert taken.folder == f"y{len(seen)}"
            assert other.finish(taken, "neighbour", State.completed)
        return draw(jobs)

    seen = []
    assert ledger.claim("a", slow).number == 3
    assert seen == [1, 2, 3], "what was drawn before another came counts no more"


def test_what_was_drawn_beside_another_agents_job_is_drawn_again(ledger, storage, monkeypatch):
    """As when two draw from the same jobs: the second sees the first one's."""
    monkeypatch.setattr(ledgers, "_A_MOMENT", -1.0)
    other = Ledger.open(storage, "first")
    ledger.set_cap(2)
    seen = []

    def meet(jobs):
        seen.append([job.folder for job in jobs])
        if len(seen) == 1:
            assert other.claim("b", draw).folder == "trial-0000"
        return draw(jobs)

    assert ledger.claim("a", meet).folder == "trial-0001"
    assert seen == [[], ["trial-0000"]]

    def last(jobs):
        raise AssertionError("the cap is reached")

    assert ledger.claim("c", last) is None
    ledger.set_cap(3)

    def loses_the_last(jobs):
        other.claim("d", draw)
        return draw(jobs)

    assert ledger.claim("c", loses_the_last) is None
    assert numbers(ledger.jobs()) == [0, 1, 2]


def test_a_quick_draw_is_made_once_inside_the_transaction(ledger, monkeypatch):
    """Else two agents that draw from the same jobs would draw twice each."""
    seen, barrier = [], threading.Barrier(3)

    def quick(jobs):
        seen.append(len(jobs))
        return draw(jobs)

    def claim(agent):
        barrier.wait()
        return ledger.claim(agent, quick).number

    ledger.claim("a", quick)
    with ThreadPoolExecutor(3) as threads:
        assert sorted(threads.map(claim, "bcd")) == [1, 2, 3]
    assert seen == [0, 1, 2, 3]
    monkeypatch.setattr(ledgers, "_A_MOMENT", -1.0)
    seen.clear()
    assert ledger.claim("e", lambda jobs: ledger.job(0) and quick(jobs)).number == 4, "outside: it may ask the ledger"
    assert seen == [4]


def test_of_jobs_that_ended_no_row_is_read_again_until_they_are_reopened(ledger, storage):
    other = Ledger.open(storage, "first")
    for agent in "abc":
        job = ledger.claim(agent, draw)
        assert other.finish(job, agent, State.failed)
    before = ledger.jobs()
    assert [job.state for job in before] == [State.failed] * 3
    other.reopen([1])
    held = other.claim("d")
    assert [job.state for job in ledger.jobs()] == [State.failed, State.running, State.failed]
    damage(ledger, 1, ended=1.0, state="completed")  # by a clock that was set back
    assert [job.state for job in ledger.jobs()] == [State.failed, State.completed, State.failed]
    assert [held.number, *numbers(ledger.jobs())] == [1, 0, 1, 2]
    assert all(ledger.jobs()[number] is before[number] for number in (0, 2))
    other._database.write(lambda connection: connection.execute(text("DELETE FROM dcnrun_jobs WHERE number = 0")))
    assert numbers(ledger.jobs()) == [1, 2]


@pytest.mark.parametrize("few", [0, 50])
def test_what_has_changed_is_told_once_whoever_changed_it(ledger, storage, monkeypatch, few):
    """With many jobs underway, those whose rows have changed are read alone; what is known of all is the same."""
    monkeypatch.setattr(ledgers, "_FEW", few)
    other = Ledger.open(storage, "first")

    def told():
        changes = ledger.changes()
        assert ledger.jobs() == Ledger.open(storage, "first").jobs()
        return sorted(numbers(changes.jobs)), changes.are_all

    held = [other.claim(agent, draw) for agent in "abc"]
    assert told() == ([0, 1, 2], True)
    assert told() == ([], False)
    other.record(held[1], "b", [(1, 0.5)])
    ledger.claim("d", draw)
    assert ledger.last_read(held[1]).history == ((1, 0.5),)
    assert told() == ([1, 3], False), "the claim read it, which is no telling"
    other.finish(held[0], "a", State.completed)
    other.release("b")
    assert told() == ([0, 1], False)
    other.reopen([0])
    assert told() == ([0], False)
    other._database.write(lambda connection: connection.execute(text("DELETE FROM dcnrun_jobs WHERE number = 0")))
    assert told() == ([1, 2, 3], True)
    assert ledger.last_read(held[0]) is held[0]


def damage(ledger, row, **values):
    """Write values that are not of their column's kind, as another program may into SQLite."""
    changes = ", ".join(f"{column} = :{column}" for column in values)
    ledger._database.write(
        lambda connection: connection.execute(
            text(f"UPDATE dcnrun_jobs SET {changes} WHERE number = :at"), {**values, "at": row}
        )
    )


@pytest.fixture
def sqlite_ledger(tmp_path):
    return Ledger.create(sqlite_url(tmp_path / "ledger.db"), "first", "sweep", "its text", "", cap=9)


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({"history": "no JSON"}, "history is 'no JSON', and not JSON"),
        ({"history": b"\xff\xfe"}, "history is"),
        ({"attempts": "one"}, "attempts is 'one', and not an integer"),
        ({"beat": "soon", "state": "running"}, "beat is 'soon', and not a number"),
        ({"state": "paused"}, "'paused' is no state of a job"),
        ({"folder": "../../elsewhere"}, "folder is '../../elsewhere', and not the name of a folder"),
        ({"overrides": '["--resume", "/x"]'}, "and not a list of key=value"),
        ({"number": "two"}, "number is 'two', and not an integer"),
    ],
)
def test_damaged_rows_are_left_out(sqlite_ledger, values, why):
    sqlite_ledger.add(cells("x", "y", "z"))
    damage(sqlite_ledger, 1, **values)
    (damaged,) = [job for job in sqlite_ledger.jobs() if job.damaged]
    assert damaged.state is State.failed
    assert damaged.reason.startswith("its row in the ledger is damaged: ")
    assert why in damaged.reason
    folders = []
    while len(sqlite_ledger.jobs()) < 9 or folders[-1:] != ["trial-0008"]:
        job = sqlite_ledger.claim("a", lambda jobs: JobSpec((), {}, f"trial-{next_number(jobs):04d}"))
        if job is None:
            break
        folders.append(job.folder)
        sqlite_ledger.finish(job, "a", State.completed)
    assert folders[:2] == ["x", "z"]
    assert len(sqlite_ledger.jobs()) == 9, "the damaged one counts in the cap"
    assert len(set(folders)) == len(folders) == 8


def test_what_the_owner_of_the_batch_refuses_is_left_out(ledger):
    ledger.add(cells("x", "y"))
    ledger.refuses = lambda job: "it is foreign" if job.folder == "x" else None
    assert ledger.claim("a").folder == "y"
    assert ledger.jobs()[0].reason == "its row in the ledger is damaged: it is foreign"
    ledger.reopen([0])
    assert ledger.jobs()[0].state is State.failed


@pytest.mark.parametrize(
    ("column", "value"), [("cap", "'many'"), ("kind", "x'00'"), ("text", "x'ff'"), ("folder", "x'00ff'")]
)
def test_a_damaged_batch_is_an_error_that_names_it(sqlite_ledger, tmp_path, column, value):
    sqlite_ledger._database.write(
        lambda connection: connection.execute(text(f"UPDATE dcnrun_batches SET {column} = {value}"))
    )
    with pytest.raises(RunError, match=rf"ledger\.db: of first, (the )?{column} is damaged: "):
        Ledger.open(sqlite_url(tmp_path / "ledger.db"), "first").claim("a", draw)


def test_a_row_that_was_deleted_leaves_its_number_free(ledger):
    ledger.add(cells("x", "y", "z"))
    ledger._database.write(lambda connection: connection.execute(text("DELETE FROM dcnrun_jobs WHERE number = 1")))
    ledger.add(cells("x", "w"))
    assert [(job.number, job.folder) for job in ledger.jobs()] == [(0, "x"), (2, "z"), (3, "w")]


def test_a_heartbeat_of_the_future_keeps_no_job(ledger):
    job = ledger.claim("elsewhere:1:1:another kernel", draw)
    damage(ledger, job.number, beat=1e18)
    assert ledger.claim("b").number == job.number


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


def test_after_an_outage_old_heartbeats_prove_nothing_for_a_while(ledger, monkeypatch, impatience):
    job = ledger.claim("a", draw)
    damage(ledger, job.number, beat=1)  # a second after the epoch
    break_once(ledger, monkeypatch, OperationalError("", None, Exception("away")), after=False)
    ledger.jobs()
    assert ledger.claim("b") is None
    ledger.lost_after = 0.01
    time.sleep(0.02)
    assert ledger.claim("b").number == job.number


def test_lost_after_is_a_minute():
    assert ledgers.LOST_AFTER == 60
