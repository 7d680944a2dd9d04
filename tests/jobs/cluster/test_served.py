"""What the actor does beside a ledger's own: it knows agents by their numbers. Everything else of it is `LedgerSource`."""

import pytest

pytest.importorskip("ray", reason="Ray is not installed: pip install 'dcnrun[ray]'")

from dcnrun.jobs.cluster.served import LedgerActor, run_files
from dcnrun.jobs.ledger import State
from dcnrun.jobs.owner import this_process
from tests.jobs.factories import Batch, draw

ELSEWHERE = "node-1:5:1:boot"


@pytest.fixture
def runs(tmp_path):
    return Batch(tmp_path, "value=1", "value=2")


@pytest.fixture
def actor(runs):
    return LedgerActor(lambda: (runs.ledger, draw, None, None), runs.folder)


def test_the_job_of_an_agent_that_died_goes_to_the_next_and_counts_as_an_attempt(runs, actor):
    actor.enrol(7, ELSEWHERE)
    assert actor.claim(ELSEWHERE).number == 0
    assert actor.lose(7)
    taken = actor.claim("node-2:1:1:boot")
    assert (taken.number, taken.attempts) == (0, 2)
    assert not actor.lose(7)
    assert not actor.lose(8), "it never came so far as to claim"


def test_once_it_is_closed_agents_get_nothing_more_and_what_they_held_waits_again(runs, actor):
    actor.enrol(7, ELSEWHERE)
    job = actor.claim(ELSEWHERE)
    assert actor.beat(job, ELSEWHERE)
    actor.close()
    assert not actor.beat(job, ELSEWHERE)
    assert not actor.record(job, ELSEWHERE, [(1, 0.5)])
    assert actor.claim("another") is None
    other = runs.ledger.claim("other")
    assert actor.finish_and_claim(other, "other", State.completed)[1] is None
    runs.ledger.reopen([other.number])
    assert actor.write_file(job, ELSEWHERE, "trial-0.log", b"what it saved still arrives")
    assert actor.enrolled() == [7]
    actor.release_all()
    assert [(job.state, job.attempts) for job in runs.ledger.jobs()] == [(State.waiting, 0)] * 2


def test_what_agents_of_a_command_that_was_killed_held_waits_again_and_was_not_attempted(runs, actor):
    actor.claim(ELSEWHERE)
    actor.claim(this_process())
    actor.release_orphans()
    states = [(job.state, job.owner, job.attempts) for job in runs.ledger.jobs()]
    assert states == [(State.waiting, None, 0), (State.running, this_process(), 1)]


def test_files_are_written_for_the_jobs_owner_alone(runs, actor):
    job = actor.claim(ELSEWHERE)
    assert actor.write_file(job, ELSEWHERE, "trial-0/checkpoints/last.pt", b"weights")
    assert actor.write_file(job, ELSEWHERE, "trial-0.log", b"said")
    assert not actor.write_file(job, "another", "trial-0.log", b"stale")
    assert sorted(actor.files_of(job)) == ["trial-0.log", "trial-0/checkpoints/last.pt"]
    assert actor.read_file("trial-0.log") == b"said"


def test_the_files_of_a_run_are_whole_ones(tmp_path):
    for name in (
        "run/.lock",
        "run/checkpoints/.last.pt.5.part",
        "run/checkpoints/previous.pt",
        "run/checkpoints/last.pt",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert run_files(tmp_path / "run") == [tmp_path / "run/checkpoints/last.pt"]
