"""The figures of a sweep, each in a PNG of its own."""

from collections.abc import Callable
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from dcnrun.runs import replacing
from dcnrun.sweep.report.history_figure import draw_history
from dcnrun.sweep.report.importance import Importance, most_important, varies
from dcnrun.sweep.report.importance_figure import draw_importance
from dcnrun.sweep.report.parallel_figure import draw_parallel
from dcnrun.sweep.report.slice_figure import draw_slice, slice_of
from dcnrun.sweep.spec.sweep_file import SweepFile
from dcnrun.sweep.status import Progress

MOST_COORDINATES = 10
_NAMES = ("history.png", "importance.png", "parallel.png", "slice.png")


def write_figures(sweep: SweepFile, progress: Progress, found: Importance, folder: Path) -> dict[str, str]:
    """Write the figures that the trials give into `folder`: the name of each, and what it shows. Earlier ones go."""
    figures = _figures(sweep, progress, found)
    for name in _NAMES:
        if name not in figures:
            (folder / name).unlink(missing_ok=True)
    for name, (_, size, draw) in figures.items():
        figure = Figure(figsize=size, dpi=150, layout="constrained")
        FigureCanvasAgg(figure)
        draw(figure.subplots())
        with replacing(folder / name) as beside:
            figure.savefig(beside, format="png")
    return {name: caption for name, (caption, _, _) in figures.items()}


_Figure = tuple[str, tuple[float, float], Callable[[Axes], object]]


def _figures(sweep: SweepFile, progress: Progress, found: Importance) -> dict[str, _Figure]:
    """What each shows, its size in inches, and how it is drawn."""
    if progress.metric is None:
        return {}
    metric = progress.metric.name
    history: _Figure = (
        f"{metric} of each trial, and the best so far",
        (9, 4.2),
        lambda axes: draw_history(axes, progress, metric),
    )
    figures = {"history.png": history}
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
