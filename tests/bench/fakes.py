"""Works of known size, for processes that are started to measure them; works of known time for a GPU that is not there."""

import torch

from dcnrun.bench.memory import peak_extra_bytes

MIB = 2**20


def allocate_and_free(mib):
    """Touch some MiB, leave nothing."""
    bytes(bytearray(mib * MIB // 2))
    return []


def allocate_and_return(mib):
    return [torch.ones(mib * MIB // 4)]


def allocate_more_than_returned(mib):
    """As much again beside the result."""
    beside = torch.ones(mib * MIB // 4)
    return [beside + 1]


def peak(work, mib):
    work(1)  # loads what torch is made of
    return peak_extra_bytes(lambda: work(mib))


class Gpu:
    """One that is not there: what takes how long on it, and when the host waits for it.

    Every event comes some milliseconds later than all before it, whatever was done between them.
    """

    def __init__(self, event_milliseconds=0.0):
        self.event_milliseconds = event_milliseconds
        self.milliseconds, self.calls, self.waited_after = 0.0, 0, []

    def work(self, milliseconds, first=0.0):
        """A work of so many milliseconds, and some more at its first call."""
        more = [first]

        def work():
            self.milliseconds += milliseconds + (more.pop() if more else 0.0)
            self.calls += 1

        return work

    def synchronize(self):
        self.waited_after.append(self.calls)

    def event(self):
        return _Event(self)


class _Event:
    """As torch.cuda.Event: its time is known once the host has waited for it."""

    def __init__(self, gpu):
        self.gpu, self.at = gpu, None

    def record(self):
        self.gpu.milliseconds += self.gpu.event_milliseconds
        self.at = self.gpu.milliseconds

    def synchronize(self):
        assert self.at is not None
        self.gpu.synchronize()
        self.waited_for = True

    def elapsed_time(self, end):
        assert end.waited_for
        return end.at - self.at
