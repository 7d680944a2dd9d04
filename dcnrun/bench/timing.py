"""Seconds of several works that are compared, measured in turn."""

import time
from collections.abc import Callable, Hashable, Mapping
from typing import TypeVar

import numpy as np

# Threads of the work before spin for some milliseconds before they sleep, and would take the next one's cores.
PAUSE_SECONDS = 0.02

Name = TypeVar("Name", bound=Hashable)


def interleaved(
    works: Mapping[Name, Callable[[], object]], rounds: int, pause: float = PAUSE_SECONDS
) -> dict[Name, list[float]]:
    """Seconds of each work in every round.

    A round runs all of them, each time beginning with another, so that a drift of the machine's speed meets them all.
    Each runs twice and the second run counts, as between the layers of a network: with its threads awake and its operands
    in the cache.
    """
    names = list(works)
    seconds: dict[Name, list[float]] = {name: [] for name in names}
    for round_ in range(rounds):
        first = round_ % len(names)
        for name in names[first:] + names[:first]:
            time.sleep(pause)
            works[name]()
            started = time.perf_counter()
            works[name]()
            seconds[name].append(time.perf_counter() - started)
    return seconds


def quartiles_ms(seconds: list[float]) -> dict[str, float]:
    """Median and quartiles in milliseconds."""
    low, median, high = np.quantile(seconds, [0.25, 0.5, 0.75]) * 1e3
    return {"median": round(median, 3), "q1": round(low, 3), "q3": round(high, 3)}


def geometric_mean(ratios: list[float]) -> float:
    """The mean for ratios: as many times above as below."""
    return float(np.exp(np.mean(np.log(ratios))))
