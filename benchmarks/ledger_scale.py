"""What the ledger's calls take with many trials in it, as the actor of a Ray cluster answers them, and what a suggestion takes.

    python -m benchmarks.ledger_scale benchmarks/results/ledger_scale.json [1000 10000 100000]

Each trial is pretended: rows as agents leave them, ten reports each. Timed are the calls that a trial makes (claim, with the
search that draws it, heartbeat, report, judgement, end), and how many trials a second that allows. Minutes; nothing else may run.
"""

import json
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import sqlalchemy as sa

from dcnrun.bench.machine import describe
from dcnrun.jobs.cluster.served import LedgerActor
from dcnrun.jobs.database import sqlite_url
from dcnrun.jobs.ledger import State
from dcnrun.sweep.engines.engine import Sampler
from dcnrun.sweep.plan import Plan, Searching
from dcnrun.sweep.storage import create_ledger
from tests.sweep.factories import parsed

SIZES = (1000, 10_000, 100_000)
CALLS, REPORTS = 5, 10
BEATS_S, REPORT_S = 5.0, 30.0  # how often a trial that runs beats and, say, reports
METRIC = "metric: {name: val/miou, goal: maximize}\nearly_terminate: {type: hyperband, min_iter: 2, eta: 3}\n"
SPACE = "optim.lr: {distribution: log_uniform_values, min: 0.0001, max: 1.0}"


def fill(url: str, trials: int) -> None:
    """Write rows of trials that are completed, each with ten reports."""
    rng = random.Random(0)
    rows = []
    for number in range(trials):
        lr = 10 ** rng.uniform(-4, 0)
        history = [[step, rng.random()] for step in range(1, REPORTS + 1)]
        texts = [json.dumps(value) for value in ([f"optim.lr={lr}"], {"optim.lr": lr}, history)]
        rows.append((number, texts[0], texts[1], f"trial-{number:06d}", texts[2], f"node-{number % 1000}:7:1:boot"))
    with sa.create_engine(url).begin() as connection:
        connection.exec_driver_sql(
            "INSERT INTO dcnrun_jobs (batch, number, overrides, parameters, folder, state, attempts, history, owner, started, ended, beat)"
            " VALUES (1, ?, ?, ?, ?, 'completed', 1, ?, ?, 1.0, 2.0, 2.0)",
            rows,
        )


def seconds(call: Callable[..., object], *arguments: object) -> float:
    began = time.perf_counter()
    call(*arguments)
    return time.perf_counter() - began


def measure(folder: Path, trials: int, method: str) -> dict[str, Any]:
    """Return the median milliseconds of each call, and the megabytes of this process, beside so many trials."""
    plan = Plan(parsed(METRIC, SPACE, method), (), 0, Sampler.tpe)
    ledger = create_ledger(plan, "scale", folder, None, None)
    fill(sqlite_url(folder / "ledger.db"), trials)
    searching = Searching(plan)
    actor = LedgerActor(lambda: (ledger, searching.draw, searching.judge, None), folder)
    actor.underway()  # the first reads every row
    jobs, drawing = ledger.jobs(), []
    times: dict[str, list[float]] = {name: [] for name in ("claim", "beat", "record", "judge", "finish", "current")}
    for call in range(CALLS):
        owner = f"node-{call}:7:1:boot"
        drawing.append(seconds(searching.draw, jobs))
        began = time.perf_counter()
        job = actor.claim(owner)
        times["claim"].append(time.perf_counter() - began)
        assert job is not None
        times["beat"].append(seconds(actor.beat, job, owner))
        times["record"].append(seconds(actor.record, job, owner, [(1, 0.5), (2, 0.6)]))
        times["judge"].append(seconds(actor.judge, job))
        times["finish"].append(seconds(actor.finish, job, owner, State.completed))
        times["current"].append(seconds(actor.current, job))
    medians = {name: statistics.median(values) for name, values in {**times, "suggestion": drawing}.items()}
    return {
        "trials": trials,
        "method": method,
        "ms": {name: round(1000 * value, 2) for name, value in medians.items()},
        # claims have a thread of their own, and wait for nothing but the one before
        "claims_a_second": round(1 / medians["claim"], 1),
        "trials_that_run": round(1 / (medians["beat"] / BEATS_S + (medians["record"] + medians["judge"]) / REPORT_S)),
        "memory_mb": round(psutil.Process().memory_info().rss / 1e6),
    }


def main() -> None:
    sizes = [int(size) for size in sys.argv[2:]] or SIZES
    results = []
    for method in ("random", "bayes"):
        for trials in sizes:
            with tempfile.TemporaryDirectory() as folder:
                results.append(measure(Path(folder), trials, method))
            print(results[-1], flush=True)
    Path(sys.argv[1]).write_text(json.dumps({"machine": describe(), "results": results}, indent=1) + "\n")


if __name__ == "__main__":
    main()
