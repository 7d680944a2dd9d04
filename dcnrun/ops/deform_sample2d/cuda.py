"""Calls of `kernels/cuda/deform_sample2d.cu`. The host never waits for the GPU, so all of it can be captured in a CUDA graph."""

import ctypes
from collections.abc import Iterator
from ctypes import c_float, c_int32, c_int64, c_uint32, c_void_p
from typing import NamedTuple

import torch
from torch import Tensor

from dcnrun.ops.common.cuda_call import (
    MOST_INT,
    Runs,
    Team,
    View,
    channels_of_access,
    positions,
    room_in_fp32,
    starts_whole,
    sum_in_order,
    view,
    zero_sums,
)
from dcnrun.ops.common.dispatch import write_gradients
from dcnrun.ops.common.forms import once_a_form
from dcnrun.ops.deform_sample2d.arguments import Operands
from dcnrun.ops.jit import CudaModule, load_cuda
from dcnrun.ops.jit.build_spec import CUDA_DTYPES

DTYPES = CUDA_DTYPES

# As in kernels/cuda/grid.h.
_MOST_TILE_PIXELS = 64
_TILE_SAMPLES = 288

_LEAST_GIVING = 4  # threads of a team that adds up products
_MOST_SAMPLING = 8  # threads that read a line of the L1 cache
_MOST_CORNERS = 2**24  # that are sorted at once, where images and groups can be taken one after another


class _Sampling(ctypes.Structure):
    """`struct Sampling`. It has addresses only, so the tensors must be kept beside it."""

    _fields_ = (
        *((name, c_void_p) for name in ("input", "grad_output", "output", "grad_input", "keys", "corner_weights")),
        *((name, View) for name in ("offset", "mask", "grad_offset", "grad_mask")),
        *((name, c_int64 * 2) for name in ("stride", "padding", "dilation")),
        ("offset_scale", c_float),
        ("center", c_float * 2),
        *((name, c_int32) for name in ("channels", "group_channels")),
        *((name, c_uint32) for name in ("input_step", "grad_input_step")),
        *((name, c_int32) for name in ("height", "width", "out_height", "out_width")),
        *((name, c_int32) for name in ("points", "kernel_width", "left_out", "groups", "softmax")),
        *((name, c_int32) for name in ("first_image", "first_group", "launched_groups", "tile_points")),
    )


class _Corners(ctypes.Structure):
    """`struct Corners`, with addresses only too."""

    _fields_ = (("sampling", _Sampling), ("order", c_void_p), ("runs", Runs))


class _Part(NamedTuple):
    """What one launch is for: all groups of some images, or some groups of one."""

    first_image: int
    images: int
    first_group: int
    groups: int


def load(dtype: torch.dtype, device: torch.device) -> CudaModule:
    """Return the kernels for tensors of one dtype on one GPU; KernelUnavailable where they can't be had."""
    return load_cuda("deform_sample2d", dtype, device)


def forward(operands: Operands, output: Tensor) -> None:
    """Write the deformable sampling of checked operands to `output`."""
    last = output.is_contiguous(memory_format=torch.channels_last)
    sums = output if last else torch.empty_like(output, memory_format=torch.channels_last)
    call = _Call(operands, input=_rows(operands.input), output=sums)
    call.launch("sum_samples", call.team(_MOST_SAMPLING), call.whole)
    if sums is not output:
        output.copy_(sums)


def backward(grad_output: Tensor, operands: Operands, grads: list[Tensor | None]) -> None:
    """Write the gradients of input, offset and mask to those of `grads` that are tensors.

    That of the input is added up by atomic operations, in any order; under `torch.use_deterministic_algorithms` in a
    fixed one, from sorted lists of what is added to each pixel. The others are the same bits on every run.
    """
    grad_input, *others = grads
    grad_rows = None if grad_input is None else grad_input.permute(0, 2, 3, 1)
    sums = None if grad_rows is None else zero_sums(grad_rows)
    slopes = [room_in_fp32(grad) for grad in others]
    any_slopes = any(slope is not None for slope in slopes)
    call = _Call(operands, input=_rows(operands.input) if any_slopes else None, grad_output=_rows(grad_output))
    call.sampling.grad_offset, call.sampling.grad_mask = map(view, slopes)
    if sums is not None and torch.are_deterministic_algorithms_enabled():
        for part in call.parts():
            call.add_in_order(part, sums)
    elif sums is not None:
        call.set(grad_input=sums)
    if any_slopes or call.sampling.grad_input:
        call.launch("scatter_gradients", call.team(_MOST_SAMPLING, _LEAST_GIVING), call.whole)
    write_gradients((grad_rows, *others), (sums, *slopes))


class _Plan(NamedTuple):
    """Everything that follows from the operands' form."""

    width: int  # channels of a wide access; 1 where a group is not made of such
    group_channels: int
    out_pixels: int
    whole: _Part
    sampling: _Sampling  # to be copied, and given its addresses


class _Call:
    """What the kernels need for one call: its operands as they read them."""

    def __init__(self, operands: Operands, **more: Tensor | None) -> None:
        self.operands, self.plan = operands, _plan(operands)
        _, self.group_channels, self.out_pixels, self.whole, sampling = self.plan
        self.module = load(operands.input.dtype, operands.input.device)
        self.width = self.plan.width if starts_whole(*more.values()) else 1
        self.positions = offset, mask = positions(operands.offset, operands.mask)
        self.sampling = _Sampling.from_buffer_copy(sampling)
        self.sampling.offset.data = offset.data_ptr()
        if mask is not None:
            self.sampling.mask.data = mask.data_ptr()
        self.tensors: list[Tensor | None] = []  # kept, since a struct has but their addresses
        self.set(**more)

    def set(self, **tensors: Tensor | None) -> None:
        """Set the addresses of tensors; None leaves one absent."""
        self.tensors += tensors.values()
        for name, tensor in tensors.items():
            setattr(self.sampling, name, None if tensor is None else tensor.data_ptr())

    def team(self, most: int, least: int = 1) -> Team:
        """Return the threads that work on a row of channels."""
        return Team.of(self.width, self.group_channels, least, most)

    def launch(self, kernel: str, team: Team, part: _Part, suffix: str | None = None) -> None:
        """Launch a kernel with a block for each tile of output pixels."""
        threads, teams, _ = team.block
        pixels = min(teams, _MOST_TILE_PIXELS)
        self.sampling.first_image, _, self.sampling.first_group, self.sampling.launched_groups = part
        self.sampling.tile_points = _tile_points(self.operands.points, pixels)
        blocks = part.images * part.groups * -(-self.out_pixels // pixels)
        name = kernel + (team.suffix if suffix is None else suffix)
        self.module.launch(name, (blocks, 1, 1), (threads, pixels, 1), self.sampling)

    def parts(self) -> Iterator[_Part]:
        """Cut what has too many corners to sort them at once."""
        batch, groups = self.operands.input.shape[0], self.operands.groups
        of_group = 4 * self.operands.points * self.out_pixels
        keys = self.sampling.height * self.sampling.width * groups
        fitting = max(1, _MOST_CORNERS // of_group)
        if fitting < groups:
            for image in range(batch):
                for group in range(0, groups, fitting):
                    yield _Part(image, 1, group, min(fitting, groups - group))
            return
        images = max(1, min(fitting // groups, MOST_INT // keys))
        for image in range(0, batch, images):
            yield _Part(image, min(images, batch - image), 0, groups)

    def add_in_order(self, part: _Part, sums: Tensor) -> None:
        """Add to the input's gradient what a part gives: sorted by pixel, and to one pixel in the order of the output's pixels."""
        sampling, device = self.sampling, sums.device
        count = 4 * part.images * part.groups * self.operands.points * self.out_pixels
        keys = torch.empty(count, dtype=torch.int32, device=device)
        self.set(keys=keys, corner_weights=torch.empty(count, dtype=torch.float32, device=device))
        self.launch("list_corners", self.team(_MOST_SAMPLING), part, suffix="")
        corners = _Corners(sampling=sampling)
        corners.runs.outside = part.images * sampling.height * sampling.width * sampling.groups
        corners.runs.row_channels = self.group_channels
        corners.runs.sums = sums[part.first_image].data_ptr()
        sum_in_order(self.module, Team.of(self.width, self.group_channels), corners, keys)


@once_a_form
def _plan(operands: Operands) -> _Plan:
    batch, channels, height, width = operands.input.shape
    out_height, out_width = operands.offset.shape[2:]
    kernel, stride, padding, dilation, offset_scale, softmax, remove_center = operands.settings
    dtype, groups, points = operands.input.dtype, operands.groups, operands.points
    group_channels, out_pixels = channels // groups, out_height * out_width
    if max(batch * groups * out_pixels, 4 * out_pixels * points, height * width * groups) > MOST_INT:
        raise ValueError(
            f"{batch} images of {height}x{width} with {groups} groups and an output of {out_height}x{out_width}: the CUDA "
            "kernels take fewer than 2**31 output pixels, times groups, or a quarter times sampling points; set DCNRUN_BACKEND=reference"
        )
    offset, mask = map(view, positions(operands.offset, operands.mask))
    wide = channels_of_access(dtype)
    return _Plan(
        width=wide if group_channels % wide == 0 else 1,
        group_channels=group_channels,
        out_pixels=out_pixels,
        whole=_Part(0, batch, 0, groups),
        sampling=_Sampling(
            offset=offset,
            mask=mask,
            stride=tuple(stride),
            padding=tuple(padding),
            dilation=tuple(dilation),
            offset_scale=offset_scale,
            center=tuple(float(dilation[axis] * (kernel[axis] - 1) // 2) for axis in (0, 1)),
            channels=channels,
            group_channels=group_channels,
            input_step=channels * dtype.itemsize,
            grad_input_step=channels * torch.float32.itemsize,
            height=height,
            width=width,
            out_height=out_height,
            out_width=out_width,
            points=points,
            kernel_width=kernel[1],
            left_out=kernel[0] * kernel[1] // 2 if remove_center else points,
            groups=groups,
            softmax=softmax,
        ),
    )


def _tile_points(points: int, pixels: int) -> int:
    """Return how many sampling points of so many pixels are placed at a time: about as many each time, for all of them."""
    return -(-points // -(-points // (_TILE_SAMPLES // pixels)))


def _rows(features: Tensor) -> Tensor:
    """Feature maps as the kernels read them."""
    return features.contiguous(memory_format=torch.channels_last)
