"""`dcnrun evaluate RUN --errors DIR`: what a network takes for what, which classes and sizes it misses, and its worst images."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import PercentFormatter

from dcnrun.console import printable
from dcnrun.plotting import BLUE, COLOURS, GREY, LABEL_SIZE, SMALL_SIZE, new_figure, plain_text, save_png, tidy
from dcnrun.runs import json_ready, write_json
from dcnrun.scores import Confusion, PrecisionRecall, in_percent
from dcnrun.tasks.detection.scores import AREAS, mask_metric
from dcnrun.tasks.registry import metric_title
from dcnrun.tasks.task import Evaluation

ERRORS = "errors.json"
MOST_IMAGES = 50
_MOST_NUMBERS, _MOST_NAMES = 16, 60  # classes whose cells have numbers in them, and whose rows and columns have names
_LONGEST_NAME = 24
_RECALLS = np.linspace(0, 1, 101)


def size_metrics(metrics: Mapping[str, float | None]) -> dict[str, dict[str, float | None]]:
    """Return the average precision by the size of objects, by metric and size, of metrics that have it."""
    found: dict[str, dict[str, float | None]] = {}
    for of_boxes in AREAS:
        for name in (of_boxes, mask_metric(of_boxes)):
            if name in metrics:
                whole, _, size = name.rpartition("_")
                found.setdefault(whole, {})[size] = metrics[name]
    return found


def write_errors(evaluation: Evaluation, metric: str, folder: Path) -> dict[str, Any]:
    """Write errors.json and the pictures that an evaluation has what is needed for; return what is in errors.json.

    Args:
        evaluation: the scores of a network.
        metric: by which images are ranked, and whose first overlap the curves of precision and recall are of.
        folder: where the files go, each written beside and renamed.
    """
    if metric not in evaluation.images.metrics:  # one of a size, which results per image don't give
        metric = evaluation.images.metrics[0]
    curves, confusion = evaluation.images.precision_recall(metric), evaluation.images.confusion_matrix()
    sizes = size_metrics(evaluation.metrics)
    content: dict[str, Any] = {
        "metric": metric,
        "score": evaluation.metrics[metric],
        "per_class": evaluation.per_class,
        "confusion": None
        if confusion is None
        else {"names": confusion.names, "unit": confusion.unit, "counts": confusion.counts.tolist()},
        "precision_recall": {
            name: {"recall": _RECALLS.tolist(), "precision": curve.at(_RECALLS).tolist()}
            for name, curve in curves.items()
        },
        "sizes": sizes,
        "worst_images": [
            {"name": name, metric: score} for name, score in evaluation.images.worst_images(metric, MOST_IMAGES)
        ],
    }
    write_json(folder / ERRORS, content)
    classes = evaluation.images.classes
    _save(folder / "classes.png", (7, 1.6 + 0.26 * len(classes)), lambda axes: _draw_classes(axes, evaluation))
    if confusion is not None:
        side = 2.4 + 0.32 * min(len(confusion.names), _MOST_NAMES)
        _save(folder / "confusion.png", (side + 1, side), lambda axes: draw_confusion(axes, confusion))
    if curves:
        _save(folder / "precision_recall.png", (7, 4.6), lambda axes: draw_precision_recall(axes, curves, metric))
    if sizes:
        _save(folder / "sizes.png", (5, 3.4), lambda axes: _draw_sizes(axes, sizes))
    ready: dict[str, Any] = json_ready(content)
    return ready


def draw_confusion(axes: Axes, confusion: Confusion) -> None:
    """Draw a cell for each pair of true and predicted class, as dark as its share of the true class; with numbers, where these can be read.

    Objects have their numbers, all else its share.
    """
    of_objects = confusion.unit == "objects"
    total = confusion.counts.sum(axis=1, keepdims=True)
    shares = confusion.counts / np.maximum(total, 1)
    names = [_name(name) for name in confusion.names]
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    if len(names) <= _MOST_NAMES:
        axes.set_xticks(range(len(names)), names, rotation=90, fontsize=LABEL_SIZE)
        axes.set_yticks(range(len(names)), names, fontsize=LABEL_SIZE)
    if len(names) <= _MOST_NUMBERS:
        for (row, column), share in np.ndenumerate(shares):
            if confusion.counts[row, column]:
                colour = "white" if share > 0.6 else "black"
                text = f"{confusion.counts[row, column]}" if of_objects else f"{100 * share:.0f}"
                axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=SMALL_SIZE)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    tidy(axes, "Objects and detections" if of_objects else f"Share of the {confusion.unit}\nof each true class (%)")
    axes.grid(visible=False)


def draw_precision_recall(axes: Axes, curves: Mapping[str, PrecisionRecall], metric: str) -> None:
    """Draw the curve of each class; of many, those with the least area in colour and the others in grey."""
    area = {name: float(curve.at(_RECALLS).mean()) for name, curve in curves.items()}
    worst = sorted(curves, key=area.__getitem__)[: len(COLOURS)]
    colours = dict(zip(worst, COLOURS, strict=False))
    for name in sorted(curves, key=lambda each: each in colours):
        style: dict[str, Any] = {"color": GREY, "linewidth": 0.8, "alpha": 0.6}
        if name in colours:
            style = {"color": colours[name], "label": f"{_name(name)}: {in_percent(area[name])}"}
        axes.step(_RECALLS, curves[name].at(_RECALLS), where="pre", **style)
    axes.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="recall", ylabel="precision")
    which = "" if len(curves) <= len(COLOURS) else f"; the lowest {len(COLOURS)} of {len(curves)} classes in colour"
    tidy(axes, f"Precision and recall, {metric_title(metric)}{which}")
    axes.legend(
        loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False, fontsize=LABEL_SIZE, title="mean precision (%)"
    )


def _draw_classes(axes: Axes, evaluation: Evaluation) -> None:
    per_class, names = evaluation.per_class, list(evaluation.images.classes)
    height = 0.8 / len(per_class)
    for i, (metric, scores) in enumerate(per_class.items()):
        values = [100 * scores[name] for name in names]
        places = np.arange(len(names)) + (i - (len(per_class) - 1) / 2) * height
        bars = axes.barh(places, values, height=0.9 * height, color=COLOURS[i % len(COLOURS)], label=metric)
        labels = ["-" if np.isnan(value) else f"{value:.1f}" for value in values]
        axes.bar_label(bars, labels, padding=3, fontsize=SMALL_SIZE)
    axes.set_yticks(range(len(names)), [_name(name) for name in names], fontsize=LABEL_SIZE)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_xlim(0, 112)
    axes.xaxis.set_major_formatter(PercentFormatter(100, symbol=" %"))
    tidy(axes, "Scores of the classes")
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False, fontsize=LABEL_SIZE)


def _draw_sizes(axes: Axes, sizes: Mapping[str, Mapping[str, float | None]]) -> None:
    width = 0.8 / len(sizes)
    for i, (metric, scores) in enumerate(sizes.items()):
        values = [float("nan") if score is None else 100 * score for score in scores.values()]
        places = np.arange(len(values)) + (i - (len(sizes) - 1) / 2) * width
        bars = axes.bar(places, values, width=0.9 * width, color=(BLUE, *COLOURS[1:])[i], label=metric)
        axes.bar_label(bars, ["-" if np.isnan(value) else f"{value:.1f}" for value in values], fontsize=LABEL_SIZE)
    words = [f"{size}\n{AREAS[f'val/map_{size}'][2].removeprefix(' of ')}" for size in next(iter(sizes.values()))]
    axes.set_xticks(range(len(words)), words, fontsize=SMALL_SIZE)
    axes.set_xlim(-0.6, len(words) - 0.4)
    axes.margins(y=0.12)
    axes.set_ylabel("average precision (%)")
    tidy(axes, "By the size of objects")
    axes.legend(frameon=False, fontsize=LABEL_SIZE)


def _save(path: Path, size: tuple[float, float], draw: Callable[[Axes], None]) -> None:
    figure = new_figure(size)
    draw(figure.subplots())
    save_png(figure, path)


def _name(name: str) -> str:
    text = printable(name)
    return plain_text(text if len(text) <= _LONGEST_NAME else f"{text[: _LONGEST_NAME - 1]}…")
