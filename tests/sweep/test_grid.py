"""Grids are gone through as W&B's own package does: in its order, each combination once."""

import json
from pathlib import Path
from typing import Any

import pytest

from dcnrun.errors import UsageError
from dcnrun.sweep.grid import enumerate_grid, next_of_grid
from dcnrun.sweep.keys import key
from dcnrun.sweep.spec.distributions import Categorical, Constant, Distribution, IntUniform, LogUniform, Uniform
from dcnrun.sweep.spec.sweep_file import Method, SweepFile
from tests.sweep.making import sweep_file

FIXTURE = json.loads((Path(__file__).parents[1] / "fixtures" / "sweeps" / "draws.json").read_text())


def distribution_of(parameter: dict[str, Any]) -> Distribution:
    match parameter:
        case {"value": value}:
            return Constant(value)
        case {"values": values}:
            return Categorical(tuple(values))
        case {"min": low, "max": high, "q": q}:
            return Uniform(low, high, q)
    return IntUniform(**parameter)


def all_in_turn(sweep: SweepFile) -> list[dict[str, Any]]:
    taken: list[dict[str, Any]] = []
    while (settings := next_of_grid(sweep, json.loads(json.dumps(taken)))) is not None:
        taken.append(settings)
    return taken


@pytest.mark.parametrize("grid", FIXTURE["grids"])
def test_order_is_that_of_the_sweeps_package(grid: dict[str, Any]) -> None:
    parameters = {name.replace(".", "__"): distribution_of(each) for name, each in grid["parameters"].items()}
    settings = all_in_turn(sweep_file(Method.grid, **parameters))
    assert [{name: key(each[name]) for name in each} for each in settings] == [
        {name: key(each[name]) for name in each} for each in grid["settings"]
    ]


def test_a_hole_is_filled_first() -> None:
    sweep = sweep_file(Method.grid, a=Categorical((1, 2, 3)), b=Constant("x"))
    assert next_of_grid(sweep, [{"a": 3, "b": "x"}, {"a": 1, "b": "x"}]) == {"a": 2, "b": "x"}


def test_a_grid_too_large_to_list_begins_at_once() -> None:
    sweep = sweep_file(Method.grid, **{name: IntUniform(1, 1000) for name in "abcdef"})
    assert next_of_grid(sweep, [dict.fromkeys("abcdef", 1)]) == dict.fromkeys("abcde", 1) | {"f": 2}


@pytest.mark.parametrize("endless", [Uniform(0, 1), LogUniform(1, 2, 1), Categorical((1, 2), (0.5, 0.5))])
def test_a_parameter_without_a_list_of_values_is_refused(endless: Distribution) -> None:
    with pytest.raises(UsageError, match=r"^optim\.lr: a grid needs"):
        list(enumerate_grid(sweep_file(Method.grid, optim__lr=endless)))
