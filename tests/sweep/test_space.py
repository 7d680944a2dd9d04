"""Points become the values that W&B's own package draws, and values the points they came from."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from dcnrun.sweep.space import TAIL, Dimension, dimension, in_words
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
)

KINDS: dict[str, type[Any]] = {
    "categorical_w_probabilities": Categorical,
    "uniform": Uniform,
    "q_uniform": Uniform,
    "log_uniform_values": LogUniform,
    "q_log_uniform_values": LogUniform,
    "inv_log_uniform_values": InvLogUniform,
    "normal": Normal,
    "q_normal": Normal,
    "log_normal": LogNormal,
    "q_log_normal": LogNormal,
    "beta": Beta,
    "q_beta": Beta,
}

FIXTURE = json.loads((Path(__file__).parents[1] / "fixtures" / "sweeps" / "draws.json").read_text())


def distribution_of(parameter: dict[str, Any]) -> Distribution:
    settings = {name: tuple(value) if isinstance(value, list) else value for name, value in parameter.items()}
    made: Distribution = KINDS[settings.pop("distribution")](**settings)
    return made


def close(value: Any) -> Any:
    return pytest.approx(value, rel=1e-9) if isinstance(value, float) else value


def point_at(domain: FloatDistribution, u: float) -> float:
    """The point below which a sampler that knows nothing draws with probability u."""
    if (domain.low, domain.high) == (TAIL, 1 - TAIL):
        return u
    if domain.log:
        return math.exp(math.log(domain.low) + u * (math.log(domain.high) - math.log(domain.low)))
    return domain.low + u * (domain.high - domain.low)


@pytest.mark.parametrize("drawn", FIXTURE["draws"], ids=lambda drawn: drawn["parameter"]["distribution"])
def test_values_are_those_of_the_sweeps_package(drawn: dict[str, Any]) -> None:
    each = dimension(distribution_of(drawn["parameter"]))
    assert isinstance(each.domain, FloatDistribution)
    values = [each.value(point_at(each.domain, u)) for u in FIXTURE["u"]]
    assert values == [close(value) for value in drawn["values"]]
    assert [type(value) for value in values] == [type(value) for value in drawn["values"]]


EXAMPLES: list[Distribution] = [
    *[distribution_of(drawn["parameter"]) for drawn in FIXTURE["draws"]],
    Constant([1, 2]),
    Categorical((1, 2.5, "x", True, None, [3, {"a": 1}])),
    IntUniform(-3, 4),
    Uniform(0, 1),
]


def points(each: Dimension) -> list[Any]:
    """Points all over a domain, its ends too."""
    domain = each.domain
    if isinstance(domain, CategoricalDistribution):
        return list(domain.choices)
    if isinstance(domain, IntDistribution):
        return list(range(domain.low, domain.high + 1))
    assert isinstance(domain, FloatDistribution)
    return [point_at(domain, u) for u in FIXTURE["u"]] + [domain.low, domain.high]


@pytest.mark.parametrize("distribution", EXAMPLES, ids=lambda each: type(each).__name__)
def test_a_value_leads_back_to_a_point_that_has_it(distribution: Distribution) -> None:
    """Values went through the ledger's JSON in the meantime."""
    each = dimension(distribution)
    for point in points(each):
        value = each.value(point)
        back = each.point(json.loads(json.dumps(value)))
        assert each.domain._contains(each.domain.to_internal_repr(back))
        if getattr(distribution, "q", None) is None:  # a value rounded beyond the end has no point, only the nearest
            assert each.value(back) == close(value)


@pytest.mark.parametrize("distribution", EXAMPLES, ids=lambda each: type(each).__name__)
def test_values_are_plain(distribution: Distribution) -> None:
    each = dimension(distribution)
    values = [each.value(point) for point in points(each)]
    assert {type(value) for value in values} <= {int, float, str, bool, list, type(None)}
    assert all(math.isfinite(value) for value in values if isinstance(value, float))


def test_what_optuna_has_is_not_searched_by_quantile() -> None:
    assert dimension(LogUniform(1e-3, 10)).domain == FloatDistribution(1e-3, 10, log=True)
    assert dimension(Uniform(0, 3)).domain == FloatDistribution(0, 3)
    assert dimension(IntUniform(1, 8)).domain == IntDistribution(1, 8)
    assert dimension(Categorical((1, 2, 4))).domain == CategoricalDistribution([0, 1, 2])


@pytest.mark.parametrize(
    ("distribution", "words"),
    [
        (Constant(4), ("fixed", "4")),
        (Categorical((1, 2, 4)), ("one of 3", "1, 2, 4")),
        (Categorical(("a", "b"), (0.25, 0.75)), ("one of 2", "a (0.25), b (0.75)")),
        (IntUniform(1, 8), ("integers, uniform", "1 to 8")),
        (Uniform(0, 1, 0.1), ("uniform, in steps of 0.1", "0 to 1")),
        (LogUniform(1e-3, 10), ("log-uniform", "0.001 to 10")),
        (InvLogUniform(1e-3, 10), ("log-uniform in 1 / x", "0.001 to 10")),
        (Normal(), ("normal", "mean 0, deviation 1")),
        (LogNormal(0, 2), ("log-normal", "log: mean 0, deviation 2")),
        (Beta(2, 5), ("beta, a 2, b 5", "0 to 1")),
    ],
)
def test_in_words(distribution: Distribution, words: tuple[str, str]) -> None:
    assert in_words(distribution) == words
