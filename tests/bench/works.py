"""Works of known size, for processes that are started to measure them."""

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
