"""`gpu`, one that is not there: our operators on CPU tensors are computed by CUDA kernels, which are emulated."""

from functools import partial

import pytest
import torch

from dcnrun.ops.common import cuda_call
from dcnrun.ops.deform_conv2d import cuda as conv_cuda
from dcnrun.ops.deform_conv2d import dispatch as conv_dispatch
from dcnrun.ops.deform_roi_pool import cuda as roi_cuda
from dcnrun.ops.deform_roi_pool import dispatch as roi_dispatch
from dcnrun.ops.deform_roi_pool import operator as roi_operator
from dcnrun.ops.deform_sample2d import cuda as sample_cuda
from dcnrun.ops.deform_sample2d import dispatch as sample_dispatch
from tests.ops.cuda_emulation.fakes import EmulatedModule, skip_without_emulation
from tests.ops.deform_conv2d.parity import watched_kernels


class EmulatedGpu:
    """What the GPU is like. Small by default, so that small problems are cut into chunks and parts."""

    def __init__(self, sources=None):
        self.sources = sources  # a folder in place of kernels/cuda
        self.l2_bytes, self.multiprocessors, self.architecture, self.seed = 100_000, 2, 900, 0
        self.modules = {}

    def load(self, name, dtype, device):
        key = name, dtype, self.architecture
        if key not in self.modules:
            self.modules[key] = EmulatedModule(*key, self.sources)
        self.modules[key].seed = self.seed
        return self.modules[key]

    def take_launches(self):
        """The names of the kernels that were launched since."""
        names = [kernel for module in self.modules.values() for kernel, _, _ in module.launches]
        for module in self.modules.values():
            module.launches.clear()
        return names

    def install(self, monkeypatch):
        """Have it compute what our kernels do, for CPU tensors."""
        monkeypatch.setenv("DCNRUN_BACKEND", "kernel")
        calls = ((conv_dispatch, conv_cuda), (roi_dispatch, roi_cuda), (sample_dispatch, sample_cuda))
        for dispatch, kernels in calls:
            monkeypatch.setitem(dispatch.KERNELS, "cpu", watched_kernels(kernels))
            monkeypatch.setattr(kernels, "load_cuda", self.load)
        # On a GPU nobody looks at the RoIs' images.
        monkeypatch.setattr(roi_operator, "check_images", lambda rois, images: None)
        # What the GPU is like may change between calls.
        for _, kernels in calls:
            monkeypatch.setattr(kernels, "_plan", kernels._plan.__wrapped__)
        monkeypatch.setattr(
            cuda_call, "cache_and_multiprocessors", lambda device: (self.l2_bytes, self.multiprocessors)
        )
        # On the CPU torch.mm and torch.bmm have no `out_dtype`.
        monkeypatch.setattr(
            conv_cuda, "_product_in_fp32", lambda left, right: torch.matmul(left.float(), right.float())
        )
        # And where it has AMX, PyTorch's products in bf16 have NaN in rows beside one with NaN (oneDNN issue 5717); a GPU's don't.
        monkeypatch.setattr(conv_cuda, "_multiply", partial(_multiply_in_fp32, conv_cuda._multiply))


def _multiply_in_fp32(multiply, left, right, bias, out):
    product = torch.empty_like(out, dtype=torch.float32)
    multiply(left.float(), right.float(), None if bias is None else bias.float(), product)
    out.copy_(product)


@pytest.fixture
def gpu(monkeypatch):
    skip_without_emulation()
    emulated = EmulatedGpu()
    emulated.install(monkeypatch)
    return emulated
