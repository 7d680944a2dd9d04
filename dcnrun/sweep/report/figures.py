"""The figures of a sweep.

They are drawn here and not by `optuna.visualization.matplotlib`, which draws completed trials alone: its history has no stopped, failed
or running ones, its slice colours by trial number where ours tells groups apart, its parallel coordinates take no distribution's own
scale and let no best trial stand out, its importances have no percent; and each call changes pyplot's style for the whole process.
"""

import math
import re
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import PathPatch
from matplotlib.path import Path
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from dcnrun.jobs.ledger import Job, State
from dcnrun.plotting import BLACK, BLUE, COLOURS, GREY, LABEL_SIZE, TITLE_SIZE, VERMILION, plain_text, remove_box
from dcnrun.sweep.report.content import METHOD, Importance, most_important, varies
from dcnrun.sweep.spec.distributions import Categorical, Distribution, InvLogUniform, LogNormal, LogUniform, index_of
from dcnrun.sweep.spec.sweep_file import Goal, Parameter
from dcnrun.sweep.status import Progress

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

    def position(self, value: Any) -> float:
        """Return where a value lies on the axis, in the axis's own numbers."""
        return float(value if self.choices is None else index_of(self.choices, value))

    def fraction(self, value: Any) -> float:
        """Return where a value lies between the ends of the axis, from 0 to 1."""
        low, at, high = (self._straight(number) for number in (self.low, self.position(value), self.high))
        return (at - low) / (high - low)

    def apply_to_x(self, axes: Axes) -> None:
        """Give axes this scale from left to right, with its ends and ticks."""
        axes.set_xscale("log" if self.log else "linear")
        axes.set_xlim(self.low, self.high)
        axes.set_xticks(*self._ticks())
        axes.xaxis.set_minor_formatter(NullFormatter())

    def apply_to_y(self, axes: Axes, **text: Any) -> None:
        """Give axes this scale upwards, with its ends and ticks, whose labels look like `text`."""
        axes.set_yscale("log" if self.log else "linear")
        axes.set_ylim(self.low, self.high)
        axes.set_yticks(*self._ticks(), **text)
        axes.yaxis.set_minor_formatter(NullFormatter())

    def _ticks(self) -> tuple[list[float], list[str]]:
        """Return positions and labels."""
        if self.choices is not None:
            positions = [float(position) for position in range(len(self.choices))]
            return positions, [shortened(value, _LONGEST_TICK) for value in self.choices]
        positions = self._inside(self._round_numbers())
        if len(positions) < 2:
            positions = self._inside(MaxNLocator(4).tick_values(self.low, self.high))
        return positions, [f"{position:g}" for position in positions]

    def _round_numbers(self) -> Iterable[float]:
        if not self.log:
            return MaxNLocator(6).tick_values(self.low, self.high)
        decades = math.log10(self.high / self.low)
        return LogLocator(subs=(1.0,) if decades > _DECADES else (1.0, 2.0, 5.0)).tick_values(self.low, self.high)

    def _inside(self, positions: Iterable[float]) -> list[float]:
        return [float(position) for position in positions if self.low <= position <= self.high]

    def _straight(self, number: float) -> float:
        return math.log10(number) if self.log else number


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
        foot = axes.get_xaxis_transform()
        axes.scatter(
            failed, [0.025] * len(failed), s=34, marker="x", color=BLACK, transform=foot, label="failed", zorder=3
        )
    axes.set_xlim(-0.5, max(len(progress.jobs) - 0.5, 0.5))
    axes.margins(y=0.1)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.set_xlabel("trial")
    axes.set_ylabel(plain_text(metric))
    tidy(axes, f"{'Higher' if progress.goal is Goal.maximize else 'Lower'} is better")
    if valued or failed:
        axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False, fontsize=LABEL_SIZE)
    if not valued:
        axes.set_yticks([])
        axes.text(0.5, 0.5, "no trial has a value", transform=axes.transAxes, ha="center", color=GREY)


def best_so_far(valued: Sequence[tuple[Job, float]], goal: Goal) -> tuple[list[int], list[float]]:
    """Return the numbers of the trials in their order, and the best value up to each."""
    better = max if goal is Goal.maximize else min
    numbers, values = _points(sorted(valued, key=lambda pair: pair[0].number))
    return numbers, [better(values[: i + 1]) for i in range(len(values))]


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
    values = number_scale([value for _, value in ranked])
    names = [each.name for each in parameters]
    uprights = [_upright(axes, i, scale) for i, scale in enumerate([*scales, values])]
    for rank, (job, value) in reversed(list(enumerate(ranked))):
        heights = [scale.fraction(job.parameters[name]) for name, scale in zip(names, scales, strict=True)]
        _draw_line(axes, [*heights, values.fraction(value)], _goodness(value, ranked, progress.goal), best=rank == 0)
    axes.set_xlim(-0.1, len(names) + 0.1)
    axes.set_ylim(0, 1)
    axes.set_yticks([])
    axes.set_xticks(range(len(names) + 1), [*map(wrapped, names), wrapped(metric)], fontsize=LABEL_SIZE)
    axes.tick_params(axis="x", length=0, pad=8)
    axes.spines[:].set_visible(False)
    axes.set_title(
        "A line for each trial; the darker, the better; orange: the best", fontsize=TITLE_SIZE, loc="left", pad=12
    )
    return uprights


def _upright(axes: Axes, index: int, scale: Scale) -> Axes:
    upright = axes.twinx()
    upright.spines[["top", "bottom", "left"]].set_visible(False)
    upright.spines["right"].set_position(("data", index))  # which takes all ticks away
    scale.apply_to_y(upright, fontsize=8, bbox=_ON_LINES)
    upright.set_zorder(axes.get_zorder() + 1)
    return upright


def _draw_line(axes: Axes, heights: Sequence[float], goodness: float, best: bool) -> None:
    """Draw a smooth line, so that trials that meet at a choice can be followed through it."""
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
    """Return where a value lies among all, from 0 for the worst to 1 for the best."""
    values = [each for _, each in ranked]
    if max(values) == min(values):
        return 1.0
    share = (value - min(values)) / (max(values) - min(values))
    return share if goal is Goal.maximize else 1 - share


def slice_of(parameters: Sequence[Parameter], found: Importance) -> Parameter | None:
    """Return the parameter of the slice: the learning rate of the offsets, or else the most important number that varies."""
    numbers = {each.name: each for each in parameters if varies(each) and _is_number(each)}
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
    by_name = {each.name: each for each in parameters if each.name != along.name}
    colours = _Key.of(by_name.get(OFFSET_GROUPS), progress)
    markers = _Key.of(by_name.get(GROUPS), progress)
    shades = colours_for(len(colours.values)) if colours else COLOURS[:1]
    for job, value in reversed(progress.valued()):
        colour = shades[colours.index(job.parameters)] if colours else shades[0]
        marker = MARKERS[markers.index(job.parameters) % len(MARKERS)] if markers else MARKERS[0]
        face = colour if job.state is State.completed else "none"
        axes.scatter(
            [job.parameters[along.name]], [value], s=42, marker=marker, facecolor=face, edgecolor=colour, linewidth=1.3
        )
    _scale_along(along, progress).apply_to_x(axes)
    _ring(axes, progress, along)
    axes.set_xlabel(plain_text(along.name))
    axes.set_ylabel(plain_text(metric))
    axes.margins(y=0.08)
    tidy(axes, "Filled: completed; hollow: stopped early or running; ringed: the best")
    handles = [
        *([_heading(colours.name), *_swatches(colours, shades)] if colours else []),
        *([_heading(markers.name), *_marks(markers)] if markers else []),
    ]
    if handles:
        axes.legend(handles=handles, loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False, fontsize=LABEL_SIZE)


@dataclass(frozen=True)
class _Key:
    """A parameter that points are coloured or marked by, and the values that were tried."""

    name: str
    values: tuple[Any, ...]

    @staticmethod
    def of(parameter: Parameter | None, progress: Progress) -> "_Key | None":
        if parameter is None:
            return None
        return _Key(parameter.name, tuple(sorted({job.parameters[parameter.name] for job in progress.ranked()})))

    def index(self, parameters: Any) -> int:
        return index_of(self.values, parameters[self.name])


def _scale_along(along: Parameter, progress: Progress) -> Scale:
    """Return the scale: logarithmic where the search is, and always for the learning rate of the offsets."""
    values = [job.parameters[along.name] for job in progress.ranked()]
    return number_scale(values, log=along.name == OFFSET_RATE or is_logarithmic(along.distribution))


def _ring(axes: Axes, progress: Progress, along: Parameter) -> None:
    best = next(((job, value) for job, value in progress.valued() if job is progress.best), None)
    if best is not None:
        job, value = best
        axes.scatter(
            [job.parameters[along.name]], [value], s=190, facecolor="none", edgecolor=BLACK, linewidth=1.2, zorder=3
        )


def _heading(name: str) -> Line2D:
    return Line2D([], [], linestyle="none", label=plain_text(name))


def _swatches(key: _Key, shades: Sequence[Any]) -> list[Line2D]:
    return [
        Line2D([], [], linestyle="none", marker="o", color=shade, label=shortened(value, _LONGEST_LABEL))
        for value, shade in zip(key.values, shades, strict=True)
    ]


def _marks(key: _Key) -> list[Line2D]:
    return [
        Line2D(
            [],
            [],
            linestyle="none",
            marker=MARKERS[i % len(MARKERS)],
            color=GREY,
            label=shortened(value, _LONGEST_LABEL),
        )
        for i, value in enumerate(key.values)
    ]


def _is_number(parameter: Parameter) -> bool:
    distribution = parameter.distribution
    if not isinstance(distribution, Categorical):
        return True
    return all(isinstance(value, int | float) and not isinstance(value, bool) for value in distribution.values)


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


def tidy(axes: Axes, title: str) -> None:
    """Put a title on the left, a faint grid, and no box."""
    axes.set_title(plain_text(title), fontsize=TITLE_SIZE, loc="left")
    axes.grid(alpha=0.25)
    remove_box(axes)
