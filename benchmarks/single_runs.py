"""Runs that are quoted one by one, a seed each: symptoms, and no ranking.

    python benchmarks/single_runs.py offset_lr|treecrowns|shapes_boxes|nuclei|offsets runs/single result.json

A result has the command, the scores, the curve and the time of each of its runs. A stopped script goes on: completed runs are read,
others resumed. The runs of `offsets` are those that `dcnrun visualize-offsets` draws.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from dcnrun.bench.machine import describe
from dcnrun.runs import RunFolder, write_json

TREES = ("experiment=treecrowns", "trainer.steps=2500")
RUNS: dict[str, dict[str, tuple[str, ...]]] = {
    "offset_lr": {
        f"multiplier-{mult}": (
            *("experiment=shapes", "conv=deformable", "conv.dilation=1", "model.atrous=true"),
            f"optim.offset_lr_mult={mult}",
        )
        for mult in ("1", "0.1")
    },
    "treecrowns": {
        "standard": (*TREES, "conv=standard"),
        "dilated": (*TREES, "conv=dilated", "conv.dilation=2"),
        "deformable": (*TREES, "conv=deformable", "optim.offset_lr_mult=0.1"),
        "deformable-pooling": (*TREES, "conv=deformable", "optim.offset_lr_mult=0.1", "model.roi_pool=deformable"),
    },
    "shapes_boxes": {"deformable": ("experiment=shapes_boxes", "conv=deformable", "optim.offset_lr_mult=0.1")},
    "nuclei": {"deformable": ("experiment=nuclei", "conv=deformable")},
    "offsets": {
        "standard": ("experiment=shapes", "conv=standard"),
        "deformable": ("experiment=shapes", "conv=deformable", "optim.offset_lr_mult=0.1"),
    },
}
CURVES = ("val/", "train/offset_")
SUMMARY = ("step", "seed", "best", "metrics", "parameters", "flops", "wall_seconds", "device")


def train(folder: Path, overrides: tuple[str, ...]) -> dict[str, Any]:
    """Train a run to its end, unless that was done, and return what it came to."""
    run = RunFolder(folder)
    if not run.is_completed():
        how = ["--resume", str(folder)] if run.config_file.exists() else ["--run-dir", str(folder), *overrides]
        subprocess.run([sys.executable, "-m", "dcnrun", "train", *how], check=True)
    summary = run.read_summary()
    return {
        "command": f"dcnrun train {' '.join(overrides)}",
        **{key: summary.get(key) for key in SUMMARY},
        "curve": list(curve(run.metrics_file)),
    }


def curve(file: Path) -> list[dict[str, Any]]:
    """Return the scores and the sizes of offsets of each step that has any."""
    records = [json.loads(line) for line in file.read_text().splitlines()]
    kept = [{key: value for key, value in each.items() if key.startswith(CURVES)} for each in records]
    return [{"step": each["step"], **own} for each, own in zip(records, kept, strict=True) if own]


if __name__ == "__main__":
    name, runs, out = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    found = {label: train(runs / label, overrides) for label, overrides in RUNS[name].items()}
    write_json(out, {"machine": describe(), "note": "one seed each: a symptom, not a ranking", "runs": found})
