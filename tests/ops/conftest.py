"""Fixtures of the operators' tests."""

import pytest
import torch
from hypothesis import HealthCheck, settings

from dcnrun.ops import DISPATCH
from dcnrun.ops.jit import KernelUnavailable
from dcnrun.ops.jit.compiler import find_compiler
from dcnrun.ops.proof import first_use
from dcnrun.ops.proof.verdict import Verdict
from tests.ops.fakes import FakeKernels

# For slow builds of the kernels: pytest --hypothesis-profile=few
settings.register_profile("few", max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@pytest.fixture
def backend(request, monkeypatch):
    """The backend that a test is given computes; our kernels are skipped where there is no compiler to make them."""
    name = request.param
    if name == "kernel":
        try:
            find_compiler()
        except KernelUnavailable as problem:
            pytest.skip(str(problem))
    monkeypatch.setenv("DCNRUN_BACKEND", name)
    return name


@pytest.fixture(params=["kernel"])
def kernel_backend(request, monkeypatch):
    """Our kernels compute; skipped where there is no compiler to make them."""
    try:
        find_compiler()
    except KernelUnavailable as problem:
        pytest.skip(str(problem))
    monkeypatch.setenv("DCNRUN_BACKEND", request.param)


@pytest.fixture
def threads():
    """A function that sets the number of PyTorch's threads."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.fixture
def fresh_compiler():
    """torch.compile as in a new process, and nothing of it left."""
    torch.compiler.reset()
    yield
    torch.compiler.reset()


@pytest.fixture
def auto(monkeypatch):
    """Nothing is asked for and nothing tried: as a new process starts."""
    monkeypatch.delenv("DCNRUN_BACKEND", raising=False)
    for dispatch in DISPATCH.values():
        dispatch.DISPATCHER.forget()
    yield
    for dispatch in DISPATCH.values():
        dispatch.DISPATCHER.forget()


def fake_kernels(monkeypatch, device_type, problem=None):
    """Replace the kernels of every operator that has some there; return the list of what is loaded."""
    loaded = []
    for name, dispatch in DISPATCH.items():
        if device_type not in dispatch.KERNELS:
            continue
        kernels = FakeKernels(name, dispatch.KERNELS[device_type], loaded, problem)
        monkeypatch.setitem(dispatch.KERNELS, device_type, kernels)
    return loaded


@pytest.fixture
def no_compiler(auto, monkeypatch):
    """No C++ compiler: no kernel for the CPU can be loaded. What is tried to be."""
    return fake_kernels(monkeypatch, "cpu", KernelUnavailable("no C++ compiler was found", "install one"))


@pytest.fixture
def compiler(auto, monkeypatch):
    """Every kernel for the CPU can be loaded."""
    return fake_kernels(monkeypatch, "cpu")


@pytest.fixture
def verdicts(monkeypatch):
    """What was proved of each operator's CUDA kernels: that all of them are right."""
    every = frozenset({"float32", "float16", "bfloat16"})
    proved = {name: Verdict(every) for name in DISPATCH}
    monkeypatch.setattr(first_use, "verdict_for", lambda operator, device: proved[operator])
    return proved


@pytest.fixture
def gpu(auto, verdicts, monkeypatch):
    """A GPU of compute capability 9.0, and what is tried to be loaded for it."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    return fake_kernels(monkeypatch, "cuda")


@pytest.fixture
def no_nvrtc(gpu, monkeypatch):
    """A GPU for which no kernel can be compiled."""
    return fake_kernels(monkeypatch, "cuda", KernelUnavailable("NVRTC was not found", "install torch again"))
