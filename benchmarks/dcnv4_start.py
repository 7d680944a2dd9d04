"""How the layer of DCNv4 should start where a network is trained from random weights: as a mean of each window, or at zero.

    python benchmarks/dcnv4_start.py runs/dcnv4-start benchmarks/results/dcnv4_start.json [steps] [seed ...]

`conv=dcnv4` starts with factors of one by the number of sampling points, so that a fresh layer passes its input on; the authors'
layer starts with factors of zero, so that it gives zero until its branch has learnt. Everything else is the same: the data set
`shapes`, the network and settings of `experiment=shapes`, the first random weights. 300 steps take about a minute of a CPU core; a
stopped script goes on.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from dcnrun.bench.machine import describe

STEPS, SEEDS = 300, (0, 1, 2)
SETTINGS = ["experiment=shapes", "conv=dcnv4", "optim.offset_lr_mult=0.1", "trainer.threads=1"]
# A process that trains with other factors to start with.
TRAIN = """
import sys
from dcnrun.models import deform_sampling
from dcnrun.cli import main
made = deform_sampling.PointwiseOffsetBranch.reset_parameters
def reset(branch):
    made(branch)
    if {zero}:
        deform_sampling.nn.init.zeros_(branch.bias)
deform_sampling.PointwiseOffsetBranch.reset_parameters = reset
main()
"""
STARTS = {"mean of the window": False, "zero": True}


def train(folder: Path, zero: bool, steps: int, seed: int) -> None:
    """Train one network, unless that is done."""
    summary = folder / "summary.json"
    if summary.is_file() and json.loads(summary.read_text())["status"] == "completed":
        return
    length = [
        f"trainer.{name}={value}"
        for name, value in (("steps", steps), ("eval_every", steps // 3), ("save_every", steps))
    ]
    command = [sys.executable, "-c", TRAIN.format(zero=zero), "train", "--run-dir", str(folder)]
    subprocess.run([*command, *SETTINGS, *length, f"seed={seed}"], check=True)


def result_of(folder: Path) -> dict[str, Any]:
    """Return the scores and losses of a run on its way."""
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return {
        "val/miou": {str(row["step"]): round(row["val/miou"], 4) for row in rows if "val/miou" in row},
        "train/loss": {str(row["step"]): round(row["train/loss"], 4) for row in rows if "train/loss" in row},
    }


def main() -> None:
    runs, out = map(Path, sys.argv[1:3])
    steps, *seeds = map(int, sys.argv[3:]) if sys.argv[3:] else (STEPS, *SEEDS)
    results: dict[str, dict[str, Any]] = {name: {} for name in STARTS}
    for seed in seeds or SEEDS:
        for name, zero in STARTS.items():
            folder = runs / f"{'zero' if zero else 'mean'}-{steps}-{seed}"
            train(folder, zero, steps, seed)
            results[name][f"seed {seed}"] = result_of(folder)
    settings = [*SETTINGS, f"trainer.steps={steps}"]
    out.write_text(json.dumps({"machine": describe(), "settings": settings, "starts": results}, indent=1) + "\n")


if __name__ == "__main__":
    main()
