"""The distributions of a W&B sweep file, from which parameters are drawn.

With a q, values are rounded to its multiples (`rounded`). A q without a fraction is an int, and then so are the values drawn.
"""

import json
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any


@dataclass(frozen=True)
class Constant:
    """One value."""

    value: Any


@dataclass(frozen=True)
class Categorical:
    """One of several values, each as likely as the others unless `probabilities` (which sum to 1) say otherwise."""

    values: tuple[Any, ...]
    probabilities: tuple[float, ...] | None = None


@dataclass(frozen=True)
class IntUniform:
    """Integers from min to max, both included."""

    min: int
    max: int


@dataclass(frozen=True)
class Uniform:
    """Numbers from min to max; with q, rounded to multiples of q."""

    min: float
    max: float
    q: float | None = None


@dataclass(frozen=True)
class LogUniform:
    """Numbers from min to max (the values, not their logarithms) whose logarithm is uniform; with q, rounded to multiples of q."""

    min: float
    max: float
    q: float | None = None


@dataclass(frozen=True)
class InvLogUniform:
    """Numbers from min to max for which log(1 / x) is uniform."""

    min: float
    max: float


@dataclass(frozen=True)
class Normal:
    """Normal with mean mu and standard deviation sigma; with q, rounded to multiples of q."""

    mu: float = 0.0
    sigma: float = 1.0
    q: float | None = None


@dataclass(frozen=True)
class LogNormal:
    """Numbers whose logarithm is normal with mean mu and standard deviation sigma; with q, rounded to multiples of q."""

    mu: float = 0.0
    sigma: float = 1.0
    q: float | None = None


@dataclass(frozen=True)
class Beta:
    """Beta with parameters a and b, from 0 to 1; with q, rounded to multiples of q."""

    a: float = 1.0
    b: float = 1.0
    q: float | None = None


@dataclass(frozen=True)
class Values:
    """Finitely many values in an order, each once; they are not listed, since there may be billions."""

    size: int
    at: Callable[[int], Any]  # returns the value at an index from 0 to size - 1

    @staticmethod
    def of(values: Sequence[Any]) -> "Values":
        """Return these values, of equal ones the first."""
        first: dict[str, Any] = {}
        for value in values:
            first.setdefault(setting_key(value), value)
        return Values(len(first), list(first.values()).__getitem__)

    @staticmethod
    def multiples(first: int, last: int, q: float) -> "Values":
        """Return first * q, ..., last * q."""
        return Values(last - first + 1, lambda index: (first + index) * q)

    @staticmethod
    def product(by_name: dict[str, "Values"]) -> "Values":
        """Return every combination as a mapping, the last name changing fastest."""

        def at(index: int) -> dict[str, Any]:
            combination = {}
            for name, values in reversed(by_name.items()):
                index, own = divmod(index, values.size)
                combination[name] = values.at(own)
            return dict(reversed(combination.items()))

        return Values(math.prod(values.size for values in by_name.values()), at)


# The most multiples of a step that are all checked before a sweep starts.
_MOST_CHECKED = 16
_LARGEST_EXPONENT = math.log(sys.float_info.max)

Distribution = Constant | Categorical | IntUniform | Uniform | LogUniform | InvLogUniform | Normal | LogNormal | Beta


def rounded(value: float, q: float | None) -> float:
    """Return the multiple of q nearest to a value, an int where q is one; the value itself without q."""
    return value if q is None else round(value / q) * q


def sample_values(distribution: Distribution) -> list[Any]:
    """Return values by which a parameter is checked before a sweep starts.

    These are all values of a choice and all of a few multiples of a step, since any may be refused (not every integer
    divides the channels); of other ranges both ends, and the median where there are no ends.
    """
    match distribution:
        case Constant(value):
            return [value]
        case Categorical(values):
            return list(values)
        case Normal(mu, _, q):
            return [rounded(mu, q)]
        case LogNormal(mu, _, q):
            return [rounded(exponential(mu), q)]
        case Beta(_, _, q):
            return [rounded(end, q) for end in (0.0, 1.0)]
        case IntUniform(least, most):
            return _multiples(least, most, 1)
        case Uniform(least, most, q) | LogUniform(least, most, q) if q is not None:
            return _multiples(least, most, q)
        case Uniform(least, most) | LogUniform(least, most) | InvLogUniform(least, most):
            return [least, most]


def usual_draws(distribution: Distribution) -> list[float]:
    """Return 99 draws that are equally likely, in order, of a distribution without ends; none of any other."""
    match distribution:
        case Normal(mu, sigma, q):
            return [rounded(NormalDist(mu, sigma).inv_cdf(percent / 100), q) for percent in range(1, 100)]
        case LogNormal(mu, sigma, q):
            return [rounded(exponential(draw), q) for draw in usual_draws(Normal(mu, sigma))]
    return []


def exponential(exponent: float) -> float:
    """Return e to the power of a number; the largest number that there is instead of an overflow."""
    return math.exp(min(exponent, _LARGEST_EXPONENT))


def _multiples(least: float, most: float, q: float) -> list[float]:
    """Return the multiples of q: all where they are few, else the two that are nearest to the ends."""
    first, last = round(least / q), round(most / q)
    tried = range(first, last + 1) if last - first < _MOST_CHECKED else (first, last)
    return [times * q for times in tried]


def may_be(distribution: Distribution, value: Any) -> bool:
    """Whether a value is of the kind that a distribution gives: one of a choice, and a number of a range."""
    match distribution:
        case Constant(only):
            return setting_key(value) == setting_key(only)
        case Categorical(values):
            return setting_key(value) in map(setting_key, values)
        case IntUniform():
            return type(value) is int
        case _:
            return type(value) in (int, float) and math.isfinite(value)


def setting_key(value: Any) -> str:
    """Return a text that two values share when they are the same setting: 1 and 1.0 are, 1 and true are not."""
    is_integer = isinstance(value, float) and value.is_integer()
    return json.dumps(int(value) if is_integer else value, sort_keys=True, default=str)


def index_of(values: Sequence[Any], value: Any) -> int:
    """Return the position of a value among several."""
    return [setting_key(each) for each in values].index(setting_key(value))
