"""What is said of clusters and nodes. Real ones are in tests/sweep/engines/test_ray.py."""

import contextlib
import os
import signal
from functools import partial

import psutil
import pytest

# ruff: noqa: E402 (what needs Ray is imported where it is there)
ray = pytest.importorskip("ray", reason="Ray is not installed: pip install 'dcnrun[ray]'")

from dcnrun.errors import RunError, UsageError
from dcnrun.jobs.cluster import nodes, on_node
from dcnrun.jobs.cluster.nodes import Node, connected, has_gpus, last_line, run_on_head
from dcnrun.jobs.cluster.options import Resources

HEAD = {"CPU": 2.0, "memory": 4e9, "node:__internal_head__": 1.0}


def test_without_a_cluster_it_is_said_how_to_start_one(tmp_path, monkeypatch):
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    # Ray looks for one among all processes: another test may have one.
    monkeypatch.setattr(psutil, "process_iter", lambda *_: [])
    with pytest.raises(UsageError, match=r"No Ray cluster at auto: .*ray start --head"), connected("auto"):
        pass


def test_a_signal_does_afterwards_what_it_did_before(monkeypatch):
    def init(*_, **__):
        signal.signal(signal.SIGTERM, lambda *_: None)  # as Ray does

    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(ray, "init", init)
    monkeypatch.setattr(nodes, "head", lambda: Node("ab" * 28, "head", HEAD))
    with connected("ray://head:10001"):
        assert signal.getsignal(signal.SIGTERM) != before
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_command_that_was_sent_to_the_head_node_is_connected_already(monkeypatch):
    monkeypatch.setattr(ray, "is_initialized", lambda: True)
    monkeypatch.setattr(ray, "init", lambda *_, **__: pytest.fail("it is connected"))
    with connected("ray://head:10001") as is_head:
        assert is_head


@pytest.fixture
def head_node(tmp_path, monkeypatch):
    """What is run on the head node runs in this process, pickled, and in another folder."""

    class Task:
        def options(self, **options):
            return self

        def remote(self, *arguments):
            with contextlib.chdir(tmp_path):
                return on_node.run_pickled(*arguments)

    monkeypatch.setattr(ray, "remote", lambda **_: lambda function: Task())
    monkeypatch.setattr(ray, "get", lambda answer, timeout=None: answer)
    monkeypatch.setattr(nodes, "head", lambda: Node("ab" * 28, "head", HEAD))


def test_a_function_runs_on_the_head_node_as_if_it_were_called_here(head_node, monkeypatch):
    monkeypatch.setenv("WANDB_NOTES", "mine")
    assert run_on_head(partial(round, 2.7)) == 3
    assert run_on_head(os.getcwd) == os.getcwd()  # noqa: PTH109 (it is called there)


@pytest.mark.parametrize("error", [UsageError, RunError])
def test_an_error_there_is_one_here(head_node, error):
    with pytest.raises(error, match="no such sweep"):
        run_on_head(partial(fail, error("no such sweep")))


def fail(error):
    raise error


def test_the_head_node_must_have_the_same_dcnrun(head_node, monkeypatch):
    monkeypatch.setattr(nodes.dcnrun, "__version__", "99.0")
    monkeypatch.setattr(on_node, "problems_here", lambda wanted: [f"has dcnrun 0.1.0, and the command {wanted[0]}"])
    with pytest.raises(UsageError, match=r"The head node has dcnrun 0.1.0, and the command 99.0\."):
        run_on_head(partial(round, 2.7))


@pytest.mark.parametrize(
    ("resources", "has"),
    [
        (Resources(2.0), True),
        (Resources(3.0), False),
        (Resources(1.0, gpus=1.0), False),
        (Resources(1.0, memory=2**30), True),
        (Resources(1.0, others={"a100": 1.0}), False),
        (Resources(0.0), True),
    ],
)
def test_what_a_node_could_ever_run(resources, has):
    assert Node("1", "head", HEAD).has(resources) is has


def test_nodes_are_those_that_live(monkeypatch):
    def node(name, alive, resources):
        return {"NodeID": name, "NodeManagerHostname": name, "Alive": alive, "Resources": resources}

    listed = [node("gone", False, {"GPU": 1.0}), node("head", True, HEAD), node("other", True, {"CPU": 1.0})]
    monkeypatch.setattr(ray, "nodes", lambda: listed)
    assert [each.name for each in nodes.nodes()] == ["head", "other"]
    assert nodes.head().name == "head"
    assert not has_gpus()
    listed.append(node("more", True, {"GPU": 0.5}))
    assert has_gpus()


def test_what_an_error_of_ray_comes_down_to():
    assert last_line(ValueError("Traceback\n  somewhere\nUsageError: There is no ledger.\n\n")) == (
        "UsageError: There is no ledger"
    )
    assert last_line(ValueError()) == "ValueError"
