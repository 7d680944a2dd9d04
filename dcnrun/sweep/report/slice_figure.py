"""A slice: the metric against one number, by default the learning rate of the offsets, for each number of groups."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from dcnrun.jobs.ledger import State
from dcnrun.sweep.keys import index_of
from dcnrun.sweep.report.importance import Importance, most_important, varies
from dcnrun.sweep.report.scale import Scale, is_logarithmic, number_scale
from dcnrun.sweep.report.style import BLACK, COLOURS, GREY, MARKERS, colours_for, plain, shortened, tidy
from dcnrun.sweep.spec.distributions import Categorical
from dcnrun.sweep.spec.sweep_file import Parameter
from dcnrun.sweep.status import Progress

OFFSET_RATE = "optim.offset_lr_mult"
OFFSET_GROUPS = "conv.offset_groups"
GROUPS = "conv.groups"
_LONGEST_LABEL = 24


def slice_of(parameters: Sequence[Parameter], found: Importance) -> Parameter | None:
    """What a slice is along: the learning rate of the offsets, or else the most important number that varies."""
    numbers = {each.name: each for each in parameters if varies(each) and _is_number(each)}
    names = [OFFSET_RATE] if OFFSET_RATE in numbers else most_important(list(numbers), found)
    return numbers[names[0]] if names else None


def draw_slice(axes: Axes, progress: Progress, metric: str, along: Parameter, parameters: Sequence[Parameter]) -> None:
    """A point for each trial that has a value: a colour per number of offset groups, a marker per number of groups."""
    by_name = {each.name: each for each in parameters if each.name != along.name}
    colours = _Key.of(by_name.get(OFFSET_GROUPS), progress)
    markers = _Key.of(by_name.get(GROUPS), progress)
    shades = colours_for(len(colours.values)) if colours else COLOURS[:1]
    for job, value in reversed(progress.valued()):
        colour = shades[colours.index(job.parameters)] if colours else shades[0]
        marker = MARKERS[markers.index(job.parameters) % len(MARKERS)] if markers else MARKERS[0]
        face = colour if job.state is State.completed else "none"
        axes.scatter(
            [job.parameters[along.name]],
            [value],
            s=42,
            marker=marker,
            facecolor=face,
            edgecolor=colour,
            linewidth=1.3,
        )
    _scale(along, progress).apply_to_x(axes)
    _ring(axes, progress, along)
    axes.set_xlabel(plain(along.name))
    axes.set_ylabel(plain(metric))
    axes.margins(y=0.08)
    tidy(axes, "Filled: completed; hollow: stopped early or running; ringed: the best")
    handles = [
        *([_heading(colours.name), *_swatches(colours, shades)] if colours else []),
        *([_heading(markers.name), *_marks(markers)] if markers else []),
    ]
    if handles:
        axes.legend(handles=handles, loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False, fontsize=9)


@dataclass(frozen=True)
class _Key:
    """A parameter that points are told apart by, and the values that were tried."""

    name: str
    values: tuple[Any, ...]

    @staticmethod
    def of(parameter: Parameter | None, progress: Progress) -> "_Key | None":
        if parameter is None:
            return None
        return _Key(parameter.name, tuple(sorted({job.parameters[parameter.name] for job in progress.ranked()})))

    def index(self, parameters: Any) -> int:
        return index_of(self.values, parameters[self.name])


def _scale(along: Parameter, progress: Progress) -> Scale:
    """Logarithmic where the search is, and always for the learning rate of the offsets."""
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
    return Line2D([], [], linestyle="none", label=plain(name))


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
