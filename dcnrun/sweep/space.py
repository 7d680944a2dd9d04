"""The search space of a sampler: for every distribution a domain of Optuna, and the conversion of its points to values and back.

Optuna has uniform and log-uniform numbers, integers and choices. Any other distribution is searched by its quantile u, which
is uniform: a point u stands for the value below which the distribution has probability u.
"""

import itertools
import math
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import NormalDist
from typing import Any, assert_never

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from dcnrun.sweep.spec import distributions as dist
from dcnrun.sweep.spec.distributions import Distribution, Values, exponential, index_of, rounded

TAIL = 1e-4
"""Quantiles nearer to 0 or 1 are not drawn: samplers like to try the ends, where a normal distribution is infinite."""


@dataclass(frozen=True)
class Dimension:
    """One parameter of the search."""

    domain: BaseDistribution  # the range of its points
    value: Callable[[Any], Any]  # returns the value of the setting at a point
    point: Callable[[Any], Any]  # returns a point that has this value
    values: Values | None  # all that it may have; None where they are a continuum


def dimension(distribution: Distribution) -> Dimension:
    """Return the dimension in which a distribution is searched."""
    match distribution:
        case dist.Constant(value):
            return _choice([value])
        case dist.Categorical(values, probabilities):
            return _choice(values) if probabilities is None else _weighted_choice(values, probabilities)
        case dist.IntUniform(low, high):
            return Dimension(IntDistribution(low, high), value=int, point=int, values=Values.multiples(low, high, 1))
        case dist.Uniform(low, high, q):
            return _interval(low, high, q, log=False)
        case dist.LogUniform(low, high, q):
            return _interval(low, high, q, log=True)
        case dist.InvLogUniform(low, high):
            # log(1 / x) = -log(x), so that it is uniform just where log(x) is.
            return _interval(low, high, q=None, log=True)
        case dist.Normal(mu, sigma, q):
            law = NormalDist(mu, sigma)
            return _quantile(law.inv_cdf, law.cdf, q)
        case dist.LogNormal(mu, sigma, q):
            law = NormalDist(mu, sigma)
            return _quantile(lambda u: exponential(law.inv_cdf(u)), lambda x: law.cdf(math.log(x)) if x > 0 else 0, q)
        case dist.Beta(a, b, q):
            return _beta(a, b, q)
    assert_never(distribution)


def _choice(values: Sequence[Any]) -> Dimension:
    """Values as likely as each other; a point is an index."""
    domain = CategoricalDistribution(range(len(values)))
    return Dimension(domain, values.__getitem__, partial(index_of, values), Values.of(values))


def _weighted_choice(values: Sequence[Any], probabilities: Sequence[float]) -> Dimension:
    """Values with probabilities; a point is a quantile."""
    ends = list(itertools.accumulate(probabilities))

    def value(point: float) -> Any:
        return values[bisect_right(ends, point, hi=len(ends) - 1)]

    def point(value: Any) -> float:
        index = index_of(values, value)
        return clipped(ends[index] - probabilities[index] / 2, TAIL, 1 - TAIL)

    possible = [value for value, probability in zip(values, probabilities, strict=True) if probability > 0]
    return Dimension(FloatDistribution(TAIL, 1 - TAIL), value, point, Values.of(possible))


def _interval(low: float, high: float, q: float | None, log: bool) -> Dimension:
    """Numbers from low to high; a point is the number before it is rounded."""
    domain = FloatDistribution(low, high, log=log)
    return Dimension(domain, partial(rounded, q=q), partial(clipped, low=low, high=high), _multiples(low, high, q))


def _quantile(number: Callable[[float], float], probability: Callable[[float], float], q: float | None) -> Dimension:
    """Numbers of any other distribution, by its quantile function and its distribution function; a point is a quantile."""

    def value(point: float) -> float:
        return rounded(float(number(point)), q)

    def point(value: float) -> float:
        return clipped(float(probability(value)), TAIL, 1 - TAIL)

    return Dimension(
        FloatDistribution(TAIL, 1 - TAIL), value, point, _multiples(float(number(TAIL)), float(number(1 - TAIL)), q)
    )


def _multiples(low: float, high: float, q: float | None) -> Values | None:
    """Return all numbers from low to high, rounded to multiples of q; None without q."""
    return None if q is None else Values.multiples(round(low / q), round(high / q), q)


def _beta(a: float, b: float, q: float | None) -> Dimension:
    from scipy import special  # slow to import, and few sweeps have a beta

    return _quantile(partial(special.betaincinv, a, b), lambda x: special.betainc(a, b, clipped(x, 0, 1)), q)


def clipped(number: float, low: float, high: float) -> float:
    """Return the nearest number from low to high."""
    return min(max(number, low), high)


def in_words(distribution: Distribution) -> tuple[str, str]:
    """Return a distribution's name and its range, in words."""
    match distribution:
        case dist.Constant(value):
            return "fixed", str(value)
        case dist.Categorical(values, probabilities):
            odds = [""] * len(values) if probabilities is None else [f" ({chance:.3g})" for chance in probabilities]
            return f"one of {len(values)}", ", ".join(f"{value}{odd}" for value, odd in zip(values, odds, strict=True))
        case dist.IntUniform(low, high):
            return "integers, uniform", f"{low} to {high}"
        case dist.Uniform(low, high, q):
            return "uniform" + _steps(q), f"{low:g} to {high:g}"
        case dist.LogUniform(low, high, q):
            return "log-uniform" + _steps(q), f"{low:g} to {high:g}"
        case dist.InvLogUniform(low, high):
            return "log-uniform in 1 / x", f"{low:g} to {high:g}"
        case dist.Normal(mu, sigma, q):
            return "normal" + _steps(q), f"mean {mu:g}, deviation {sigma:g}"
        case dist.LogNormal(mu, sigma, q):
            return "log-normal" + _steps(q), f"log: mean {mu:g}, deviation {sigma:g}"
        case dist.Beta(a, b, q):
            return f"beta, a {a:g}, b {b:g}" + _steps(q), "0 to 1"
    assert_never(distribution)


def _steps(q: float | None) -> str:
    return "" if q is None else f", in steps of {q:g}"
