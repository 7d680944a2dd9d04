"""Which implementation computes: our kernel, torchvision where it can't be had, the definition where both can't."""

import pytest
import torch
import torchvision

from dcnrun.ops import Backend
from dcnrun.ops.deform_conv2d import dispatch
from tests.ops.conformance import HALF, STORED, CudaDispatchSuite, assert_close
from tests.ops.deform_conv2d import factories
from tests.ops.deform_conv2d.factories import make_problem, results

pytestmark = pytest.mark.usefixtures("auto")


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


class TestDispatch(CudaDispatchSuite):
    factories = factories
    name = "deform_conv2d"
    dispatch = dispatch
    fallback = Backend.TORCHVISION


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("dtype", STORED)
def test_torchvision_can_be_forced(compiler, device, dtype, monkeypatch):
    monkeypatch.setenv("DCNRUN_BACKEND", "torchvision")
    assert dispatch.backend_for(device, dtype) is Backend.TORCHVISION


@pytest.mark.parametrize(
    ("fixture", "named"), [("no_compiler", "torchvision"), ("no_nvrtc", "torchvision's CUDA operator")]
)
def test_the_log_names_torchvision(request, fixture, named, caplog):
    request.getfixturevalue(fixture)
    dispatch.backend_for("cpu" if fixture == "no_compiler" else "cuda", torch.float32)
    (record,) = caplog.records
    assert named in record.getMessage()
