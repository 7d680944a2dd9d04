"""Completed runs, read from their folders and grouped by variant."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import isclose
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from dcnrun.compare.statistics import Difference, Scores, paired_difference
from dcnrun.config.compose import load
from dcnrun.config.inactive import Settings, settings_of
from dcnrun.config.schema import Architecture
from dcnrun.errors import RunError
from dcnrun.pages.curves import averaged
from dcnrun.runs import RunFolder, RunStatus, per_class_of
from dcnrun.scores import PerImage
from dcnrun.tasks.registry import ARCHITECTURES

LOSS = "train/loss"
MOST_LOSSES = 400
"""Of a run that are kept: a comparison may have hundreds of runs with thousands of losses."""


@dataclass(frozen=True)
class FinishedRun:
    """A completed run: what it was, what it reached and what it cost.

    `metric` is what it went by, `curve` (step, score) of each validation, `losses` (step, loss) of training.
    """

    folder: Path
    settings: Settings
    summary: dict[str, Any]
    metric: str
    images: PerImage | None
    curve: tuple[tuple[int, float], ...]
    problems: tuple[str, ...] = ()
    """What is wrong with its files, a line each."""
    losses: tuple[tuple[int, float], ...] = ()
    """At most MOST_LOSSES, means over stretches of steps."""
    environment: Mapping[str, Any] = field(default_factory=dict)
    """What it began with, where that is known: versions, and which training images."""

    @property
    def seed(self) -> int:
        """The seed of initial weights and data order."""
        return int(self.settings["seed"])

    @property
    def steps(self) -> int:
        """The steps that it trained for: fewer than trainer.steps where trainer.patience ended it."""
        step = self.summary.get("step")
        return int(self.settings["trainer.steps"] if step is None else step)

    @property
    def score(self) -> float:
        """The metric at the last step, 0 to 1."""
        return float(self.summary["metrics"][self.metric])

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names in order."""
        return tuple(next(iter(per_class_of(self.summary).values()), {}))

    @property
    def scores(self) -> Scores:
        """The score and the results per image, as statistics need them."""
        return Scores(self.seed, self.score, self.images)


@dataclass(frozen=True)
class VariantResult:
    """Runs of one variant that differ by their seeds."""

    name: str
    settings: Settings
    runs: tuple[FinishedRun, ...]

    @property
    def mean(self) -> float | None:
        """Mean score over the seeds."""
        return fmean(run.score for run in self.runs) if self.runs else None

    @property
    def std(self) -> float | None:
        """Standard deviation of the score over the seeds (n - 1); None for fewer than two."""
        return stdev(run.score for run in self.runs) if len(self.runs) > 1 else None

    def cost(self, key: str) -> float | None:
        """Mean over the runs of a number of their summaries; None where none has it."""
        values = [run.summary[key] for run in self.runs if run.summary.get(key) is not None]
        return fmean(values) if values else None


@dataclass(frozen=True)
class Unfinished:
    """A run that is not in the comparison, with the reason."""

    name: str
    seed: int | None
    folder: Path
    reason: str
    failed: bool


@dataclass(frozen=True)
class Comparison:
    """Variants side by side; the first is the reference. `differences` has one entry per variant, None for the first."""

    metric: str
    variants: tuple[VariantResult, ...]
    differences: tuple[Difference | None, ...]
    unfinished: tuple[Unfinished, ...]


def compare(variants: Sequence[VariantResult], unfinished: Sequence[Unfinished] = ()) -> Comparison:
    """Compare each variant with the first, of which at least one has a run; all runs go by one metric."""
    metric = next(run.metric for variant in variants for run in variant.runs)
    reference = [run.scores for run in variants[0].runs]
    differences = [
        paired_difference(reference, [run.scores for run in variant.runs], metric) for variant in variants[1:]
    ]
    return Comparison(metric, tuple(variants), (None, *differences), tuple(unfinished))


def read_finished(path: Path) -> FinishedRun:
    """Read a completed run; RunError says why a folder is none."""
    folder = RunFolder(path)
    summary = folder.read_summary()
    status = summary.get("status")
    if status != RunStatus.completed:
        reason = summary.get("reason")
        raise RunError(f"status is {status}" + (f": {reason}" if reason else ""))
    metric = next((key for key in summary.get("best") or {} if key != "step"), None)
    if metric is None:
        raise RunError(f"{folder.summary_file} does not say which metric was the best.")
    metrics = summary.get("metrics") or {}
    if metric in metrics and metrics[metric] is None:
        raise RunError(f"its {metric} is not a number: no validation image has anything that it is a score of.")
    score = metrics.get(metric)
    if not isinstance(score, int | float):
        raise RunError(f"{folder.summary_file} has no {metric}.")
    settings = settings_of(load(folder.config_file))
    images = _read_images(folder, settings, metric, float(score))
    curves = folder.curves(metric, LOSS)
    curve = curves[metric]
    problems = [*folder.changed_files(), *folder.metrics_problems()]
    if images is None and folder.per_image_file.exists():
        problems.append(f"{folder.per_image_file} is damaged, or has another {metric} than {folder.summary_file.name}.")
    if curve and curve[-1][0] == summary.get("step") and not isclose(curve[-1][1], score, abs_tol=1e-6):
        problems.append(f"{folder.metrics_file} has another {metric} than {folder.summary_file.name} at the last step.")
    losses = averaged(curves[LOSS], MOST_LOSSES)
    return FinishedRun(
        path, settings, summary, metric, images, curve, tuple(problems), losses, folder.read_environment()
    )


def _read_images(folder: RunFolder, settings: Settings, metric: str, score: float) -> PerImage | None:
    """Read the results on each validation image; None unless they exist and give the run's own score."""
    per_image = ARCHITECTURES[Architecture(settings["model.head"])].task.per_image
    images = per_image.load(folder.per_image_file) or per_image.load(folder.confusion_file)
    if images is None or metric not in images.metrics:
        return images
    return images if abs(images.score(metric) - score) < 1e-4 else None
