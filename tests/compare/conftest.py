"""Composing the same choices again and again is most of what these tests would do."""

import copy

import pytest

from dcnrun.config import compose as composing
from dcnrun.config.store import compose_choices

_composed = {}


@pytest.fixture(autouse=True)
def compose_each_choice_once(monkeypatch):
    def remembered(choices, config_dir=None):
        if config_dir is not None:
            return compose_choices(choices, config_dir)
        key = tuple(sorted(choices.items()))
        if key not in _composed:
            _composed[key] = compose_choices(choices)
        return copy.deepcopy(_composed[key])

    monkeypatch.setattr(composing, "compose_choices", remembered)
