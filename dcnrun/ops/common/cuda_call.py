"""What the calls of all CUDA kernels share: how blocks are formed, and where fp32 sums are kept."""

import functools
from typing import NamedTuple

import torch
from torch import Tensor

# As in kernels/cuda/team.h.
THREADS = 256
MOST_TEAMS = 16

MOST_INT = 2**31 - 1
BLOCKS_PER_MULTIPROCESSOR = 4  # at least, where there is so much to do
_WARP = 32
_BYTES_OF_ACCESS = 16


class Team(NamedTuple):
    """Threads that take neighbouring channels: as many as a row of channels keeps busy, from `least` to `most`."""

    threads: int
    channels: int
    suffix: str  # of the kernels for accesses of this width

    @classmethod
    def of(cls, width: int, row_channels: int, least: int = 1, most: int = _WARP) -> "Team":
        """Make a team with accesses of `width` channels: 16 bytes, or one channel, which fits all shapes and addresses."""
        busy = 1 << (-(-row_channels // width) - 1).bit_length()
        threads = min(most, max(least, busy))
        return cls(threads, threads * width, "_single" if width == 1 else "_wide")

    @property
    def block(self) -> tuple[int, int, int]:
        """The form of a full block."""
        return self.threads, THREADS // self.threads, 1

    @property
    def small_block(self) -> tuple[int, int, int]:
        """The form of a block whose teams have shared memory of their own."""
        return self.threads, min(MOST_TEAMS, THREADS // self.threads), 1


def channels_of_access(dtype: torch.dtype) -> int:
    """Return how many channels fit in one wide access."""
    return _BYTES_OF_ACCESS // dtype.itemsize


def starts_whole(*tensors: Tensor | None) -> bool:
    """Whether wide accesses may begin at their first elements."""
    return all(tensor is None or tensor.data_ptr() % _BYTES_OF_ACCESS == 0 for tensor in tensors)


def zero_sums(rows: Tensor) -> Tensor:
    """Return zeros in fp32 to add up a gradient in, seen as rows of channels: the gradient itself where it is fp32."""
    if rows.dtype == torch.float32 and rows.is_contiguous():
        return rows.zero_()
    return torch.zeros(rows.shape, dtype=torch.float32, device=rows.device)


@functools.cache
def cache_and_multiprocessors(device: torch.device) -> tuple[int, int]:
    """Return the size of the GPU's L2 cache in bytes, and how many multiprocessors it has."""
    properties = torch.cuda.get_device_properties(device)
    return properties.L2_cache_size, properties.multi_processor_count
