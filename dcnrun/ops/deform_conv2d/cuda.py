"""Calls of `kernels/cuda/deform_conv2d.cu`: chunks of output pixels, sampled by our kernels and multiplied by cuBLAS.

The columns of a chunk (pixels x sampling points and channels) are written, read and gone again while they are in the L2 cache. The
host never waits for the GPU, so all of it can be captured in a CUDA graph.
"""

import ctypes
from ctypes import c_int32, c_int64, c_uint32, c_void_p
from typing import NamedTuple

import torch
from torch import Tensor

from dcnrun.ops.common import cuda_call
from dcnrun.ops.common.cuda_call import (
    BLOCKS_PER_MULTIPROCESSOR,
    MOST_INT,
    Runs,
    Team,
    View,
    positions,
    room_in_fp32,
    starts_whole,
    sum_in_order,
    view,
    zero_sums,
)
from dcnrun.ops.common.dispatch import write_gradients
from dcnrun.ops.common.forms import once_a_form
from dcnrun.ops.common.shortcuts import as_strided, empty_strided
from dcnrun.ops.deform_conv2d.arguments import Operands
from dcnrun.ops.jit import CudaModule, load_cuda
from dcnrun.ops.jit.build_spec import CUDA_DTYPES

DTYPES = CUDA_DTYPES

# As in kernels/cuda/sampling.h.
_TILE_PIXELS = 32
_MOST_TILE_POINTS = 9
_LEAST_GIVING = 4  # threads of a team that adds up products

# A line of the L1 cache, read in accesses of 16 bytes, keeps so many threads busy. A tile's window on so few channels stays
# in that cache while its sampling points read it, and at most so many threads make as many teams as a tile has pixels.
_MOST_SAMPLING = 8

# What a chunk's columns may fill: 1 would leave no room for the rest, and some 100 makes one chunk of nearly anything.
_SHARE_OF_L2 = 0.8
_MOST_COLUMN_BYTES = 2**28


class _Problem(ctypes.Structure):
    """`struct Problem`. It has addresses only, so the tensors must be kept beside it."""

    _fields_ = [
        *((name, c_void_p) for name in ("input", "columns", "grad_input", "keys", "corner_weights")),
        *((name, View) for name in ("offset", "mask", "grad_offset", "grad_mask")),
        *((name, c_int64 * 2) for name in ("stride", "padding", "dilation")),
        *((name, c_int32) for name in ("channels", "group_channels", "offset_group_channels")),
        *((name, c_uint32) for name in ("input_step", "grad_input_step")),
        *((name, c_int32) for name in ("height", "width", "out_height", "out_width")),
        *((name, c_int32) for name in ("points", "kernel_width", "groups", "offset_groups")),
        *((name, c_int32) for name in ("first_image", "first_pixel", "images", "rows")),
        *((name, c_int32) for name in ("tile_points", "point_parts", "writes_columns")),
    ]


class _Corners(ctypes.Structure):
    """`struct Corners`, with addresses only too."""

    _fields_ = [("problem", _Problem), ("order", c_void_p), ("runs", Runs)]


class _Chunk(NamedTuple):
    """A run of the output pixels of all images."""

    first: int
    rows: int
    first_image: int
    first_pixel: int  # of that image
    images: int

    def address(self, images: Tensor) -> int:
        """Return the address of the chunk's first image in a tensor of all images."""
        return images.data_ptr() + self.first_image * images.stride(0) * images.element_size()


def load(dtype: torch.dtype, device: torch.device) -> CudaModule:
    """Return the kernels for tensors of one dtype on one GPU; KernelUnavailable where they can't be had."""
    return load_cuda("deform_conv2d", dtype, device)


def forward(operands: Operands, output: Tensor) -> None:
    """Write the deformable convolution of checked operands to `output`."""
    call = _Call(operands)
    last = output.is_contiguous(memory_format=torch.channels_last)
    products = output if last else torch.empty_like(output, memory_format=torch.channels_last)
    rows = as_strided(products, *call.plan.rows)
    for chunk in call.chunks:
        _multiply(call.sample(chunk), call.weights, operands.bias, call.part(rows, chunk))
    if products is not output:
        output.copy_(products)


def backward(grad_output: Tensor, operands: Operands, grads: list[Tensor | None]) -> None:
    """Write the gradients of input, offset, weight and mask to those of `grads` that are tensors.

    That of the input is added up by atomic operations, in any order; under `torch.use_deterministic_algorithms` in a
    fixed one, from sorted lists of what is added to each pixel. All others are the same bits on every run.
    """
    grad_input, grad_offset, grad_weight, grad_mask = grads
    call = _Call(operands)
    weights = call.weights.mT
    grad_rows = None if grad_input is None else grad_input.permute(0, 2, 3, 1)
    input_sums = None if grad_rows is None else zero_sums(grad_rows)
    slopes = room_in_fp32(grad_offset), room_in_fp32(grad_mask)
    call.want(*slopes, columns=grad_weight is not None)
    in_order = torch.are_deterministic_algorithms_enabled()
    atomic_sums = None if in_order else input_sums
    any_slopes = grad_offset is not None or grad_mask is not None

    rows = as_strided(grad_output.contiguous(memory_format=torch.channels_last), *call.plan.rows)
    weight_sums = None
    for chunk in call.chunks:
        chunk_grad = call.part(rows, chunk)
        if input_sums is None and not any_slopes:
            columns = call.sample(chunk)
        else:
            columns = call.columns_of(chunk)
            _multiply(chunk_grad, weights, None, columns)
            if in_order and input_sums is not None:
                call.scatter_gradients_in_order(chunk, input_sums)
            if any_slopes or atomic_sums is not None or grad_weight is not None:
                call.scatter_gradients(chunk, atomic_sums)
        if grad_weight is not None:
            product = _product_in_fp32(chunk_grad.mT, columns)
            weight_sums = product if weight_sums is None else weight_sums.add_(product)

    write_gradients((grad_rows, grad_offset, grad_mask), (input_sums, *slopes))
    if grad_weight is not None and weight_sums is not None:
        last = grad_weight.permute(0, 2, 3, 1)
        last.copy_(weight_sums.view(last.shape))


class _Teams(NamedTuple):
    """The threads that work together on a row of channels, for all kernels of one width."""

    sampling: Team
    giving: Team
    summing: Team

    @classmethod
    def of(cls, width: int, channels: int) -> "_Teams":
        """Make all teams with accesses of `width` channels."""
        giving = Team.of(width, channels, _LEAST_GIVING, _MOST_SAMPLING)
        return cls(Team.of(width, channels, most=_MOST_SAMPLING), giving, Team.of(width, channels))


# Shape and strides of matrices in a channels-last tensor.
_Matrices = tuple[tuple[int, ...], tuple[int, ...]]


class _Plan(NamedTuple):
    """Everything that follows from the operands' form and the GPU."""

    as_read: bool  # whether the operands are as the kernels read them
    chunks: tuple[_Chunk, ...]
    columns: _Matrices  # of the largest chunk
    rows: _Matrices  # of the output
    weights: _Matrices
    row_channels: int  # of a row of the input or of its gradient: one offset group of a pixel
    image_rows: int
    image_bytes: int  # of the input
    kinds: int
    tile_parts: int
    wide: _Teams | None
    single: _Teams
    problem: _Problem  # of the first chunk; to be copied, and given its addresses


class _Call:
    """What the kernels need for one call: its operands as they read them, its chunks, and room for a chunk's columns."""

    def __init__(self, operands: Operands) -> None:
        self.plan = plan = _plan(operands)
        self.chunks = plan.chunks
        input, offset, weight, mask = operands.input, operands.offset, operands.weight, operands.mask
        self.module = load(input.dtype, input.device)
        if not plan.as_read:
            input, weight = (each.contiguous(memory_format=torch.channels_last) for each in (input, weight))
            offset, mask = positions(offset, mask)
        self.weights = as_strided(weight, *plan.weights)  # transposed
        self.columns = empty_strided(input, *plan.columns)
        self.read = input, offset, mask  # kept, since a struct has addresses only
        self.address = input.data_ptr()
        self.teams = plan.wide if plan.wide and starts_whole(input) else plan.single
        self.problem = problem = _Problem.from_buffer_copy(plan.problem)
        problem.input, problem.columns, problem.offset.data = self.address, self.columns.data_ptr(), offset.data_ptr()
        if mask is not None:
            problem.mask.data = mask.data_ptr()

    def want(self, grad_offset: Tensor | None, grad_mask: Tensor | None, columns: bool) -> None:
        """What `scatter_gradients` writes beside the input's gradient."""
        self.problem.grad_offset, self.problem.grad_mask = view(grad_offset), view(grad_mask)
        self.problem.writes_columns = columns

    def part(self, rows: Tensor, chunk: _Chunk) -> Tensor:
        """The chunk's part of matrices with all rows."""
        return rows if len(self.chunks) == 1 else rows.narrow(-2, chunk.first, chunk.rows)

    def columns_of(self, chunk: _Chunk) -> Tensor:
        """Room for the chunk's columns, as matrices: (groups, rows, sampling points and channels of a group)."""
        largest = chunk.rows == self.chunks[0].rows
        return self.columns if largest else self.columns.narrow(-2, 0, chunk.rows)

    def sample(self, chunk: _Chunk) -> Tensor:
        """The chunk's columns."""
        team = self.teams.sampling
        self._launch_tiles("sample_columns" + team.suffix, team, chunk)
        return self.columns_of(chunk)

    def scatter_gradients(self, chunk: _Chunk, input_sums: Tensor | None) -> None:
        """Turn the columns' gradient into what is wanted: other gradients, and the columns themselves."""
        self.problem.grad_input = None if input_sums is None else chunk.address(input_sums)
        team = self.teams.giving
        self._launch_tiles("scatter_gradients" + team.suffix, team, chunk)

    def scatter_gradients_in_order(self, chunk: _Chunk, input_sums: Tensor) -> None:
        """Add the columns' gradient to the input's: sorted by pixel, and what is added to one pixel in the order of the rows."""
        count = 4 * chunk.rows * self.plan.kinds
        keys = torch.empty(count, dtype=torch.int32, device=input_sums.device)
        weights = torch.empty(count, dtype=torch.float32, device=input_sums.device)
        self.problem.keys, self.problem.corner_weights = keys.data_ptr(), weights.data_ptr()
        self._launch_tiles("list_corners", self.teams.sampling, chunk)
        corners = _Corners(problem=self.problem)
        corners.runs.outside = chunk.images * self.plan.image_rows
        corners.runs.row_channels = self.plan.row_channels
        corners.runs.sums = chunk.address(input_sums)
        sum_in_order(self.module, self.teams.summing, corners, keys)

    def _launch_tiles(self, kernel: str, team: Team, chunk: _Chunk) -> None:
        problem = self.problem
        if chunk.first:  # of the plan's problem it is 0
            problem.input = self.address + chunk.first_image * self.plan.image_bytes
            _, problem.rows, problem.first_image, problem.first_pixel, problem.images = chunk
        blocks = -(-chunk.rows // _TILE_PIXELS) * self.plan.tile_parts
        self.module.launch(kernel, (blocks, 1, 1), team.block, problem)


@once_a_form
def _plan(operands: Operands) -> _Plan:
    dtype, groups, offset_groups = operands.input.dtype, operands.groups, operands.offset_groups
    batch, channels, height, width = operands.input.shape
    out_channels, group_channels, kernel_height, kernel_width = operands.weight.shape
    out_height, out_width = operands.offset.shape[2:]
    points = kernel_height * kernel_width
    row_channels, image_rows, kinds = channels // offset_groups, height * width * offset_groups, points * offset_groups
    if max(image_rows, out_height * out_width) > MOST_INT:
        raise ValueError(
            f"input of {height}x{width} with {offset_groups} offset groups and output of {out_height}x{out_width}: the "
            "CUDA kernels take feature maps of fewer than 2**31 pixels, times offset groups; set DCNRUN_BACKEND=torchvision"
        )
    l2_bytes, multiprocessors = cuda_call.cache_and_multiprocessors(operands.input.device)
    row_bytes = points * channels * dtype.itemsize
    chunks = _chunks(batch, out_height * out_width, row_bytes, l2_bytes, MOST_INT // image_rows)
    _, rows, _, _, images = chunks[0]
    tile_points = _tile_points(points, -(-rows // _TILE_PIXELS) * offset_groups, multiprocessors)
    point_parts = -(-points // tile_points)
    per_access = cuda_call.channels_of_access(dtype)
    divides = row_channels % per_access == 0 and group_channels % per_access == 0
    offset, mask = map(view, positions(operands.offset, operands.mask))
    last = torch.channels_last
    as_last = operands.input.is_contiguous(memory_format=last) and operands.weight.is_contiguous(memory_format=last)
    return _Plan(
        as_read=as_last
        and all(each is None or each.dtype is torch.float32 for each in (operands.offset, operands.mask)),
        chunks=chunks,
        columns=_rows_of(points * channels, rows, groups),
        rows=_rows_of(out_channels, batch * out_height * out_width, groups),
        weights=_transposed_weights(out_channels, points * group_channels, groups),
        row_channels=row_channels,
        image_rows=image_rows,
        image_bytes=height * width * channels * dtype.itemsize,
        kinds=kinds,
        tile_parts=offset_groups * point_parts,
        wide=_Teams.of(per_access, row_channels) if divides else None,
        single=_Teams.of(1, row_channels),
        problem=_Problem(
            offset=offset,
            mask=mask,
            stride=tuple(operands.stride),
            padding=tuple(operands.padding),
            dilation=tuple(operands.dilation),
            channels=channels,
            group_channels=group_channels,
            offset_group_channels=row_channels,
            input_step=channels * dtype.itemsize,
            grad_input_step=channels * torch.float32.itemsize,
            height=height,
            width=width,
            out_height=out_height,
            out_width=out_width,
            points=points,
            kernel_width=kernel_width,
            groups=groups,
            offset_groups=offset_groups,
            images=images,
            rows=rows,
            tile_points=tile_points,
            point_parts=point_parts,
        ),
    )


def _chunks(batch: int, out_pixels: int, row_bytes: int, l2_bytes: int, most_images: int) -> tuple[_Chunk, ...]:
    """Some whole images, whose columns fit in the L2 cache; parts of one where its columns take too much memory."""
    image_bytes = out_pixels * row_bytes
    if image_bytes > _MOST_COLUMN_BYTES:
        rows = _largest_part(out_pixels, max(1, _MOST_COLUMN_BYTES // row_bytes))
        return tuple(
            _Chunk(image * out_pixels + pixel, min(rows, out_pixels - pixel), image, pixel, 1)
            for image in range(batch)
            for pixel in range(0, out_pixels, rows)
        )
    fitting = min(int(_SHARE_OF_L2 * l2_bytes), _MOST_COLUMN_BYTES) // image_bytes
    images = _largest_part(batch, max(1, min(fitting, most_images)))
    return tuple(
        _Chunk(image * out_pixels, min(images, batch - image) * out_pixels, image, 0, min(images, batch - image))
        for image in range(0, batch, images)
    )


def _largest_part(whole: int, most: int) -> int:
    """The size of the parts, all but the last, when as few as can be of at most this size are about equal."""
    return -(-whole // -(-whole // most))


def _tile_points(points: int, tiles: int, multiprocessors: int) -> int:
    """Return how many sampling points a block works on: few enough for shared memory, and for enough blocks."""
    parts = max(-(-points // _MOST_TILE_POINTS), min(points, BLOCKS_PER_MULTIPROCESSOR * multiprocessors // tiles))
    return -(-points // parts)


# Matrices are plain ones where the weight has one group, and one for each group in a batch where it has more. They are made
# from dense channels-last tensors in a single step, since each takes a microsecond.


def _rows_of(channels: int, rows: int, groups: int) -> _Matrices:
    """Feature maps as matrices: (N x H x W, channels)."""
    part = channels // groups
    return ((rows, channels), (channels, 1)) if groups == 1 else ((groups, rows, part), (part, channels, 1))


def _transposed_weights(out_channels: int, size: int, groups: int) -> _Matrices:
    """The weights as matrices: (sampling points and channels of a group, Co)."""
    part = out_channels // groups
    return ((size, out_channels), (1, size)) if groups == 1 else ((groups, size, part), (part * size, 1, size))


def _multiply(left: Tensor, right: Tensor, bias: Tensor | None, out: Tensor) -> None:
    """Write the products of matrices, plus a bias for each column of all groups."""
    if left.ndim == 2:
        if bias is None:
            torch.mm(left, right, out=out)
        else:
            torch.addmm(bias, left, right, out=out)
    elif bias is None:
        torch.bmm(left, right, out=out)
    else:
        torch.baddbmm(bias.view(len(out), 1, -1), left, right, out=out)


def _product_in_fp32(left: Tensor, right: Tensor) -> Tensor:
    """Products that are not rounded to half precision, since they are added up."""
    multiply = torch.mm if left.ndim == 2 else torch.bmm
    if left.dtype == torch.float32:
        return multiply(left, right)
    return multiply(left, right, out_dtype=torch.float32)
