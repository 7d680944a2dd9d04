"""Calls of `kernels/cuda/deform_roi_pool.cu`. The host never waits for the GPU, so all of it can be captured in a CUDA graph."""

import ctypes
from ctypes import c_float, c_int32, c_void_p
from typing import NamedTuple

import torch
from torch import Tensor

from dcnrun.ops.common import cuda_call
from dcnrun.ops.common.cuda_call import BLOCKS_PER_MULTIPROCESSOR, MOST_INT, Team, in_fp32, starts_whole, zero_sums
from dcnrun.ops.common.dispatch import write_gradients
from dcnrun.ops.common.forms import once_a_form
from dcnrun.ops.deform_roi_pool.arguments import Operands
from dcnrun.ops.jit import CudaModule, load_cuda
from dcnrun.ops.jit.build_spec import CUDA_DTYPES

DTYPES = CUDA_DTYPES

# As in kernels/cuda: bins.h and deform_roi_pool.cu.
_MOST_TILE_BINS = 32
_TILE_PIXELS = (4, 8)

_LEAST_THREADS = 8  # of a team, which finds a bin's lines together


class _Pooling(ctypes.Structure):
    """`struct Pooling`. It has addresses only, so the tensors must be kept beside it."""

    _fields_ = (
        *((name, c_void_p) for name in ("input", "output", "grad_output", "grad_input", "rois")),
        *((name, c_void_p) for name in ("offset", "mask", "grad_offset", "grad_mask")),
        *((name, c_float) for name in ("scale", "shift", "gamma")),
        *((name, c_int32) for name in ("sampling_ratio", "aligned", "images", "height", "width", "rois_count")),
        *((name, c_int32) for name in ("channels", "bins_high", "bins_wide", "planes", "groups", "tile_bins")),
    )


def load(dtype: torch.dtype, device: torch.device) -> CudaModule:
    """Return the kernels for tensors of one dtype on one GPU; KernelUnavailable where they can't be had."""
    return load_cuda("deform_roi_pool", dtype, device)


def forward(operands: Operands, output: Tensor) -> None:
    """Write the pooled RoIs of checked operands to `output`."""
    pooled = output if output.is_contiguous() else torch.empty_like(output, memory_format=torch.contiguous_format)
    call = _Call(operands, input=_as_read(operands), output=pooled)
    call.launch_tiles("pool")
    if pooled is not output:
        output.copy_(pooled)


def backward(grad_output: Tensor, operands: Operands, grads: list[Tensor | None]) -> None:
    """Write the gradients of input, offset and mask to those of `grads` that are tensors.

    That of the input is added up by atomic operations, in any order; under `torch.use_deterministic_algorithms` it is
    gathered pixel by pixel in a fixed one. The others are the same bits on every run.
    """
    grad_input, *others = grads
    slopes = [_flat_in_fp32(grad) for grad in others]
    grad_rows = None if grad_input is None else _rows(grad_input, operands.planes)
    sums = None if grad_rows is None else zero_sums(grad_rows)
    in_order = torch.are_deterministic_algorithms_enabled()
    any_slopes = any(slope is not None for slope in slopes)

    call = _Call(
        operands,
        # Without offsets' or masks' gradients the input is not read.
        input=_as_read(operands) if any_slopes else None,
        grad_output=grad_output.permute(0, 2, 3, 1).contiguous(),
        grad_offset=slopes[0],
        grad_mask=slopes[1],
    )
    if sums is not None:
        call.set(grad_input=sums)
    if sums is not None and in_order:
        call.launch_pixels("gather")
        call.set(grad_input=None)
    if any_slopes or (sums is not None and not in_order):
        call.launch_tiles("scatter_gradients")

    write_gradients((grad_rows, *others), (sums, *slopes))


class _Blocks(NamedTuple):
    """The form of blocks, and into how many tiles the bins of a RoI are cut."""

    team: Team
    parts: int
    bins: int  # of a tile


class _Plan(NamedTuple):
    """Everything that follows from the operands' form and the GPU."""

    group_channels: int
    wide: _Blocks | None
    single: _Blocks
    pooling: _Pooling  # to be copied, and given its addresses


class _Call:
    """What the kernels need for one call: its operands as they read them, and the form of their blocks."""

    def __init__(self, operands: Operands, **more: Tensor | None) -> None:
        plan = _plan(operands)
        self.operands, self.group_channels = operands, plan.group_channels
        self.module = load(operands.input.dtype, operands.input.device)
        read = more.get("input"), more.get("grad_output")
        blocks = plan.wide if plan.wide and starts_whole(*read) else plan.single
        self.team, self.parts = blocks.team, blocks.parts
        self.pooling = _Pooling.from_buffer_copy(plan.pooling)
        self.pooling.tile_bins = blocks.bins
        self.tensors: list[Tensor | None] = []  # kept, since a struct has but their addresses
        _, rois, offset, mask, *_ = operands
        self.set(
            rois=_flat(rois),
            offset=None if offset is None else _flat(offset),
            mask=None if mask is None else _flat(mask),
            **more,
        )

    def set(self, **tensors: Tensor | None) -> None:
        """Set the addresses of tensors; None leaves one absent."""
        self.tensors += tensors.values()
        for name, tensor in tensors.items():
            setattr(self.pooling, name, None if tensor is None else tensor.data_ptr())

    def launch_tiles(self, kernel: str) -> None:
        """Launch a kernel with a block for each tile of bins."""
        blocks = self.operands.rois.shape[0] * self.operands.groups * self.parts
        self.module.launch(kernel + self.team.suffix, (blocks, 1, 1), self.team.small_block, self.pooling)

    def launch_pixels(self, kernel: str) -> None:
        """Launch a kernel with a block for each tile of the feature map's pixels."""
        images, _, *sides = self.operands.input.shape
        high, wide = (-(-side // tile) for side, tile in zip(sides, _TILE_PIXELS, strict=True))
        slabs = -(-self.group_channels // self.team.channels)
        blocks = images * high * wide * self.operands.planes * self.operands.groups * slabs
        self.module.launch(kernel + self.team.suffix, (blocks, 1, 1), self.team.small_block, self.pooling)


@once_a_form
def _plan(operands: Operands) -> _Plan:
    images, _, height, width = operands.input.shape
    count, channels, high, wide = operands.output_shape
    groups = operands.groups
    if count * groups * high * wide > MOST_INT:
        raise ValueError(
            f"{count} RoIs of {groups} x {high} x {wide} bins: the CUDA kernels take fewer than 2**31 bins; "
            "set DCNRUN_BACKEND=reference"
        )
    _, multiprocessors = cuda_call.cache_and_multiprocessors(operands.input.device)

    def blocks(access: int) -> _Blocks:
        team = Team.of(access, channels // groups, _LEAST_THREADS)
        parts = _parts(operands, team, multiprocessors)
        return _Blocks(team, parts, -(-operands.bins // parts))

    per_access = cuda_call.channels_of_access(operands.input.dtype)
    return _Plan(
        group_channels=channels // groups,
        wide=blocks(per_access) if channels // groups % per_access == 0 else None,
        single=blocks(1),
        pooling=_Pooling(
            scale=operands.spatial_scale,
            shift=0.5 if operands.aligned else 0.0,
            gamma=operands.gamma,
            sampling_ratio=operands.sampling_ratio,
            aligned=operands.aligned,
            images=images,
            height=height,
            width=width,
            rois_count=count,
            channels=channels,
            bins_high=high,
            bins_wide=wide,
            planes=operands.planes,
            groups=groups,
        ),
    )


def _parts(operands: Operands, team: Team, multiprocessors: int) -> int:
    """Return how many tiles the bins of a RoI are cut into: few enough bins for shared memory, and enough blocks."""
    of_rois = operands.rois.shape[0] * operands.groups
    useful = -(-operands.bins // team.small_block[1])
    return max(
        -(-operands.bins // _MOST_TILE_BINS), min(useful, BLOCKS_PER_MULTIPROCESSOR * multiprocessors // of_rois)
    )


def _rows(features: Tensor, planes: int) -> Tensor:
    """Feature maps (N, C * planes, H, W) seen as rows of channels, (N, H, W, planes, C)."""
    images, channels, height, width = features.shape
    return features.view(images, channels // planes, planes, height, width).permute(0, 3, 4, 2, 1)


def _as_read(operands: Operands) -> Tensor:
    """The input in the order of `_rows`."""
    if operands.position_sensitive:
        return _rows(operands.input, operands.planes).contiguous()
    return operands.input.contiguous(memory_format=torch.channels_last)


def _flat(tensor: Tensor) -> Tensor:
    """Positions and masks as the kernels read them."""
    return in_fp32(tensor).contiguous()


def _flat_in_fp32(grad: Tensor | None) -> Tensor | None:
    """Return memory for the gradients of positions and masks: the gradients themselves if they have its form."""
    if grad is None or (grad.dtype == torch.float32 and grad.is_contiguous()):
        return grad
    return torch.empty(grad.shape, dtype=torch.float32, device=grad.device)
