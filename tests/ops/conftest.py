"""Fixtures of the operators' tests."""

import pytest
import torch
from hypothesis import HealthCheck, settings

from dcnrun.ops import choice
from dcnrun.ops.jit import KernelUnavailable
from dcnrun.ops.jit.compiler import find_compiler

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


@pytest.fixture
def no_compiler(monkeypatch):
    """No C++ compiler: no kernel for the CPU can be loaded. What is tried to be."""
    tries = []

    def load(name, dtype):
        tries.append((name, dtype))
        raise KernelUnavailable("no C++ compiler was found", "install one")

    monkeypatch.setattr(choice, "load_cpu", load)
    return tries


@pytest.fixture
def compiler(monkeypatch):
    """Every kernel for the CPU can be loaded."""
    monkeypatch.setattr(choice, "load_cpu", lambda name, dtype: None)


@pytest.fixture
def gpu(monkeypatch):
    """A GPU of compute capability 9.0, and what is tried to be loaded for it."""
    loaded = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    monkeypatch.setattr(choice, "load_cuda", lambda name, dtype, device: loaded.append((name, dtype, device)))
    return loaded
