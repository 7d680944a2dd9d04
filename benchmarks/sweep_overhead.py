"""What the sweep engine adds to each trial: seconds from its claim to its first training step, less those that the same training
takes by itself from the start of its process; and seconds from a trial's end to the next one's claim.

    python benchmarks/sweep_overhead.py benchmarks/results/sweep_overhead.json

Target: together under 1 s. The trials are real and tiny; nothing else may run.
"""

import itertools
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from dcnrun.bench.machine import describe

TRIALS, ALONE = 16, 5
SETTINGS = [
    "data.image_size=48",
    "data.train_images=16",
    "data.val_images=4",
    "data.batch_size=4",
    "data.workers=0",
    "model.width=16",
    "model.head_channels=16",
    "trainer.steps=2",
    "trainer.log_every=1",
    "trainer.eval_every=1",
    "trainer.threads=1",
    "trainer.pictures=0",
]
SWEEP = {
    "method": "bayes",
    "metric": {"name": "val/miou", "goal": "maximize"},
    "run_cap": TRIALS,
    "parameters": {"optim.lr": {"distribution": "log_uniform_values", "min": 0.001, "max": 0.1}},
    "command": ["${env}", "dcnrun", "train", *SETTINGS, "${args_no_hyphens}"],
}
DCNRUN = [sys.executable, "-m", "dcnrun"]


class Moments:
    """When files were first there and held something, looked for all the time."""

    def __init__(self, folder: Path, pattern: str) -> None:
        self.of: dict[str, float] = {}
        self._folder, self._pattern = folder, pattern
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> "Moments":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(0.005):
            for file in self._folder.glob(self._pattern):
                if file.parent.name not in self.of and file.stat().st_size:
                    self.of[file.parent.name] = time.time()


def run(*arguments: object) -> str:
    return subprocess.run([*DCNRUN, *map(str, arguments)], check=True, capture_output=True, text=True).stdout


def seconds_alone(folder: Path) -> list[float]:
    """From the start of the process to the first step logged."""
    seconds = []
    for number in range(ALONE):
        with Moments(folder, f"alone-{number}/metrics.jsonl") as first_step:
            started = time.time()
            run("train", *SETTINGS, "optim.lr=0.01", "--run-dir", folder / f"alone-{number}")
        seconds.append(first_step.of[f"alone-{number}"] - started)
    return seconds


def spread(seconds: list[float]) -> dict[str, float]:
    return {
        "median": round(statistics.median(seconds), 3),
        "lowest": round(min(seconds), 3),
        "highest": round(max(seconds), 3),
    }


def run_sweep(folder: Path, name: str, *options: object) -> tuple[list[float], list[float]]:
    """Run the sweep with these options; return seconds from claims to first steps, and from ends of trials to the next claims."""
    (folder / "sweep.yaml").write_text(json.dumps(SWEEP))
    with Moments(folder / name, "trial-*/metrics.jsonl") as first_step:
        printed = run("sweep", folder / "sweep.yaml", "--out", folder / name, "--json", *options)
    trials = json.loads(printed.splitlines()[-1])["trials"]
    to_first_step = [first_step.of[Path(trial["run"]).name] - trial["started"] for trial in trials]
    return to_first_step, [later["started"] - trial["ended"] for trial, later in itertools.pairwise(trials)]


def summary(to_first_step: list[float], between: list[float], own_start: float) -> dict[str, Any]:
    added = [seconds - own_start for seconds in to_first_step]
    return {
        "claim_to_first_step_s": spread(to_first_step),
        "added_to_a_trial_s": spread(added),
        "between_trials_s": spread(between),
        "overhead_per_trial_s": round(statistics.median(added) + statistics.median(between), 3),
    }


def main() -> None:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        before = seconds_alone(folder / "before")
        trials = run_sweep(folder, "out")
        alone = before + seconds_alone(folder / "after")
    result = {
        "machine": describe(),
        "trials": TRIALS,
        "first_step_alone_s": spread(alone),
        **summary(*trials, statistics.median(alone)),
    }
    Path(sys.argv[1]).write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
