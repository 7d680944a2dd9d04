"""A cluster of 1,000 nodes and up to 100,000 trials, simulated: whether the ledger keeps up, and what does not first.

    python -m benchmarks.ledger_scale benchmarks/results/ledger_scale.json [1000 10000 100000]

The ledger, its actor's code and the search are real; nodes and trials are pretended, and the clock runs as fast as the answers come.
At each size the ledger has so many trials that ended, each with ten reports, and 1,000 that run. Then some seconds of the cluster's life
are played by as many threads as the actor has: each trial beats every 5 s, reports (and is judged) every 30 s, and after ten
minutes ends, upon which its node claims another. `busy` is the real time that this takes for a second of the cluster's: above 1 the
ledger falls behind. `processor` is the processor's part of it, which other work changes little. What Ray adds to a
call is not in it. Four minutes; for `busy` and `ms` nothing else may run.
"""

import json
import random
import statistics
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import sqlalchemy as sa

from dcnrun.bench.machine import describe
from dcnrun.jobs.cluster.agents import THREADS
from dcnrun.jobs.cluster.served import LedgerActor
from dcnrun.jobs.database import sqlite_url
from dcnrun.jobs.ledger import Job, State
from dcnrun.sweep.engines.engine import Sampler
from dcnrun.sweep.plan import Plan, Searching
from dcnrun.sweep.storage import create_ledger
from tests.sweep.factories import parsed

SIZES, NODES = (1000, 10_000, 100_000), 1000
BEATS_S, REPORTS_S, TRIAL_S, PLAYED_S = 5.0, 30.0, 600.0, 4.0
REPORTS = 10
METRIC = "metric: {name: val/miou, goal: maximize}\n"
RULE = "early_terminate: {type: hyperband, min_iter: 2, eta: 3}\n"
SPACE = "optim.lr: {distribution: log_uniform_values, min: 0.0001, max: 1.0}"


def fill(url: str, ended: int) -> None:
    """Write rows as agents leave them: of trials that ended, and after them of those that run, one on each node."""
    rng = random.Random(0)
    rows = []
    for number in range(ended + NODES):
        lr = 10 ** rng.uniform(-4, 0)
        history = [[step, rng.random()] for step in range(1, REPORTS + 1)]
        state, end = ("running", None) if number >= ended else ("completed", float(number))
        texts = [json.dumps(value) for value in ([f"optim.lr={lr}"], {"optim.lr": lr}, history)]
        name = f"trial-{number:06d}"
        rows.append((number, texts[0], texts[1], name, texts[2], state, owner(number % NODES), end, time.time()))
    with sa.create_engine(url).begin() as connection:
        connection.exec_driver_sql(
            "INSERT INTO dcnrun_jobs (batch, number, overrides, parameters, folder, history, state, owner, ended, beat, attempts, started)"
            " VALUES (1, ?, ?, ?, ?, ?, ?, ?, ?, ?, 1, 1.0)",
            rows,
        )


def owner(node: int) -> str:
    return f"node-{node}:7:1:boot"


class Cluster:
    """Pretended nodes that ask a ledger."""

    def __init__(self, actor: LedgerActor, running: list[Job]) -> None:
        self._actor = actor
        self._jobs = dict(enumerate(running))
        self.seconds: dict[str, list[float]] = defaultdict(list)

    def beat(self, node: int) -> None:
        self._timed("beat", self._actor.beat, self._jobs[node], owner(node))

    def report(self, node: int) -> None:
        history = [(step, random.random()) for step in range(1, REPORTS + 1)]
        self._timed("record", self._actor.record, self._jobs[node], owner(node), history)
        self._timed("judge", self._actor.judge, self._jobs[node])

    def end(self, node: int) -> None:
        self._timed("finish", self._actor.finish, self._jobs[node], owner(node), State.completed)
        self._timed("current", self._actor.current, self._jobs[node])
        self._jobs[node] = self._timed("claim", self._actor.claim, owner(node))

    def play(self, seconds: float) -> tuple[int, float, float]:
        """Play so many seconds of the cluster's life; return the calls, and the seconds that it took, also of the processor."""
        rng, moments = random.Random(1), []
        for call, every in ((self.beat, BEATS_S), (self.report, REPORTS_S), (self.end, TRIAL_S)):
            for node in range(NODES):
                moment = rng.uniform(0, every)  # the first of this node's
                while moment < seconds:
                    moments.append((moment, call, node))
                    moment += every
        moments.sort(key=lambda each: each[0])
        locks = [threading.Lock() for _ in range(NODES)]

        def make(moment: tuple[float, Callable[[int], None], int]) -> None:
            with locks[moment[2]]:  # an agent makes a call at a time
                moment[1](moment[2])

        began, processor = time.perf_counter(), time.process_time()
        with ThreadPoolExecutor(THREADS) as threads:
            list(threads.map(make, moments))
        calls = sum(map(len, self.seconds.values()))
        return calls, time.perf_counter() - began, time.process_time() - processor

    def _timed(self, name: str, call: Callable[..., Any], *arguments: object) -> Any:
        began = time.perf_counter()
        answer = call(*arguments)
        self.seconds[name].append(time.perf_counter() - began)
        return answer


def measure(folder: Path, ended: int, method: str, rule: str) -> dict[str, Any]:
    """Return how busy the ledger is beside so many trials, and what single calls and a suggestion take."""
    plan = Plan(parsed(METRIC + rule, SPACE, method), (), 0, Sampler.tpe)
    ledger = create_ledger(plan, "scale", folder, None, None)
    ledger.lost_after = float("inf")  # the clock of the rows stands still
    fill(sqlite_url(folder / "ledger.db"), ended)
    searching = Searching(plan)
    began = time.perf_counter()
    jobs = ledger.jobs()
    first_reading = time.perf_counter() - began
    suggestions = []
    for extra in range(3):
        began = time.process_time()
        searching.draw(jobs[: len(jobs) - extra])
        suggestions.append(time.process_time() - began)
    cluster = Cluster(LedgerActor(lambda: (ledger, searching.draw, searching.judge, None), folder), jobs[ended:])
    calls, seconds, processor = cluster.play(PLAYED_S)
    return {
        "trials": ended,
        "method": method,
        "stop_rule": bool(rule),
        "busy": round(seconds / PLAYED_S, 2),
        "processor": round(processor / PLAYED_S, 2),
        "calls_a_second": {"asked": round(calls / PLAYED_S), "answered": round(calls / seconds)},
        "ms": {name: round(1000 * statistics.median(values), 1) for name, values in cluster.seconds.items()},
        "suggestion_ms": round(1000 * statistics.median(suggestions), 1),
        "first_reading_s": round(first_reading, 1),
        "memory_mb": round(psutil.Process().memory_info().rss / 1e6),
    }


def main() -> None:
    sizes = [int(size) for size in sys.argv[2:]] or SIZES
    results = []
    for method, rule in (("random", ""), ("bayes", ""), ("bayes", RULE)):
        for ended in sizes:
            with tempfile.TemporaryDirectory() as folder:
                results.append(measure(Path(folder), ended, method, rule))
            print(results[-1], flush=True)
    Path(sys.argv[1]).write_text(
        json.dumps({"machine": describe(), "nodes": NODES, "results": results}, indent=1) + "\n"
    )


if __name__ == "__main__":
    main()
