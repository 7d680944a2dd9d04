"""Which implementation computes: our kernel, or where it can't be had the definition or torchvision's RoIAlign."""

import json
import logging
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from dcnrun.errors import UsageError
from dcnrun.ops.deform_roi_pool import dispatch
from dcnrun.ops.deform_roi_pool.reference import deform_roi_pool_backward_reference, deform_roi_pool_reference
from dcnrun.ops.jit import KernelUnavailable
from tests.ops.conformance import assert_close
from tests.ops.deform_roi_pool.factories import make_problem, operands_of, pool, results
from tests.ops.factories import random_like

STORED = [torch.float32, torch.float64, torch.bfloat16, torch.float16]


pytestmark = pytest.mark.usefixtures("auto")


@pytest.mark.parametrize("dtype", STORED)
@pytest.mark.parametrize("asked", ["auto", "torchvision", "cuda", None])
def test_our_kernel_comes_first(compiler, dtype, asked, monkeypatch):
    """Also where convolutions are asked of torchvision, which has no deformable RoI pooling, or of a GPU's kernel."""
    if asked:
        monkeypatch.setenv("DCNRUN_BACKEND", asked)
    assert dispatch.backend_for("cpu", dtype) == "kernel"


@pytest.mark.parametrize("dtype", STORED)
def test_the_definition_where_there_is_no_kernel(no_compiler, dtype):
    assert dispatch.backend_for("cpu", dtype) == "reference"


def test_other_devices_and_dtypes(compiler):
    assert dispatch.backend_for("cuda", torch.float32) == "reference"
    assert dispatch.backend_for("mps", torch.float32) == "reference"
    assert dispatch.backend_for("cpu", torch.float8_e4m3fn) == "reference"


def test_our_cuda_kernels_come_first_where_they_passed_parity(gpu, monkeypatch):
    assert dispatch.backend_for("cuda:0", torch.float16) == "reference"
    assert not gpu
    dispatch.DISPATCHER.forget()
    monkeypatch.setitem(dispatch.PARITY, "sm_90", "parity.json")
    assert dispatch.backend_for("cuda:0", torch.float16) == "kernel"
    assert gpu == [("deform_roi_pool", torch.float16, torch.device("cuda:0"))]
    assert dispatch.backend_for("cuda:0", torch.float64) == "reference"


def test_parity_rests_on_files_that_say_so():
    for architecture, name in dispatch.PARITY.items():
        result = json.loads((Path(__file__).parents[3] / name).read_text("utf-8"))
        assert result["deform_roi_pool"]["passed"] is True
        assert result["machine"]["architecture"] == architecture


@pytest.mark.parametrize("asked", ["auto", "torchvision"])
def test_gpus_without_our_kernel_take_roi_align_where_it_computes_the_same(gpu, asked, monkeypatch):
    monkeypatch.setenv("DCNRUN_BACKEND", asked)
    plain = operands_of(make_problem(shifted=False, masked=False, ratio=2))
    changed = [
        plain._replace(sampling_ratio=0),
        operands_of(make_problem(masked=False, ratio=2)),
        operands_of(make_problem(shifted=False, ratio=2)),
        operands_of(make_problem(shifted=False, masked=False, ratio=2, position_sensitive=True)),
    ]

    def backend_of(operands):
        kind = SimpleNamespace(device=torch.device("cuda"), dtype=torch.bfloat16)
        return dispatch.backend_of(operands._replace(input=kind))

    assert backend_of(plain) == "torchvision"
    assert [backend_of(operands) for operands in changed] == ["reference"] * 4


@pytest.mark.parametrize("dtype", STORED)
@pytest.mark.parametrize("aligned", [True, False])
def test_roi_align_computes_the_same(dtype, aligned):
    """Here on the CPU; RoIs of images that are not there are zero with it too."""
    problem = make_problem(rois=6, shifted=False, masked=False, aligned=aligned, dtype=dtype)
    problem["rois"] = problem["rois"].to(torch.float32 if dtype.itemsize == 2 else dtype)
    problem["rois"][::2, 0] = problem["rois"].new_tensor([-1, 2, torch.nan])
    operands = operands_of(problem)
    wanted = {"output": deform_roi_pool_reference(operands)}
    grad_output = random_like(wanted["output"])
    wanted["input"], _, _ = deform_roi_pool_backward_reference(grad_output, operands)
    output = torch.empty_like(wanted["output"])
    dispatch.roi_align_forward(operands, output)
    got = {"output": output, "input": dispatch.roi_align_backward(grad_output, operands)}
    assert not got["output"][::2].any()
    assert_close(got, wanted, {2: 1e-2, 4: 1e-4, 8: 1e-10}[dtype.itemsize])


def test_a_backend_can_be_forced(compiler, monkeypatch):
    monkeypatch.setenv("DCNRUN_BACKEND", "reference")
    assert dispatch.backend_for("cpu", torch.float32) == "reference"


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
    assert no_compiler == [("deform_roi_pool", torch.float32, torch.device("cpu"))]


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
    with pytest.raises(UsageError, match=r"no kernel for torch.float64 on cuda"):
        dispatch.backend_for("cuda", torch.float64)


def test_an_unknown_backend(monkeypatch):
    monkeypatch.setenv("DCNRUN_BACKEND", "fastest")
    with pytest.raises(UsageError, match=r"DCNRUN_BACKEND is 'fastest': it must be one of auto, kernel, .*reference"):
        pool(**make_problem())
