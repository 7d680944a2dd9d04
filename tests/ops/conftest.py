"""Fixtures of the operators' tests."""

import pytest
from hypothesis import HealthCheck, settings

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
