"""How durations are written beside each run; the lines themselves are tested with whole comparisons in test_runner.py."""

import pytest

from dcnrun.compare.progress import duration


@pytest.mark.parametrize(("seconds", "text"), [(3.4, "3 s"), (192, "3 min 12 s"), (7500, "2 h 5 min")])
def test_durations(seconds, text):
    assert duration(seconds) == text
