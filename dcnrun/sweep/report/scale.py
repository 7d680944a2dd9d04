"""How a parameter's values stand along an axis: in a row, linear or logarithmic."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from dcnrun.sweep.keys import index_of
from dcnrun.sweep.report.style import shortened
from dcnrun.sweep.spec.distributions import Categorical, Distribution, InvLogUniform, LogNormal, LogUniform
from dcnrun.sweep.spec.sweep_file import Parameter

_MARGIN = 0.06
_LONGEST_TICK = 14
# Beyond these, a logarithmic axis has ticks at powers of ten alone.
_DECADES = 2


@dataclass(frozen=True)
class Scale:
    """An axis for one parameter (or metric) from `low` to `high`."""

    low: float
    high: float
    log: bool = False
    choices: tuple[Any, ...] | None = None
    """Values that stand in a row, at 0, 1, ...; None for numbers."""

    def place(self, value: Any) -> float:
        """Where a value is on the axis, in its own numbers."""
        return float(value if self.choices is None else index_of(self.choices, value))

    def fraction(self, value: Any) -> float:
        """Where it is between the ends of the axis, from 0 to 1."""
        low, at, high = (self._straight(number) for number in (self.low, self.place(value), self.high))
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
        """Places and labels."""
        if self.choices is not None:
            places = [float(place) for place in range(len(self.choices))]
            return places, [shortened(value, _LONGEST_TICK) for value in self.choices]
        places = self._inside(self._round_numbers())
        if len(places) < 2:
            places = self._inside(MaxNLocator(4).tick_values(self.low, self.high))
        return places, [f"{place:g}" for place in places]

    def _round_numbers(self) -> Iterable[float]:
        if not self.log:
            return MaxNLocator(6).tick_values(self.low, self.high)
        decades = math.log10(self.high / self.low)
        return LogLocator(subs=(1.0,) if decades > _DECADES else (1.0, 2.0, 5.0)).tick_values(self.low, self.high)

    def _inside(self, places: Iterable[float]) -> list[float]:
        return [float(place) for place in places if self.low <= place <= self.high]

    def _straight(self, number: float) -> float:
        return math.log10(number) if self.log else number


def scale_of(parameter: Parameter, values: Sequence[Any]) -> Scale:
    """The scale for these values of a parameter: choices in a row, and a logarithm where the search takes one."""
    distribution = parameter.distribution
    if isinstance(distribution, Categorical):
        return Scale(-0.5, len(distribution.values) - 0.5, choices=distribution.values)
    return number_scale(values, log=is_logarithmic(distribution))


def is_logarithmic(distribution: Distribution) -> bool:
    """Whether it is the logarithm that the search goes by."""
    return isinstance(distribution, LogUniform | InvLogUniform | LogNormal)


def number_scale(values: Sequence[float], log: bool = False) -> Scale:
    """A scale a little wider than these numbers; linear where one of them has no logarithm."""
    if log and min(values) > 0:
        low, high = _with_margin(math.log10(min(values)), math.log10(max(values)))
        return Scale(10**low, 10**high, log=True)
    return Scale(*_with_margin(min(values), max(values)))


def _with_margin(low: float, high: float) -> tuple[float, float]:
    margin = _MARGIN * (high - low) or max(abs(low) * _MARGIN, 1e-3)
    return low - margin, high + margin
