"""How many agents there are, and what one does on a node. Whole clusters are in tests/sweep/engines/test_ray.py."""

import json
import os
from pathlib import Path

import pytest

# ruff: noqa: E402 (what needs Ray is imported where it is there)
ray = pytest.importorskip("ray", reason="Ray is not installed: pip install 'dcnrun[ray]'")

from ray.exceptions import WorkerCrashedError

from dcnrun.errors import RunError
from dcnrun.jobs.cluster import agents
from dcnrun.jobs.cluster.agents import ToDo, Work, agents_wanted, take_jobs
from dcnrun.jobs.cluster.nodes import Node
from dcnrun.jobs.cluster.options import ClusterOptions, Resources
from dcnrun.jobs.cluster.served import LedgerActor
from dcnrun.jobs.ledger import State
from tests.jobs.cluster.fakes import FakeActor
from tests.jobs.factories import METRIC, Batch, command


@pytest.mark.parametrize(
    ("to_do", "most", "is_dry", "wanted"),
    [
        (ToDo(underway=0, running=0, to_come=3), None, False, 3),
        (ToDo(underway=2, running=2, to_come=1), None, False, 3),
        (ToDo(underway=0, running=0, to_come=100_000), None, False, 16),
        (ToDo(underway=400, running=400, to_come=None), None, False, 800),  # as many wait for room as run
        (ToDo(underway=0, running=0, to_come=100), 4, False, 4),
        (ToDo(underway=1, running=1, to_come=7), None, True, 1),  # a search that is exhausted draws no more
        (ToDo(underway=0, running=0, to_come=None), None, True, 0),
        (ToDo(underway=0, running=0, to_come=0), None, False, 0),
    ],
)
def test_there_are_as_many_agents_as_there_is_to_do_and_some_wait_for_room(to_do, most, is_dry, wanted):
    assert agents_wanted(to_do, most, is_dry) == wanted


@pytest.fixture
def agent(tmp_path, monkeypatch):
    """Run an agent for these jobs in this process; return their ledger and why it gave up."""
    monkeypatch.setattr(ray, "get", lambda answer: answer)
    monkeypatch.chdir(tmp_path)

    def run(*settings, **changes):
        head = Batch(tmp_path / "head", *settings)
        actor = LedgerActor(lambda: (head.ledger, None, None, None), head.folder)
        task = Work(head.folder, command, METRIC, {}, **changes)
        reason = take_jobs(task, 0, FakeActor(actor))
        assert reason or not actor.enrolled()
        return head, reason

    return run


@pytest.mark.parametrize("is_copied", [False, True])
def test_an_agent_takes_jobs_until_there_are_none_and_their_folders_are_on_the_head_node(agent, is_copied):
    head, reason = agent("value=1", "value=2", is_copied=is_copied)
    assert reason is None
    assert head.states() == [State.completed] * 2
    for number in (0, 1):
        run = head.folder / f"trial-{number}"
        assert len((run / "metrics.jsonl").read_text().splitlines()) == 3
        assert json.loads((run / "summary.json").read_text())["status"] == "completed"
        assert run.with_suffix(".log").exists()


def test_an_agent_whose_first_runs_fail_says_why(agent):
    head, reason = agent(*["crash_at=1"] * 4)
    assert "gave up: The first 3 runs of this agent failed" in reason
    assert "ValueError: no such luck" in reason
    assert head.states()[3] is State.waiting
    assert agent(gives_up=False)[1] is None


def test_variables_of_w_and_b_and_cuda_reach_a_node_and_no_others(agent, tmp_path, monkeypatch):
    given = {"WANDB_MODE": "offline", "CUDA_LAUNCH_BLOCKING": "1", "CUDA_VISIBLE_DEVICES": "3", "MY_SECRET": "x"}
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    task = Work(tmp_path, command, METRIC, {})
    own = {name: value for name, value in task.variables.items() if name in given}
    assert own == {"WANDB_MODE": "offline", "CUDA_LAUNCH_BLOCKING": "1"}
    monkeypatch.delenv("WANDB_MODE")
    agent(variables={"WANDB_MODE": "online"})
    assert os.environ["WANDB_MODE"] == "online"


def test_paths_start_where_the_command_was_started(agent, tmp_path):
    (tmp_path / "project").mkdir()
    agent(directory=tmp_path / "project")
    assert Path.cwd() == tmp_path / "project"
    agent(directory=tmp_path / "not on this node")
    assert Path.cwd() == tmp_path / "project"


class Ended:
    """What Ray gives for an agent that ended so."""

    def __init__(self, how) -> None:
        self.how = how


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    """Run a batch of as many jobs as agents end well, where agents end as is said, one after the other; return what they were started with."""
    started = []

    def get(answer):
        if not isinstance(answer, Ended):
            return answer
        if isinstance(answer.how, Exception):
            raise answer.how
        return answer.how

    def run(*ends, jobs, head=None):
        ends, left = list(ends), [jobs]
        served = LedgerActor(lambda: ((head or Batch(tmp_path / "head")).ledger, None, None, None), tmp_path)

        class Task:
            def remote(self, wanted, number, actor, work):
                end = ends.pop(0)
                left[0] -= end == DONE
                if head is not None and isinstance(end, Exception):
                    actor.enrol.remote(number, "node-1:5:1:boot")
                    actor.claim.remote("node-1:5:1:boot")
                return Ended(end)

        def as_task(resources, unfit):
            started.append([*unfit])
            return Task()

        monkeypatch.setattr(agents, "_start_ledger", lambda batch: FakeActor(served))
        monkeypatch.setattr(agents, "_as_task", as_task)
        work = Work(tmp_path, command, METRIC, {}, is_copied=True)
        batch = agents.Batch(lambda: None, work, Resources(), {}, is_alone=True)
        look = lambda: ToDo(underway=0, running=0, to_come=left[0])  # noqa: E731
        agents.run_on_cluster(batch, ClusterOptions(agents=1), look)
        return started

    monkeypatch.setattr(agents, "nodes", lambda: [Node("id-2", "node-2", {"CPU": 1.0})])
    monkeypatch.setattr(agents, "check_nodes", lambda able, wanted: None)
    monkeypatch.setattr(ray, "get", get)
    monkeypatch.setattr(ray, "put", lambda value: value)
    monkeypatch.setattr(ray, "kill", lambda actor: None)
    monkeypatch.setattr(ray, "wait", lambda references, **_: (references[:1], references[1:]))
    return run


DONE = ("id-1", [], None)
DIED = WorkerCrashedError()


def test_for_an_agent_that_died_with_its_node_there_is_another_and_its_job_is_free(cluster, tmp_path):
    head = Batch(tmp_path / "head", "value=1")
    assert len(cluster(DIED, DONE, jobs=1, head=head)) == 2
    assert head.ledger.claim("node-2:1:1:boot").attempts == 2


def test_agents_that_die_before_they_can_begin_are_not_started_for_ever(cluster):
    with pytest.raises(RunError, match=r"4 agents in a row died before they could begin: The worker died"):
        cluster(*[DIED] * 4, jobs=1)
    assert len(cluster(DIED, DIED, DONE, jobs=1)) == 4 + 3


def test_a_node_that_joined_and_is_unfit_is_named_once_and_gets_no_other_agent(cluster, capsys):
    unfit = ("id-2", ["has dcnrun 0.0, and the command 0.1"], None)
    assert cluster(unfit, unfit, DONE, jobs=1) == [[], ["id-2"], ["id-2"]]
    assert capsys.readouterr().out.splitlines() == [
        "No runs are on the node node-2: it has dcnrun 0.0, and the command 0.1."
    ]


def test_where_an_agent_gave_up_no_other_is_started_and_its_reason_is_the_error(cluster):
    with pytest.raises(RunError, match=r"(?s)No agent could go on:.*its first three runs failed"):
        cluster(("id-1", [], "its first three runs failed"), jobs=2)


def test_without_room_it_is_said_what_is_waited_for(cluster, monkeypatch, capsys):
    monkeypatch.setattr(agents, "nodes", lambda: [])
    cluster(DONE, jobs=1)
    assert capsys.readouterr().out == "No node has CPU=1 yet: waiting for one.\n"
