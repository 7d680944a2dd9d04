"""Proofs of kernels that are emulated on the CPU, among them wrong ones: copies of the sources with a fault in each."""

import shutil
from dataclasses import dataclass

import pytest
import torch

from dcnrun.ops.deform_conv2d import cuda as conv_cuda
from dcnrun.ops.proof.child import subject_of
from dcnrun.ops.proof.prove import prove
from dcnrun.resources import resource_dir
from tests.ops.cuda_emulation.conftest import EmulatedGpu

CPU = torch.device("cpu")
CONV, ROI, SAMPLE = "deform_conv2d", "deform_roi_pool", "deform_sample2d"


@dataclass(frozen=True)
class Fault:
    """A wrong kernel: in a file of kernels/cuda, `right` is replaced by `wrong`. Without a file it is a wrong call."""

    name: str
    operator: str
    file: str
    right: str
    wrong: str
    dtype: torch.dtype = torch.float32
    architecture: int = 900


_ADD = "for (int i = 0; i < kWidth; i++) atomicAdd(to + i, addend.value[i]);"
_LOSE = "static unsigned added = 0;\n        for (int i = 0; i < kWidth; i++) if (++added % 1009) atomicAdd(to + i, addend.value[i]);"

FAULTS = (
    Fault("the border a pixel too early", CONV, "bilinear.h", "y <= -1 ||", "y < 0 ||"),
    Fault("the last row taken for outside", CONV, "bilinear.h", "row >= -1 && row < height - 1", "row >= -1 && row < height - 2"),
    Fault("all groups read the offsets of the first", CONV, "sampling.h", "offset_group(tile.offset_group)", "offset_group(0)"),
    Fault("x and y swapped", CONV, "sampling.h", "y += index.in(problem, problem.offset, 2, 0)", "y += index.in(problem, problem.offset, 2, 1)"),
    Fault("x and y of gradients swapped", CONV, "deform_conv2d.cu", "problem.grad_offset, 2, 0) = slopes.y", "problem.grad_offset, 2, 0) = slopes.x"),
    Fault("a race: slopes written before all threads have added", CONV, "deform_conv2d.cu", "    if (writes_slopes) {\n        __syncthreads();", "    if (writes_slopes) {"),
    Fault("a race in the sum: one in 1009 additions is lost", CONV, "channels.h", _ADD, _LOSE, architecture=800),
    Fault("a stale cache: arguments in an earlier order", CONV, "problem.h", "int height, width, out_height", "int width, height, out_height"),
    Fault("no number becomes zero", CONV, "bilinear.h", "down = y - top, right = x - left", "down = number ? y - top : 0, right = number ? x - left : 0"),
    Fault("the mask ignored", CONV, "sampling.h", "problem.mask.data ? index.in(problem, problem.mask, 1, 0) : 1", "1"),
    Fault("the stride of the other axis", CONV, "sampling.h", "index.y * problem.stride[0]", "index.y * problem.stride[1]"),
    Fault("the dilation of the other axis", CONV, "sampling.h", "% kernel_width * problem.dilation[1]", "% kernel_width * problem.dilation[0]"),
    Fault("sums begin with what memory holds", CONV, "deform_conv2d.cu", "sum = slice ? sum + product : product;", "sum = sum + product;"),
    Fault("gradients added to what memory holds", CONV, "", "zero_sums", "empty_sums"),
    Fault("the last channel lost", CONV, "deform_conv2d.cu", "c < problem.offset_group_channels; c += step, input", "c < problem.offset_group_channels - 1; c += step, input"),
    Fault("the last sampling point of later parts lost", CONV, "sampling.h", "return points * kTilePixels;", "return (points - (first_point > 0)) * kTilePixels;"),
    Fault("strides of memory ignored", CONV, "sampling.h", "x * view.column", "x"),
    Fault("later chunks read the first images' offsets", CONV, "sampling.h", "(problem.first_image + image) * view.image", "image * view.image"),
    Fault("parts of a sum overwrite each other", CONV, "runs.h", "next_row(crosses_start ? 0 : 1), sum)", "next_row(1), sum)"),
    Fault("channels of half precision exchanged the wrong way", CONV, "channels.h", "odd ? low : high, 1)", "odd ? high : low, 1)", torch.float16),
    Fault("sampling points at the start of their step", ROI, "bins.h", "skipped + i + 0.5f", "skipped + i"),
    Fault("as many points as pixels, rounded down", ROI, "bins.h", "fmaxf(ceilf(length), 0)", "fmaxf(floorf(length), 0)"),
    Fault("images that are not there taken for the first", ROI, "bins.h", "(int)corners[0] : -1", "(int)corners[0] : 0"),
    Fault("offsets of the first group", ROI, "bins.h", "pooling.offset_at(roi, group, along, bin)", "pooling.offset_at(roi, 0, along, bin)"),
    Fault("the plane of the first bin", ROI, "bins.h", "planes == 1 ? 0 : bin;", "0;"),
    Fault("gathered gradients without the mask", ROI, "deform_roi_pool.cu", "row * column * contributors.bins[i].factor", "row * column * contributors.bins[i].weight"),
    Fault("a softmax's gradient without its mean", SAMPLE, "deform_sample2d.cu", "(grad - mean);", "grad;"),
    Fault("the centre not left out", SAMPLE, "grid.h", "point + (point >= sampling.left_out)", "point"),
    Fault("offsets not scaled in the gradient", SAMPLE, "deform_sample2d.cu", "slopes.y * sampling.offset_scale", "slopes.y"),
    Fault("sums kept in half precision", SAMPLE, "channels.h", "value[i] += factor * other.value[i];", "value[i] = to_float(to_scalar(value[i] + factor * other.value[i]));", torch.bfloat16),
)  # fmt: skip


def faulty_sources(fault, folder):
    """A copy of kernels/cuda with the fault in it; the kernels as they are where it is none of theirs."""
    if not fault.file:
        return None
    sources = folder / "cuda"
    shutil.copytree(resource_dir("kernels") / "cuda", sources)
    file = sources / fault.file
    text = file.read_text("utf-8")
    assert text.count(fault.right) == 1, f"{fault.name}: {fault.file} has {text.count(fault.right)} of {fault.right!r}"
    file.write_text(text.replace(fault.right, fault.wrong), "utf-8")
    return sources


def empty_sums(rows):
    """In place of zeros: whatever memory holds, which on a GPU is another tensor's."""
    return torch.full(rows.shape, 7.0, dtype=torch.float32)


def prove_emulated(operator, *, fault=None, folder=None, dtypes=None, seed=0, order=0, clock=None):
    """Prove an operator's kernels as a GPU would run them, the project's or faulty ones.

    `order` seeds that in which threads and blocks take turns, `seed` the problems.
    """
    gpu = EmulatedGpu(faulty_sources(fault, folder) if fault else None)
    gpu.seed = order
    if fault:
        gpu.architecture, dtypes = fault.architecture, (fault.dtype,)
    with pytest.MonkeyPatch.context() as patch:
        gpu.install(patch)
        kernels = subject_of(operator).computes.KERNELS["cpu"]
        patch.setattr(kernels, "DTYPES", dtypes or kernels.DTYPES)
        patch.setattr(kernels, "load", lambda dtype, device: gpu.load(operator, dtype, device))
        if fault and not fault.file:
            patch.setattr(conv_cuda, fault.right, empty_sums)
        return prove(subject_of(operator), CPU, clock, seed)


def wrong_dtypes(found):
    """Those that a proof found wrong, with the reason."""
    return {dtype: row["why_not"] for dtype, row in found["dtypes"].items() if not row["right"]}
