"""A Ray cluster on this machine, each node of which is processes of its own that can be killed.

`python ray_cluster.py` starts the head node and prints the cluster's address. A line `add` on its input adds a node, `kill` kills the
oldest but the head with SIGKILL; both are answered. At the end of the input it kills all. A process of its own does this since what
Ray starts in one survives no fork of it.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

OBJECT_STORE = 75 * 2**20  # bytes: the least that Ray takes
NODE = {"num_cpus": 1, "num_gpus": 1, "object_store_memory": OBJECT_STORE}
"""A node has room for one run, and pretends to have a GPU."""


class RayCluster:
    """A cluster, by the process that holds it."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process
        self.address = self._answer()

    def add(self) -> None:
        """Add a node."""
        self._ask("add")

    def kill(self) -> None:
        """Kill the oldest node but the head."""
        self._ask("kill")

    def _ask(self, what: str) -> None:
        assert self._process.stdin is not None
        print(what, file=self._process.stdin, flush=True)
        assert self._answer() == what

    def _answer(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()


@contextmanager
def ray_cluster(folder: Path) -> Iterator[RayCluster]:
    """Start a cluster of a head node alone, whose log is in this folder."""
    # nothing is sent anywhere, and no agents beside those that a node needs
    quiet = {
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_enable_metrics_collection": "0",
        "RAY_DISABLE_DOCKER_CPU_WARNING": "1",
    }
    with (folder / "cluster.log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, __file__],
            env={**os.environ, **quiet},
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
        )
    with process:
        yield RayCluster(process)
        assert process.stdin is not None
        process.stdin.close()


def main() -> None:
    from ray.cluster_utils import Cluster

    answers, sys.stdout = sys.stdout, sys.stderr
    cluster = Cluster(initialize_head=True, head_node_args={**NODE, "include_dashboard": False})
    print(cluster.address, file=answers, flush=True)
    nodes = []
    for line in sys.stdin:
        if line.strip() == "add":
            nodes.append(cluster.add_node(**NODE))
        else:
            cluster.remove_node(nodes.pop(0), allow_graceful=False)
        print(line.strip(), file=answers, flush=True)
    cluster.shutdown()


if __name__ == "__main__":
    main()
