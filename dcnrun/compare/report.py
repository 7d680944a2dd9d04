"""The files of a comparison: compare.json, compare.md, compare.html and compare.png."""

import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import dcnrun
from dcnrun.compare import PICTURES
from dcnrun.compare.figure import plot_comparison
from dcnrun.compare.notes import footnotes, warnings
from dcnrun.compare.page import PAGE_NAME, write_comparison
from dcnrun.compare.pictures import draw_pictures
from dcnrun.compare.published import published
from dcnrun.compare.results import Comparison, FinishedRun, VariantResult
from dcnrun.compare.statistics import Difference
from dcnrun.compare.tables import FIGURE_NAME, markdown, terminal
from dcnrun.console import console
from dcnrun.plotting import save_png
from dcnrun.runs import json_ready, write_json, write_text
from dcnrun.statistics import LEVEL, Interval

COSTS = ("parameters", "flops", "train_images_per_second", "inference_images_per_second", "peak_memory_bytes")
_LIBRARIES = ("torch", "torchvision", "numpy", "scipy", "faster-coco-eval")


def write_report(comparison: Comparison, folder: Path) -> dict[str, Any]:
    """Write the four files, each beside and renamed, and return what is in compare.json."""
    report: dict[str, Any] = json_ready(as_dict(comparison, folder))
    write_json(folder / "compare.json", report)
    write_text(folder / "compare.md", markdown(comparison))
    write_comparison(comparison, folder / PAGE_NAME)
    save_png(plot_comparison(comparison), folder / FIGURE_NAME)
    return report


def finish_report(comparison: Comparison, folder: Path, pictures: int = PICTURES) -> dict[str, Any]:
    """Write the files of a comparison that has all its runs: with so many images in pictures, which takes a process that predicts."""
    report = write_report(comparison, folder)
    write_comparison(comparison, folder / PAGE_NAME, draw_pictures(comparison, folder, pictures))
    return report


def print_report(comparison: Comparison, folder: Path) -> None:
    """Print the tables, the notes and where the files are."""
    console.print(terminal(comparison))
    console.print(
        f"Written: {folder}/compare.md, {PAGE_NAME}, compare.json, {FIGURE_NAME}", markup=False, soft_wrap=True
    )


def as_dict(comparison: Comparison, folder: Path) -> dict[str, Any]:
    """Return all of it per variant and run, with settings and versions. Scores are from 0 to 1."""
    return {
        "folder": str(folder),
        "metric": comparison.metric,
        "level": LEVEL,
        "reference": comparison.variants[0].name,
        "variants": [
            _variant(comparison.metric, variant, difference)
            for variant, difference in zip(comparison.variants, comparison.differences, strict=True)
        ],
        "failed": _not_included(comparison, failed=True),
        "not_included": _not_included(comparison, failed=False),
        "notes": footnotes(comparison),
        "warnings": warnings(comparison),
        "versions": _versions(),
    }


def _variant(metric: str, variant: VariantResult, difference: Difference | None) -> dict[str, Any]:
    figure = published(variant.settings, metric)
    return {
        "name": variant.name,
        "seeds": [run.seed for run in variant.runs],
        metric: {"mean": variant.mean, "std": variant.std},
        "published": None if figure is None else {metric: figure.percent / 100, "source": figure.source},
        "difference": difference_as_dict(difference),
        **{key: variant.cost(key) for key in COSTS},
        "settings": dict(variant.settings),
        "runs": [_run(run) for run in variant.runs],
    }


def difference_as_dict(difference: Difference | None) -> dict[str, Any] | None:
    """Return a difference with its intervals and what they say; None where there is none."""
    if difference is None:
        return None
    return {
        "mean": difference.mean,
        "per_seed": {str(seed): value for seed, value in difference.per_seed.items()},
        "interval": _interval(difference.interval),
        "bootstrap": _interval(difference.bootstrap),
        "student": _interval(difference.student),
        "verdict": difference.verdict,
        "without_images": difference.without_images,
    }


def _interval(interval: Interval | None) -> list[float] | None:
    return None if interval is None else [interval.low, interval.high]


def _run(run: FinishedRun) -> dict[str, Any]:
    return {"folder": str(run.folder), "seed": run.seed, run.metric: run.score, "summary": run.summary}


def _not_included(comparison: Comparison, failed: bool) -> list[dict[str, Any]]:
    return [
        {"variant": run.name, "seed": run.seed, "folder": str(run.folder), "reason": run.reason}
        for run in comparison.unfinished
        if run.failed == failed
    ]


def _versions() -> dict[str, str]:
    """Return the versions of dcnrun, Python and the libraries that numbers depend on, without importing them."""
    versions = {"dcnrun": dcnrun.__version__, "python": platform.python_version()}
    for library in _LIBRARIES:
        try:
            versions[library] = version(library)
        except PackageNotFoundError:
            continue
    return versions
