"""Pictures of the images on which the variants differ most, with the truth and what each variant finds.

A comparison knows runs by their files alone; what a network finds, a process of its own draws (`dcnrun.training.side_by_side`),
once, at the end: at most MOST_VARIANTS runs see a few images. What it drew lies in DRAWN, and is drawn anew only where the
images or the checkpoints have changed.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dcnrun.compare.image_scores import image_scores
from dcnrun.compare.results import Comparison, FinishedRun
from dcnrun.config.schema import Architecture
from dcnrun.console import console
from dcnrun.jobs.process import last_lines, run_process
from dcnrun.runs import RunFolder, read_bytes
from dcnrun.tasks.registry import ARCHITECTURES
from dcnrun.tasks.traits import TaskTraits

DRAWN = "side-by-side.json"
"""In the folder of a comparison."""
MOST_VARIANTS = 8
"""The reference and the best others are drawn."""
_PROGRAM = (sys.executable, "-m", "dcnrun.training.side_by_side")


@dataclass(frozen=True)
class Pictures:
    """What was drawn, and in words what was left out."""

    images: Sequence[Mapping[str, Any]] = ()
    """Each with its `name`, `pictures`, of a `title` and a `jpeg` in base64, and `legend`, of a `colour` and a `name`."""
    left_out: Sequence[str] = ()


def draw_pictures(comparison: Comparison, folder: Path, most: int) -> Pictures:
    """Return the pictures of at most so many images, drawn now unless they are in the comparison's folder already."""
    scores = image_scores(comparison)
    if most == 0 or len(comparison.variants) == 1 or isinstance(scores, str):
        return Pictures()
    task = task_of(comparison)
    if not task.formats:
        return Pictures(left_out=[f"there are no pictures of what these networks find ({task.finds})."])
    shown, left_out = _shown(comparison)
    runs, without = _runs(comparison, [index for index in shown if index in scores.variants])
    left_out += without
    scores = scores.only([index for index, _ in runs])
    if len(runs) < 2:
        return Pictures(left_out=left_out)
    images = [scores.names[image] for image in scores.furthest_apart(most)]
    if not images:
        return Pictures(left_out=[*left_out, "on no image do the variants differ."])
    request = {"images": images, "runs": [_of_request(comparison, index, run) for index, run in runs]}
    drawn = _read(folder, request)
    if drawn is None:
        console.print(f"Drawing the {len(images)} images on which the variants differ most.")
        log = folder / f"{Path(DRAWN).stem}.log"
        begins = log.stat().st_size if log.exists() else 0
        status = run_process([*_PROGRAM, json.dumps(request), str(folder / DRAWN)], log)
        drawn = _read(folder, request) if status == 0 else None
        if drawn is None:
            return Pictures(left_out=[*left_out, f"they could not be drawn: {last_lines(log, begins)}"])
    return Pictures(drawn["images"], [*left_out, *drawn["left_out"]])


def task_of(comparison: Comparison) -> TaskTraits:
    """Return what is known of the task of the networks that are compared."""
    return ARCHITECTURES[Architecture(comparison.variants[0].settings["model.head"])].task


def title_of(comparison: Comparison, index: int) -> str:
    """Return how a variant is called in the page: its number and its name."""
    return f"{index + 1}. {comparison.variants[index].name}"


def _shown(comparison: Comparison) -> tuple[list[int], list[str]]:
    """Return the variants that are drawn, by index, and a line where that is not all."""
    variants = comparison.variants
    best_first = sorted(range(1, len(variants)), key=lambda index: -(variants[index].mean or 0.0))
    shown = sorted([0, *best_first[: MOST_VARIANTS - 1]])
    if len(shown) == len(variants):
        return shown, []
    return shown, [f"of {len(variants)} variants only the reference and the {MOST_VARIANTS - 1} best others are drawn."]


def _runs(comparison: Comparison, variants: Sequence[int]) -> tuple[list[tuple[int, FinishedRun]], list[str]]:
    """Return of each variant the first run whose last checkpoint is there, and a line for those that have none."""
    found, without = [], []
    for index in variants:
        runs = sorted(comparison.variants[index].runs, key=lambda run: run.seed)
        run = next((run for run in runs if RunFolder(run.folder).last_checkpoint.is_file()), None)
        if run is None:
            without.append(title_of(comparison, index))
        else:
            found.append((index, run))
    lines = [f"no run of {', '.join(without)} has its checkpoints/last.pt, by which its scores came about."]
    return found, lines if without else []


def _of_request(comparison: Comparison, index: int, run: FinishedRun) -> dict[str, Any]:
    file = RunFolder(run.folder).last_checkpoint.stat()
    return {
        "title": f"{title_of(comparison, index)}, seed {run.seed}",
        "folder": str(run.folder.resolve()),
        "checkpoint": [file.st_size, file.st_mtime_ns],
    }


def _read(folder: Path, request: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return what was drawn for a request; None where that was another, or the file is damaged."""
    try:
        drawn = json.loads(read_bytes(folder / DRAWN).decode())
        return drawn if drawn["request"] == request else None
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return None
