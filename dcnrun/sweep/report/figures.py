"""The figures of a sweep.

They are drawn here and not by `optuna.visualization.matplotlib`, which draws completed trials alone: its history has no stopped, failed
or running ones, its slice colours by trial number where ours tells groups apart, its parallel coordinates take no distribution's own
scale and let no best trial stand out, its importances have no percent; and each call changes pyplot's style for the whole process.
"""

import math
import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise
from typing import Any, Literal

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import PathPatch
from matplotlib.path import Path
from matplotlib.ticker import Locator, LogLocator, MaxNLocator, NullFormatter, PercentFormatter

from dcnrun.jobs.ledger import Job, State
from dcnrun.plotting import BLACK, BLUE, COLOURS, GREY, LABEL_SIZE, TITLE_SIZE, VERMILION, plain_text, tidy
from dcnrun.sweep.report.content import METHOD, Importance, most_important, varies
from dcnrun.sweep.spec.distributions import Categorical, Distribution, InvLogUniform, LogNormal, LogUniform, index_of
from dcnrun.sweep.spec.fields import is_number
from dcnrun.sweep.spec.sweep_file import Goal, Parameter
from dcnrun.sweep.status import Progress
from dcnrun.tasks.registry import is_score

MARKERS = ("o", "s", "^", "D", "v", "P", "X")
BEST = VERMILION
TRIAL = BLUE
OFFSET_RATE = "optim.offset_lr_mult"
OFFSET_GROUPS = "conv.offset_groups"
GROUPS = "conv.groups"
_LIGHTEST = 0.88
_LINE_OF_NAME = 18
_WIDTH_OF_BAR_NAME = 30
_LONGEST_LABEL = 24
_LONGEST_TICK = 14
_MARGIN = 0.06
# Beyond these, a logarithmic axis has ticks at powers of ten alone.
_DECADES = 2
_ON_LINES = {"facecolor": "white", "edgecolor": "none", "alpha": 0.85, "pad": 0.6}


@dataclass(frozen=True)
class Scale:
    """An axis for one parameter (or metric) from `low` to `high`: in a row, linear or logarithmic."""

    low: float
    high: float
    log: bool = False
    choices: tuple[Any, ...] | None = None  # values at 0, 1, ... of the axis; None for numbers
    percent: bool = False  # whether the numbers are scores from 0 to 1

    def fraction(self, value: Any) -> float:
        """Return where a value lies between the ends of the axis, from 0 to 1."""
        position = float(value if self.choices is None else index_of(self.choices, value))
        ends = (self.low, position, self.high)
        low, at, high = map(math.log10, ends) if self.log else ends
        return (at - low) / (high - low)

    def apply(self, axes: Axes, to: Literal["x", "y"], **text: Any) -> None:
        """Give axes this scale in x or y, with its ends and ticks, whose labels look like `text`."""
        axes.set(**{f"{to}scale": "log" if self.log else "linear", f"{to}lim": (self.low, self.high)})
        axis = axes.xaxis if to == "x" else axes.yaxis
        axis.set_ticks(*self._ticks(), **text)
        axis.set_minor_formatter(NullFormatter())

    def _ticks(self) -> tuple[list[float], list[str]]:
        """Return positions and labels."""
        if self.choices is not None:
            positions = [float(position) for position in range(len(self.choices))]
            return positions, [shortened(value, _LONGEST_TICK) for value in self.choices]
        positions = self._inside(LogLocator(subs=self._subs()) if self.log else MaxNLocator(6))
        if len(positions) < 2:
            positions = self._inside(MaxNLocator(4))
        return positions, [f"{100 * position:g} %" if self.percent else f"{position:g}" for position in positions]

    def _subs(self) -> tuple[float, ...]:
        return (1.0,) if math.log10(self.high / self.low) > _DECADES else (1.0, 2.0, 5.0)

    def _inside(self, locator: Locator) -> list[float]:
        positions = locator.tick_values(self.low, self.high)
        return [float(position) for position in positions if self.low <= position <= self.high]


def draw_history(axes: Axes, progress: Progress, metric: str) -> None:
    """Draw the value of each trial, and the best so far as a line.

    Filled: completed; rings: stopped; grey rings: still running; crosses at the foot: failed.
    """
    valued = progress.valued()
    for state, colour, face, label in (
        (State.completed, TRIAL, TRIAL, "completed"),
        (State.stopped, TRIAL, "none", "stopped early: its best until then"),
        (State.running, GREY, "none", "running: its best so far"),
    ):
        numbers, values = _points([pair for pair in valued if pair[0].state is state])
        if numbers:
            axes.scatter(numbers, values, s=34, facecolor=face, edgecolor=colour, linewidth=1.2, label=label, zorder=3)
    if valued:
        axes.step(*best_so_far(valued, progress.goal), where="post", color=BEST, linewidth=1.6, label="best so far")
    failed = [job.number for job in progress.jobs if job.state is State.failed]
    if failed:
        style: dict[str, Any] = {"s": 34, "marker": "x", "color": BLACK, "label": "failed", "zorder": 3}
        axes.scatter(failed, [0.025] * len(failed), transform=axes.get_xaxis_transform(), **style)
    axes.set_xlim(-0.5, max(len(progress.jobs) - 0.5, 0.5))
    axes.margins(y=0.1)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.set_xlabel("trial")
    _label_metric(axes, metric)
    tidy(axes, f"{'Higher' if progress.goal is Goal.maximize else 'Lower'} is better")
    if valued or failed:
        axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False, fontsize=LABEL_SIZE)
    if not valued:
        axes.set_yticks([])
        axes.text(0.5, 0.5, "no trial has a value", transform=axes.transAxes, ha="center", color=GREY)


def _label_metric(axes: Axes, metric: str) -> None:
    """Name the vertical axis after the metric, with ticks in percent where it is a score."""
    axes.set_ylabel(plain_text(metric))
    if is_score(metric):
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, symbol=" %"))


def best_so_far(valued: Sequence[tuple[Job, float]], goal: Goal) -> tuple[list[int], list[float]]:
    """Return the numbers of the trials in their order, and the best value up to each."""
    numbers, values = _points(sorted(valued, key=lambda pair: pair[0].number))
    return numbers, list(accumulate(values, max if goal is Goal.maximize else min))


def _points(valued: Sequence[tuple[Job, float]]) -> tuple[list[int], list[float]]:
    return [job.number for job, _ in valued], [value for _, value in valued]


def draw_importance(axes: Axes, found: Importance) -> None:
    """Draw a bar for each parameter, the most important first."""
    rows = range(len(found.shares))
    bars = axes.barh(rows, list(found.shares.values()), height=0.6, color=TRIAL)
    axes.bar_label(bars, [f"{100 * share:.0f} %" for share in found.shares.values()], padding=4, fontsize=LABEL_SIZE)
    axes.set_yticks(rows, [wrapped(name, _WIDTH_OF_BAR_NAME) for name in found.shares], fontsize=LABEL_SIZE)
    axes.set_ylim(len(found.shares) - 0.4, -0.6)
    axes.set_xlim(0, 1.12 * max(found.shares.values()))
    axes.set_xticks([])
    tidy(axes, f"Importance: {METHOD}")
    axes.grid(visible=False)
    axes.spines["bottom"].set_visible(False)


def draw_parallel(axes: Axes, progress: Progress, metric: str, parameters: Sequence[Parameter]) -> list[Axes]:
    """Draw a line for each trial through a vertical axis per parameter and one for the metric; return these axes.

    At least one trial has a value.
    """
    ranked = progress.valued()
    scales = [scale_of(each, [job.parameters[each.name] for job, _ in ranked]) for each in parameters]
    values = replace(number_scale([value for _, value in ranked]), percent=is_score(metric))
    names = [each.name for each in parameters]
    uprights = [_upright(axes, i, scale) for i, scale in enumerate([*scales, values])]
    best, worst = ranked[0][1], ranked[-1][1]
    for rank, (job, value) in reversed(list(enumerate(ranked))):
        heights = [scale.fraction(job.parameters[name]) for name, scale in zip(names, scales, strict=True)]
        goodness = 1.0 if best == worst else (value - worst) / (best - worst)
        _draw_line(axes, [*heights, values.fraction(value)], BEST if rank == 0 else shade(goodness), best=rank == 0)
    axes.set_xlim(-0.1, len(names) + 0.1)
    axes.set_ylim(0, 1)
    axes.set_yticks([])
    axes.set_xticks(range(len(names) + 1), [*map(wrapped, names), wrapped(metric)], fontsize=LABEL_SIZE)
    axes.tick_params(axis="x", length=0, pad=8)
    axes.spines[:].set_visible(False)
    title = "A line for each trial; the darker, the better; orange: the best"
    axes.set_title(title, fontsize=TITLE_SIZE, loc="left", pad=12)
    return uprights


def _upright(axes: Axes, index: int, scale: Scale) -> Axes:
    upright = axes.twinx()
    upright.spines[["top", "bottom", "left"]].set_visible(False)
    upright.spines["right"].set_position(("data", index))  # which takes all ticks away
    scale.apply(upright, "y", fontsize=8, bbox=_ON_LINES)
    upright.set_zorder(axes.get_zorder() + 1)
    return upright


def _draw_line(axes: Axes, heights: Sequence[float], colour: Any, best: bool) -> None:
    """Draw a smooth line, so that trials that meet at a choice can be followed through it."""
    points, codes = [(0.0, heights[0])], [Path.MOVETO]
    for i, (start, end) in enumerate(pairwise(heights)):
        points += [(i + 0.35, start), (i + 0.65, end), (i + 1, end)]
        codes += [Path.CURVE4] * 3
    width, alpha = (2.6, 1) if best else (1.1, 0.75)
    axes.add_patch(PathPatch(Path(points, codes), facecolor="none", edgecolor=colour, linewidth=width, alpha=alpha))


def slice_of(parameters: Sequence[Parameter], found: Importance) -> Parameter | None:
    """Return the parameter of the slice: the learning rate of the offsets, or else the most important number that varies."""
    numbers = {each.name: each for each in parameters if varies(each) and _has_numbers(each.distribution)}
    names = [OFFSET_RATE] if OFFSET_RATE in numbers else most_important(list(numbers), found)
    return numbers[names[0]] if names else None


def draw_slice(axes: Axes, progress: Progress, metric: str, along: Parameter, parameters: Sequence[Parameter]) -> None:
    """Draw a point for each trial that has a value: a colour per number of offset groups, a marker per number of groups.

    Args:
        axes: Where to draw.
        progress: The trials.
        metric: The name of the vertical axis.
        along: The parameter of the horizontal axis.
        parameters: All parameters of the sweep.
    """
    others = {each.name for each in parameters} - {along.name}
    colours = _Key.of(OFFSET_GROUPS, progress) if OFFSET_GROUPS in others else None
    markers = _Key.of(GROUPS, progress) if GROUPS in others else None
    shades = colours_for(len(colours.values)) if colours else COLOURS[:1]
    values, best = [], progress.best
    for job, value in reversed(progress.valued()):
        values.append(job.parameters[along.name])
        colour = shades[colours.index(job)] if colours else shades[0]
        marker = MARKERS[markers.index(job) % len(MARKERS)] if markers else MARKERS[0]
        face = colour if job.state is State.completed else "none"
        axes.scatter(values[-1:], [value], s=42, marker=marker, facecolor=face, edgecolor=colour, linewidth=1.3)
        if job is best:
            axes.scatter(values[-1:], [value], s=190, facecolor="none", edgecolor=BLACK, linewidth=1.2, zorder=3)
    number_scale(values, log=along.name == OFFSET_RATE or is_logarithmic(along.distribution)).apply(axes, "x")
    axes.set_xlabel(plain_text(along.name))
    _label_metric(axes, metric)
    axes.margins(y=0.08)
    tidy(axes, "Filled: completed; hollow: stopped early or running; ringed: the best")
    handles = colours.handles([("o", shade) for shade in shades]) if colours else []
    if markers:
        handles += markers.handles([(MARKERS[i % len(MARKERS)], GREY) for i in range(len(markers.values))])
    if handles:
        axes.legend(handles=handles, loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False, fontsize=LABEL_SIZE)


@dataclass(frozen=True)
class _Key:
    """A parameter that points are coloured or marked by, and the values that were tried."""

    name: str
    values: tuple[Any, ...]

    @staticmethod
    def of(name: str, progress: Progress) -> "_Key":
        return _Key(name, tuple(sorted({job.parameters[name] for job in progress.ranked()})))

    def index(self, job: Job) -> int:
        return index_of(self.values, job.parameters[self.name])

    def handles(self, styles: Sequence[tuple[str, Any]]) -> list[Line2D]:
        """Return the heading of the legend, and a marker and colour for each value."""
        labels = [shortened(value, _LONGEST_LABEL) for value in self.values]
        return [
            Line2D([], [], linestyle="none", label=plain_text(self.name)),
            *(
                Line2D([], [], linestyle="none", marker=marker, color=colour, label=label)
                for (marker, colour), label in zip(styles, labels, strict=True)
            ),
        ]


def _has_numbers(distribution: Distribution) -> bool:
    return not isinstance(distribution, Categorical) or all(map(is_number, distribution.values))


def scale_of(parameter: Parameter, values: Sequence[Any]) -> Scale:
    """Return the scale for these values of a parameter: choices at equal distances, logarithmic where the search is."""
    distribution = parameter.distribution
    if isinstance(distribution, Categorical):
        return Scale(-0.5, len(distribution.values) - 0.5, choices=distribution.values)
    return number_scale(values, log=is_logarithmic(distribution))


def is_logarithmic(distribution: Distribution) -> bool:
    """Whether the search is over the logarithm."""
    return isinstance(distribution, LogUniform | InvLogUniform | LogNormal)


def number_scale(values: Sequence[float], log: bool = False) -> Scale:
    """Return a scale a little wider than these numbers; linear where one of them has no logarithm."""
    if log and min(values) > 0:
        low, high = _with_margin(math.log10(min(values)), math.log10(max(values)))
        return Scale(10**low, 10**high, log=True)
    return Scale(*_with_margin(min(values), max(values)))


def _with_margin(low: float, high: float) -> tuple[float, float]:
    margin = _MARGIN * (high - low) or max(abs(low) * _MARGIN, 1e-3)
    return low - margin, high + margin


def shortened(value: Any, longest: int) -> str:
    """Return a value as a label of at most so many characters."""
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    return plain_text(text if len(text) <= longest else f"{text[: longest - 1]}…")


def wrapped(name: str, width: int = _LINE_OF_NAME) -> str:
    """Break a long dotted name into short lines: `optim.` above `offset_lr_mult`."""
    parts = re.split(r"(?<=\.)", name) if len(name) > width else [name]
    return plain_text("\n".join(line for part in parts for line in textwrap.wrap(part, width)))


def colours_for(count: int) -> Sequence[Any]:
    """Return as many colours: distinct ones, or shades where there are too many."""
    return COLOURS[:count] if count <= len(COLOURS) else [shade(i / (count - 1)) for i in range(count)]


def shade(goodness: float) -> Any:
    """Return a colour from light (0, worst) to dark (1, best)."""
    return mpl.colormaps["cividis"](_LIGHTEST * (1 - goodness))
