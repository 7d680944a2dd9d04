"""Suggestions follow the file's distributions, learn from the jobs so far, and are the same whoever asks; grids are W&B's own."""

import json
import math
import statistics
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.study import Study
from scipy import stats

from benchmarks.sweep_search import SEEDS, WITHIN, lost, make, one_report
from benchmarks.sweep_search import sweep as whole_sweep
from dcnrun.errors import UsageError
from dcnrun.jobs.ledger import Job, State
from dcnrun.resources import resource_dir
from dcnrun.sweep import search as searching
from dcnrun.sweep.engines.engine import Sampler
from dcnrun.sweep.search import BEST_TOLD, MOST_TOLD, Search, grid_values, told_of
from dcnrun.sweep.spec.distributions import (
    Beta,
    Categorical,
    Constant,
    Distribution,
    IntUniform,
    InvLogUniform,
    LogNormal,
    LogUniform,
    Normal,
    Uniform,
    setting_key,
)
from dcnrun.sweep.spec.reading import read_sweep
from dcnrun.sweep.spec.sweep_file import Goal, Impute, Method, Metric, Parameter, SweepFile
from tests.sweep.factories import job, sweep_file

LOSS = Metric("val/loss")
GRIDS = json.loads((Path(__file__).parents[1] / "fixtures" / "sweeps" / "draws.json").read_text())["grids"]


def loss(parameters: dict[str, Any]) -> float:
    """Least at x = 0.01 and n = 3."""
    return (math.log10(parameters["x"]) + 2) ** 2 + (parameters["n"] - 3) ** 2


def search(sampler: Sampler = Sampler.tpe, seed: int = 0, metric: Metric = LOSS) -> Search:
    return Search(sweep_file(Method.bayes, metric, x=LogUniform(1e-3, 10), n=IntUniform(1, 8)), seed, sampler)


def ended_jobs(count: int) -> list[Job]:
    rng = np.random.default_rng(0)
    settings = [{"x": float(10 ** rng.uniform(-3, 1)), "n": int(rng.integers(1, 9))} for _ in range(count)]
    return [job(number, each, [9.0, loss(each)]) for number, each in enumerate(settings)]


@pytest.mark.parametrize("sampler", Sampler)
@pytest.mark.parametrize("count", [0, 3, 15])
def test_the_same_jobs_give_the_same_suggestion_to_any_agent(sampler: Sampler, count: int) -> None:
    asked = search(sampler)
    first = asked.suggest(ended_jobs(count))
    assert asked.suggest(ended_jobs(count)) == first
    assert search(sampler).suggest(ended_jobs(count)) == first
    assert search(sampler, seed=1).suggest(ended_jobs(count)) != first
    assert asked.suggest(ended_jobs(count + 1)) != first


def draws(method: Method, count: int, **distributions: Any) -> list[dict[str, Any]]:
    asked = Search(sweep_file(method, LOSS, **distributions), 5, Sampler.tpe)
    nothing = job(0, {}, state=State.failed)
    return [settings for n in range(count) if (settings := asked.suggest([nothing] * n)) is not None]


@pytest.mark.parametrize("method", [Method.random, Method.bayes])
def test_draws_follow_their_distributions(method: Method) -> None:
    """Of bayes too, as long as no job has ended with a value."""
    settings = draws(
        method,
        500,
        uniform=Uniform(-1, 3),
        log_uniform=LogUniform(1e-3, 10),
        inv_log_uniform=InvLogUniform(1e-2, 1),
        normal=Normal(2, 0.5),
        log_normal=LogNormal(-1, 2),
        beta=Beta(2, 5),
    )
    laws = {
        "uniform": stats.uniform(-1, 4),
        "log_uniform": stats.loguniform(1e-3, 10),
        "inv_log_uniform": stats.loguniform(1e-2, 1),
        "normal": stats.norm(2, 0.5),
        "log_normal": stats.lognorm(2, scale=math.exp(-1)),
        "beta": stats.beta(2, 5),
    }
    for name, law in laws.items():
        drawn = [each[name] for each in settings]
        assert stats.kstest(drawn, law.cdf).pvalue > 0.01, name
        assert stats.kstest(drawn, lambda x, law=law: law.cdf(x * 1.2 + 0.1)).pvalue < 0.01, f"{name}: can't fail"


def test_choices_are_drawn_as_often_as_they_should() -> None:
    settings = draws(
        Method.random,
        800,
        whole=IntUniform(1, 4),
        choice=Categorical(("a", "b")),
        weighted=Categorical((1, 2, 4), (0.5, 0.3, 0.2)),
        fixed=Constant("unet"),
    )
    expected = {
        "whole": {1: 200, 2: 200, 3: 200, 4: 200},
        "choice": {"a": 400, "b": 400},
        "weighted": {1: 400, 2: 240, 4: 160},
        "fixed": {"unet": 800},
    }
    for name, counts in expected.items():
        seen = Counter(each[name] for each in settings)
        assert seen.keys() == counts.keys()
        assert stats.chisquare([seen[value] for value in counts], list(counts.values())).pvalue > 0.01 or len(seen) == 1


@pytest.mark.parametrize("sampler", Sampler)
def test_every_distribution_is_learned_from(sampler: Sampler) -> None:
    asked = Search(
        sweep_file(
            Method.bayes,
            LOSS,
            a=Uniform(0, 1, 0.1),
            b=LogUniform(0.3, 100, 2),
            c=InvLogUniform(0.1, 1),
            d=Normal(0, 1, 1),
            e=LogNormal(),
            f=Beta(2, 2),
            g=Categorical(("x", [1, 2], None), (0.2, 0.3, 0.5)),
            h=Categorical((True, 1, "1")),
            i=IntUniform(1, 3),
            j=Constant(0.5),
        ),
        0,
        sampler,
    )
    jobs: list[Job] = []
    for number in range(13):
        parameters = asked.suggest(jobs)
        assert parameters is not None
        assert list(parameters) == list("abcdefghij")
        jobs.append(job(number, parameters, [parameters["a"] + parameters["e"]]))


@pytest.mark.parametrize("sampler", Sampler)
def test_the_search_goes_where_the_metric_is_better(sampler: Sampler) -> None:
    """Towards the optimum to minimize, away from it to maximize the same."""

    def suggested(goal: Goal) -> float:
        found = [search(sampler, seed, Metric("m", goal)).suggest(ended_jobs(20)) for seed in range(3)]
        return statistics.median(loss(each) for each in found if each is not None)

    assert suggested(Goal.minimize) < 3
    assert suggested(Goal.maximize) > 10


def with_last(parameters: dict[str, Any], values: Sequence[float], state: State) -> list[Job]:
    jobs = ended_jobs(20)
    return [*jobs, job(len(jobs), parameters, values, state)]


@pytest.mark.parametrize("sampler", Sampler)
def test_failed_jobs_teach_nothing_unless_the_file_says_so(sampler: Sampler) -> None:
    """Not even by what they reported."""
    near = with_last({"x": 0.011, "n": 3}, [0.0], State.failed)
    far = with_last({"x": 9.0, "n": 8}, [99.0], State.failed)
    assert search(sampler).suggest(near) == search(sampler).suggest(far)
    imputed = search(sampler, metric=Metric("val/loss", impute=Impute.worst))
    assert imputed.suggest(near) != imputed.suggest(far)


@pytest.mark.parametrize("sampler", Sampler)
@pytest.mark.parametrize("state", [State.stopped, State.completed])
def test_what_stopped_jobs_reported_counts(sampler: Sampler, state: State) -> None:
    """The best of it: a job's last, bad report changes nothing."""
    good = with_last({"x": 5.0, "n": 8}, [-90.0, 3.0], state)
    better_at_its_end = with_last({"x": 5.0, "n": 8}, [3.0, -90.0], state)
    bad = with_last({"x": 5.0, "n": 8}, [90.0, 95.0], state)
    assert search(sampler).suggest(good) == search(sampler).suggest(better_at_its_end)
    assert search(sampler).suggest(good) != search(sampler).suggest(bad)


@pytest.mark.parametrize("sampler", Sampler)
def test_a_running_job_counts_as_running(sampler: Sampler) -> None:
    """Its reports so far are no value yet, but the search keeps off its setting."""
    asked = search(sampler)
    best = asked.suggest(ended_jobs(20))
    assert best is not None
    running = with_last(best, [-9.0], State.running)
    assert asked.suggest(running) == asked.suggest(with_last(best, [99.0], State.running))
    assert asked.suggest(running) == asked.suggest(with_last(best, [], State.waiting))
    assert asked.suggest(running) != best
    imputed = search(sampler, metric=Metric("val/loss", impute_while_running=Impute.best))
    assert imputed.suggest(running) != imputed.suggest(with_last(best, [99.0], State.running))


def test_agents_one_after_the_other_get_different_settings() -> None:
    """Of nine settings, though one is by far the best, each is tried once, whatever runs and however it ended."""
    for sampler in Sampler:
        asked = Search(sweep_file(Method.bayes, LOSS, a=Categorical((1, 2, 3)), b=IntUniform(0, 2)), 0, sampler)
        jobs: list[Job] = []
        while (setting := asked.suggest(jobs)) is not None:
            state = [State.running, State.completed, State.stopped, State.failed][len(jobs) % 4]
            jobs.append(job(len(jobs), setting, [abs(setting["a"] - 2) + setting["b"]], state))
        assert sorted((each.parameters["a"], each.parameters["b"]) for each in jobs) == [
            (a, b) for a in (1, 2, 3) for b in (0, 1, 2)
        ]
        assert asked.is_exhausted(jobs)
        assert not asked.is_exhausted(jobs[:-1])


@pytest.mark.parametrize("method", [Method.bayes, Method.random])
@pytest.mark.parametrize(
    ("distribution", "all_there_are"),
    [
        (Uniform(0.0, 1.0, 0.25), {0.0, 0.25, 0.5, 0.75, 1.0}),
        (LogUniform(1.0, 8.0, 2), {0, 2, 4, 6, 8}),
        (Beta(2.0, 2.0, 0.5), {0.0, 0.5, 1.0}),
        (Normal(3.0, 0.3, 1), {2, 3, 4}),
        (LogNormal(0.0, 0.1, 1), {1}),
        (Categorical((1, 2, 3), (0.5, 0.5, 0.0)), {1, 2}),
        (Categorical(("a", "a", "b")), {"a", "b"}),
    ],
)
def test_a_finite_space_ends_and_leaves_nothing_out(
    method: Method, distribution: Distribution, all_there_are: set[Any]
) -> None:
    asked = Search(sweep_file(method, LOSS, a=distribution), 0, Sampler.tpe)
    jobs: list[Job] = []
    while (setting := asked.suggest(jobs)) is not None:
        jobs.append(job(len(jobs), setting, [0.5]))
    assert sorted(each.parameters["a"] for each in jobs) == sorted(all_there_are)


def test_the_shipped_control_tries_no_setting_twice() -> None:
    """Its 45 settings, driven by a made-up score: before, 30 trials were of some 20 settings."""
    sweep = read_sweep(resource_dir("sweeps") / "dilation_control.yaml")
    asked, jobs = Search(sweep, 0, Sampler.tpe), list[Job]()
    assert asked.space is not None
    assert asked.space.size == 45
    for number in range(30):
        setting = asked.suggest(jobs)
        assert setting is not None
        jobs.append(
            job(number, setting, [0.3 - 0.02 * abs(setting["conv.dilation"] - 4) - 0.01 * setting["conv.groups"]])
        )
    assert len({tuple(each.parameters.values()) for each in jobs}) == 30


def test_one_setting_alone_is_tried_once() -> None:
    only = Search(sweep_file(Method.bayes, LOSS, a=Constant(1), b=Categorical((2,))), 0, Sampler.tpe)
    assert only.suggest([]) == {"a": 1, "b": 2}
    assert only.suggest([job(0, {"a": 1, "b": 2}, state=State.running)]) is None


def test_damaged_jobs_teach_nothing() -> None:
    asked = search(metric=Metric("val/loss", impute=Impute.worst))
    jobs = ended_jobs(9)
    lost = job(9, {}, state=State.failed, damaged=True)
    assert asked.suggest([*jobs, lost]) is not None


def test_a_grid_ends() -> None:
    grid = Search(sweep_file(Method.grid, a=Categorical((1, 2))), 0, Sampler.tpe)
    assert grid.suggest([job(0, {"a": 1}, state=State.failed)]) == {"a": 2}
    assert grid.suggest([job(0, {"a": 1}), job(1, {"a": 2}, state=State.running)]) is None


def test_a_search_describes_itself_and_knows_its_target() -> None:
    asked = search(metric=Metric("val/loss", target=0.5))
    assert asked.describe() == [("x", "log-uniform", "0.001 to 10"), ("n", "integers, uniform", "1 to 8")]
    assert not asked.target_reached([job(0, {}, [0.6])])
    assert asked.target_reached([job(0, {}, [0.6]), job(1, {}, [0.5], State.running)])
    assert not Search(sweep_file(Method.random, a=Uniform(0, 1)), 0, Sampler.tpe).target_reached([job(0, {}, [0.0])])


def test_a_suggestion_after_a_hundred_jobs_is_quick() -> None:
    jobs = ended_jobs(100)
    search().suggest(jobs)
    started = time.perf_counter()
    search().suggest(jobs)
    assert time.perf_counter() - started < 0.5


def test_for_one_that_failed_stands_the_worst_of_all_even_if_no_sampler_is_told_of_that(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(searching, "MOST_TOLD", 8)
    monkeypatch.setattr(searching, "BEST_TOLD", 4)
    told: list[Any] = []
    monkeypatch.setattr(Study, "add_trials", lambda study, trials: told.extend(trials))
    jobs = [job(number, {"x": 1.0, "n": 1}, [1.0]) for number in range(20)]
    jobs[4], jobs[5] = job(4, {"x": 1.0, "n": 2}, state=State.failed), job(5, {"x": 1.0, "n": 3}, [1.0, 7.0])
    assert [each.number for each in told_of(jobs, Goal.minimize)] == [0, 1, 2, 3, 4, 8, 12, 16]
    search(metric=Metric("loss", impute=Impute.worst)).suggest(jobs)
    assert [trial.value for trial in told] == [1.0] * 4 + [7.0] + [1.0] * 3


def test_of_very_many_jobs_a_sampler_is_told_of_the_best_and_of_others_from_all_times() -> None:
    few = ended_jobs(MOST_TOLD)
    assert told_of(few, Goal.minimize) is few
    jobs = [*ended_jobs(3 * MOST_TOLD), job(3 * MOST_TOLD, {"x": 1.0, "n": 1}, state=State.running)]
    told = told_of(jobs, Goal.minimize)
    numbers = [each.number for each in told]
    assert numbers == sorted(set(numbers))
    assert MOST_TOLD / 2 <= len(told) - 1 <= MOST_TOLD
    assert numbers[-1] == 3 * MOST_TOLD, "all that runs"
    best = sorted(jobs[:-1], key=lambda each: min(value for _, value in each.history))[:BEST_TOLD]
    assert {each.number for each in best} <= set(numbers)
    assert max(np.diff(numbers)) <= 10, "from all times"
    drawn = search().suggest(jobs)
    assert drawn is not None
    assert loss(drawn) < np.median([loss(each.parameters) for each in jobs]), "it has learnt"


def test_the_optimum_is_found_in_thirty_trials() -> None:
    """As benchmarks/sweep_search.py measures it; the random search loses more."""
    losses = {
        name: [lost(whole_sweep(make(name)(seed), one_report, agents=1)) for seed in range(SEEDS)]
        for name in ("tpe", "random")
    }
    assert sum(each <= WITHIN for each in losses["tpe"]) >= 18
    assert statistics.median(losses["tpe"]) < statistics.median(losses["random"])


@pytest.mark.slow
def test_gaussian_processes_find_it_too() -> None:
    losses = [lost(whole_sweep(make("gp")(seed), one_report, agents=1, trials=20)) for seed in range(3)]
    assert all(each <= WITHIN for each in losses)


def distribution_of(parameter: dict[str, Any]) -> Distribution:
    match parameter:
        case {"value": value}:
            return Constant(value)
        case {"values": values}:
            return Categorical(tuple(values))
        case {"min": low, "max": high, "q": q}:
            return Uniform(low, high, q)
    return IntUniform(**parameter)


def after(sweep: SweepFile, taken: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    jobs = [job(number, each) for number, each in enumerate(json.loads(json.dumps(taken)))]
    return Search(sweep, 0, Sampler.tpe).suggest(jobs)


def all_in_turn(sweep: SweepFile) -> list[dict[str, Any]]:
    taken: list[dict[str, Any]] = []
    while (settings := after(sweep, taken)) is not None:
        taken.append(settings)
    return taken


@pytest.mark.parametrize("grid", GRIDS)
def test_order_is_that_of_the_sweeps_package(grid: dict[str, Any]) -> None:
    parameters = {name.replace(".", "__"): distribution_of(each) for name, each in grid["parameters"].items()}
    settings = all_in_turn(sweep_file(Method.grid, **parameters))
    assert [{name: setting_key(each[name]) for name in each} for each in settings] == [
        {name: setting_key(each[name]) for name in each} for each in grid["settings"]
    ]


def test_a_hole_is_filled_first() -> None:
    sweep = sweep_file(Method.grid, a=Categorical((1, 2, 3)), b=Constant("x"))
    assert after(sweep, [{"a": 3, "b": "x"}, {"a": 1, "b": "x"}]) == {"a": 2, "b": "x"}


def test_a_grid_too_large_to_list_begins_at_once() -> None:
    sweep = sweep_file(Method.grid, **{name: IntUniform(1, 10**9) for name in "abcdef"}, g=Uniform(0, 10**9, 0.5))
    started = time.process_time()
    assert after(sweep, [dict.fromkeys("abcdef", 1) | {"g": 0.0}]) == dict.fromkeys("abcdef", 1) | {"g": 0.5}
    asked = Search(sweep, 0, Sampler.tpe)
    assert asked.space is not None
    assert asked.space.size == 2 * 10**63
    assert time.process_time() - started < 1


@given(
    st.floats(-5, 5) | st.integers(-5, 5),
    st.floats(0.1, 3) | st.integers(1, 9),
    st.sampled_from([0.1, 0.25, 1, 2, 0.3, 1 / 3]),
)
def test_steps_of_a_grid_are_those_of_numpy(low: float, width: float, q: float) -> None:
    values = grid_values(Parameter("a", Uniform(low, low + width, q)))
    assert [values.at(index) for index in range(values.size)] == np.arange(low, low + width, q).tolist()


def test_equal_values_of_a_grid_count_once() -> None:
    assert len(all_in_turn(sweep_file(Method.grid, a=Categorical((0, 1, 1, 1.0, 2))))) == 3


@pytest.mark.parametrize("endless", [Uniform(0, 1), LogUniform(1, 2, 1), Categorical((1, 2), (0.5, 0.5))])
def test_a_parameter_without_a_list_of_values_is_refused(endless: Distribution) -> None:
    with pytest.raises(UsageError, match=r"^optim\.lr: a grid needs"):
        grid_values(Parameter("optim.lr", endless))
