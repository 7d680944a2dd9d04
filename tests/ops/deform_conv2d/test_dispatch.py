"""Which implementation computes: our kernel, torchvision where it can't be had, the definition where both can't."""

import json
import logging
from pathlib import Path

import pytest
import torch
import torchvision

from dcnrun.errors import UsageError
from dcnrun.ops import deform_conv2d
from dcnrun.ops.deform_conv2d import dispatch
from dcnrun.ops.jit import KernelUnavailable
from tests.ops.conformance import assert_close
from tests.ops.deform_conv2d.factories import make_problem, results

HALF = [torch.bfloat16, torch.float16]
STORED = [torch.float32, torch.float64, *HALF]


pytestmark = pytest.mark.usefixtures("auto")


@pytest.mark.parametrize("dtype", STORED)
def test_our_kernel_comes_first(compiler, dtype):
    assert dispatch.backend_for("cpu", dtype) == "kernel"


@pytest.mark.parametrize("dtype", STORED)
def test_torchvision_where_there_is_no_kernel(no_compiler, dtype):
    assert dispatch.backend_for("cpu", dtype) == "torchvision"


def test_other_devices(compiler):
    assert dispatch.backend_for("cuda", torch.float32) == "torchvision"
    assert dispatch.backend_for("mps", torch.float32) == "reference"
    assert dispatch.backend_for("meta", torch.float32) == "reference"


CUDA_DTYPES = [torch.float32, *HALF]


@pytest.mark.parametrize("dtype", CUDA_DTYPES)
def test_our_cuda_kernels_come_first_where_they_passed_parity(gpu, dtype, monkeypatch):
    assert dispatch.backend_for("cuda:0", dtype) == "torchvision"
    assert not gpu
    dispatch.DISPATCHER.forget()
    monkeypatch.setitem(dispatch.PARITY, "sm_80", "another")
    assert dispatch.backend_for("cuda:0", dtype) == "torchvision"
    dispatch.DISPATCHER.forget()
    monkeypatch.setitem(dispatch.PARITY, "sm_90", "parity.json")
    assert dispatch.backend_for("cuda:0", dtype) == "kernel"
    assert gpu == [("deform_conv2d", dtype, torch.device("cuda:0"))]
    assert dispatch.backend_for("cuda:0", torch.float64) == "torchvision"


def test_parity_rests_on_files_that_say_so():
    for architecture, name in dispatch.PARITY.items():
        result = json.loads((Path(__file__).parents[3] / name).read_text("utf-8"))
        assert result["deform_conv2d"]["passed"] is True
        assert result["machine"]["architecture"] == architecture


@pytest.mark.parametrize("name", ["cuda", "kernel"])
def test_our_cuda_kernels_can_be_forced(gpu, compiler, name, monkeypatch):
    monkeypatch.setenv("DCNRUN_BACKEND", name)
    assert {dispatch.backend_for("cuda", dtype) for dtype in CUDA_DTYPES} == {"kernel"}
    assert [dtype for _, dtype, _ in gpu] == CUDA_DTYPES
    with pytest.raises(UsageError, match=rf"DCNRUN_BACKEND={name}, but there is no kernel for torch.float64 on cuda"):
        dispatch.backend_for("cuda", torch.float64)


@pytest.mark.parametrize("dtype", STORED)
def test_forced_cuda_kernels_change_nothing_elsewhere(gpu, dtype, compiler, monkeypatch):
    monkeypatch.setenv("DCNRUN_BACKEND", "cuda")
    assert dispatch.backend_for("cpu", dtype) == "kernel"
    assert dispatch.backend_for("mps", dtype) == "reference"


def test_without_nvrtc(no_nvrtc, monkeypatch, caplog):
    monkeypatch.setitem(dispatch.PARITY, "sm_90", "parity.json")
    with caplog.at_level(logging.INFO, "dcnrun"):
        assert [dispatch.backend_for("cuda", torch.float16) for _ in range(3)] == ["torchvision"] * 3
    (record,) = caplog.records
    assert "torchvision's CUDA operator" in record.getMessage()
    assert record.getMessage().endswith("since NVRTC was not found; install torch again")
    monkeypatch.setenv("DCNRUN_BACKEND", "cuda")
    with pytest.raises(KernelUnavailable, match="NVRTC was not found; install torch again"):
        dispatch.backend_for("cuda", torch.float16)


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn])
def test_a_dtype_without_kernel(compiler, dtype, monkeypatch):
    assert dispatch.backend_for("cpu", dtype) == "reference"
    monkeypatch.setenv("DCNRUN_BACKEND", "kernel")
    with pytest.raises(
        UsageError, match=r"DCNRUN_BACKEND=kernel, but there is no kernel for torch.float8_e4m3fn on cpu"
    ):
        dispatch.backend_for("cpu", dtype)


def test_one_line_says_what_is_lost_and_how_to_get_it_back(no_compiler, caplog):
    with caplog.at_level(logging.INFO, "dcnrun"):
        for _ in range(3):
            deform_conv2d(**make_problem(dtype=torch.float32))
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    message = record.getMessage()
    assert "torchvision" in message
    assert "slower" in message
    assert message.endswith("since no C++ compiler was found; install one")
    assert "\n" not in message
    assert no_compiler == [("deform_conv2d", torch.float32, torch.device("cpu"))]


@pytest.mark.parametrize("dtype", STORED)
def test_the_fallback_computes_the_same(no_compiler, dtype, monkeypatch):
    problem = make_problem(dtype=dtype, groups=2, offset_groups=2)
    if dtype in HALF:  # of whole positions, where torchvision takes another slope, half precision has many
        problem["offset"] = make_problem(dtype=torch.float32, groups=2, offset_groups=2)["offset"]
    got = results(problem)
    monkeypatch.setenv("DCNRUN_BACKEND", "reference")
    assert_close(got, results(problem), {2: 1e-2, 4: 1e-5, 8: 1e-10}[dtype.itemsize])


def test_torchvision_is_what_computes_then(no_compiler, monkeypatch):
    """Its operator, and not a second one of ours under its name."""
    calls = []
    operators = torch.ops.torchvision

    class Spy:
        def __getattr__(self, name):
            calls.append(name)
            return getattr(operators, name)

    monkeypatch.setattr(torch.ops, "torchvision", Spy())
    problem = make_problem()
    got = results(problem)
    assert calls == ["deform_conv2d", "_deform_conv2d_backward"]
    monkeypatch.undo()
    assert_close(got, results(problem, torchvision.ops.deform_conv2d), 1e-12)


@pytest.mark.parametrize("name", ["torchvision", "reference"])
def test_a_backend_can_be_forced(compiler, name, monkeypatch):
    monkeypatch.setenv("DCNRUN_BACKEND", name)
    assert {dispatch.backend_for(device, dtype) for device in ("cpu", "cuda") for dtype in STORED} == {name}


def test_auto_is_the_default(compiler, monkeypatch):
    monkeypatch.setenv("DCNRUN_BACKEND", "auto")
    assert dispatch.backend_for("cpu", torch.float32) == "kernel"


def test_a_forced_kernel_does_not_fall_back(no_compiler, monkeypatch):
    monkeypatch.setenv("DCNRUN_BACKEND", "kernel")
    with pytest.raises(KernelUnavailable, match=r"no C\+\+ compiler was found; install one"):
        deform_conv2d(**make_problem())
    with pytest.raises(UsageError, match=r"no kernel for torch.float32 on mps"):
        dispatch.backend_for("mps", torch.float32)


@pytest.mark.parametrize("name", ["fastest", "", "Kernel"])
def test_an_unknown_backend(name, monkeypatch):
    monkeypatch.setenv("DCNRUN_BACKEND", name)
    message = f"DCNRUN_BACKEND is {name!r}: it must be one of auto, kernel, cuda, torchvision, reference"
    with pytest.raises(UsageError, match=message):
        deform_conv2d(**make_problem())
