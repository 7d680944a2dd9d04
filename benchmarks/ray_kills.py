"""Kills nodes of a Ray cluster and `dcnrun sweep --engine ray` itself with SIGKILL, at random moments.

    python -m benchmarks.ray_kills benchmarks/results/ray_kills.json

Target: of 24 trials on three nodes of this machine, with five kills of nodes and two of the command, 24 are completed, each report
is there once, no finished trial is touched, and the cap is exact. Nodes are what `ray start` starts, and one that was killed is
started anew; a trial is a process that sleeps, reports and saves. Some minutes.
"""

import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray

from dcnrun.bench.machine import describe
from dcnrun.errors import UsageError
from dcnrun.jobs.cluster.options import ClusterOptions
from dcnrun.jobs.database import sqlite_url
from dcnrun.jobs.ledger import Job, Ledger, State
from dcnrun.sweep.engines.engine import Options
from tests.sweep.engines.factories import QuickRayEngine
from tests.sweep.factories import COMMAND, RANDOM

CAP, STEPS, STEP_S, NODES = 24, 10, 0.5, 3
KILLS = ["node"] * 5 + ["command"] * 2
LONGEST_S = 12.0  # from one kill to the next
_RAY = [sys.executable, "-c", "from ray.scripts.scripts import main; main()"]
_OBJECT_STORE = 75 * 2**20  # bytes: the least that Ray takes


class Nodes:
    """Nodes of a cluster on this machine, each what `ray start --block` starts, in a session of its own."""

    def __init__(self, folder: Path, cpus: int = 1, gpus: int = 0) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.address = f"127.0.0.1:{probe.getsockname()[1]}"
        self._log = folder / "nodes.log"
        self._has = [f"--num-cpus={cpus}", f"--num-gpus={gpus}", f"--object-store-memory={_OBJECT_STORE}"]
        port = self.address.rpartition(":")[2]
        self._head = self._start(
            "--head", f"--port={port}", f"--temp-dir={folder / 'ray'}", "--include-dashboard=false"
        )
        self._others: list[subprocess.Popen[bytes]] = []
        while subprocess.run([*_RAY, "health-check", f"--address={self.address}"], capture_output=True).returncode:
            time.sleep(0.5)

    def add(self) -> None:
        """Start a node that joins."""
        self._others.append(self._start(f"--address={self.address}"))

    def kill(self, index: int) -> None:
        """Kill all processes of a node, which is not the head."""
        _kill(self._others.pop(index))

    def end(self) -> None:
        """Kill all."""
        for node in (*self._others, self._head):
            _kill(node)

    def _start(self, *arguments: str) -> "subprocess.Popen[bytes]":
        given = [*self._has, "--node-ip-address=127.0.0.1"]
        with self._log.open("ab") as log:
            return subprocess.Popen(
                [*_RAY, "start", "--block", "--disable-usage-stats", *given, *arguments],
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )


@contextmanager
def nodes(folder: Path, cpus: int = 1, gpus: int = 0) -> Iterator[Nodes]:
    """Give a cluster of a head node alone, with room for so many trials; it may pretend to have GPUs."""
    started = Nodes(folder, cpus, gpus)
    try:
        yield started
    finally:
        started.end()


def _kill(node: "subprocess.Popen[bytes]") -> None:
    os.killpg(node.pid, signal.SIGKILL)
    node.wait()


def drive(address: str, out: str) -> None:
    """The command, on this cluster."""
    QuickRayEngine().run(Path(out) / "given.yaml", [], Options(out=Path(out), cluster=ClusterOptions(address)))


def jobs_in(out: Path) -> list[Job]:
    try:
        return Ledger.open(sqlite_url(out / "ledger.db"), "sweep").jobs()
    except UsageError:  # there is none yet
        return []


def completed(jobs: list[Job]) -> dict[int, Job]:
    return {job.number: job for job in jobs if job.state is State.completed}


def wait_until(condition: Callable[[], object]) -> None:
    while not condition():
        time.sleep(0.2)


def kill_at_random(cluster: Nodes, out: Path) -> tuple[list[dict[str, Any]], int]:
    """Return what was killed when, with the trials completed by then and whether all completed before stood as they were; and how the command ended."""
    rng, kills, before = random.Random(0), [], {}
    order = rng.sample(KILLS, len(KILLS))
    with (out / "printed").open("ab") as printed:

        def start() -> "subprocess.Popen[bytes]":
            command = [sys.executable, "-m", "benchmarks.ray_kills", "drive", cluster.address, str(out)]
            return subprocess.Popen(command, stdout=printed, stderr=printed)

        command = start()
        for what in order:
            wait_until(lambda: any(job.state is State.running and job.history for job in jobs_in(out)))
            moment = rng.uniform(0, LONGEST_S)
            time.sleep(moment)
            if what == "node":
                cluster.kill(rng.randrange(NODES - 1))
                cluster.add()
            else:
                command.kill()
                command.wait()
                command = start()
            now = completed(jobs_in(out))
            kept = all(now.get(number) == job for number, job in before.items())
            kills.append({"killed": what, "after_s": round(moment, 1), "completed": len(now), "kept": kept})
            print(kills[-1], flush=True)
            before = now
        return kills, command.wait()


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="ray-kills-") as temporary, nodes(Path(temporary)) as cluster:
        out = Path(temporary) / "out"
        out.mkdir()
        (out / "pause").write_text(str(STEP_S))
        command = [word.replace("trainer.steps=4", f"trainer.steps={STEPS}") for word in COMMAND]
        metric = {"name": "val/miou", "goal": "maximize"}
        (out / "given.yaml").write_text(json.dumps({**RANDOM, "metric": metric, "command": command, "run_cap": CAP}))
        for _ in range(NODES - 1):
            cluster.add()
        kills, status = kill_at_random(cluster, out)
        jobs = jobs_in(out)
    reports = list(range(1, STEPS + 1))
    result = {
        "machine": describe(),
        "ray": ray.__version__,
        "kills": kills,
        "cap": CAP,
        "trials": len(jobs),
        "completed": len(completed(jobs)),
        "each_report_once": all([step for step, _ in job.history] == reports for job in jobs),
        "attempts": [job.attempts for job in jobs],
        "exit_status": status,
    }
    Path(sys.argv[1]).write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))
    whole = len(jobs) == result["completed"] == CAP and result["each_report_once"] and all(k["kept"] for k in kills)
    sys.exit(0 if whole and status == 0 else "A trial was lost, or run again, or the cap was not kept.")


if __name__ == "__main__":
    if sys.argv[1] == "drive":
        drive(*sys.argv[2:])
    else:
        main()
