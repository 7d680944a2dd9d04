import threading
import time

import pytest

from dcnrun.ops.jit import KernelUnavailable
from dcnrun.ops.jit.memoize import memoize


def test_each_key_is_computed_once():
    calls = []

    @memoize
    def square(x):
        """Of a number."""
        calls.append(x)
        return x * x

    assert [square(3), square(4), square(3)] == [9, 16, 9]
    assert calls == [3, 4]
    assert square.__doc__ == "Of a number."
    square.cache_clear()
    assert square(3) == 9
    assert calls == [3, 4, 3]


def test_a_failure_to_get_a_kernel_is_remembered():
    calls = []

    @memoize
    def fail(name):
        calls.append(name)
        raise KernelUnavailable("the reason", "the remedy", "all output")

    raised = []
    for _ in range(2):
        with pytest.raises(KernelUnavailable) as caught:
            fail("a")
        raised.append(caught.value)
    assert calls == ["a"]
    assert raised[0] is not raised[1]  # whose tracebacks would grow
    assert [(each.reason, each.remedy, each.output) for each in raised] == [
        ("the reason", "the remedy", "all output")
    ] * 2


def test_another_error_is_not():
    calls = []

    @memoize
    def interrupt():
        calls.append(1)
        raise KeyboardInterrupt

    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            interrupt()
    assert len(calls) == 2


def test_threads_wait_for_the_first():
    calls, results = [], []

    @memoize
    def slow(x):
        calls.append(x)
        time.sleep(0.05)
        return object()

    threads = [threading.Thread(target=lambda: results.append(slow(1))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert calls == [1]
    assert len(results) == 4
    assert len(set(map(id, results))) == 1
