"""The nodes of a Ray cluster, as the command that is connected to it sees them."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from dcnrun.errors import UsageError
from dcnrun.jobs.cluster import on_node
from dcnrun.jobs.cluster.on_node import Wanted, problems_here
from dcnrun.jobs.cluster.options import Resources

NAMESPACE = "dcnrun"
_HEAD = "node:__internal_head__"  # a resource that Ray gives the head node alone
_ON_THE_HEAD = (
    "start the command there, from elsewhere by `ray job submit -- dcnrun ...`, since the ledger is on its disk."
)
_SECONDS_FOR_AN_ANSWER = 120.0


@dataclass(frozen=True)
class Node:
    """A node of the cluster."""

    id: str
    name: str
    resources: dict[str, float]

    @property
    def is_head(self) -> bool:
        """Whether it is the head node."""
        return _HEAD in self.resources

    def has(self, resources: Resources) -> bool:
        """Whether it could ever run what needs these."""
        return all(self.resources.get(name, 0.0) >= amount for name, amount in resources.as_ray().items())


@contextmanager
def connected(address: str) -> Iterator[None]:
    """Be connected to a cluster; UsageError where there is none, or where this is not its head node."""
    if address.startswith("ray://"):
        raise UsageError(f"--address {address} is for clients: {_ON_THE_HEAD}")
    try:
        ray.init(address, namespace=NAMESPACE, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, RuntimeError, ValueError, TimeoutError) as error:
        raise UsageError(
            f"No Ray cluster at {address}: {last_line(error)}. Start one with `ray start --head`, or give --address."
        ) from error
    try:
        ray.cloudpickle.register_pickle_by_value(on_node)
        if head().id != ray.get_runtime_context().get_node_id():
            raise UsageError(
                "Start the command on the head node of the Ray cluster, by `ray job submit` from elsewhere."
            )
        yield
    finally:
        ray.shutdown()


def nodes() -> list[Node]:
    """Return the nodes that are alive."""
    return [
        Node(node["NodeID"], node["NodeManagerHostname"] or node["NodeManagerAddress"], node["Resources"])
        for node in ray.nodes()
        if node["Alive"]
    ]


def head() -> Node:
    """Return the head node."""
    return next(node for node in nodes() if node.is_head)


def has_gpus() -> bool:
    """Whether any node has a GPU."""
    return any("GPU" in node.resources for node in nodes())


def on(node: Node) -> NodeAffinitySchedulingStrategy:
    """Return what has Ray run something on this node."""
    return NodeAffinitySchedulingStrategy(node.id, soft=False)


def check_nodes(able: Sequence[Node], wanted: Wanted) -> None:
    """Ask each of these nodes whether runs can be there; UsageError with all that keeps them away, a line each."""
    ask: Any = ray.remote(num_cpus=0, max_retries=0)(problems_here)
    asked = [(node, ask.options(scheduling_strategy=on(node)).remote(wanted)) for node in able]
    lines = [f"The node {node.name} {problem}." for node, answer in asked for problem in _answer(answer)]
    if lines:
        raise UsageError("\n".join(lines))


def _answer(reference: Any) -> list[str]:
    try:
        problems: list[str] = ray.get(reference, timeout=_SECONDS_FOR_AN_ANSWER)
        return problems
    except GetTimeoutError:
        return [f"does not answer within {_SECONDS_FOR_AN_ANSWER:.0f} s"]
    except RayError:
        return []  # it left meanwhile


def last_line(error: BaseException) -> str:
    """Return what an error of Ray comes down to: the last line of its message, since a worker's traceback comes before."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines or [type(error).__name__])[-1].rstrip(".")
