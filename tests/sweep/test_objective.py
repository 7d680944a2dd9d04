"""What a job is worth, and when a sweep has what it was after."""

import math

import pytest

from dcnrun.jobs.ledger import State
from dcnrun.sweep.objective import best_value, target_reached, value_in_search, worst_value
from dcnrun.sweep.spec.sweep_file import Goal, Impute, Metric
from tests.sweep.factories import job

LOSS = Metric("val/loss")
MIOU = Metric("val/miou", Goal.maximize)


def test_a_job_is_worth_the_best_of_its_finite_reports() -> None:
    reports = [0.4, math.nan, 0.7, math.inf, -math.inf, 0.5]
    assert best_value(job(0, {}, reports), Goal.maximize) == 0.7
    assert best_value(job(0, {}, reports), Goal.minimize) == 0.4
    assert best_value(job(0, {}, [math.nan]), Goal.minimize) is None


@pytest.mark.parametrize(
    ("state", "value"),
    [
        (State.completed, 0.7),
        (State.stopped, 0.7),
        (State.failed, None),
        (State.running, None),
        (State.waiting, None),
    ],
)
def test_only_jobs_that_ended_well_have_a_value_unless_the_file_says_so(state: State, value: float | None) -> None:
    one = job(0, {}, [0.4, 0.7, 0.5], state)
    assert value_in_search(one, MIOU, 0.1) == value


ENDED = [job(0, {}, [0.1, 0.8]), job(1, {}, [0.3, 0.2], State.stopped)]


@pytest.mark.parametrize(("impute", "value"), [(Impute.best, 0.7), (Impute.latest, 0.5), (Impute.worst, 0.1)])
def test_what_stands_for_a_job_that_failed(impute: Impute, value: float) -> None:
    failed = job(2, {}, [0.4, 0.7, 0.5], State.failed)
    running = job(3, {}, [0.01], State.running)
    metric = Metric("val/miou", Goal.maximize, impute=impute)
    assert value_in_search(failed, metric, worst_value([*ENDED, failed, running], metric.goal)) == value


def test_the_worst_is_the_highest_to_minimize() -> None:
    failed = job(2, {}, [], State.failed)
    worst = worst_value([*ENDED, failed], Goal.minimize)
    assert value_in_search(failed, Metric("val/loss", impute=Impute.worst), worst) == 0.8


def test_nothing_is_made_up_for_a_job_without_reports() -> None:
    """W&B put 0 there: the best of losses."""
    failed = job(0, {}, [], State.failed)
    assert worst_value([failed], Goal.minimize) is None
    for impute in Impute:
        assert value_in_search(failed, Metric("val/loss", impute=impute), None) is None


def test_a_running_job_counts_with_impute_while_running() -> None:
    metric = Metric("val/miou", Goal.maximize, impute_while_running=Impute.worst)
    running = job(2, {}, [0.4, 0.7, 0.5], State.running)
    assert value_in_search(running, metric, 0.1) == 0.7
    silent = job(2, {}, [], State.running)
    assert value_in_search(silent, metric, 0.1) == 0.1


@pytest.mark.parametrize(
    ("goal", "target", "reached"),
    [
        (Goal.maximize, 0.8, True),
        (Goal.maximize, 0.81, False),
        (Goal.minimize, 0.1, True),
        (Goal.minimize, 0.09, False),
        (Goal.minimize, None, False),
    ],
)
def test_the_target_is_reached_by_any_report(goal: Goal, target: float | None, reached: bool) -> None:
    assert target_reached(Metric("m", goal, target), ENDED) is reached


def test_no_jobs_reach_no_target() -> None:
    assert not target_reached(Metric("m", target=1.0), [job(0, {}, [math.nan], State.running)])
