"""Finished runs, read from their folders and brought together by variant."""

import json
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import numpy as np

from dcnrun.compare.statistics import Counts, Difference, PerImage, Scores, paired_difference
from dcnrun.compare.variants import Settings, settings_of
from dcnrun.config.compose import load
from dcnrun.errors import RunError
from dcnrun.runs import RunFolder
from dcnrun.scores import mean_iou

METRIC = "val/miou"


@dataclass(frozen=True)
class FinishedRun:
    """A completed run: what it was, what it reached and what it cost. `curve` is (step, mIoU) of each validation."""

    folder: Path
    settings: Settings
    summary: dict[str, Any]
    images: PerImage | None
    curve: tuple[tuple[int, float], ...]

    @property
    def seed(self) -> int:
        """Of initial weights and data order."""
        return int(self.settings["seed"])

    @property
    def miou(self) -> float:
        """At the last step, 0 to 1."""
        return float(self.summary["metrics"][METRIC])

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names in order."""
        return tuple(self.summary.get("class_iou") or {})

    @property
    def scores(self) -> Scores:
        """What statistics need."""
        return Scores(self.seed, self.miou, self.images)


@dataclass(frozen=True)
class VariantResult:
    """Runs of one variant that differ by their seeds."""

    name: str
    settings: Settings
    runs: tuple[FinishedRun, ...]

    @property
    def mean(self) -> float | None:
        """Mean mIoU over the seeds."""
        return fmean(run.miou for run in self.runs) if self.runs else None

    @property
    def std(self) -> float | None:
        """Standard deviation of the mIoU over the seeds (n - 1); None for fewer than two."""
        return stdev(run.miou for run in self.runs) if len(self.runs) > 1 else None

    def cost(self, key: str) -> float | None:
        """Mean over the runs of a number of their summaries; None where none has it."""
        values = [run.summary[key] for run in self.runs if run.summary.get(key) is not None]
        return fmean(values) if values else None


@dataclass(frozen=True)
class Unfinished:
    """A run that is not in the comparison, and why."""

    name: str
    seed: int | None
    folder: Path
    reason: str
    failed: bool


@dataclass(frozen=True)
class Comparison:
    """Variants side by side; the first is the reference. `differences` has one entry per variant, None for the first."""

    variants: tuple[VariantResult, ...]
    differences: tuple[Difference | None, ...]
    unfinished: tuple[Unfinished, ...]


def compare(variants: Sequence[VariantResult], unfinished: Sequence[Unfinished] = ()) -> Comparison:
    """Compare each variant with the first."""
    reference = [run.scores for run in variants[0].runs]
    differences = [paired_difference(reference, [run.scores for run in variant.runs]) for variant in variants[1:]]
    return Comparison(tuple(variants), (None, *differences), tuple(unfinished))


def read_finished(path: Path) -> FinishedRun:
    """Read a completed run; RunError says why a folder is none."""
    folder = RunFolder(path)
    summary = folder.read_summary()
    status = summary.get("status")
    if status != "completed":
        reason = summary.get("reason")
        raise RunError(f"status is {status}" + (f": {reason}" if reason else ""))
    miou = (summary.get("metrics") or {}).get(METRIC)
    if not isinstance(miou, int | float):
        raise RunError(f"{folder.summary_file} has no {METRIC}.")
    settings = settings_of(load(folder.config_file))
    return FinishedRun(path, settings, summary, _read_images(folder, float(miou)), _read_curve(folder))


def _read_images(folder: RunFolder, miou: float) -> PerImage | None:
    """The confusion matrix of each validation image; None unless they are there and give the run's own mIoU."""
    try:
        with np.load(folder.confusion_file, allow_pickle=False) as file:
            names, confusion = [str(name) for name in file["names"]], file["confusion"]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
    whole = confusion.ndim == 3 and confusion.shape[1] == confusion.shape[2] and len(set(names)) == len(confusion) > 0
    if not whole or not abs(float(mean_iou(confusion.sum(axis=0))) - miou) < 1e-4:
        return None
    order = np.argsort(names)
    sorted_matrices: Counts = confusion[order].astype(np.int64)
    return PerImage(tuple(names[i] for i in order), sorted_matrices)


def _read_curve(folder: RunFolder) -> tuple[tuple[int, float], ...]:
    """Step and mIoU of each validation that was logged; a torn line is left out."""
    curve: dict[int, float] = {}
    try:
        lines = folder.metrics_file.read_text().splitlines()
    except (OSError, ValueError):
        return ()
    for line in lines:
        try:
            record = json.loads(line)
            curve[int(record["step"])] = float(record[METRIC])
        except (ValueError, KeyError, TypeError):
            continue
    return tuple(sorted(curve.items()))
