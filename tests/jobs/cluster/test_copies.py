"""Run folders of two nodes without a shared disk: each has its own, and the head node's is what goes on."""

import json
import os
import tempfile

import pytest

# ruff: noqa: E402 (what needs Ray is imported where it is there)
ray = pytest.importorskip("ray", reason="Ray is not installed: pip install 'dcnrun[ray]'")

from dcnrun.jobs.cluster.copies import CopyingSource, folder_on_this_node
from dcnrun.jobs.cluster.served import LedgerActor
from dcnrun.jobs.ledger import State
from dcnrun.jobs.worker import work
from tests.fakes import locked_elsewhere
from tests.jobs.cluster.fakes import FakeActor
from tests.jobs.factories import METRIC, Batch, command

A, B = "node-a:1:1:boot", "node-b:1:1:boot"


@pytest.fixture
def head(tmp_path, monkeypatch):
    monkeypatch.setattr(ray, "get", lambda answer: answer)
    return Batch(tmp_path / "head", "steps=4")


@pytest.fixture
def node(head, tmp_path):
    actor = FakeActor(LedgerActor(lambda: (head.ledger, None, None, None), head.folder))
    return lambda name: CopyingSource(actor, tmp_path / name)


def save(folder, step):
    """What a run leaves at a step."""
    run = folder / "trial-0"
    (run / "checkpoints").mkdir(parents=True, exist_ok=True)
    (run / "config.yaml").write_text("its settings")
    (run / "metrics.jsonl").write_text("".join(json.dumps({"step": each}) + "\n" for each in range(1, step + 1)))
    (run / "checkpoints" / "last.pt").write_text(str(step))


def test_a_run_goes_on_elsewhere_from_the_last_checkpoint_that_was_sent(node, head, tmp_path):
    first = node("a")
    job = first.claim(A)
    save(tmp_path / "a", 1)
    assert first.record(job, A, [(1, 0.5)])
    save(tmp_path / "a", 2)
    (tmp_path / "a" / "trial-0" / "metrics.jsonl").write_text("newer than the checkpoint, and sent with it")
    assert first.beat(job, A)
    save(tmp_path / "a", 3)  # and the node dies
    head.ledger.lose(A)
    second = node("b")
    assert second.claim(B).attempts == 2
    run = tmp_path / "b" / "trial-0"
    assert (run / "checkpoints" / "last.pt").read_text() == "2"
    assert (run / "config.yaml").read_text() == "its settings"
    assert not first.beat(job, A)
    assert not first.finish(job, A, State.completed), "it is another's, and nothing of it arrives"
    assert (head.folder / "trial-0" / "checkpoints" / "last.pt").read_text() == "2"


def test_without_a_new_checkpoint_nothing_is_sent(node, head, tmp_path):
    source = node("a")
    job = source.claim(A)
    save(tmp_path / "a", 1)
    source.beat(job, A)
    (tmp_path / "a" / "trial-0" / "metrics.jsonl").write_text("more")
    source.beat(job, A)
    assert (head.folder / "trial-0" / "metrics.jsonl").read_text() == '{"step": 1}\n'
    source.release(A)
    assert (head.folder / "trial-0" / "metrics.jsonl").read_text() == "more", "an interrupt sends all there is"
    assert [job.state for job in head.ledger.jobs()] == [State.waiting]


def test_an_agent_leaves_whole_runs_on_the_head_node_and_the_last_one_on_its_own(node, head, tmp_path):
    (job,) = work(node("a"), tmp_path / "a", command, metric=METRIC)
    assert job.state is State.completed
    assert json.loads((head.folder / "trial-0" / "summary.json").read_text())["status"] == "completed"
    assert len((head.folder / "trial-0" / "metrics.jsonl").read_text().splitlines()) == 4
    assert (head.folder / "trial-0.log").exists()


def test_folders_of_agents_that_were_killed_are_deleted_and_of_those_at_work_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    killed, young, at_work = (tmp_path / f"dcnrun-runs-{name}" for name in ("killed", "young", "at-work"))
    for folder in (killed, young, at_work):
        (folder / "trial-0").mkdir(parents=True)
    with locked_elsewhere(at_work / ".lock"):
        for folder in (killed, at_work):
            os.utime(folder, (0, 0))
        with folder_on_this_node() as own:
            assert own.parent == tmp_path
            assert {path for path in tmp_path.iterdir() if path.is_dir()} == {young, at_work, own}
        assert not own.exists()
