"""What is read is what Weights & Biases takes, and means the same: against verdicts of their `sweeps` package (0.3.0)."""

import json
import math
from pathlib import Path

import pytest
import yaml
from scipy import stats

from dcnrun.errors import ConfigError
from dcnrun.resources import resource_dir
from dcnrun.sweep.spec.distributions import (
    Beta,
    Categorical,
    Constant,
    IntUniform,
    InvLogUniform,
    LogNormal,
    LogUniform,
    Normal,
    Uniform,
)
from dcnrun.sweep.spec.reading import parse_sweep

VERDICTS = json.loads((Path(__file__).parents[2] / "fixtures" / "sweeps" / "verdicts.json").read_text())


def parse(config):
    return parse_sweep(yaml.safe_dump(config, sort_keys=False), Path("sweep.yaml"))


def quantile(distribution, probability):
    """The value below which a distribution has this probability, by scipy."""
    match distribution:
        case Constant(value):
            return value
        case Categorical(values, None):
            return values[int(stats.randint.ppf(probability, 0, len(values)))]
        case Categorical(values, probabilities):
            reached = [sum(probabilities[: i + 1]) > probability for i in range(len(values))]
            return values[reached.index(True)]
        case IntUniform(low, high):
            return int(stats.randint.ppf(probability, low, high + 1))
        case InvLogUniform(low, high):  # 1 / x is log-uniform from 1 / high to 1 / low
            return 1 / stats.loguniform.ppf(1 - probability, 1 / high, 1 / low)
        case Uniform(low, high, q):
            number = stats.uniform.ppf(probability, low, high - low)
        case LogUniform(low, high, q):
            number = stats.loguniform.ppf(probability, low, high)
        case Normal(mu, sigma, q):
            number = stats.norm.ppf(probability, mu, sigma)
        case LogNormal(mu, sigma, q):
            number = stats.lognorm.ppf(probability, s=sigma, scale=math.exp(mu))
        case Beta(a, b, q):
            number = stats.beta.ppf(probability, a, b)
    return float(number) if q is None else round(float(number) / q) * q


def test_every_verdict_is_the_same():
    for verdict in VERDICTS["files"]:
        try:
            parse(verdict["config"])
            refused = None
        except ConfigError as error:
            refused = str(error)
        assert (refused is None) == (verdict["refused"] is None), (verdict, refused)


def test_verdicts_are_of_both_sorts():
    refused = [verdict["refused"] is not None for verdict in VERDICTS["files"]]
    assert min(sum(refused), len(refused) - sum(refused)) > 300


def test_distributions_have_the_same_quantiles():
    compared = set()
    for verdict in VERDICTS["files"]:
        if verdict["refused"] is not None:
            continue
        sweep = parse(verdict["config"])
        assert {parameter.name for parameter in sweep.parameters} == verdict.get("quantiles", {}).keys()
        for parameter in sweep.parameters:
            compared.add((type(parameter.distribution), getattr(parameter.distribution, "q", None) is not None))
            for probability, theirs in zip(
                VERDICTS["probabilities"], verdict["quantiles"][parameter.name], strict=True
            ):
                ours = quantile(parameter.distribution, probability)
                if isinstance(theirs, float):
                    assert ours == pytest.approx(theirs, rel=1e-9, abs=1e-12), verdict
                else:
                    assert ours == theirs, verdict
    assert len(compared) == 14  # nine distributions, five of them with and without q


@pytest.mark.parametrize("path", sorted(resource_dir("sweeps").glob("*.yaml")), ids=lambda path: path.name)
def test_shipped_files_are_accepted_by_wandb(path):
    verdict = VERDICTS["shipped"][path.name]
    assert verdict["config"] == yaml.safe_load(path.read_text()), (
        f"{path.name} changed: run tests/fixtures/sweeps/make_verdicts.py"
    )
    assert verdict["refused"] is None
