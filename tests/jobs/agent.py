"""An agent as a process: `agent.py URL FOLDER CAP`. Its trials are stand-ins, whose settings are their numbers."""

import sys
from pathlib import Path

from dcnrun.jobs.ledger import Job, JobSpec, Ledger
from dcnrun.jobs.train import train_arguments
from dcnrun.jobs.worker import work

STAND_IN = (sys.executable, "-S", str(Path(__file__).with_name("stand_in.py")))
METRIC = "val/score"


def draw(jobs):
    return JobSpec((f"value={len(jobs)}", "steps=4", "pause=0.02"), {"value": len(jobs)}, f"trial-{len(jobs):04d}")


def command(job: Job, path: Path) -> list[str]:
    return [*STAND_IN, *train_arguments(path, job.overrides)]


def main() -> None:
    url, folder, cap = sys.argv[1:]
    ledger = Ledger.create(url, "tune", "sweep", "", folder, int(cap), lost_after=1.0)
    work(ledger, Path(folder), command, metric=METRIC, draw=draw)


if __name__ == "__main__":
    main()
