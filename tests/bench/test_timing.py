"""Works are timed in turn, and the numbers are those of their seconds."""

import time

import pytest

from dcnrun.bench.timing import (
    EventClock,
    LaunchClock,
    WallClock,
    copies_past_cache,
    geometric_mean,
    in_turn,
    interleaved,
    quartiles_ms,
    quartiles_us,
)
from tests.bench.fakes import Gpu


def test_each_round_runs_all_and_begins_with_another():
    ran = []
    works = {name: lambda name=name: ran.append(name) for name in "abc"}
    seconds = interleaved(works, 3, WallClock(pause=0))
    assert {name: len(times) for name, times in seconds.items()} == {"a": 3, "b": 3, "c": 3}
    assert ran[::2] == ran[1::2]  # each twice, one after the other
    rounds = [ran[i : i + 6 : 2] for i in range(0, len(ran), 6)]
    assert rounds == [["a", "b", "c"], ["b", "c", "a"], ["c", "a", "b"]]


def test_times_are_those_of_the_work_alone():
    first = []

    def slow_at_first():
        time.sleep(0 if first else 0.2)
        first.append(1)

    seconds = interleaved({"first": slow_at_first, "nap": lambda: time.sleep(0.02)}, 2, WallClock(pause=0.01))
    assert max(seconds["first"]) < 0.01
    assert all(0.02 <= time_ < 0.1 for time_ in seconds["nap"])


def test_the_gpus_time_is_that_between_its_events():
    gpu = Gpu()
    # The first call is slow, as where something must be compiled.
    works = {name: gpu.work(each, first=500) for name, each in (("a", 0.25), ("b", 3))}
    seconds = interleaved(works, 2, EventClock(gpu.event, calls=5, warm_up=2))
    assert seconds == {"a": pytest.approx([0.25e-3] * 2), "b": pytest.approx([3e-3] * 2)}
    assert gpu.calls == 2 * 2 * (2 + 5)
    # The host waits after the last call of each, and never in between.
    assert gpu.waited_after == [7, 14, 21, 28]


def test_a_launch_is_what_the_host_does():
    gpu = Gpu()
    clock = LaunchClock(gpu.synchronize, calls=10)
    work = gpu.work(1e6)

    def launch():
        time.sleep(0.002)
        work()

    assert 0.002 <= clock(launch) < 0.02
    assert gpu.calls == 11
    assert gpu.waited_after == [1]


def test_in_turn():
    ran = []
    work = in_turn([lambda name=name: ran.append(name) for name in "abc"])
    for _ in range(7):
        work()
    assert "".join(ran) == "abcabca"


@pytest.mark.parametrize(
    ("operands", "cache", "copies"), [(100, 1000, 11), (100, 1001, 12), (999, 1000, 3), (1000, 1000, 2), (5000, 1, 2)]
)
def test_copies_past_the_cache(operands, cache, copies):
    """The others fill the cache, and with one fewer they would not."""
    assert copies_past_cache(operands, cache) == copies
    assert (copies - 1) * operands >= cache
    assert copies == 2 or (copies - 2) * operands < cache


def test_quartiles():
    assert quartiles_ms([0.004, 0.001, 0.002, 0.003, 0.005]) == {"median": 3.0, "q1": 2.0, "q3": 4.0}
    assert quartiles_ms([0.5]) == {"median": 500.0, "q1": 500.0, "q3": 500.0}
    assert quartiles_us([4e-6, 12.34567e-6, 2e-6]) == {"median": 4.0, "q1": 3.0, "q3": 8.1728}
    assert quartiles_ms([0.0000123456])["median"] == 0.012346


def test_geometric_mean():
    assert geometric_mean([0.5, 2.0]) == pytest.approx(1)
    assert geometric_mean([1.0, 10.0, 100.0]) == pytest.approx(10)
