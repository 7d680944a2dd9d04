"""Texts of sweep files, and what reading them finds wrong."""

from pathlib import Path

import pytest

from dcnrun.errors import ConfigError
from dcnrun.sweep.spec.reading import parse_sweep

PATH = Path("lr.yaml")


def parse(text):
    return parse_sweep(text, PATH)


def problems(text):
    with pytest.raises(ConfigError) as caught:
        parse(text)
    return caught.value.problems


def with_parameter(spec):
    return f"method: random\nparameters:\n  optim.lr: {spec}\n"
