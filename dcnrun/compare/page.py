"""A comparison as a page: compare.html, one file with the table, the curves of every seed, classes, costs and settings."""

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from dcnrun.compare.errors_page import errors_data, errors_sections
from dcnrun.compare.images_page import images_section
from dcnrun.compare.notes import footnotes, warnings
from dcnrun.compare.pictures import Pictures
from dcnrun.compare.results import MOST_LOSSES, Comparison, FinishedRun, VariantResult
from dcnrun.compare.statistics import Difference
from dcnrun.compare.tables import COST_COLUMNS, accuracy_columns, missing_text, rows
from dcnrun.compare.variants import identity
from dcnrun.config.settings import as_typed
from dcnrun.console import printable
from dcnrun.pages.curves import Curve, columns, mean_curve, rounded, thinned
from dcnrun.pages.page import (
    CHARTS,
    REPORT_STYLE,
    Html,
    chart,
    element,
    items,
    report_body,
    section,
    table,
    write_page,
)
from dcnrun.runs import per_class_of
from dcnrun.scores import in_percent
from dcnrun.tasks.registry import metric_title

PAGE_NAME = "compare.html"
_SCRIPT = Path(__file__).with_name("page.js")
# Of all curves of one chart, and the fewest and most of one.
_MOST_POINTS, _FEWEST_OF_CURVE, _MOST_OF_CURVE = 60_000, 40, 400
_MOST_WARNINGS = 10  # that are read at once
_MOST_SHOWN = 8  # variants in the figures before a reader ticks others
_MOST_CLASSES = 40  # in the figure of their differences
_NONE = "-"
_HOW_TO_READ = (
    "Start with the verdict. Higher or lower is said only where the interval of the difference excludes 0; everything else may be chance.",
    "Rings are seeds, a filled dot is their mean, and the broad bar is the interval of the difference, drawn from the mean of the reference (dashed) on.",
    "A curve that still rises at its end says that the order may change with more steps; curves of one variant that lie far apart say that "
    "its seeds differ by chance.",
    "Differences of single classes have no interval: among many classes some are large by chance. Look at whether all seeds lie on one side of 0.",
)


def write_comparison(comparison: Comparison, path: Path, pictures: Pictures | None = None) -> None:
    """Write the page of a comparison, beside `path` and renamed, with pictures of single images where these were drawn."""
    title = metric_title(comparison.metric)
    names = [variant.name for variant in comparison.variants]
    seeds = sorted({run.seed for variant in comparison.variants for run in variant.runs})
    about = (
        f"{title} ({comparison.metric}) of {len(names)} {'variant' if len(names) == 1 else 'variants'}, "
        f"{'seed' if len(seeds) == 1 else 'seeds'} {', '.join(map(str, seeds))}. The reference is {names[0]}."
    )
    body = report_body(
        "Comparison",
        about,
        _cautions(comparison),
        section("Result", _result(comparison)),
        _charts(comparison, title),
        *_classes(comparison),
        *errors_sections(comparison),
        images_section(comparison, pictures or Pictures()),
        *_settings(comparison),
        section("How to read it", items([*_HOW_TO_READ, *footnotes(comparison)])),
        _runs(comparison),
    )
    write_page(path, f"Comparison: {', '.join(names[:3])}", body, _data(comparison), [REPORT_STYLE], [CHARTS, _SCRIPT])


def _cautions(comparison: Comparison) -> Html:
    lines = [*warnings(comparison), *map(missing_text, comparison.unfinished)]
    return (
        element("section", element("h2", "Before you rely on it"), items(lines, _MOST_WARNINGS), class_="warnings")
        if lines
        else Html("")
    )


def _result(comparison: Comparison) -> Html:
    header = (*accuracy_columns(comparison), *COST_COLUMNS)
    cells = [
        (f"{number}. {row.accuracy[0]}", *row.accuracy[1:], *row.cost)
        for number, row in enumerate(rows(comparison), start=1)
    ]
    words = [column for column, name in enumerate(header) if name in ("variant", "verdict")]
    return table("Scores and costs of the variants", header, cells, words)


def _charts(comparison: Comparison, title: str) -> Html:
    metric = f"{title} (%)"
    return section(
        "Figures",
        element("fieldset", element("legend", "Variants in the figures"), id="variants", class_="variants"),
        element(
            "div",
            chart("scores", f"{metric} of each seed, means, and intervals of the differences"),
            chart("curves", f"{metric} at each validation: thin each seed, thick their mean"),
            chart("losses", "Loss of training: thin each seed, thick their mean"),
            chart(
                "speed",
                f"{metric} against images a second in inference: up and to the right is better. Whiskers: the deviation over seeds",
            ),
            chart(
                "flops",
                f"{metric} against FLOPs of an image: up and to the left is better. Whiskers: the deviation over seeds",
            ),
            class_="charts",
        ),
        *(element("p", line, class_="note") for line in _limits(comparison)),
    )


def _limits(comparison: Comparison) -> list[str]:
    """Say what the figures do not show of a large comparison."""
    count, points = len(comparison.variants), _points_of_curve(comparison)
    runs = [run for variant in comparison.variants for run in variant.runs]
    lines = []
    if count > _MOST_SHOWN:
        lines.append(
            f"Of {count} variants the reference and the {_MOST_SHOWN - 1} best are in the figures at first; tick others to see them."
        )
    if any(len(run.curve) > points or len(run.losses) >= min(points, MOST_LOSSES) for run in runs):
        lines.append(
            f"So that the page stays small, a curve has at most {points} points: those of longer runs keep the lowest and the highest of each "
            f"stretch, and losses are means over stretches of steps. All values are in the runs' metrics.jsonl."
        )
    return lines


def _points_of_curve(comparison: Comparison) -> int:
    """Return how many points a curve may have at most, by how many there are."""
    runs = sum(len(variant.runs) + 1 for variant in comparison.variants)
    return min(max(_MOST_POINTS // runs, _FEWEST_OF_CURVE), _MOST_OF_CURVE)


def _classes(comparison: Comparison) -> list[Html]:
    """Return the section of the classes, where runs have scores of them."""
    metric, names = _class_metric(comparison)
    if metric is None:
        return []
    of_variants = [_class_means(variant, metric) for variant in comparison.variants]
    cells = [
        (name, *(_class_cell(means.get(name), of_variants[0].get(name), i == 0) for i, means in enumerate(of_variants)))
        for name in names
    ]
    header = ("class", *(f"{number}. {variant.name}" for number, variant in enumerate(comparison.variants, start=1)))
    pick = element("label", "Variant ", element("select", id="of-classes"), class_="choice")
    figure = [pick, chart("classes", "Difference to the reference in points: rings are seeds, the bar their mean")]
    note = element(
        "p",
        f"{metric} in percent, mean over seeds; in brackets the difference to the reference in points."
        + (
            f" The figure has the {_MOST_CLASSES} of {len(names)} classes that differ most."
            if len(names) > _MOST_CLASSES
            else ""
        ),
        class_="note",
    )
    return [
        section(
            "Classes",
            *(figure if len(comparison.variants) > 1 else []),
            table("Scores of the classes", header, cells),
            note,
        )
    ]


def _class_cell(mean: float | None, reference: float | None, is_reference: bool) -> str:
    if mean is None:
        return _NONE
    return in_percent(mean) + ("" if is_reference or reference is None else f" ({in_percent(mean - reference, '+')})")


def _settings(comparison: Comparison) -> list[Html]:
    """Return the section of the settings that differ, where any does."""
    own = [
        {key: as_typed(value) for key, value in identity(variant.settings).items()} for variant in comparison.variants
    ]
    keys = [
        key for key in dict.fromkeys(key for each in own for key in each) if len({each.get(key) for each in own}) > 1
    ]
    if not keys:
        return []
    cells = [
        (f"{number}. {variant.name}", *(each.get(key, _NONE) for key in keys))
        for number, (variant, each) in enumerate(zip(comparison.variants, own, strict=True), start=1)
    ]
    note = element(
        "p",
        f"All other settings are equal, or do nothing in these runs; {_NONE} is for those that do nothing beside the others.",
        class_="note",
    )
    return [
        section(
            "Settings that differ", table("Settings that differ", ("variant", *keys), cells, range(len(keys) + 1)), note
        )
    ]


def _runs(comparison: Comparison) -> Html:
    cells = [
        (f"{number}. {variant.name}", str(run.seed), in_percent(run.score), str(run.steps), str(run.folder))
        for number, variant in enumerate(comparison.variants, start=1)
        for run in variant.runs
    ]
    header = ("variant", "seed", f"{comparison.metric} (%)", "steps", "folder")
    listed = table("Runs", header, cells, (0, 4))
    return section("Runs", element("details", element("summary", f"{len(cells)} completed runs"), listed))


def _data(comparison: Comparison) -> dict[str, Any]:
    """Return what the charts are drawn from, scores in percent."""
    points = _points_of_curve(comparison)
    metric, classes = _class_metric(comparison)
    reference = comparison.variants[0]
    names_of_errors, of_errors = errors_data(comparison)
    return {
        "title": metric_title(comparison.metric),
        "reference": _percent(reference.mean),
        "mostShown": _MOST_SHOWN,
        "mostClasses": _MOST_CLASSES,
        **names_of_errors,
        "classes": [printable(name) for name in classes],
        "variants": [
            {
                "number": number,
                "name": printable(variant.name),
                "scores": [_percent(run.score) for run in variant.runs],
                "seeds": [run.seed for run in variant.runs],
                "mean": _percent(variant.mean),
                "std": _percent(variant.std),
                "interval": _interval(reference, difference),
                "speed": variant.cost("inference_images_per_second"),
                "flops": variant.cost("flops"),
                "curves": _curves([run.curve for run in variant.runs], points, 100),
                "losses": _curves([run.losses for run in variant.runs], points, 1),
                **of_errors[number - 1],
                "classes": [] if metric is None else _class_differences(reference, variant, metric, classes),
            }
            for number, (variant, difference) in enumerate(
                zip(comparison.variants, comparison.differences, strict=True), start=1
            )
        ],
    }


def _curves(curves: Sequence[Curve], points: int, scale: float) -> dict[str, Any]:
    mean = mean_curve(curves) if len(curves) > 1 else ()
    return {
        "seeds": [columns(thinned(curve, points), scale) for curve in curves],
        "mean": columns(thinned(mean, points), scale) if mean else None,
    }


def _interval(reference: VariantResult, difference: Difference | None) -> list[float] | None:
    """Return the ends of a difference's interval, from the reference's mean on."""
    if difference is None or not difference.is_judged or difference.interval is None or reference.mean is None:
        return None
    return [rounded(100 * (reference.mean + end), 5) for end in (difference.interval.low, difference.interval.high)]


def _percent(score: float | None) -> float | None:
    return None if score is None else rounded(100 * score, 5)


def _class_metric(comparison: Comparison) -> tuple[str | None, list[str]]:
    """Return the metric that there is of each class, the comparison's own if that is one, and the classes; None where there is none."""
    for run in (run for variant in comparison.variants for run in variant.runs):
        found = {metric: scores for metric, scores in per_class_of(run.summary).items() if scores}
        if found:
            metric = comparison.metric if comparison.metric in found else next(iter(found))
            return metric, list(found[metric])
    return None, []


def _class_scores(run: FinishedRun, metric: str) -> dict[str, float]:
    """Return the score of each class that has one."""
    scores = per_class_of(run.summary).get(metric) or {}
    return {name: score for name, score in scores.items() if score is not None}


def _class_means(variant: VariantResult, metric: str) -> dict[str, float]:
    scores = [_class_scores(run, metric) for run in variant.runs]
    names = dict.fromkeys(name for each in scores for name in each)
    return {name: fmean(each[name] for each in scores if name in each) for name in names}


def _class_differences(
    reference: VariantResult, variant: VariantResult, metric: str, classes: Sequence[str]
) -> list[list[float]]:
    """Return for each class the differences of runs with the same seeds, in points."""
    of_seed = {run.seed: _class_scores(run, metric) for run in reference.runs}
    pairs = [(of_seed[run.seed], _class_scores(run, metric)) for run in variant.runs if run.seed in of_seed]
    return [
        [rounded(100 * (own[name] - other[name]), 4) for other, own in pairs if name in own and name in other]
        for name in classes
    ]
