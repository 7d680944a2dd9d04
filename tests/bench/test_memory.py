"""Peak memory: allocations of known size are seen, what is returned is not counted."""

import os
import sys

import pytest
import torch

from dcnrun.bench.memory import in_fresh_process, peak_extra_gpu_bytes
from tests.bench.fakes import MIB, allocate_and_free, allocate_and_return, allocate_more_than_returned, peak

from_proc = pytest.mark.skipif(sys.platform != "linux", reason="the peak is read from /proc")


@from_proc
@pytest.mark.parametrize(
    ("work", "expected"),
    [(allocate_and_free, 64), (allocate_and_return, 0), (allocate_more_than_returned, 64)],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_an_allocation_of_known_size(work, expected):
    measured = in_fresh_process(peak, work, 64) / MIB
    assert measured == pytest.approx(expected, abs=1.5)


@from_proc
def test_what_was_freed_before_does_not_hide_it():
    allocate_and_free(128)
    assert peak(allocate_and_free, 64) / MIB == pytest.approx(64, abs=1.5)


def test_every_process_is_a_fresh_one():
    assert len({in_fresh_process(os.getpid), in_fresh_process(os.getpid), os.getpid()}) == 3


def test_errors_come_back():
    with pytest.raises(ValueError, match="invalid literal"):
        in_fresh_process(int, "x")


class Allocator:
    """As torch.cuda counts: in use, and at most since the count began anew."""

    def __init__(self, monkeypatch, in_use):
        self.in_use, self.most = in_use, 10 * in_use
        monkeypatch.setattr(torch.cuda, "synchronize", lambda device: None)
        monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", self.begin_anew)
        monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: self.in_use)
        monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: self.most)

    def begin_anew(self, device):
        self.most = self.in_use

    def take(self, size):
        self.in_use += size
        self.most = max(self.most, self.in_use)


@pytest.mark.parametrize(("kept", "freed", "extra"), [(4096, 100_000, 100_000), (4096, 0, 512), (0, 7000, 7000)])
def test_on_a_gpu(monkeypatch, kept, freed, extra):
    gpu = Allocator(monkeypatch, in_use=2**20)

    def work():
        gpu.take(kept)
        gpu.take(freed)
        gpu.take(-freed)
        return [torch.empty(kept, dtype=torch.uint8)]

    assert peak_extra_gpu_bytes(work, torch.device("cuda")) == extra
