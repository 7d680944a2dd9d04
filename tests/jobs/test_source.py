"""The jobs of a ledger as an agent sees them. What agents do with them is in test_worker."""

from dataclasses import replace

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
    source = runs.source(judge=lambda jobs, job: Verdict(f"{len(jobs)} {job.history}"))
    job = source.claim("me")
    assert source.record(job, "me", [(1, 0.5)])
    assert source.judge(job) == Verdict("2 ((1, 0.5),)")
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
