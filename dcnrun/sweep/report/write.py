"""Writes the report of a sweep: report.json, report.md, report.html and its figures."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes

from dcnrun.plotting import new_figure, save_png
from dcnrun.runs import json_ready, write_json, write_text
from dcnrun.sweep.plan import Plan
from dcnrun.sweep.repeats import Repeated
from dcnrun.sweep.report.content import Importance, content, importance, most_important, varies
from dcnrun.sweep.report.figures import draw_history, draw_importance, draw_parallel, draw_slice, slice_of
from dcnrun.sweep.report.markdown import markdown
from dcnrun.sweep.report.page import write_sweep
from dcnrun.sweep.spec.sweep_file import SweepFile
from dcnrun.sweep.status import Progress

JSON = "report.json"
MARKDOWN = "report.md"
PAGE = "report.html"
FIGURES = "figures"
MOST_COORDINATES = 10
_NAMES = ("history.png", "importance.png", "parallel.png", "slice.png")

DrawFigures = Callable[[SweepFile, Progress, Importance, Path], dict[str, str]]
"""Draws the figures of a sweep into a folder and returns their names and captions."""


def write_report(
    plan: Plan, progress: Progress, repeated: Repeated | None = None, draw: DrawFigures | None = None
) -> dict[str, Any]:
    """Write report.json, report.md, report.html and the figures into the sweep's folder, each beside and renamed; return the object.

    `repeated` are the best settings over several seeds, where they were run; `draw` stands for `write_figures`.
    """
    found = importance(plan.sweep, progress)
    report: dict[str, Any] = json_ready(content(plan, progress, found, repeated))
    figures = (draw or write_figures)(plan.sweep, progress, found, progress.folder / FIGURES)
    write_json(progress.folder / JSON, report)
    pictures = [(f"{FIGURES}/{name}", caption) for name, caption in figures.items()]
    write_text(
        progress.folder / MARKDOWN,
        markdown(plan, progress, found, repeated, report["command"], report["warnings"], pictures),
    )
    write_sweep(plan, progress, found, repeated, report["command"], report["warnings"], progress.folder / PAGE)
    return report


def write_figures(sweep: SweepFile, progress: Progress, found: Importance, folder: Path) -> dict[str, str]:
    """Write the figures that the trials allow into `folder`, and remove earlier ones; return their names and captions."""
    figures = _figures(sweep, progress, found)
    for name in _NAMES:
        if name not in figures:
            (folder / name).unlink(missing_ok=True)
    for name, (_, size, draw) in figures.items():
        figure = new_figure(size)
        draw(figure.subplots())
        save_png(figure, folder / name)
    return {name: caption for name, (caption, _, _) in figures.items()}


_Figure = tuple[str, tuple[float, float], Callable[[Axes], object]]
"""Its caption, its size in inches, and how it is drawn."""


def _figures(sweep: SweepFile, progress: Progress, found: Importance) -> dict[str, _Figure]:
    if progress.metric is None:
        return {}
    metric = progress.metric.name
    caption = f"{metric} of each trial, and the best so far"
    figures: dict[str, _Figure] = {
        "history.png": (caption, (9, 4.2), lambda axes: draw_history(axes, progress, metric))
    }
    if found.shares:
        height = 1 + 0.45 * len(found.shares)
        figures["importance.png"] = "Importance of parameters", (7, height), lambda axes: draw_importance(axes, found)
    names = most_important([each.name for each in sweep.parameters if varies(each)], found)[:MOST_COORDINATES]
    if not names or not progress.ranked():
        return figures
    coordinates = [each for each in sweep.parameters if each.name in names]
    figures["parallel.png"] = (
        "Parameters and value of each trial",
        (3 + 1.7 * len(names), 4.6),
        lambda axes: draw_parallel(axes, progress, metric, coordinates),
    )
    along = slice_of(sweep.parameters, found)
    if along is not None:
        figures["slice.png"] = (
            f"{metric} against {along.name}",
            (8.4, 4.6),
            lambda axes: draw_slice(axes, progress, metric, along, sweep.parameters),
        )
    return figures
