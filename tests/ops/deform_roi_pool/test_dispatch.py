"""Which implementation computes: our kernel, or where it can't be had the definition or torchvision's RoIAlign."""

from types import SimpleNamespace

import pytest
import torch

from dcnrun.ops import Backend
from dcnrun.ops.deform_roi_pool import dispatch
from dcnrun.ops.deform_roi_pool.reference import deform_roi_pool_backward_reference, deform_roi_pool_reference
from dcnrun.ops.proof.verdict import Verdict
from tests.ops.conformance import STORED, CudaDispatchSuite, assert_close
from tests.ops.deform_roi_pool import factories
from tests.ops.deform_roi_pool.factories import make_problem, operands_of, results
from tests.ops.factories import random_like

pytestmark = pytest.mark.usefixtures("auto")


@pytest.mark.parametrize("dtype", STORED)
@pytest.mark.parametrize("asked", ["auto", "torchvision", "cuda", None])
def test_our_kernel_comes_first(compiler, dtype, asked, monkeypatch):
    """Also where convolutions are asked of torchvision, which has no deformable RoI pooling, or of a GPU's kernel."""
    if asked:
        monkeypatch.setenv("DCNRUN_BACKEND", asked)
    assert dispatch.backend_for("cpu", dtype) == "kernel"


@pytest.mark.parametrize("asked", ["auto", "torchvision"])
def test_gpus_without_our_kernel_take_roi_align_where_it_computes_the_same(gpu, verdicts, asked, monkeypatch):
    monkeypatch.setenv("DCNRUN_BACKEND", asked)
    verdicts["deform_roi_pool"] = Verdict()
    plain = operands_of(make_problem(shifted=False, masked=False, ratio=2))
    changed = [
        plain._replace(sampling_ratio=0),
        operands_of(make_problem(masked=False, ratio=2)),
        operands_of(make_problem(shifted=False, ratio=2)),
        operands_of(make_problem(shifted=False, masked=False, ratio=2, position_sensitive=True)),
    ]

    def backend_of(operands):
        kind = SimpleNamespace(device=torch.device("cuda"), dtype=torch.bfloat16)
        return dispatch.backend_of(operands._replace(input=kind), backward=False)

    assert backend_of(plain) == "torchvision"
    assert [backend_of(operands) for operands in changed] == ["reference"] * 4


@pytest.mark.parametrize("asked", ["auto", "kernel", "cuda"])
def test_the_authors_pooling_is_not_for_our_cuda_kernels(gpu, compiler, asked, monkeypatch):
    monkeypatch.setenv("DCNRUN_BACKEND", asked)
    for device, wanted in (("cpu", "kernel"), ("cuda", "reference")):
        operands = operands_of(make_problem(ratio=2, position_sensitive=True, authors=True))
        kind = SimpleNamespace(device=torch.device(device), dtype=torch.float32)
        assert dispatch.backend_of(operands._replace(input=kind), backward=True) == wanted


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


@pytest.mark.parametrize("dtype", STORED)
def test_the_fallback_computes_the_same(no_compiler, dtype, monkeypatch):
    problem = make_problem(dtype=dtype, groups=2)
    got = results(problem)
    monkeypatch.undo()
    assert_close(got, results(problem), {2: 1e-2, 4: 1e-4, 8: 1e-10}[dtype.itemsize])


class TestDispatch(CudaDispatchSuite):
    factories = factories
    name = "deform_roi_pool"
    dispatch = dispatch
    fallback = Backend.REFERENCE
