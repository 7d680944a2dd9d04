"""What runs of a comparison get wrong, as a part of its page: confusion, precision and recall, sizes of objects, images.

All of it comes from the results per image that runs keep; a part whose results are missing is left out.
"""

from collections.abc import Sequence
from statistics import fmean
from typing import Any

import numpy as np

from dcnrun.compare.results import Comparison, VariantResult
from dcnrun.console import printable
from dcnrun.pages.curves import rounded
from dcnrun.pages.page import Html, chart, element, section, table
from dcnrun.scores import Confusion, Floats, in_percent
from dcnrun.tasks.detection.scores import AREAS, mask_metric

_MOST_CELLS = 100_000  # of the confusion matrices of all variants
_MOST_IMAGES = 15
_AFFORDABLE_WORK = 5e9  # of all runs, to score their images one by one: seconds of one core
_RECALLS: Floats = np.linspace(0, 1, 51)
_NONE = "-"


def errors_sections(comparison: Comparison) -> list[Html]:
    """Return the sections, of which there may be none."""
    return [*_confusion(comparison), *_recall(comparison), *_sizes(comparison), *_images(comparison)]


def errors_data(comparison: Comparison) -> tuple[list[str], list[dict[str, Any]]]:
    """Return the names of what is in confusion matrices, and what the charts of each variant are drawn from."""
    names = confusion_names(comparison)
    return names, [_of_variant(comparison.metric, variant, bool(names)) for variant in comparison.variants]


def _of_variant(metric: str, variant: VariantResult, with_confusion: bool) -> dict[str, Any]:
    confusion = confusion_of(variant) if with_confusion else None
    recalls = [100 * recall for recall in _RECALLS.tolist()]
    seeds = mean_precision(metric, variant)
    return {
        "confusion": [] if confusion is None else confusion.counts.tolist(),
        "recall": {
            "seeds": [[recalls, _percents(seed)] for seed in seeds],
            "mean": [recalls, _percents(np.mean(seeds, axis=0))] if len(seeds) > 1 else None,
        },
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
    found = []
    for run in variant.runs:
        curves = run.images.precision_recall(metric) if run.images and metric in run.images.metrics else {}
        if curves:
            found.append(np.mean([curve.at(_RECALLS) for curve in curves.values()], axis=0))
    return found


def _percents(values: Floats) -> list[float]:
    return [rounded(100 * value) for value in values.tolist()]


def _confusion(comparison: Comparison) -> list[Html]:
    if not confusion_names(comparison):
        return []
    pick = element("label", "Variant ", element("select", id="of-confusion"), class_="choice")
    return [section("What was taken for what", pick, chart("confusion", "Confusion matrix, the sum over the seeds"))]


def _recall(comparison: Comparison) -> list[Html]:
    if not any(mean_precision(comparison.metric, variant) for variant in comparison.variants):
        return []
    caption = "Precision (%) by recall, the mean over the classes, at the first overlap that the metric looks at: thin each seed, thick their mean"
    return [section("Precision and recall", element("div", chart("recall", caption), class_="charts"))]


def _sizes(comparison: Comparison) -> list[Html]:
    """Return the average precision by the size of objects, mean over the seeds that have it."""
    names = [name for of_boxes in AREAS for name in (mask_metric(of_boxes), of_boxes)]
    means = [{name: _mean_metric(variant, name) for name in names} for variant in comparison.variants]
    shown = [name for name in names if any(of_variant[name] is not None for of_variant in means)]
    if not shown:
        return []
    cells = [
        (_title(number, variant), *(_text(of_variant[name]) for name in shown))
        for number, (variant, of_variant) in enumerate(zip(comparison.variants, means, strict=True), start=1)
    ]
    words = "; ".join(f"{name.rpartition('_')[2]}: {of[2].removeprefix(' of ')}" for name, of in AREAS.items())
    listed = table("Average precision by the size of objects", ("variant", *shown), cells)
    return [section("Sizes of objects", listed, element("p", f"In percent, mean over seeds. {words}.", class_="note"))]


def _mean_metric(variant: VariantResult, name: str) -> float | None:
    values = [value for run in variant.runs if (value := (run.summary.get("metrics") or {}).get(name)) is not None]
    return fmean(values) if values else None


def _images(comparison: Comparison) -> list[Html]:
    """Return the images that all variants are bad at, and those on which they differ most."""
    found = _image_scores(comparison)
    if found is None:
        return []
    names, scores = found
    header = ("image", *(_title(number, variant) for number, variant in enumerate(comparison.variants, start=1)))
    scored = np.flatnonzero(~np.isnan(scores).any(axis=0))
    worst = scored[np.argsort(scores[:, scored].mean(axis=0), kind="stable")][:_MOST_IMAGES]
    parts = [element("h3", "The lowest scores"), _table_of("The worst images", header, names, scores, worst)]
    if len(scores) > 1:
        spread = np.ptp(scores[:, scored], axis=0)
        apart = scored[np.argsort(-spread, kind="stable")][:_MOST_IMAGES]
        parts += [
            element("h3", "The largest differences"),
            _table_of("Images that differ most", header, names, scores, apart),
        ]
    note = f"{comparison.metric} of each image alone in percent, mean over seeds; images with nothing to score are left out."
    return [section("Images", *parts, element("p", note, class_="note"))] if len(scored) else []


def _image_scores(comparison: Comparison) -> tuple[tuple[str, ...], Floats] | None:
    """Return the names of N images and the variants' mean scores of each (V, N); None without results, or where they take too long."""
    metric = comparison.metric
    results = [[run.images for run in variant.runs if run.images] for variant in comparison.variants]
    every = [images for of_variant in results for images in of_variant]
    if not all(results) or any(metric not in images.metrics or images.names != every[0].names for images in every):
        return None
    if sum(images.work(metric) * len(images.names) for images in every) > _AFFORDABLE_WORK:
        return None
    return every[0].names, np.array(
        [np.mean([each.by_image(metric) for each in of_variant], axis=0) for of_variant in results]
    )


def _table_of(label: str, header: Sequence[str], names: Sequence[str], scores: Floats, chosen: Any) -> Html:
    return table(label, header, [(names[i], *map(in_percent, scores[:, i].tolist())) for i in chosen])


def _title(number: int, variant: VariantResult) -> str:
    return f"{number}. {variant.name}"


def _text(score: float | None) -> str:
    return _NONE if score is None else in_percent(score)
