"""The stop rule gives the verdicts of W&B's own package on random sweeps, and means what its words say."""

import json
import lzma
import math
import os
import random
import subprocess
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from dcnrun.errors import UsageError
from dcnrun.sweep.hyperband import Ladder, Stop, bands
from dcnrun.sweep.spec.sweep_file import EarlyTerminate, Goal

FIXTURES = Path(__file__).parents[1] / "fixtures" / "sweeps"
SWEEPS_PYTHON = os.environ.get("DCNRUN_SWEEPS_PYTHON")


def judge(rule: EarlyTerminate, goal: Goal, histories: Mapping[int, Sequence[float]], number: int) -> Stop | None:
    """What a ladder says that has just heard of all runs."""
    ladder = Ladder(rule, goal)
    ladder.keep(histories)
    return ladder.judge(number)


def by_definition(
    rule: EarlyTerminate, goal: Goal, histories: Mapping[int, Sequence[float]], number: int
) -> Stop | None:
    """The rule as Weights & Biases define it, by a pass over all runs."""
    sign = -1 if goal is Goal.maximize else 1
    own = [sign * value for value in filter(math.isfinite, histories[number])]
    band = max((band for band in bands(rule) if band <= len(own)), default=None)
    if band is None:
        return None
    at_the_band = (next(islice(filter(math.isfinite, reports), band - 1, None), None) for reports in histories.values())
    there = sorted(sign * value for value in at_the_band if value is not None)
    threshold = there[int(1 / rule.eta * len(there))]
    value = own[band - 1] if rule.strict else min(own)
    if value <= threshold:
        return None
    return Stop(band, sign * value, sign * threshold, len(there), sum(loss <= threshold for loss in there))


def test_a_ladder_that_hears_of_changes_alone_gives_the_verdicts_of_the_definition() -> None:
    """Runs report, end, and are run again from the start or from before their last reports, which may then be others; values tie."""
    assert sum(stops_as_by_definition(random.Random(seed)) for seed in range(60)) > 500


def stops_as_by_definition(rng: random.Random) -> int:
    """Return how many runs of a random sweep were to stop."""
    rule = EarlyTerminate(min_iter=rng.randint(1, 3), eta=rng.choice([1.5, 2, 3]), strict=rng.random() < 0.5)
    goal = rng.choice(list(Goal))
    values = [0.0, -0.0, math.nan, math.inf, *map(float, range(1, 9))]
    ladder, histories, stops = Ladder(rule, goal), dict[int, list[float]](), 0
    for _ in range(120):
        changed = rng.choices(range(12), k=rng.randint(1, 3))
        for number in changed:
            kept = histories.get(number, [])
            if rng.random() < 0.1:
                kept = kept[: rng.randrange(len(kept) + 1)]
            histories[number] = [*kept, *rng.choices(values, k=rng.randint(0, 3))]
        ladder.keep({number: histories[number] for number in changed})
        number = rng.choice(list(histories))
        verdict = ladder.judge(number)
        assert verdict == by_definition(rule, goal, histories, number)
        stops += verdict is not None
    return stops


def verdicts(sweep: dict[str, Any]) -> list[tuple[int, int, float, float]]:
    """Number, band, value and threshold of every run that is stopped, in the form of the fixture."""
    rule, goal = EarlyTerminate(**sweep["rule"]), Goal(sweep["goal"])
    histories = dict(enumerate(sweep["histories"]))
    sign = -1 if goal is Goal.maximize else 1
    ladder = Ladder(rule, goal)
    ladder.keep(histories)
    stops = [(number, ladder.judge(number)) for number in sweep["running"]]
    return [(number, stop.band, sign * stop.value, sign * stop.threshold) for number, stop in stops if stop is not None]


def assert_agrees(sweeps: list[dict[str, Any]]) -> None:
    differing = [sweep for sweep in sweeps if verdicts(sweep) != [tuple(stop) for stop in sweep["stopped"]]]
    assert not differing, f"{len(differing)} of {len(sweeps)} sweeps differ, the first: {differing[0]}"


def test_agrees_with_the_sweeps_package_on_ten_thousand_histories() -> None:
    sweeps = json.loads(lzma.decompress((FIXTURES / "hyperband.json.xz").read_bytes()))
    assert sum(len(sweep["histories"]) for sweep in sweeps) > 10_000
    assert sum(len(sweep["stopped"]) for sweep in sweeps) > 1_000
    assert_agrees(sweeps)


@pytest.mark.slow
@pytest.mark.skipif(SWEEPS_PYTHON is None, reason="DCNRUN_SWEEPS_PYTHON names no Python that has sweeps==0.3.0")
def test_agrees_with_the_sweeps_package_on_ten_thousand_new_sweeps() -> None:
    seed = random.randrange(2**32)
    print("seed", seed)
    command = [str(SWEEPS_PYTHON), "-W", "ignore", FIXTURES / "hyperband.py", "10000", str(seed)]
    sweeps = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    assert len(sweeps) == 10_000
    assert_agrees(sweeps)


@pytest.mark.parametrize(
    ("rule", "first"),
    [
        (EarlyTerminate(min_iter=3), [3, 9, 27, 81]),
        (EarlyTerminate(min_iter=2, eta=1.5), [2, 3, 4, 6, 10]),  # 2, 3, 4.5, 6.75, 10.125
        (EarlyTerminate(max_iter=27, s=2), [3, 9]),
        (EarlyTerminate(max_iter=27, s=9), [1, 3, 9]),
        (EarlyTerminate(max_iter=5, s=9, eta=1.3), [1, 2, 3]),  # 3.8, 3.0, 2.3, 1.8, 1.3, 1.04
        (EarlyTerminate(max_iter=27, s=2, min_iter=5), [3, 9]),
    ],
)
def test_bands(rule: EarlyTerminate, first: list[int]) -> None:
    assert bands(rule)[: len(first)] == first
    if rule.max_iter is not None:
        assert len(bands(rule)) == len(first)


def test_bands_without_a_top_end_where_no_run_gets() -> None:
    assert bands(EarlyTerminate(min_iter=1, eta=1e300)) == [1]


@pytest.mark.parametrize("rule", [EarlyTerminate(), EarlyTerminate(max_iter=27), EarlyTerminate(max_iter=2, s=3)])
def test_a_rule_without_bands_is_refused(rule: EarlyTerminate) -> None:
    with pytest.raises(UsageError, match="early_terminate"):
        bands(rule)


RULE = EarlyTerminate(min_iter=2, eta=3)
"""Bands 2, 6, 18."""


def test_the_first_run_at_a_band_continues() -> None:
    histories = {0: [9.0, 9.0], 1: [0.0]}
    assert judge(RULE, Goal.minimize, histories, 0) is None


def test_a_run_is_judged_by_its_value_at_the_band_or_by_its_best() -> None:
    histories = {0: [1.0, 5.0, 1.0], 1: [2.0, 2.0]}
    stop = judge(RULE, Goal.minimize, histories, 0)
    assert stop == Stop(band=2, value=5.0, threshold=2.0, runs=2, within=1)
    lenient = EarlyTerminate(min_iter=2, eta=3, strict=False)
    assert judge(lenient, Goal.minimize, histories, 0) is None


def test_as_many_go_on_as_the_rule_says_and_ties_with_them() -> None:
    """Of six runs, int(6 / 3) + 1 = 3 go on; of those with the threshold's value all do."""
    values = dict(enumerate([[0.0, value] for value in [0.1, 0.2, 0.3, 0.4, 0.4, 0.5]]))
    going_on = [number for number in values if judge(RULE, Goal.maximize, values, number) is None]
    assert going_on == [3, 4, 5]
    values[2] = [0.0, 0.4]
    going_on = [number for number in values if judge(RULE, Goal.maximize, values, number) is None]
    assert going_on == [2, 3, 4, 5]


def test_the_share_is_computed_as_by_the_package() -> None:
    """In floats 1 / 49 * 49 is just below 1, so that of 49 runs only the best goes on."""
    values = {number: [float(number)] for number in range(49)}
    rule = EarlyTerminate(min_iter=1, eta=49)
    assert [number for number in values if judge(rule, Goal.minimize, values, number) is None] == [0]


def test_a_report_that_is_not_finite_is_none() -> None:
    histories = {0: [1.0, float("nan"), float("inf")], 1: [0.0, 0.0]}
    assert judge(RULE, Goal.minimize, histories, 0) is None
    histories[0].append(1.0)
    assert judge(RULE, Goal.minimize, histories, 0) is not None


def test_the_reason_in_words() -> None:
    values = {number: [0.0, value] for number, value in enumerate([0.31, 0.2, 0.32, 0.44, 0.5, 0.45])}
    stop = judge(RULE, Goal.maximize, values, 0)
    assert stop is not None
    assert stop.sentence("val/miou") == (
        "band 2: val/miou 31.0 % is worse than 44.0 %, which 3 of 6 runs had reached there"
    )
