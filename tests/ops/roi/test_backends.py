"""Which implementation computes: our kernel, or the definition where it can't be had."""

import logging

import pytest
import torch

from dcnrun.errors import UsageError
from dcnrun.ops.jit import KernelUnavailable
from dcnrun.ops.roi import backends
from tests.ops.problems import assert_close
from tests.ops.roi.problems import make_problem, pool, results

STORED = [torch.float32, torch.float64, torch.bfloat16, torch.float16]


@pytest.fixture(autouse=True)
def nothing_known(monkeypatch):
    monkeypatch.delenv("DCNRUN_BACKEND", raising=False)
    backends._kernel_loads.cache_clear()
    yield
    backends._kernel_loads.cache_clear()


@pytest.fixture
def no_compiler(monkeypatch):
    tries = []

    def load(name, dtype):
        tries.append((name, dtype))
        raise KernelUnavailable("no C++ compiler was found", "install one")

    monkeypatch.setattr(backends, "load_cpu", load)
    return tries


@pytest.fixture
def compiler(monkeypatch):
    monkeypatch.setattr(backends, "load_cpu", lambda name, dtype: None)


@pytest.mark.parametrize("dtype", STORED)
@pytest.mark.parametrize("asked", ["auto", "torchvision", "cuda", None])
def test_our_kernel_comes_first(compiler, dtype, asked, monkeypatch):
    """Also where convolutions are asked of torchvision, which has no deformable RoI pooling, or of a GPU's kernel."""
    if asked:
        monkeypatch.setenv("DCNRUN_BACKEND", asked)
    assert backends.backend_for("cpu", dtype) == "kernel"


@pytest.mark.parametrize("dtype", STORED)
def test_the_definition_where_there_is_no_kernel(no_compiler, dtype):
    assert backends.backend_for("cpu", dtype) == "reference"


def test_other_devices_and_dtypes(compiler):
    assert backends.backend_for("cuda", torch.float32) == "reference"
    assert backends.backend_for("mps", torch.float32) == "reference"
    assert backends.backend_for("cpu", torch.float8_e4m3fn) == "reference"


def test_a_backend_can_be_forced(compiler, monkeypatch):
    monkeypatch.setenv("DCNRUN_BACKEND", "reference")
    assert backends.backend_for("cpu", torch.float32) == "reference"


def test_one_line_says_what_is_lost_and_how_to_get_it_back(no_compiler, caplog):
    with caplog.at_level(logging.INFO, "dcnrun"):
        for _ in range(3):
            pool(**make_problem(dtype=torch.float32))
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    message = record.getMessage()
    assert "slower" in message
    assert message.endswith("since no C++ compiler was found; install one")
    assert "\n" not in message
    assert no_compiler == [("deform_roi_pool", torch.float32)]


@pytest.mark.parametrize("dtype", STORED)
def test_the_fallback_computes_the_same(no_compiler, dtype, monkeypatch):
    problem = make_problem(dtype=dtype, groups=2)
    got = results(problem)
    monkeypatch.undo()
    assert_close(got, results(problem), {2: 1e-2, 4: 1e-4, 8: 1e-10}[dtype.itemsize])


def test_a_forced_kernel_does_not_fall_back(no_compiler, monkeypatch):
    monkeypatch.setenv("DCNRUN_BACKEND", "kernel")
    with pytest.raises(KernelUnavailable, match=r"no C\+\+ compiler was found; install one"):
        pool(**make_problem())
    with pytest.raises(UsageError, match=r"no kernel for torch.float32 on cuda"):
        backends.backend_for("cuda", torch.float32)


def test_an_unknown_backend(monkeypatch):
    monkeypatch.setenv("DCNRUN_BACKEND", "fastest")
    with pytest.raises(UsageError, match=r"DCNRUN_BACKEND is 'fastest': it must be one of auto, kernel, .*reference"):
        pool(**make_problem())
