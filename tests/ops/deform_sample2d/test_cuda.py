"""The parity suite of deformable sampling: our CUDA kernels on a GPU, against the definition in fp64. `make parity` keeps its results.

What needs no GPU is in ../cuda_emulation; compute-sanitizer is run by ../deform_conv2d/test_cuda.py.
"""

import os

import pytest
import torch

from dcnrun.ops.deform_sample2d import cuda, dispatch
from tests.ops.conformance import assert_close, assert_same_bits
from tests.ops.deform_conv2d.parity import DTYPES, OFFSETS, TOLERANCES, deterministic, moved, watched_kernels
from tests.ops.deform_sample2d.factories import compute, results
from tests.ops.deform_sample2d.parity import LARGE_SHAPES, SHAPES, Case, errors
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


def problem_on_gpu(dtype=torch.bfloat16, shape="DCNv3", offsets="std 4", device="cuda"):
    return moved(Case(shape, offsets, dtype).problem(fresh_seed()), device)


@pytest.mark.parametrize("shape", [*SHAPES, *LARGE_SHAPES])
@pytest.mark.parametrize("offsets", OFFSETS)
@pytest.mark.parametrize("dtype", DTYPES)
@both_ways
def test_parity(shape, offsets, dtype, in_order):
    found = errors(Case(shape, offsets, dtype, in_order), fresh_seed(), "cuda")
    assert max(found.values()) <= TOLERANCES[dtype], found


@pytest.mark.parametrize("shape", [*SHAPES, *LARGE_SHAPES])
@pytest.mark.parametrize("offsets", ["std 1", "all to one pixel"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_same_bits_on_every_run(shape, offsets, dtype):
    problem = problem_on_gpu(dtype, shape, offsets)
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
        for offsets in OFFSETS:
            other = problem_on_gpu(dtype, offsets=offsets)
            for name, value in other.items():
                if torch.is_tensor(value):
                    static[name].detach().copy_(value)
            graph.replay()
            same = results(other, grad_output=grad_output)
            if in_order:
                assert_same_bits(captured, same)
            elif offsets != "some no numbers":
                assert_close(captured, same, TOLERANCES[dtype])


def test_torch_compile():
    problem = problem_on_gpu()
    compiled = torch.compile(compute, fullgraph=True)
    assert_close(results(problem, compiled), results(problem), TOLERANCES[torch.bfloat16])


def test_launches_do_not_wait_for_the_gpu():
    """The host is done with a forward and backward pass long before the GPU is."""
    problem = problem_on_gpu(shape="C256 64x64, 16 groups")
    grad_output = random_like(results(problem)["output"])
    torch.cuda.synchronize()
    slept = torch.cuda.Event()
    torch.cuda._sleep(2_000_000_000)
    slept.record()
    results(problem, grad_output=grad_output)
    assert not slept.query()
    torch.cuda.synchronize()


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="there is one GPU")
def test_another_gpu_than_the_current_one():
    problem = problem_on_gpu(device="cuda:1")
    got = results(problem)
    assert all(values.device == torch.device("cuda:1") for values in got.values())
    assert_close(moved(got, "cuda:0"), results(moved(problem, "cuda:0")), TOLERANCES[torch.bfloat16])
