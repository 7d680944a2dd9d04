"""Parallel coordinates: a line for each trial through its parameters to its value."""

from collections.abc import Sequence
from itertools import pairwise

from matplotlib.axes import Axes
from matplotlib.patches import PathPatch
from matplotlib.path import Path

from dcnrun.jobs.ledger import Job
from dcnrun.sweep.report.scale import Scale, number_scale, scale_of
from dcnrun.sweep.report.style import BEST, shade, wrapped
from dcnrun.sweep.spec.sweep_file import Goal, Parameter
from dcnrun.sweep.status import Progress

_ON_LINES = {"facecolor": "white", "edgecolor": "none", "alpha": 0.85, "pad": 0.6}


def draw_parallel(axes: Axes, progress: Progress, metric: str, parameters: Sequence[Parameter]) -> list[Axes]:
    """An upright axis for each of these parameters and one for the metric, which are returned; the best trial stands out.

    At least one trial has a value.
    """
    ranked = progress.valued()
    scales = [scale_of(each, [job.parameters[each.name] for job, _ in ranked]) for each in parameters]
    values = number_scale([value for _, value in ranked])
    names = [each.name for each in parameters]
    uprights = [_upright(axes, i, scale) for i, scale in enumerate([*scales, values])]
    for place, (job, value) in reversed(list(enumerate(ranked))):
        heights = [scale.fraction(job.parameters[name]) for name, scale in zip(names, scales, strict=True)]
        _draw_line(axes, [*heights, values.fraction(value)], _goodness(value, ranked, progress.goal), best=place == 0)
    axes.set_xlim(-0.1, len(names) + 0.1)
    axes.set_ylim(0, 1)
    axes.set_yticks([])
    axes.set_xticks(range(len(names) + 1), [*map(wrapped, names), wrapped(metric)], fontsize=9)
    axes.tick_params(axis="x", length=0, pad=8)
    axes.spines[:].set_visible(False)
    axes.set_title("A line for each trial; the darker, the better; orange: the best", fontsize=10, loc="left", pad=12)
    return uprights


def _upright(axes: Axes, place: int, scale: Scale) -> Axes:
    upright = axes.twinx()
    upright.spines[["top", "bottom", "left"]].set_visible(False)
    upright.spines["right"].set_position(("data", place))  # which takes all ticks away
    scale.apply_to_y(upright, fontsize=8, bbox=_ON_LINES)
    upright.set_zorder(axes.get_zorder() + 1)
    return upright


def _draw_line(axes: Axes, heights: Sequence[float], goodness: float, best: bool) -> None:
    """A smooth line, so that trials that meet at a choice can be followed through it."""
    points, codes = [(0.0, heights[0])], [Path.MOVETO]
    for i, (start, end) in enumerate(pairwise(heights)):
        points += [(i + 0.35, start), (i + 0.65, end), (i + 1, end)]
        codes += [Path.CURVE4] * 3
    axes.add_patch(
        PathPatch(
            Path(points, codes),
            facecolor="none",
            edgecolor=BEST if best else shade(goodness),
            linewidth=2.6 if best else 1.1,
            alpha=1 if best else 0.75,
        )
    )


def _goodness(value: float, ranked: Sequence[tuple[Job, float]], goal: Goal) -> float:
    """Where a value is among all, from 0 for the worst to 1 for the best."""
    values = [each for _, each in ranked]
    if max(values) == min(values):
        return 1.0
    share = (value - min(values)) / (max(values) - min(values))
    return share if goal is Goal.maximize else 1 - share
