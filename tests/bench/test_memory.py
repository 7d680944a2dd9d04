"""Peak memory: allocations of known size are seen, what is returned is not counted."""

import os
import sys

import pytest

from dcnrun.bench.memory import in_fresh_process
from tests.bench.works import MIB, allocate_and_free, allocate_and_return, allocate_more_than_returned, peak

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the peak is read from /proc")


@pytest.mark.parametrize(
    ("work", "expected"),
    [(allocate_and_free, 64), (allocate_and_return, 0), (allocate_more_than_returned, 64)],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_an_allocation_of_known_size(work, expected):
    measured = in_fresh_process(peak, work, 64) / MIB
    assert measured == pytest.approx(expected, abs=1.5)


def test_what_was_freed_before_does_not_hide_it():
    allocate_and_free(128)
    assert peak(allocate_and_free, 64) / MIB == pytest.approx(64, abs=1.5)


def test_every_process_is_a_fresh_one():
    assert len({in_fresh_process(os.getpid), in_fresh_process(os.getpid), os.getpid()}) == 3


def test_errors_come_back():
    with pytest.raises(ValueError, match="invalid literal"):
        in_fresh_process(int, "x")
