"""The stop rule of Weights & Biases sweeps, which they call hyperband: one ladder of bands, no budgets, nothing is paused.

It gives the verdicts of the `sweeps` package (0.3.0), which Weights & Biases run on their side.
"""

import math
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, islice, repeat
from operator import mul, truediv

from dcnrun.errors import UsageError
from dcnrun.sweep.spec.sweep_file import EarlyTerminate, Goal
from dcnrun.tasks.registry import metric_text

LEVELS = 100  # most bands of a ladder that has no top (`min_iter`)
LONGEST = 10**9  # no run reports this often: bands beyond it are left out


@dataclass(frozen=True)
class Stop:
    """Why a run is stopped."""

    band: int  # the highest band that it reached: a number of reports
    value: float  # what it was judged by: its value at the band, or its best so far where the rule is not strict
    threshold: float  # the worst value that continues
    runs: int  # runs that have reached the band, ended ones too
    within: int  # how many of them were as good as the threshold there

    def sentence(self, metric: str) -> str:
        """Return it in words: `band 9: val/miou 31.0 % is worse than 44.0 %, which 3 of 6 runs had reached there`."""
        worse = f"{metric} {metric_text(metric, self.value)} is worse than {metric_text(metric, self.threshold)}"
        return f"band {self.band}: {worse}, which {self.within} of {self.runs} runs had reached there"


def bands(rule: EarlyTerminate) -> list[int]:
    """Return the numbers of reports at which runs are judged, ascending; UsageError where the rule leaves none."""
    if rule.max_iter is not None and rule.s is not None:
        down = accumulate(repeat(rule.eta, rule.s), truediv, initial=rule.max_iter)
        ladder = [int(band) for band in islice(down, 1, None) if band >= 1]
    elif rule.min_iter is not None:
        up = accumulate(repeat(rule.eta, LEVELS - 1), mul, initial=rule.min_iter)
        ladder = [int(band) for band in up if band < LONGEST]
    else:
        raise UsageError("early_terminate needs min_iter, or max_iter and s.")
    if not ladder:
        raise UsageError(
            f"early_terminate has no band: max_iter {rule.max_iter} divided by eta {rule.eta:g} up to s = {rule.s} times "
            "is never 1 or more. Raise max_iter, lower eta, or give min_iter instead."
        )
    return sorted(set(ladder))


class Ladder:
    """What the runs of a sweep had reported at each band, kept in order: a judgement is a look-up, and not a pass over all runs."""

    def __init__(self, rule: EarlyTerminate, goal: Goal) -> None:
        """UsageError where the rule has no bands."""
        self._rule = rule
        self._sign = -1 if goal is Goal.maximize else 1  # of a loss, as which all values are kept
        self._bands = bands(rule)
        self._there: dict[int, list[float]] = {}  # by band, ascending: the losses that runs had there
        self._runs: dict[int, _Climb] = {}

    def keep(self, histories: Mapping[int, Sequence[float]]) -> None:
        """Take what these runs have reported so far, ended ones too, in place of what they had.

        Reports that are not finite are skipped: they count neither as a report nor as a value.
        """
        come: dict[int, list[float]] = {}
        for number, history in histories.items():
            losses = [self._sign * value for value in history if math.isfinite(value)]
            at = {band: losses[band - 1] for band in self._bands[: bisect_right(self._bands, len(losses))]}
            before = self._runs.get(number, _NOT_BEGUN).at
            for band, loss in before.items() - at.items():
                del self._there[band][bisect_left(self._there[band], loss)]
            for band, loss in at.items() - before.items():
                come.setdefault(band, []).append(loss)
            self._runs[number] = _Climb(at, min(losses, default=math.inf))
        for band, new in come.items():
            there = self._there.setdefault(band, [])
            there += new
            there.sort()

    def judge(self, number: int) -> Stop | None:
        """Return whether run `number`, which is running, must stop, and why; None lets it continue."""
        run = self._runs.get(number, _NOT_BEGUN)
        if not run.at:
            return None
        band = max(run.at)
        there = self._there[band]
        # The reciprocal first, as W&B do it: for some eta the product rounds to just below an integer.
        threshold = there[int(1 / self._rule.eta * len(there))]
        value = run.at[band] if self._rule.strict else run.lowest
        if value <= threshold:
            return None
        return Stop(band, self._sign * value, self._sign * threshold, len(there), bisect_right(there, threshold))


@dataclass(frozen=True)
class _Climb:
    """How far a run has come."""

    at: Mapping[int, float]  # by band that it reached: its loss there
    lowest: float  # of all its losses


_NOT_BEGUN = _Climb({}, math.inf)
