"""A fake of `dcnrun`: `fakes.py train --run-dir DIR KEY=VALUE...` or `fakes.py train --resume DIR`.

It logs `val/score` at each of its steps, saves after each, stops on SIGTERM and resumes from its last step, as training
does. Settings: steps, pause (seconds a step), value (of step 1, then + 0.01 a step), crash_at, die_at (SIGKILL), deaf (to SIGTERM), save
(seconds that it takes to stop), early (its summary says that it ended so). Each start leaves a line in `starts`; two at once in one folder leave a file `twice`. It imports the standard library alone, so that it starts at once.
"""

import fcntl
import json
import os
import signal
import sys
import time
from pathlib import Path


def main() -> int:
    option, folder, *overrides = sys.argv[2:]
    run = Path(folder)
    run.mkdir(exist_ok=True)
    alone = (run / "alone").open("w")
    try:
        fcntl.flock(alone, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        (run / "twice").touch()
    with (run / "starts").open("a") as starts:
        starts.write(f"{option} {os.getpid()} {'DCNRUN_STORAGE' in os.environ}\n")
    if option == "--run-dir":
        (run / "overrides.txt").write_text("".join(f"{override}\n" for override in overrides))
        (run / "config.yaml").write_text("stands: in\n")
    given = (run / "overrides.txt").read_text().splitlines()
    return train(run, {key: float(value) for key, value in (override.split("=") for override in given)})


def train(run: Path, settings: dict[str, float]) -> int:
    steps, done, stop = int(settings.get("steps", 3)), saved_step(run), []
    signal.signal(signal.SIGTERM, lambda *_: None if settings.get("deaf") else stop.append(True))
    forget_after(run, done)
    write_summary(run, "running", None)
    for step in range(done + 1, steps + 1):
        time.sleep(settings.get("pause", 0.01))
        with (run / "metrics.jsonl").open("a") as metrics:
            metrics.write(json.dumps({"step": step, "val/score": settings.get("value", 0.5) + (step - 1) / 100}) + "\n")
        if step == settings.get("die_at"):
            os.kill(os.getpid(), signal.SIGKILL)
        if step == settings.get("crash_at"):
            print("ValueError: no such luck")
            return 3
        replace(run / "checkpoint", str(step))
        if stop and step < steps:
            time.sleep(settings.get("save", 0))
            write_summary(run, "stopped", f"asked to stop after step {step}")
            return 130
    write_summary(run, "completed", "ended early" if settings.get("early") else None)
    return 0


def saved_step(run: Path) -> int:
    try:
        return int((run / "checkpoint").read_text())
    except FileNotFoundError:
        return 0


def forget_after(run: Path, step: int) -> None:
    metrics = run / "metrics.jsonl"
    lines = metrics.read_text().splitlines() if metrics.exists() else []
    replace(metrics, "".join(f"{line}\n" for line in lines if line.endswith("}") and json.loads(line)["step"] <= step))


def write_summary(run: Path, status: str, reason: str | None) -> None:
    replace(run / "summary.json", json.dumps({"status": status, "reason": reason}))


def replace(path: Path, text: str) -> None:
    beside = path.with_suffix(".part")
    beside.write_text(text)
    beside.replace(path)


if __name__ == "__main__":
    sys.exit(main())
