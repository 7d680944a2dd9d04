"""Fakes for tests of sweeps: agents and trials as processes.

`python -m tests.sweep.fakes agent ...` is the real agent, but of such trials. `... train ...` is a trial: it reports val/miou, best
where optim.lr is 0.01 and 0.01 more at each step, saves after each, stops on SIGTERM and resumes from its last step, as training
does. A file <trial>.does in the sweep's folder has it crash, report nothing finite, or kill its agent the first time; `pause` there
has the seconds of a step; the files in becomes-<trial> are put into the run folder of one that is completed.
"""

import argparse
import json
import math
import os
import shutil
import signal
import sys
import time
from pathlib import Path

from tests.jobs.fakes import forget_after, replace, saved_step, write_summary

TRIAL = (sys.executable, "-S", "-m", __spec__.name)
PROGRAM = (sys.executable, "-m", __spec__.name)


def main() -> int:
    command, *arguments = sys.argv[1:]
    return train(*arguments) if command == "train" else agent(arguments)


def agent(arguments: list[str]) -> int:
    from dcnrun.jobs.database import storage_url
    from dcnrun.sweep.agent import run_agent

    parser = argparse.ArgumentParser()
    parser.add_argument("sweep")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--count", type=int)
    given = parser.parse_args(arguments)
    run_agent(given.sweep, storage_url(None), given.count, (), given.out, TRIAL)
    return 0


def train(option: str, folder: str, *overrides: str) -> int:
    run = Path(folder)
    run.mkdir(exist_ok=True)
    with (run / "starts").open("a") as starts:
        starts.write(f"{option} {'DCNRUN_STORAGE' in os.environ} {os.environ.get('CUDA_VISIBLE_DEVICES')}\n")
    if option == "--run-dir":
        (run / "overrides.txt").write_text("".join(f"{override}\n" for override in overrides))
        (run / "config.yaml").write_text("stands: in\n")
    first_time = (run / "starts").read_text().count("\n") == 1
    does = run.with_name(f"{run.name}.does")
    action = does.read_text() if does.exists() else ""
    if action == "crash":
        print("ValueError: no such luck")
        return 3
    if action == "kill the agent" and first_time:
        os.kill(os.getppid(), signal.SIGKILL)
    settings = dict(line.split("=") for line in (run / "overrides.txt").read_text().splitlines())
    first_value = math.nan if action == "report nothing" else value(float(settings["optim.lr"]))
    return steps(run, int(settings["trainer.steps"]), first_value)


def value(lr: float) -> float:
    """What a trial reports at its first step."""
    return 0.5 - abs(math.log10(lr) + 2) / 10


def steps(run: Path, last: int, first_value: float) -> int:
    stop: list[bool] = []
    signal.signal(signal.SIGTERM, lambda *_: stop.append(True))
    pause = run.with_name("pause")
    seconds = float(pause.read_text()) if pause.exists() else 0.01
    forget_after(run, saved_step(run))
    write_summary(run, "running", None)
    for step in range(saved_step(run) + 1, last + 1):
        time.sleep(seconds)
        with (run / "metrics.jsonl").open("a") as metrics:
            metrics.write(json.dumps({"step": step, "val/miou": first_value + (step - 1) / 100}) + "\n")
        replace(run / "checkpoint", str(step))
        if stop and step < last:
            write_summary(run, "stopped", f"asked to stop after step {step}")
            return 130
    write_summary(run, "completed", None)
    becomes = run.with_name(f"becomes-{run.name}")
    if becomes.exists():
        shutil.copytree(becomes, run, dirs_exist_ok=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
