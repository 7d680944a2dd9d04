"""The nodes of a Ray cluster, as the command that is connected to it sees them."""

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

import dcnrun
from dcnrun.errors import RunError, UsageError
from dcnrun.jobs.cluster import on_node
from dcnrun.jobs.cluster.on_node import Wanted, problems_here
from dcnrun.jobs.cluster.options import Resources
from dcnrun.jobs.process import sigterm_restored

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
def connected(address: str) -> Iterator[bool]:
    """Be connected to a cluster, and give whether this is its head node; UsageError where there is none."""
    if ray.is_initialized():  # it was sent to the head node
        yield True
        return
    is_client = address.startswith("ray://")
    with sigterm_restored():  # Ray's own handler outlives its end
        try:
            _connect(address, log_to_driver=is_client)
            is_head = not is_client and head().id == ray.get_runtime_context().get_node_id()
            if not is_head and not is_client:  # what is printed on the head node is to be seen here
                ray.shutdown()
                _connect(address, log_to_driver=True)
            ray.cloudpickle.register_pickle_by_value(on_node)
            yield is_head
        finally:
            ray.shutdown()


def run_on_head(call: Callable[[], Any]) -> Any:
    """Run a function on the head node, from where what it prints is forwarded, and return its result or raise its error.

    It is called in this folder, if there is one of this path, with this process's variables for runs. An interrupt is passed on; then KeyboardInterrupt is raised.
    """
    task: Any = ray.remote(num_cpus=0, max_retries=0)(on_node.run_pickled).options(scheduling_strategy=on(head()))
    wanted: Wanted = (dcnrun.__version__, {}, None)
    reference = task.remote(wanted, str(Path.cwd()), variables(), ray.cloudpickle.dumps(call))
    try:
        exit_code, result = ray.get(reference)
    except KeyboardInterrupt:
        ray.cancel(reference)
        with suppress(RayError):
            ray.get(reference, timeout=_SECONDS_FOR_AN_ANSWER)
        raise
    if exit_code:
        raise UsageError(result) if exit_code == UsageError.exit_code else RunError(result)
    return result


def variables() -> dict[str, str]:
    """Return what of this process's environment reaches every run: W&B's and CUDA's, but not which GPUs, which Ray says."""
    return {
        name: value
        for name, value in os.environ.items()
        if name.startswith(("WANDB_", "CUDA_")) and name != "CUDA_VISIBLE_DEVICES"
    }


def _connect(address: str, log_to_driver: bool) -> None:
    try:
        ray.init(address, namespace=NAMESPACE, log_to_driver=log_to_driver, logging_level=logging.ERROR)
    except (ConnectionError, RuntimeError, ValueError, TimeoutError, ImportError) as error:
        started = "Start one with `ray start --head`, or give --address."
        raise UsageError(f"No Ray cluster at {address}: {last_line(error)}. {started}") from error


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
