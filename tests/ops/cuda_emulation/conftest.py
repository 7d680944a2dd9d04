"""`gpu`, one that is not there: our operators on CPU tensors are computed by CUDA kernels, which are emulated."""

import pytest
import torch

from dcnrun.ops import backends, choice, cuda_call, cuda_kernel, roi
from tests.ops.cuda_emulation.module import EmulatedModule, skip_without_emulation
from tests.ops.parity import watched_kernels


class EmulatedGpu:
    """What the GPU is like. Small by default, so that small problems are cut into chunks and parts."""

    def __init__(self):
        self.l2_bytes, self.multiprocessors, self.architecture, self.seed = 100_000, 2, 900, 0
        self.modules = {}

    def load(self, name, dtype, device):
        key = name, dtype, self.architecture
        if key not in self.modules:
            self.modules[key] = EmulatedModule(*key)
        self.modules[key].seed = self.seed
        return self.modules[key]

    def take_launches(self):
        """The names of the kernels that were launched since."""
        names = [kernel for module in self.modules.values() for kernel, _, _ in module.launches]
        for module in self.modules.values():
            module.launches.clear()
        return names


@pytest.fixture
def gpu(monkeypatch):
    skip_without_emulation()
    emulated = EmulatedGpu()
    monkeypatch.setenv("DCNRUN_BACKEND", "kernel")
    for choices, kernels in ((backends, cuda_kernel), (roi.backends, roi.cuda_kernel)):
        monkeypatch.setitem(choices.KERNELS, "cpu", watched_kernels(kernels))
        monkeypatch.setattr(kernels, "load_cuda", emulated.load)
    monkeypatch.setattr(choice, "load_cpu", lambda name, dtype: None)
    # On a GPU nobody looks at the RoIs' images.
    monkeypatch.setattr(roi.registration, "check_images", lambda rois, images: None)
    # What the GPU is like may change between calls.
    monkeypatch.setattr(cuda_kernel, "_plan", cuda_kernel._plan.__wrapped__)
    monkeypatch.setattr(
        cuda_call, "cache_and_multiprocessors", lambda device: (emulated.l2_bytes, emulated.multiprocessors)
    )
    # On the CPU torch.mm and torch.bmm have no `out_dtype`.
    monkeypatch.setattr(cuda_kernel, "_product_in_fp32", lambda left, right: torch.matmul(left.float(), right.float()))
    return emulated
