"""The jobs of a ledger as an agent sees them. What agents do with them is in test_worker."""

from dataclasses import replace

from dcnrun.jobs import ledger as ledgers
from dcnrun.jobs.ledger import State
from dcnrun.jobs.source import LedgerSource, Verdict
from tests.jobs.factories import Batch, cells, draw


def test_jobs_that_may_not_be_taken_are_neither_claimed_nor_underway(tmp_path):
    runs = Batch(tmp_path)
    runs.ledger.add(cells("a", "b", "c"))
    source = runs.source(only=["b", "c"])
    assert [job.folder for job in source.underway()] == ["b", "c"]
    taken = source.claim("me")
    assert taken.folder == "b"
    assert source.finish(taken, "me", State.completed)
    assert [job.folder for job in source.underway()] == ["c"]
    assert source.claim("me").folder == "c"
    assert source.claim("you") is None


def test_new_jobs_are_drawn_when_none_waits(tmp_path):
    runs = Batch(tmp_path, "value=1")
    assert LedgerSource(runs.ledger, draw).claim("me").folder == "trial-0"
    assert LedgerSource(runs.ledger).claim("you") is None
    assert LedgerSource(runs.ledger, draw).claim("you").parameters == {"optim.lr": 1}


def test_a_job_is_judged_as_the_ledger_has_it_beside_all_others(tmp_path):
    runs = Batch(tmp_path, "value=1", "value=2")
    source = runs.source(judge=lambda changes, job: Verdict(f"{len(changes.jobs)} {job.history}"))
    job = source.claim("me")
    assert source.record(job, "me", [(1, 0.5)])
    assert source.judge(job) == Verdict("2 ((1, 0.5),)")
    assert source.record(job, "me", [(1, 0.5), (2, 0.6)])
    assert source.judge(job) == Verdict("1 ((1, 0.5), (2, 0.6))"), "of the other nothing has changed"
    assert runs.source().judge(job) is None


def test_a_job_whose_row_is_gone_is_as_it_was(tmp_path):
    runs = Batch(tmp_path, "value=1")
    job = runs.source().claim("me")
    assert runs.source().beat(job, "me")
    assert runs.source().current(job).beat >= job.beat
    gone = replace(job, number=7)
    assert runs.source().current(gone) == gone


def test_what_is_released_waits_again(tmp_path):
    runs = Batch(tmp_path, "value=1")
    source = runs.source()
    source.claim("me")
    source.release("me")
    assert [(job.state, job.attempts) for job in source.underway()] == [(State.waiting, 0)]
    assert source.lost_after() == runs.ledger.lost_after


def test_with_how_a_job_ended_comes_the_next_in_one_transaction(tmp_path):
    runs = Batch(tmp_path, "value=1", "value=2")
    source = runs.source(only=["trial-0", "trial-1"])
    job = source.claim("me")
    now, following = source.finish_and_claim(job, "me", State.stopped, "worse", 3)
    assert (now.state, now.reason, now.band, now.owner) == (State.stopped, "worse", 3, "me")
    assert (following.number, following.state, following.owner) == (1, State.running, "me")
    assert source.finish_and_claim(following, "me", State.completed)[1] is None
    assert runs.states() == [State.stopped, State.completed]


def test_what_was_reassigned_is_not_ended_and_the_next_is_given(tmp_path):
    runs = Batch(tmp_path, "value=1", "value=2")
    job = runs.source().claim("me")
    runs.ledger.lose("me")
    assert runs.source().claim("another").number == 0
    now, following = runs.source().finish_and_claim(job, "me", State.failed, "not mine to say")
    assert (now.state, now.owner, following.number) == (State.running, "another", 1)


def test_the_end_of_a_job_waits_for_no_draw_that_takes_its_time(tmp_path, monkeypatch):
    runs = Batch(tmp_path, "value=1")
    source = LedgerSource(runs.ledger, draw)
    now, following = source.finish_and_claim(source.claim("me"), "me", State.completed)
    assert (now.state, following) == (State.completed, None), "nobody knows yet what a draw takes"
    job = source.claim("me")
    assert source.finish_and_claim(job, "me", State.completed)[1].parameters == {"optim.lr": 2}
    monkeypatch.setattr(ledgers, "_A_MOMENT", -1.0)
    assert source.finish_and_claim(source.claim("me"), "me", State.completed)[1] is None
    assert runs.states() == [State.completed] * 3
