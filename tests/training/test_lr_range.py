"""The range test: which rates it takes, where it ends, what it suggests."""

import json

import numpy as np
import pytest
from PIL import Image

from dcnrun.config.compose import compose
from dcnrun.errors import UsageError
from dcnrun.training.lr_range import RangeTest, lr_range_test, smooth
from tests.training.factories import TINY, losses


def test_smoothing_is_a_weighted_mean():
    values = np.random.default_rng(0).normal(size=30)
    weights = [0.9 ** np.arange(count)[::-1] for count in range(1, 31)]
    wanted = [np.average(values[: len(own)], weights=own) for own in weights]
    assert smooth(values) == pytest.approx(wanted)
    assert smooth([]) == []


@pytest.mark.parametrize("steepest", [1e-4, 1e-3, 0.02])
def test_the_rate_at_which_the_loss_falls_fastest_is_suggested(steepest):
    """A logistic curve over the decades that ends in a wall; its slope is known. Smoothing lags by some ten steps of 1000."""
    rates = np.logspace(-6, 1, 1000)
    curve = 2 - 1 / (1 + (steepest / rates) ** 2) + (rates / 2) ** 4
    suggestion = RangeTest(rates.tolist(), curve.tolist(), diverged=True).suggestion(1000)
    assert np.log10(suggestion) == pytest.approx(np.log10(steepest), abs=0.15)


def test_a_loss_that_never_falls_suggests_nothing():
    rates = np.logspace(-6, 1, 50).tolist()
    assert RangeTest(rates, [1 + rate for rate in rates], diverged=False).suggestion(50) is None
    assert RangeTest([], [], diverged=True).suggestion(50) is None


def test_it_trains_with_growing_rates_until_the_loss_diverges(finished, tmp_path, capsys):
    """The first loss is that of a run, whose first step has seen no rate yet."""
    config = compose([*TINY, "conv=deformable", "optim.schedule=poly", "optim.warmup_steps=3"])
    report = lr_range_test(config, low=1e-3, high=1e9, steps=13, out=tmp_path)
    assert report["diverged"]
    assert 1 < len(report["rates"]) < 13
    assert report["rates"] == pytest.approx([10.0 ** (step - 3) for step in range(len(report["rates"]))])
    assert report["losses"][0] == losses(finished.path)[0]
    assert json.loads((tmp_path / "lr.json").read_text())["rates"] == report["rates"]
    with Image.open(tmp_path / "lr.png") as picture:
        assert picture.size[0] > 500
    assert "The loss diverged at a rate of" in capsys.readouterr().out


@pytest.mark.parametrize(("low", "high", "steps"), [(0, 1, 20), (1, 1, 20), (1, float("inf"), 20), (0.1, 1, 9)])
def test_ranges_that_are_none(low, high, steps, tmp_path):
    with pytest.raises(UsageError, match=r"--from|--steps"):
        lr_range_test(compose(TINY), low, high, steps, tmp_path)
