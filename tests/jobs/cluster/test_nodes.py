"""What is said of clusters and nodes. Real ones are in tests/sweep/engines/test_ray.py."""

import pytest

# ruff: noqa: E402 (what needs Ray is imported where it is there)
ray = pytest.importorskip("ray", reason="Ray is not installed: pip install 'dcnrun[ray]'")

from dcnrun.errors import UsageError
from dcnrun.jobs.cluster import nodes
from dcnrun.jobs.cluster.nodes import Node, connected, has_gpus, last_line
from dcnrun.jobs.cluster.options import Resources

HEAD = {"CPU": 2.0, "memory": 4e9, "node:__internal_head__": 1.0}


def test_without_a_cluster_it_is_said_how_to_start_one(tmp_path, monkeypatch):
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with pytest.raises(UsageError, match=r"No Ray cluster at auto: .*ray start --head"), connected("auto"):
        pass


def test_a_client_of_a_cluster_is_told_to_submit_a_job():
    with pytest.raises(UsageError, match="ray job submit"), connected("ray://head:10001"):
        pass


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
