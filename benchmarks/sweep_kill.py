"""Kills `dcnrun sweep` with SIGKILL at 20 random moments and starts it again each time, with real trials and two agents.

    python benchmarks/sweep_kill.py benchmarks/results/sweep_kill.json

Target: no finished trial is lost or run again, and in the end there are exactly run_cap trials, all completed, each with
every report once. Takes about a quarter of an hour.
"""

import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from sweep_overhead import DCNRUN, SETTINGS, SWEEP

from dcnrun.bench.machine import describe
from dcnrun.jobs.database import sqlite_url
from dcnrun.jobs.ledger import Job, Ledger, State

KILLS, CAP, STEPS, REPORT_EVERY, LONGEST_S = 20, 24, 40, 10, 45.0
LENGTH = [f"trainer.steps={STEPS}", *(f"trainer.{what}_every={REPORT_EVERY}" for what in ("log", "eval", "save"))]


def jobs_in(folder: Path) -> list[Job]:
    if not (folder / "ledger.db").exists():
        return []
    return Ledger.open(sqlite_url(folder / "ledger.db"), "sweep").jobs()


def completed(jobs: list[Job]) -> dict[int, Job]:
    return {job.number: job for job in jobs if job.state is State.completed}


def kill_at_random(command: list[str], out: Path) -> list[dict[str, Any]]:
    """The moment of each kill, the trials completed by then, and whether all completed before still stood as they were."""
    rng, kills, before = random.Random(0), [], {}
    for number in range(KILLS):
        with (out.parent / "printed").open("ab") as printed:
            process = subprocess.Popen(command, stdout=printed, stderr=printed)
        moment = rng.uniform(1, LONGEST_S)
        time.sleep(moment)
        ended_itself = process.poll() is not None
        process.kill()
        process.wait()
        now = completed(jobs_in(out))
        kept = all(now.get(number) == job for number, job in before.items())
        kills.append({"after_s": round(moment, 1), "completed": len(now), "kept": kept, "ended_itself": ended_itself})
        print(number, kills[-1], flush=True)
        before = now
    return kills


def main() -> None:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        out, file = folder / "out", folder / "sweep.yaml"
        settings = ["${env}", "dcnrun", "train", *SETTINGS, *LENGTH, "${args_no_hyphens}"]
        file.write_text(json.dumps({**SWEEP, "run_cap": CAP, "command": settings}))
        command = [*DCNRUN, "sweep", str(file), "--out", str(out), "--agents", "2"]
        kills = kill_at_random(command, out)
        last = subprocess.run(command, capture_output=True, text=True)
        jobs = jobs_in(out)
    reports = list(range(REPORT_EVERY, STEPS + 1, REPORT_EVERY))
    result = {
        "machine": describe(),
        "kills": kills,
        "cap": CAP,
        "trials": len(jobs),
        "completed": len(completed(jobs)),
        "each_report_once": all([step for step, _ in job.history] == reports for job in jobs),
        "attempts": [job.attempts for job in jobs],
        "exit_status": last.returncode,
    }
    Path(sys.argv[1]).write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))
    whole = len(jobs) == result["completed"] == CAP and result["each_report_once"] and all(k["kept"] for k in kills)
    sys.exit(0 if whole and last.returncode == 0 else "A trial was lost, or run again, or the cap was not kept.")


if __name__ == "__main__":
    main()
