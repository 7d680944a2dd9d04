"""Grid search: every combination once, in the order of Weights & Biases."""

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from dcnrun.errors import UsageError
from dcnrun.sweep.keys import key
from dcnrun.sweep.spec.distributions import Categorical, Constant, IntUniform, Uniform
from dcnrun.sweep.spec.sweep_file import Parameter, SweepFile


def enumerate_grid(sweep: SweepFile) -> Iterator[dict[str, Any]]:
    """Every combination: parameters by name, the last one changing fastest, values in the order of the file."""
    parameters = sorted(sweep.parameters, key=lambda parameter: parameter.name)
    names = [parameter.name for parameter in parameters]
    for combination in itertools.product(*map(grid_values, parameters)):
        yield dict(zip(names, combination, strict=True))


def grid_values(parameter: Parameter) -> Sequence[Any]:
    """Values of a parameter in a grid; UsageError if it has no list of values."""
    match parameter.distribution:
        case Constant(value):
            return [value]
        case Categorical(values, None):
            return values
        case IntUniform(low, high):
            return range(low, high + 1)
        case Uniform(low, high, q) if q is not None:
            numbers: list[float] = np.arange(low, high, q).tolist()  # without the last, as W&B have it
            return numbers
    raise UsageError(
        f"{parameter.name}: a grid needs `values`, int_uniform or q_uniform (and no probabilities). "
        "List the values, or use method random or bayes."
    )


def next_of_grid(sweep: SweepFile, taken: Iterable[Mapping[str, Any]]) -> dict[str, Any] | None:
    """Give the first combination that is not taken yet; None when all are."""
    seen = {_keys(parameters) for parameters in taken}
    return next((settings for settings in enumerate_grid(sweep) if _keys(settings) not in seen), None)


def _keys(settings: Mapping[str, Any]) -> frozenset[tuple[str, str]]:
    return frozenset((name, key(value)) for name, value in settings.items())
