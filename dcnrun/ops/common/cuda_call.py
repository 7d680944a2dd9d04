"""What the calls of all CUDA kernels share: how blocks are formed, how tensors are told, and where fp32 sums are kept."""

import ctypes
import functools
from ctypes import c_int32, c_int64, c_void_p
from typing import Any, NamedTuple

import torch
from torch import Tensor

from dcnrun.ops.jit import CudaModule

# As in kernels/cuda: team.h and runs.h.
THREADS = 256
MOST_TEAMS = 16
SEGMENT = 64

MOST_INT = 2**31 - 1
BLOCKS_PER_MULTIPROCESSOR = 4  # at least, where there is so much to do
_WARP = 32
_BYTES_OF_ACCESS = 16


class Team(NamedTuple):
    """Threads that take neighbouring channels: as many as a row of channels keeps busy, from `least` to `most`."""

    threads: int
    channels: int
    suffix: str  # of the kernels for accesses of this width
    block: tuple[int, int, int]  # the form of a full block
    small_block: tuple[int, int, int]  # that of a block whose teams have shared memory of their own

    @classmethod
    @functools.cache
    def of(cls, width: int, row_channels: int, least: int = 1, most: int = _WARP) -> "Team":
        """Make a team with accesses of `width` channels: 16 bytes, or one channel, which fits all shapes and addresses."""
        busy = 1 << (-(-row_channels // width) - 1).bit_length()
        threads = min(most, max(least, busy))
        suffix, teams = "_single" if width == 1 else "_wide", THREADS // threads
        return cls(threads, threads * width, suffix, (threads, teams, 1), (threads, min(MOST_TEAMS, teams), 1))


def channels_of_access(dtype: torch.dtype) -> int:
    """Return how many channels fit in one wide access."""
    return _BYTES_OF_ACCESS // dtype.itemsize


def starts_whole(*tensors: Tensor | None) -> bool:
    """Whether wide accesses may begin at their first elements."""
    for tensor in tensors:  # noqa: SIM110 (any() takes twice as long)
        if tensor is not None and tensor.data_ptr() % _BYTES_OF_ACCESS:
            return False
    return True


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


class View(ctypes.Structure):
    """`struct View`: a tensor's memory and its strides in elements; no data where the tensor is absent."""

    _fields_ = (("data", c_void_p), *((name, c_int64) for name in ("image", "channel", "row", "column")))


def view(tensor: Tensor | None) -> View:
    """Return what a kernel is told of positions, masks or their gradients. It has the address only: keep the tensor."""
    return View() if tensor is None else View(tensor.data_ptr(), *tensor.stride())


def positions(offset: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Return offsets and masks as kernels read them, in fp32 with any strides."""
    return in_fp32(offset), None if mask is None else in_fp32(mask)


def in_fp32(tensor: Tensor) -> Tensor:
    """Return a tensor, converted if it is of another dtype."""
    return tensor if tensor.dtype is torch.float32 else tensor.float()


def room_in_fp32(grad: Tensor | None) -> Tensor | None:
    """Return memory for the gradients of positions and masks: the gradients themselves if they are fp32."""
    if grad is None or grad.dtype == torch.float32:
        return grad
    return torch.empty_like(grad, dtype=torch.float32)


class Runs(ctypes.Structure):
    """`struct Runs`: sorted entries, of which those with one key are added up, with addresses only too."""

    _fields_ = (
        *((name, c_void_p) for name in ("keys", "rows", "next_keys", "next_rows", "sums")),
        *((name, c_int32) for name in ("count", "outside", "row_channels")),
    )


def sum_in_order(module: CudaModule, team: Team, corners: Any, keys: Tensor) -> None:
    """Add up rows of channels that go to the same place, without atomics: the same bits on every run.

    Args:
        module: has the kernels `sum_corners` and `sum_partials`, of both widths.
        team: works on a row.
        corners: the structure that `sum_corners` takes. Of its `runs`, what is common to all levels is filled in.
        keys: for each entry, in the order that `corners` knows them by, where its row goes.
    """
    keys, order = torch.sort(keys, stable=True)
    corners.order, runs = order.data_ptr(), corners.runs
    kernel, parameters, rows = "sum_corners", corners, None
    while True:
        segments = -(-len(keys) // SEGMENT)
        runs.keys, runs.count, runs.rows = keys.data_ptr(), len(keys), None if rows is None else rows.data_ptr()
        grid = -(-segments // team.small_block[1]), -(-runs.row_channels // team.channels), 1
        if segments == 1:
            runs.next_keys = runs.next_rows = None
            module.launch(kernel + team.suffix, grid, team.small_block, parameters)
            return
        next_keys = keys.new_empty(2 * segments)
        next_rows = torch.empty(2 * segments, runs.row_channels, dtype=torch.float32, device=keys.device)
        runs.next_keys, runs.next_rows = next_keys.data_ptr(), next_rows.data_ptr()
        module.launch(kernel + team.suffix, grid, team.small_block, parameters)
        kernel, parameters, keys, rows = "sum_partials", runs, next_keys, next_rows
