"""Ranges against the plain comparisons that they stand for."""

import math
import subprocess
import sys
from dataclasses import fields

import pytest

from dcnrun.config import ranges
from dcnrun.config.ranges import Range, range_of
from dcnrun.config.schema import OptimConfig, ShapesConfig, TrainerConfig


@pytest.mark.parametrize(
    ("allowed", "right", "wrong", "words"),
    [
        (Range(ge=1), [1, 2, None], [0, -1, math.inf, math.nan], "at least 1"),
        (Range(gt=0), [1e-9, 3], [0, -0.0, math.nan], "above 0"),
        (Range(ge=0, le=1), [0, 0.5, 1], [-1e-9, 1.1, math.nan], "from 0 to 1"),
        (Range(gt=0, le=0.5), [0.1, 0.5], [0, 0.6], "above 0 and at most 0.5"),
        (Range(gt=0, lt=1), [[0.5], []], [[0.5, 1], [0], [math.nan]], "above 0 and below 1"),
        (Range(one_of=(8, 16, 32)), [8, 32, None], [0, 12, 33], "8, 16 or 32"),
        (Range(one_of=(0.5, 1)), [0.5, 1.0], [0.7], "0.5 or 1"),
        (Range(ge=16, also=0), [0, 16, 100], [1, 15, -1], "0 or at least 16"),
        (Range(gt=0, least_length=1), [[1], [1, 2]], [[], [0]], "1 or more numbers above 0"),
        (Range(ge=0, le=1, note="a probability"), [0.5], [2], "from 0 to 1 (a probability)"),
        (Range(ge=0, le=2**32 - 1), [2**32 - 1], [2**32, -1], "from 0 to 4294967295"),
    ],
)
def test_values_and_words(allowed, right, wrong, words):
    assert [value for value in right if not allowed.holds(value)] == []
    assert [value for value in wrong if allowed.holds(value)] == []
    assert str(allowed) == words


@pytest.mark.parametrize("schema", [OptimConfig, TrainerConfig, ShapesConfig])
def test_every_number_has_a_range(schema):
    numbers = [declared for declared in fields(schema) if declared.type in (int, float, list[float], list[int])]
    assert numbers
    assert [declared.name for declared in numbers if range_of(declared) is None] == []


def test_a_default_of_another_type_fails_mypy(tmp_path):
    file = tmp_path / "wrong.py"
    file.write_text(
        "from dataclasses import dataclass\n"
        "from dcnrun.config.ranges import setting\n"
        "@dataclass\n"
        "class Wrong:\n"
        '    right: int = setting(1, "as it should be", ge=1)\n'
        '    wrong: int = setting("one", "a text for an integer")\n'
        '    also_wrong: list[int] = setting([0.5], "a list of other numbers")\n'
    )
    # Nothing else that is imported: to check PyTorch's types for it would take half a minute.
    command = [sys.executable, "-m", "mypy", "--follow-imports=skip", str(file), ranges.__file__]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280)
    found = [line for line in done.stdout.splitlines() if "wrong.py" in line and "error" in line]
    assert [line.split(":")[1] for line in found] == ["6", "7"], done.stdout
