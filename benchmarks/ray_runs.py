"""Runs on Ray clusters that are started for them: what no test of the suite has the time for.

    python -m benchmarks.ray_runs benchmarks/results/ray_runs.json [WHAT...]

- `head_killed`: all nodes and the command are killed in the middle of a sweep, the head node first; the same command on a new cluster ends it.
- `postgres`: the ledger in a PostgreSQL, which an agent outside the cluster shares.
- `several_gpus`: trials of two GPUs each on a node that pretends to have four.
- `several_processes`: real training by two processes each under torchrun, by gloo on CPUs.
- `compare`: `dcnrun compare --engine ray`, with real training.
- `slurm`: docs/cluster/ray.sbatch with stand-ins for `srun` and `scontrol`, as for a job of two nodes, with real training.

Two minutes on a quiet machine.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ray

from benchmarks.ray_kills import completed, jobs_in, nodes, wait_until
from benchmarks.sweep_overhead import SETTINGS
from dcnrun.bench.machine import describe
from dcnrun.jobs.cluster.options import ClusterOptions, Resources
from dcnrun.jobs.ledger import Job, Ledger, State
from dcnrun.sweep.agent import run_agent
from dcnrun.sweep.engines.engine import Options
from tests.postgres import PROGRAMS, Postgres
from tests.sweep import fakes
from tests.sweep.engines.factories import QuickRayEngine
from tests.sweep.factories import COMMAND, RANDOM

SCRIPT = Path(__file__).parents[1] / "docs" / "cluster" / "ray.sbatch"
STAND_INS = {
    # the options before the command go; all "nodes" are this machine
    "srun": 'while [[ $1 == --* ]]; do shift; done; exec "$@" --node-ip-address=127.0.0.1 --object-store-memory=78643200',
    "scontrol": "echo 127.0.0.1",
    "ray": 'exec PYTHON -c "from ray.scripts.scripts import main; main()" "$@"',
    "dcnrun": 'exec PYTHON -m dcnrun "$@"',
}


def drive(address: str, out: str, storage: str | None = None, gpus: str = "0") -> None:
    """The command, on this cluster."""
    cluster = ClusterOptions(address, Resources(1.0, float(gpus)))
    QuickRayEngine().run(Path(out) / "given.yaml", [], Options(out=Path(out), storage=storage or None, cluster=cluster))


def start(*arguments: object) -> "subprocess.Popen[bytes]":
    return subprocess.Popen([sys.executable, "-m", "benchmarks.ray_runs", "drive", *map(str, arguments)])


def prepared(folder: Path, cap: int, steps: int = 4, pause: float = 0.2) -> Path:
    """Return a sweep's folder, with its file."""
    out = folder / "out"
    out.mkdir()
    (out / "pause").write_text(str(pause))
    command = [word.replace("trainer.steps=4", f"trainer.steps={steps}") for word in COMMAND]
    metric = {"name": "val/miou", "goal": "maximize"}
    given = {**RANDOM, "name": "given", "metric": metric, "command": command, "run_cap": cap}
    (out / "given.yaml").write_text(json.dumps(given))
    return out


def each_report_once(jobs: list[Job], steps: int) -> bool:
    return all([step for step, _ in job.history] == list(range(1, steps + 1)) for job in jobs)


def head_killed(folder: Path) -> dict[str, Any]:
    cap, steps = 8, 8
    out = prepared(folder, cap, steps, 0.5)
    (folder / "first").mkdir()
    with nodes(folder / "first") as cluster:
        cluster.add()
        command = start(cluster.address, out)
        wait_until(lambda: len(completed(jobs_in(out))) >= 2)
    command.kill()
    command.wait()
    before = completed(jobs_in(out))
    (folder / "second").mkdir()
    with nodes(folder / "second") as cluster:
        cluster.add()
        status = start(cluster.address, out).wait()
    jobs = jobs_in(out)
    kept = all(completed(jobs)[number] == job for number, job in before.items())
    facts = {"trials": len(jobs), "completed_before": len(before), "completed": len(completed(jobs)), "kept": kept}
    is_right = status == 0 and len(completed(jobs)) == len(jobs) == cap and kept and each_report_once(jobs, steps)
    return {**facts, "each_report_once": each_report_once(jobs, steps), "is_right": is_right}


def postgres(folder: Path) -> dict[str, Any]:
    cap = 8
    out = prepared(folder, cap)
    (folder / "postgres").mkdir()
    folder.chmod(0o755)
    server = Postgres(max(PROGRAMS.glob("*/bin")), folder / "postgres")
    server.start()
    try:
        url = server.new_database()
        with nodes(folder, cpus=2) as cluster:
            command = start(cluster.address, out, url)
            wait_until(lambda: _are_at_work(url))
            outside = run_agent("given", url, out=out, program=fakes.TRIAL)
            status = command.wait()
        jobs = Ledger.open(url, "given").jobs()
    finally:
        server.stop()
    owners = {job.owner for job in jobs}
    facts = {"trials": len(jobs), "completed": len(completed(jobs)), "of_the_agent_outside": len(outside["trials"])}
    is_right = status == 0 and len(completed(jobs)) == len(jobs) == cap and 0 < len(outside["trials"]) < cap
    return {**facts, "agents": len(owners), "is_right": is_right and each_report_once(jobs, 4)}


def _are_at_work(url: str) -> bool:
    try:
        return any(job.state is State.running for job in Ledger.open(url, "given").jobs())
    except Exception:  # there is none yet
        return False


def several_gpus(folder: Path) -> dict[str, Any]:
    out = prepared(folder, 6)
    with nodes(folder, cpus=8, gpus=4) as cluster:
        status = start(cluster.address, out, "", 2).wait()
    jobs = jobs_in(out)
    seen = [(out / job.folder / "starts").read_text().split()[-1] for job in jobs]
    moments = [(moment, change) for job in jobs for moment, change in ((job.started, 1), (job.ended, -1))]
    at_once = most = 0
    for _, change in sorted(moments):
        at_once += change
        most = max(most, at_once)
    is_right = status == 0 and len(completed(jobs)) == 6 and all(len(set(each.split(","))) == 2 for each in seen)
    return {"cuda_visible_devices": sorted(set(seen)), "at_once": most, "is_right": is_right and most == 2}


def several_processes(folder: Path) -> dict[str, Any]:
    """Real training by two processes each, which talk by gloo: what trials of several GPUs do, on CPUs."""
    out = folder / "out"
    settings = [*SETTINGS, "trainer.accelerator=cpu", "trainer.devices=2"]
    sweep = {"method": "grid", "parameters": {"optim.lr": {"values": [0.01, 0.02]}}}
    (folder / "sweep.yaml").write_text(
        json.dumps({**sweep, "command": ["${env}", "dcnrun", "train", *settings, "${args_no_hyphens}"]})
    )
    with nodes(folder, cpus=4) as cluster:
        words = ["sweep", folder / "sweep.yaml", "--engine", "ray", "--address", cluster.address, "--out", out]
        ended = subprocess.run([sys.executable, "-m", "dcnrun", *map(str, words)], capture_output=True, text=True)
    jobs = jobs_in(out)
    processes = [
        json.loads((out / job.folder / "env.json").read_text())["processes"] for job in completed(jobs).values()
    ]
    is_right = ended.returncode == 0 and len(jobs) == 2 and processes == [2, 2]
    facts = {"trials": len(jobs), "completed": len(completed(jobs)), "processes": processes}
    return {**facts, "said": [] if is_right else ended.stderr.splitlines()[-3:], "is_right": is_right}


def compare(folder: Path) -> dict[str, Any]:
    with nodes(folder, cpus=2) as cluster:
        options = ["--engine", "ray", "--address", cluster.address, "--out", folder / "out", "--json"]
        words = ["compare", *SETTINGS, "conv=standard,deformable", "seed=0,1", *options]
        ended = subprocess.run([sys.executable, "-m", "dcnrun", *map(str, words)], capture_output=True, text=True)
    runs = sorted(path.parent.name for path in (folder / "out").glob("*/summary.json"))
    done = [json.loads((folder / "out" / run / "summary.json").read_text())["status"] for run in runs]
    is_right = ended.returncode == 0 and done == ["completed"] * 4 and (folder / "out" / "compare.html").exists()
    return {"runs": runs, "said": ended.stderr.splitlines()[-3:] if ended.returncode else [], "is_right": is_right}


def slurm(folder: Path) -> dict[str, Any]:
    out = folder / "out"
    (folder / "bin").mkdir()
    for name, text in STAND_INS.items():
        program = folder / "bin" / name
        program.write_text(f"#!/bin/bash\n{text.replace('PYTHON', sys.executable)}\n")
        program.chmod(0o755)
    sweep = {"method": "grid", "parameters": {"optim.lr": {"values": [0.01, 0.02]}}}
    command = ["${env}", "dcnrun", "train", *SETTINGS, "${args_no_hyphens}"]
    (folder / "sweep.yaml").write_text(json.dumps({**sweep, "command": command}))
    job = {"JOB_NODELIST": "node[1-2]", "JOB_ID": os.getpid(), "JOB_NUM_NODES": 2, "CPUS_PER_TASK": 1}
    environment = {**os.environ, "PATH": f"{folder / 'bin'}:{os.environ['PATH']}"}
    environment |= {f"SLURM_{name}": str(value) for name, value in job.items()}
    words = ["bash", str(SCRIPT), "sweep", str(folder / "sweep.yaml"), "--out", str(out)]
    ended = subprocess.run(words, env=environment, capture_output=True, text=True)
    jobs = jobs_in(out)
    is_right = ended.returncode == 0 and len(completed(jobs)) == len(jobs) == 2
    return {"trials": len(jobs), "said": ended.stderr.splitlines()[-3:] if not is_right else [], "is_right": is_right}


RUNS: dict[str, Callable[[Path], dict[str, Any]]] = {
    each.__name__: each for each in (head_killed, postgres, several_gpus, several_processes, compare, slurm)
}


def main() -> None:
    result: dict[str, Any] = {"machine": describe(), "ray": ray.__version__}
    for name in sys.argv[2:] or RUNS:
        with tempfile.TemporaryDirectory(prefix="ray-runs-") as folder:
            result[name] = RUNS[name](Path(folder))
        print(name, result[name], flush=True)
    Path(sys.argv[1]).write_text(json.dumps(result, indent=1) + "\n")
    sys.exit(0 if all(each["is_right"] for name, each in result.items() if name in RUNS) else "See above.")


if __name__ == "__main__":
    if sys.argv[1] == "drive":
        drive(*sys.argv[2:])
    else:
        main()
