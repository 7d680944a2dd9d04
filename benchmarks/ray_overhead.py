"""What the Ray engine adds to each trial, beside the local engine in the same run; and how many pretended trials it gets through,
beside agents that share a PostgreSQL.

    git worktree add /tmp/before 7976a1d
    python -m benchmarks.ray_overhead /tmp/before benchmarks/results/ray_overhead.json [TRIALS WORKERS]

Targets: at most 1 s a trial, as benchmarks/sweep_overhead.py defines it; and with 1,000 trials of 0.1 s on 16 workers at least 3
times the throughput that the agents on PostgreSQL had in the last commit without an engine on Ray, which is the older checkout, with
the memory of the ledger's actor flat. They have become faster since too, as its figures beside theirs of today show. Such a trial is
`sleep`, and what draws it only counts, so that the ledger is what is measured. Some minutes; nothing else may run.
"""

import json
import multiprocessing
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import ray

from benchmarks.ray_kills import nodes
from benchmarks.sweep_overhead import run_sweep, seconds_alone, spread, summary
from dcnrun.bench.machine import describe
from dcnrun.jobs.cluster.agents import Batch, ToDo, Work, run_on_cluster
from dcnrun.jobs.cluster.nodes import connected
from dcnrun.jobs.cluster.options import ClusterOptions, Resources
from dcnrun.jobs.cluster.served import Opened
from dcnrun.jobs.database import sqlite_url
from dcnrun.jobs.ledger import Job, JobSpec, Ledger, State
from dcnrun.jobs.source import LedgerSource
from dcnrun.jobs.worker import work
from tests.postgres import PROGRAMS, Postgres

TRIALS, WORKERS = 1000, 16
_TRIAL = """mkdir -p "$0" && sleep 0.1 && echo '{"status": "completed"}' > "$0/summary.json" """
_AGENTS_BEFORE = """
import multiprocessing, sys
from pathlib import Path
from dcnrun.jobs.ledger import JobSpec, Ledger
from dcnrun.jobs.worker import work

url, folder, trials, workers, trial = sys.argv[1:]

def draw(jobs):
    return JobSpec((), {"number": len(jobs)}, f"trial-{len(jobs):06d}")

def agent():
    work(Ledger.open(url, "pretended"), Path(folder), lambda job, path: ["sh", "-c", trial, str(path)], draw=draw)

Ledger.create(url, "pretended", "sweep", "", "", int(trials))
agents = [multiprocessing.get_context("fork").Process(target=agent) for _ in range(int(workers))]
for each in agents:
    each.start()
for each in agents:
    each.join()
"""


def overhead() -> dict[str, Any]:
    """Return what both engines add to a trial, one after the other, with a trial at a time."""
    with tempfile.TemporaryDirectory(prefix="ray-overhead-") as temporary, nodes(Path(temporary)) as cluster:
        folder = Path(temporary)
        before = seconds_alone(folder / "before")
        local = run_sweep(folder, "local")
        on_ray = run_sweep(folder, "on-ray", "--engine", "ray", "--address", cluster.address, "--agents", "1")
        alone = before + seconds_alone(folder / "after")
    own_start = statistics.median(alone)
    return {
        "first_step_alone_s": spread(alone),
        "local": summary(*local, own_start),
        "ray": summary(*on_ray, own_start),
    }


def draw(jobs: Sequence[Job]) -> JobSpec:
    return JobSpec((), {"number": len(jobs)}, f"trial-{len(jobs):06d}")


def command(job: Job, path: Path) -> list[str]:
    return ["sh", "-c", _TRIAL, str(path)]


def open_jobs(url: str) -> Opened:
    return Ledger.open(url, "pretended"), draw, None, None


def create(url: str, cap: int) -> Ledger:
    return Ledger.create(url, "pretended", "sweep", "", "", cap)


def agent(url: str, folder: Path) -> None:
    """Be an agent on PostgreSQL."""
    ledger, drawing, _, _ = open_jobs(url)
    work(LedgerSource(ledger, drawing), folder, command)


def run_agents(url: str, folder: Path, trials: int, workers: int) -> None:
    create(url, trials)
    agents = [multiprocessing.get_context("fork").Process(target=agent, args=(url, folder)) for _ in range(workers)]
    for each in agents:
        each.start()
    for each in agents:
        each.join()


def run_agents_of(checkout: Path, url: str, folder: Path, trials: int, workers: int) -> None:
    arguments = [url, str(folder), str(trials), str(workers), _TRIAL]
    subprocess.run([sys.executable, "-c", _AGENTS_BEFORE, *arguments], cwd=checkout, check=True)


def throughput_on_postgres(trials: int, run: Callable[[str, Path], None]) -> float:
    """Return the trials a second of agents that share a PostgreSQL, whose database and folder of runs are given to `run`."""
    with tempfile.TemporaryDirectory(prefix="ray-overhead-") as temporary:
        folder = Path(temporary)
        folder.chmod(0o755)
        server = Postgres(max(PROGRAMS.glob("*/bin")), folder)
        server.start()
        try:
            url = server.new_database()
            run(url, folder / "runs")
            return trials_a_second(Ledger.open(url, "pretended").jobs(), trials)
        finally:
            server.stop()


def throughput_on_ray(trials: int, workers: int, folder: Path) -> dict[str, Any]:
    """Return the trials a second of the Ray engine's agents, and the actor's memory after a tenth of them and at the end."""
    url = sqlite_url(folder / "ledger.db")
    ledger = create(url, trials)
    memory: list[tuple[int, int]] = []
    actors: list[psutil.Process] = []

    def look() -> ToDo:
        jobs = ledger.jobs()
        ended, running = (sum(job.state is state for job in jobs) for state in (State.completed, State.running))
        actors[:] = actors or processes_named("ray::LedgerActor")  # once: looking through all of a machine's takes long
        memory.extend((ended, actor.memory_info().rss) for actor in actors)
        return ToDo(len(jobs) - ended, running, trials - len(jobs))

    with nodes(folder, workers) as cluster, connected(cluster.address):
        task = Work(folder / "runs", command, None, {})
        task.folder.mkdir()
        batch = Batch(partial(open_jobs, url), task, Resources(), {}, is_alone=True)
        run_on_cluster(batch, ClusterOptions(cluster.address, agents=workers), look)
    early = next((rss for ended, rss in memory if ended >= trials / 10), 0)
    return {
        "trials_a_second": trials_a_second(ledger.jobs(), trials),
        "actor_mb": {"after_a_tenth": round(early / 1e6), "at_the_end": round(memory[-1][1] / 1e6)},
    }


def processes_named(name: str) -> list[psutil.Process]:
    """Return the processes of this name."""
    running = psutil.process_iter(["cmdline"])
    return [process for process in running if (process.info["cmdline"] or [""])[0].startswith(name[:15])]


def trials_a_second(jobs: list[Job], trials: int) -> float:
    """Return the throughput from when the last of the workers has begun, since a process of Ray takes seconds to start, to the last end."""
    assert [job.state for job in jobs] == [State.completed] * trials
    first: dict[str | None, float] = {}
    for job in sorted(jobs, key=lambda job: job.started or 0):
        first.setdefault(job.owner, job.started or 0)
    began = max(first.values())
    after = [job for job in jobs if (job.started or 0) >= began]
    return round(len(after) / (max(job.ended or 0 for job in after) - began), 1)


def main() -> None:
    before, out = map(Path, sys.argv[1:3])
    trials, workers = map(int, sys.argv[3:]) if sys.argv[3:] else (TRIALS, WORKERS)
    result: dict[str, Any] = {"machine": describe(), "ray": ray.__version__, "trials": trials, "workers": workers}
    commit = subprocess.run(["git", "-C", before, "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
    result["before"] = {"commit": commit.stdout.strip()}
    for name, run in (("postgres_before", partial(run_agents_of, before)), ("postgres", run_agents)):
        speed = throughput_on_postgres(trials, partial(run, trials=trials, workers=workers))
        result[name] = {"trials_a_second": speed}
        print(name, speed, flush=True)
    with tempfile.TemporaryDirectory(prefix="ray-overhead-") as folder:
        result["ray_engine"] = throughput_on_ray(trials, workers, Path(folder))
    print(result["ray_engine"], flush=True)
    if trials == TRIALS:
        result["overhead"] = overhead()
    ratios = {
        name: result["ray_engine"]["trials_a_second"] / result[name]["trials_a_second"]
        for name in ("postgres_before", "postgres")
    }
    result["ray_engine_times_as_many_as"] = {name: round(ratio, 2) for name, ratio in ratios.items()}
    out.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
