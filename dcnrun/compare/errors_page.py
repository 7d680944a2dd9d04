"""What runs of a comparison get wrong, as a part of its page: confusion, precision and recall, sizes of objects.

All of it comes from the results per image that runs keep; a part whose results are missing is left out.
"""

from collections.abc import Sequence
from statistics import fmean
from typing import Any

import numpy as np

from dcnrun.compare.results import Comparison, VariantResult
from dcnrun.console import printable
from dcnrun.pages.curves import rounded
from dcnrun.pages.page import Html, chart, element, left_out, section, table
from dcnrun.scores import Confusion, Floats, in_percent
from dcnrun.tasks.detection.scores import AREAS, mask_metric

_MOST_CELLS = 100_000  # of the confusion matrices of all variants
_MOST_PRECISIONS = 200_000  # of the curves of single classes, of all variants
_RECALLS: Floats = np.linspace(0, 1, 51)
_NONE = "-"


def errors_sections(comparison: Comparison) -> list[Html]:
    """Return the sections, of which there may be none."""
    return [*_confusion(comparison), *_recall(comparison), *_sizes(comparison)]


def errors_data(comparison: Comparison) -> tuple[dict[str, list[str]], list[dict[str, Any]]]:
    """Return the names of what is in confusion matrices and of the classes with curves, and what the charts of each variant are drawn from."""
    confused, classes = confusion_names(comparison), curve_classes(comparison)
    names = {"confusion": confused, "curveClasses": [printable(name) for name in classes]}
    return names, [_of_variant(comparison.metric, variant, bool(confused), classes) for variant in comparison.variants]


def _of_variant(metric: str, variant: VariantResult, with_confusion: bool, classes: Sequence[str]) -> dict[str, Any]:
    confusion = confusion_of(variant) if with_confusion else None
    own = _class_precision(metric, variant) if classes else {}
    recalls = [100 * recall for recall in _RECALLS.tolist()]
    seeds = mean_precision(metric, variant)
    return {
        "confusion": [] if confusion is None else confusion.counts.tolist(),
        "recall": {
            "seeds": [[recalls, _percents(seed)] for seed in seeds],
            "mean": [recalls, _percents(np.mean(seeds, axis=0))] if len(seeds) > 1 else None,
        },
        "classRecall": [_percents(own[name]) if name in own else None for name in classes],
    }


def confusion_names(comparison: Comparison) -> list[str]:
    """Return the names of what is in confusion matrices; none where the page shows none."""
    found = [confusion for variant in comparison.variants if (confusion := confusion_of(variant))]
    if not found or len(found) * len(found[0].names) ** 2 > _MOST_CELLS:
        return []
    return [printable(name) for name in found[0].names]


def confusion_of(variant: VariantResult) -> Confusion | None:
    """Return the sum of the confusion matrices of a variant's runs; None where no run has one."""
    found = [confusion for run in variant.runs if run.images and (confusion := run.images.confusion_matrix())]
    return Confusion(found[0].names, np.sum([each.counts for each in found], axis=0), found[0].unit) if found else None


def mean_precision(metric: str, variant: VariantResult) -> list[Floats]:
    """Return for each run the best precision at each of _RECALLS or beyond, mean over the classes; none without curves."""
    return [np.mean([*of_run.values()], axis=0) for of_run in _precisions(metric, variant)]


def curve_classes(comparison: Comparison) -> list[str]:
    """Return the classes whose own curves the page shows: all that the images have objects of, or none where these are too many."""
    every = (_class_precision(comparison.metric, variant) for variant in comparison.variants)
    found = [*next(filter(None, every), {})]
    return found if len(comparison.variants) * len(found) * len(_RECALLS) <= _MOST_PRECISIONS else []


def _class_precision(metric: str, variant: VariantResult) -> dict[str, Floats]:
    """Return the precision at each of _RECALLS of each class that the images of every run have, mean over the runs."""
    first, *others = _precisions(metric, variant) or [{}]
    common = [name for name in first if all(name in each for each in others)]
    return {name: np.mean([each[name] for each in (first, *others)], axis=0) for name in common}


def _precisions(metric: str, variant: VariantResult) -> list[dict[str, Floats]]:
    """Return the precision at each of _RECALLS of each class, for each run that has curves."""
    curves = [
        run.images.precision_recall(metric) for run in variant.runs if run.images and metric in run.images.metrics
    ]
    return [{name: curve.at(_RECALLS) for name, curve in of_run.items()} for of_run in curves if of_run]


def _percents(values: Floats) -> list[float]:
    return [rounded(100 * value) for value in values.tolist()]


def _confusion(comparison: Comparison) -> list[Html]:
    title = "What was taken for what"
    confusions = [confusion for variant in comparison.variants if (confusion := confusion_of(variant))]
    if not confusions:
        has_results = any(run.images for variant in comparison.variants for run in variant.runs)
        why = "runs of detectors from before dcnrun kept confusion matrices; `dcnrun evaluate RUN --errors DIR` draws them."
        return [section(title, left_out(why))] if has_results else []
    if not confusion_names(comparison):
        count = len(confusions[0].names)
        why = f"matrices of {count} x {count} cells for {len(confusions)} variants are too much for a page. A comparison of fewer variants shows them."
        return [section(title, left_out(why))]
    pick = element("label", "Variant ", element("select", id="of-confusion"), class_="choice")
    caption = "Confusion matrix, the sum over the seeds"
    if confusions[0].unit == "objects":
        caption += (
            ". A detection and the object that it overlaps by more than half belong together, those of one class first. "
            f"{confusions[0].names[-1].capitalize()}: columns are objects that were missed, rows detections where no object is."
        )
    return [section(title, pick, chart("confusion", caption))]


def _recall(comparison: Comparison) -> list[Html]:
    if not any(mean_precision(comparison.metric, variant) for variant in comparison.variants):
        return []
    caption = "Precision (%) by recall, the mean over the classes, at the first overlap that the metric looks at: thin each seed, thick their mean"
    parts = [element("div", chart("recall", caption), class_="charts")]
    if curve_classes(comparison):
        pick = element("label", "Classes ", element("select", id="of-recall"), class_="choice")
        parts.insert(0, pick)
    else:
        parts.append(
            left_out("curves of single classes, of which there are too many for a page with so many variants.")
        )
    return [section("Precision and recall", *parts)]


def _sizes(comparison: Comparison) -> list[Html]:
    """Return the average precision by the size of objects, mean over the seeds that have it."""
    names = [name for of_boxes in AREAS for name in (mask_metric(of_boxes), of_boxes)]
    means = [{name: _mean_metric(variant, name) for name in names} for variant in comparison.variants]
    shown = [name for name in names if any(of_variant[name] is not None for of_variant in means)]
    if not shown:
        return []
    cells = [
        (f"{number}. {variant.name}", *(_text(of_variant[name]) for name in shown))
        for number, (variant, of_variant) in enumerate(zip(comparison.variants, means, strict=True), start=1)
    ]
    words = "; ".join(f"{name.rpartition('_')[2]}: {of[2].removeprefix(' of ')}" for name, of in AREAS.items())
    listed = table("Average precision by the size of objects", ("variant", *shown), cells)
    return [section("Sizes of objects", listed, element("p", f"In percent, mean over seeds. {words}.", class_="note"))]


def _mean_metric(variant: VariantResult, name: str) -> float | None:
    values = [value for run in variant.runs if (value := (run.summary.get("metrics") or {}).get(name)) is not None]
    return fmean(values) if values else None


def _text(score: float | None) -> str:
    return _NONE if score is None else in_percent(score)
