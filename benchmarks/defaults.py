"""Which defaults suit small data sets: optimizer, schedule and output stride on nuclei, shapes and tree crowns, three seeds each.

    python benchmarks/defaults.py runs/defaults benchmarks/results/defaults.json

The nuclei are trained as a user's own folder, with the default network and number of steps; shapes and tree crowns with narrow
networks in few steps, so that all of it takes some four hours on one CPU core. Runs that have ended are not trained again: a
stopped script goes on, and the result holds the runs that there are.
"""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dcnrun.bench.machine import describe

SEEDS = (0, 1, 2)
COMMON = ["trainer.threads=1", "data.workers=0", "data.cache=true"]
SGD, ADAMW = ["optim=sgd", "optim.schedule=poly"], ["optim=adamw", "optim.schedule=cosine"]
STRIDE_16, STRIDE_8 = ["model.output_stride=16"], ["model.output_stride=8"]
NUCLEI = ["data=folder", "data.root=tests/fixtures/nuclei", "data.classes=[background,nucleus]"]
SHAPES = ["data=shapes", "model.width=32", "trainer.steps=300", "trainer.eval_every=300"]
TREES = ["experiment=treecrowns", "trainer.steps=600", "trainer.eval_every=600", "trainer.save_every=600"]
PLAIN = ["optim.warmup_steps=0", "optim.clip_norm=null"]
RUNS: dict[str, Sequence[str]] = {
    "nuclei, sgd, stride 16": [*NUCLEI, *SGD, *STRIDE_16],
    "nuclei, adamw, stride 8": [*NUCLEI, *ADAMW, *STRIDE_8],
    "nuclei, adamw, stride 16, warm-up": [*NUCLEI, *ADAMW, *STRIDE_16, "optim.warmup_steps=20"],
    "nuclei, adamw, stride 8, warm-up": [*NUCLEI, *ADAMW, *STRIDE_8, "optim.warmup_steps=20"],
    "shapes, sgd, stride 16": [*SHAPES, *SGD, *STRIDE_16],
    "shapes, adamw, stride 8": [*SHAPES, *ADAMW, *STRIDE_8],
    "treecrowns, sgd": [*TREES, *PLAIN, *SGD, "optim.lr=0.01"],
    "treecrowns, adamw": [*TREES, *PLAIN, *ADAMW, "optim.lr=0.001"],
}


def run_folder(runs: Path, name: str, seed: int) -> Path:
    return runs / f"{name.replace(', ', '-').replace(' ', '-')}-{seed}"


def result_of(folder: Path) -> dict[str, Any] | None:
    """The scores of a run at its last step, and which commit and overrides it was; None unless it has ended."""
    try:
        summary = json.loads((folder / "summary.json").read_text())
    except FileNotFoundError:
        return None
    if summary["status"] != "completed":
        return None
    return {
        "seed": summary["seed"],
        **{key: round(value, 4) for key, value in summary["metrics"].items() if value is not None},
        "best": summary["best"],
        "wall_seconds": round(summary["wall_seconds"]),
        "commit": json.loads((folder / "env.json").read_text()).get("git_commit"),
        "overrides": [line for line in (folder / "overrides.txt").read_text().split() if "root=" not in line],
    }


def main(runs: Path, out: Path) -> None:
    for seed in SEEDS:
        for name, overrides in RUNS.items():
            folder = run_folder(runs, name, seed)
            if result_of(folder) is None:
                command = [sys.executable, "-m", "dcnrun", "train", "--run-dir", str(folder)]
                subprocess.run([*command, *overrides, *COMMON, f"seed={seed}"], check=True)
    write(runs, out)


def write(runs: Path, out: Path) -> None:
    """Write what the runs that have ended came to."""
    found = {name: [result_of(run_folder(runs, name, seed)) for seed in SEEDS] for name in RUNS}
    ended = {name: [run for run in results if run is not None] for name, results in found.items()}
    out.write_text(json.dumps({"machine": describe(), "runs": ended}, indent=1) + "\n")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
