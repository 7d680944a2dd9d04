"""The parity suite of RoI pooling: our CUDA kernels on a GPU, against the definition in fp64. `make parity` keeps its results.

What needs no GPU is in ../cuda_emulation; compute-sanitizer is run by ../test_cuda.py.
"""

import os

import pytest
import torch
import torchvision.ops

from dcnrun.ops.deform_roi_pool import cuda, dispatch
from tests.ops.conformance import assert_close, assert_same_bits
from tests.ops.deform_conv2d.parity import DTYPES, TOLERANCES, deterministic, moved, watched_kernels
from tests.ops.deform_roi_pool.factories import compute, make_problem, results
from tests.ops.deform_roi_pool.parity import LARGE_SHAPES, ROIS, SHAPES, Case, errors, wanted
from tests.ops.factories import random_like

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no NVIDIA GPU")]
both_ways = pytest.mark.parametrize("in_order", [False, True], ids=["atomic", "in order"])


@pytest.fixture(autouse=True)
def ours(monkeypatch):
    """Our kernels compute, into memory full of NaN."""
    monkeypatch.setenv("DCNRUN_BACKEND", "cuda")
    monkeypatch.setitem(dispatch.KERNELS, "cuda", watched_kernels(cuda))


def fresh_seed():
    return int.from_bytes(os.urandom(4))


def problem_on_gpu(dtype=torch.bfloat16, shape="7x7", rois="usual", device="cuda"):
    return moved(Case(shape, rois, dtype).problem(fresh_seed()), device)


@pytest.mark.parametrize("shape", [*SHAPES, *LARGE_SHAPES])
@pytest.mark.parametrize("rois", ROIS)
@pytest.mark.parametrize("dtype", DTYPES)
@both_ways
def test_parity(shape, rois, dtype, in_order):
    found = errors(Case(shape, rois, dtype, in_order), fresh_seed(), "cuda")
    assert max(found.values()) <= TOLERANCES[dtype], found


@pytest.mark.parametrize("shape", [*SHAPES, *LARGE_SHAPES])
@pytest.mark.parametrize("rois", ["usual", "all in one place"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_same_bits_on_every_run(shape, rois, dtype):
    problem = problem_on_gpu(dtype, shape, rois)
    for in_order in (False, True):
        with deterministic(in_order):
            first = results(problem)
            names = first.keys() if in_order else first.keys() - {"input"}
            for _ in range(3):
                assert_same_bits(results(problem), first, names)


@both_ways
@pytest.mark.parametrize("dtype", DTYPES)
def test_cuda_graphs(dtype, in_order):
    """Captured with one problem, replayed with others."""
    static = problem_on_gpu(dtype)
    with deterministic(in_order):
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            results(static)
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        grad_output = random_like(compute(**static))
        with torch.cuda.graph(graph):
            captured = results(static, grad_output=grad_output)
        for rois in ("usual", "all in one place", "odd", "images not there"):
            other = problem_on_gpu(dtype, rois=rois)
            for name, value in other.items():
                if torch.is_tensor(value):
                    static[name].detach().copy_(value)
            graph.replay()
            same = results(other, grad_output=grad_output)
            assert_close(captured, same, TOLERANCES[dtype])
            if in_order:
                assert_same_bits(captured, same)


def test_torch_compile():
    problem = problem_on_gpu()
    compiled = torch.compile(compute, fullgraph=True)
    assert_close(results(problem, compiled), results(problem), TOLERANCES[torch.bfloat16])


def test_launches_do_not_wait_for_the_gpu():
    """The host is done with a forward and backward pass long before the GPU is."""
    problem = problem_on_gpu(shape="512 RoIs, C256 50x50")
    grad_output = random_like(results(problem)["output"])
    torch.cuda.synchronize()
    slept = torch.cuda.Event()
    torch.cuda._sleep(2_000_000_000)
    slept.record()
    results(problem, grad_output=grad_output)
    assert not slept.query()
    torch.cuda.synchronize()


@pytest.mark.parametrize("ratio", [0, 2])
@pytest.mark.parametrize("aligned", [True, False])
def test_zero_offsets_give_roi_align(ratio, aligned):
    """As torchvision computes it on the same GPU."""
    settings = {"ratio": ratio, "aligned": aligned, "bins": (7, 7), "scale": 0.25}
    problem = moved(
        make_problem(2, 64, (25, 30), 50, shifted=False, masked=False, dtype=torch.float32, **settings), "cuda"
    )

    def align(input, rois, output_size, spatial_scale, sampling_ratio, aligned, **more):
        return torchvision.ops.roi_align(input, rois, output_size, spatial_scale, sampling_ratio, aligned)

    got = results(problem | {"offset": torch.zeros(50, 2, 7, 7, device="cuda")})
    assert_close(got, results(problem, align), 1e-4)


@pytest.mark.parametrize("dtype", [*DTYPES, torch.float64])
@pytest.mark.parametrize("shifted", [True, False])
def test_without_our_kernel(dtype, shifted, monkeypatch):
    """Torchvision's RoIAlign where it computes the same, which reads no image that is not there; else the definition."""
    monkeypatch.setenv("DCNRUN_BACKEND", "auto")
    dispatch.DISPATCHER.forget()
    monkeypatch.setattr(dispatch.DISPATCHER, "parity", {})
    problem = make_problem(2, 8, (12, 13), 7, (3, 3), shifted=shifted, masked=False, dtype=torch.float32)
    problem["rois"][::3, 0] = torch.tensor([-1.0, 2.0, 1e9])
    problem = moved(problem | {"input": problem["input"].to(dtype)}, "cuda")
    if dtype == torch.float64:
        problem = {name: value.double() if torch.is_tensor(value) else value for name, value in problem.items()}
    got = results(problem)
    assert not got["output"][::3].any()
    expected = wanted(problem, random_like(got["output"]))
    assert_close(got, expected, TOLERANCES.get(dtype, 1e-10) * 10, ["output", "input"])


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="there is one GPU")
def test_another_gpu_than_the_current_one():
    problem = problem_on_gpu(device="cuda:1")
    got = results(problem)
    assert all(values.device == torch.device("cuda:1") for values in got.values())
    assert_close(moved(got, "cuda:0"), results(moved(problem, "cuda:0")), TOLERANCES[torch.bfloat16])
