"""Curves with as few points as a page can show: (step, value), by step."""

from collections.abc import Sequence
from math import isfinite
from statistics import fmean
from typing import TypeAlias

Curve: TypeAlias = Sequence[tuple[int, float]]


def thinned(curve: Curve, most: int) -> tuple[tuple[int, float], ...]:
    """Return at most `most` points, 4 or more: the ends, and the lowest and the highest of each stretch between, so that no peak is lost."""
    if len(curve) <= most:
        return tuple(curve)
    kept = [curve[0]]
    for stretch in _stretches(curve[1:-1], (most - 2) // 2):
        kept += sorted({min(stretch, key=lambda point: point[1]), max(stretch, key=lambda point: point[1])})
    return (*kept, curve[-1])


def averaged(curve: Curve, most: int) -> tuple[tuple[int, float], ...]:
    """Return at most `most` points: the mean of each stretch at its last step, as if it had been logged less often."""
    if len(curve) <= most:
        return tuple(curve)
    return tuple((stretch[-1][0], fmean(value for _, value in stretch)) for stretch in _stretches(curve, most))


def mean_curve(curves: Sequence[Curve]) -> tuple[tuple[int, float], ...]:
    """Return the mean of several curves at the steps that all of them have."""
    if not curves:
        return ()
    values = [dict(curve) for curve in curves]
    steps = sorted(set.intersection(*map(set, values)))
    return tuple((step, fmean(each[step] for each in values)) for step in steps)


def columns(curve: Curve, scale: float = 1.0, digits: int = 4) -> list[list[float]]:
    """Return steps and values, times `scale`, as JSON holds them: values with so many digits, finite ones alone."""
    finite = [(step, value) for step, value in curve if isfinite(value)]
    return [[step for step, _ in finite], [rounded(scale * value, digits) for _, value in finite]]


def rounded(value: float, digits: int = 4) -> float:
    """Return a number with so many significant digits."""
    return float(f"{value:.{digits}g}")


def _stretches(curve: Curve, count: int) -> list[Curve]:
    """Cut a curve into parts of equal length, of which none is empty."""
    return [curve[i * len(curve) // count : (i + 1) * len(curve) // count] for i in range(count)]
