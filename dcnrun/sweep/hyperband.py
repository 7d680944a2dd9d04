"""The stop rule of Weights & Biases sweeps, which they call hyperband: one ladder of bands, no budgets, nothing is paused.

It gives the verdicts of the `sweeps` package (0.3.0), which Weights & Biases run on their side.
"""

import math
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


def judge(rule: EarlyTerminate, goal: Goal, histories: Mapping[int, Sequence[float]], number: int) -> Stop | None:
    """Return whether run `number`, which is running, must stop, and why; None lets it continue.

    `histories` has what every run of the sweep reported so far, ended runs too, by number. Reports that are not finite
    are skipped: they count neither as a report nor as a value.
    """
    sign = -1 if goal is Goal.maximize else 1
    own = [sign * value for value in filter(math.isfinite, histories[number])]
    band = max((band for band in bands(rule) if band <= len(own)), default=None)
    if band is None:
        return None
    at_the_band = (next(islice(filter(math.isfinite, reports), band - 1, None), None) for reports in histories.values())
    there = sorted(sign * value for value in at_the_band if value is not None)
    # The reciprocal first, as W&B do it: for some eta the product rounds to just below an integer.
    threshold = there[int(1 / rule.eta * len(there))]
    value = own[band - 1] if rule.strict else min(own)
    if value <= threshold:
        return None
    within = sum(loss <= threshold for loss in there)
    return Stop(band, sign * value, sign * threshold, len(there), within)
