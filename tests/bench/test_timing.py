"""Works are timed in turn, and the numbers are those of their seconds."""

import time

import pytest

from dcnrun.bench.timing import geometric_mean, interleaved, quartiles_ms


def test_each_round_runs_all_and_begins_with_another():
    ran = []
    works = {name: lambda name=name: ran.append(name) for name in "abc"}
    seconds = interleaved(works, rounds=3, pause=0)
    assert {name: len(times) for name, times in seconds.items()} == {"a": 3, "b": 3, "c": 3}
    assert ran[::2] == ran[1::2]  # each twice, one after the other
    rounds = [ran[i : i + 6 : 2] for i in range(0, len(ran), 6)]
    assert rounds == [["a", "b", "c"], ["b", "c", "a"], ["c", "a", "b"]]


def test_times_are_those_of_the_work_alone():
    first = []

    def slow_at_first():
        time.sleep(0 if first else 0.2)
        first.append(1)

    seconds = interleaved({"first": slow_at_first, "nap": lambda: time.sleep(0.02)}, rounds=2, pause=0.01)
    assert max(seconds["first"]) < 0.01
    assert all(0.02 <= time_ < 0.1 for time_ in seconds["nap"])


def test_quartiles():
    assert quartiles_ms([0.004, 0.001, 0.002, 0.003, 0.005]) == {"median": 3.0, "q1": 2.0, "q3": 4.0}
    assert quartiles_ms([0.5]) == {"median": 500.0, "q1": 500.0, "q3": 500.0}


def test_geometric_mean():
    assert geometric_mean([0.5, 2.0]) == pytest.approx(1)
    assert geometric_mean([1.0, 10.0, 100.0]) == pytest.approx(10)
