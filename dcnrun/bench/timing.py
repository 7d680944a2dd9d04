"""Seconds of several works that are compared, measured in turn."""

import itertools
import time
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

# Threads of the work before spin for some milliseconds before they sleep, and would take the next one's cores.
PAUSE_SECONDS = 0.02

Name = TypeVar("Name", bound=Hashable)
Work = Callable[[], object]
Clock = Callable[[Work], float]  # returns the seconds of one call of a work


@dataclass(frozen=True)
class WallClock:
    """A clock for calls that are over when they return.

    Each runs twice and the second run counts, as between the layers of a network: with its threads awake and its operands
    in the cache.
    """

    pause: float = PAUSE_SECONDS

    def __call__(self, work: Work) -> float:
        """Return the seconds of one call, on the wall."""
        time.sleep(self.pause)
        work()
        started = time.perf_counter()
        work()
        return time.perf_counter() - started


@dataclass(frozen=True)
class EventClock:
    """A clock for what the host starts and a GPU computes: the mean of some calls between two events on the GPU.

    The host waits once, after the last call, so that it is ahead of the GPU as in a network; a work that it takes longer
    to start than the GPU to do is measured by that. The calls before the first event warm up, and are ahead of it already.
    """

    make_event: Callable[[], Any]  # as torch.cuda.Event(enable_timing=True)
    calls: int = 10
    warm_up: int = 3

    def __call__(self, work: Work) -> float:
        """Return the seconds of one call, on the GPU."""
        started, ended = self.make_event(), self.make_event()
        _repeat(work, self.warm_up)
        started.record()
        _repeat(work, self.calls)
        ended.record()
        ended.synchronize()
        return float(started.elapsed_time(ended)) / 1e3 / self.calls


@dataclass(frozen=True)
class LaunchClock:
    """A clock for what the host spends on starting what a GPU computes, with nothing left to do on the GPU before.

    The works should be tiny, so that the GPU's queue is never full.
    """

    synchronize: Callable[[], object]
    calls: int = 100

    def __call__(self, work: Work) -> float:
        """Return the seconds of one call, on the host."""
        work()
        self.synchronize()
        started = time.perf_counter()
        _repeat(work, self.calls)
        return (time.perf_counter() - started) / self.calls


WALL_CLOCK = WallClock()


def interleaved(works: Mapping[Name, Work], rounds: int, clock: Clock = WALL_CLOCK) -> dict[Name, list[float]]:
    """Measure the seconds of each in every round.

    A round runs all of them, each time beginning with another, so that a drift of the machine's speed meets them all.
    """
    names = list(works)
    seconds: dict[Name, list[float]] = {name: [] for name in names}
    for round_ in range(rounds):
        first = round_ % len(names)
        for name in names[first:] + names[:first]:
            seconds[name].append(clock(works[name]))
    return seconds


def in_turn(works: Iterable[Work]) -> Work:
    """Return a function that calls another of these at each call, and the first again after the last."""
    turns = itertools.cycle(works)
    return lambda: next(turns)()


def copies_past_cache(operand_bytes: int, cache_bytes: int) -> int:
    """Return how many copies of its operands a call must take in turn, so that the others fill the cache until one's next turn."""
    return 1 + -(-cache_bytes // operand_bytes)


def quartiles_ms(seconds: Sequence[float]) -> dict[str, float]:
    """Return median and quartiles in milliseconds."""
    return _quartiles(seconds, 1e3)


def quartiles_us(seconds: Sequence[float]) -> dict[str, float]:
    """Return median and quartiles in microseconds."""
    return _quartiles(seconds, 1e6)


def geometric_mean(ratios: list[float]) -> float:
    """Return the mean for ratios: as many times above as below."""
    return float(np.exp(np.mean(np.log(ratios))))


def _quartiles(seconds: Sequence[float], units: float) -> dict[str, float]:
    low, median, high = (float(f"{value * units:.5g}") for value in np.quantile(seconds, [0.25, 0.5, 0.75]))
    return {"median": median, "q1": low, "q3": high}


def _repeat(work: Work, times: int) -> None:
    for _ in range(times):
        work()
