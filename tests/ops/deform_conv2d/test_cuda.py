"""The parity suite: our CUDA kernels on a GPU, against the definition in fp64. `make parity` keeps its results.

What needs no GPU is in cuda_emulation/.
"""

import itertools
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from dcnrun.ops import deform_conv2d
from dcnrun.ops.common import cuda_call
from dcnrun.ops.deform_conv2d import dispatch
from dcnrun.ops.jit import load_cuda
from dcnrun.ops.jit.build_spec import dtype_name
from tests.ops.conformance import assert_close, assert_same_bits
from tests.ops.deform_conv2d.factories import results
from tests.ops.deform_conv2d.parity import (
    DTYPES,
    LARGE_SHAPES,
    OFFSETS,
    SHAPES,
    TF32_TOLERANCE,
    TOLERANCES,
    Case,
    deterministic,
    errors,
    moved,
    watched_kernels,
)
from tests.ops.factories import random_like

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no NVIDIA GPU")]
both_ways = pytest.mark.parametrize("in_order", [False, True], ids=["atomic", "in order"])


@pytest.fixture(autouse=True)
def ours(monkeypatch):
    """Our kernels compute, into memory full of NaN, and fp32 products are those of fp32."""
    monkeypatch.setenv("DCNRUN_BACKEND", "cuda")
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    monkeypatch.setitem(dispatch.KERNELS, "cuda", watched_kernels())
    monkeypatch.setattr(torch.backends.cuda.matmul, "allow_tf32", False)


def fresh_seed():
    return int.from_bytes(os.urandom(4))


def problem_on_gpu(dtype=torch.bfloat16, shape="3x3", offsets="std 1", device="cuda"):
    return moved(Case(shape, offsets, dtype).problem(fresh_seed()), device)


@pytest.mark.parametrize("shape", [*SHAPES, *LARGE_SHAPES])
@pytest.mark.parametrize("offsets", OFFSETS)
@pytest.mark.parametrize("dtype", DTYPES)
@both_ways
def test_parity(shape, offsets, dtype, in_order):
    found = errors(Case(shape, offsets, dtype, in_order), fresh_seed(), "cuda")
    assert max(found.values()) <= TOLERANCES[dtype], found


@pytest.mark.parametrize("shape", [*SHAPES, *LARGE_SHAPES])
def test_fp32_follows_the_setting_of_tf32(shape, monkeypatch):
    monkeypatch.setattr(torch.backends.cuda.matmul, "allow_tf32", True)
    found = errors(Case(shape, "std 1", torch.float32), fresh_seed(), "cuda")
    assert max(found.values()) <= TF32_TOLERANCE, found


@pytest.mark.parametrize("shape", [*SHAPES, *LARGE_SHAPES])
@pytest.mark.parametrize("offsets", ["std 1", "all to one pixel"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_same_bits_on_every_run(shape, offsets, dtype):
    problem = problem_on_gpu(dtype, shape, offsets)
    names = [name for name in ("output", "offset", "weight", "mask") if name == "output" or problem[name] is not None]
    first = results(problem)
    for _ in range(3):
        assert_same_bits(results(problem), first, names)
    with deterministic(True):
        first = results(problem)
        for _ in range(3):
            assert_same_bits(results(problem), first, [*names, "input"])


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
        grad_output = random_like(deform_conv2d(**static))
        with torch.cuda.graph(graph):
            captured = results(static, grad_output=grad_output)
        for offsets in ("std 4", "all to one pixel", "far outside", "std 0"):
            other = problem_on_gpu(dtype, offsets=offsets)
            for name, value in other.items():
                if torch.is_tensor(value):
                    static[name].detach().copy_(value)
            graph.replay()
            wanted = results(other, grad_output=grad_output)
            assert_close(captured, wanted, TOLERANCES[dtype])
            if in_order:
                assert_same_bits(captured, wanted, wanted.keys() - {"bias"})


@both_ways
def test_streams(in_order):
    """Several at once, each after what its own stream holds."""
    problems = [problem_on_gpu() for _ in range(4)]
    with deterministic(in_order):
        grad_outputs = [random_like(deform_conv2d(**problem)) for problem in problems]
        wanted = [results(*each) for each in zip(problems, [deform_conv2d] * 4, grad_outputs, strict=True)]
        streams = [torch.cuda.Stream() for _ in problems]
        for _ in range(5):
            got = []
            for stream, problem, grad_output in zip(streams, problems, grad_outputs, strict=True):
                stream.wait_stream(torch.cuda.current_stream())
                with torch.cuda.stream(stream):
                    torch.cuda._sleep(1_000_000)
                    late = {n: v.clone() if torch.is_tensor(v) else v for n, v in problem.items()}
                    got.append(results(late, grad_output=grad_output))
            torch.cuda.synchronize()
            for one, alone in zip(got, wanted, strict=True):
                assert_close(one, alone, TOLERANCES[torch.bfloat16])


def test_torch_compile():
    problem = problem_on_gpu()
    compiled = torch.compile(deform_conv2d, fullgraph=True)
    assert_close(results(problem, compiled), results(problem), TOLERANCES[torch.bfloat16])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_autocast(dtype):
    """Input and weight in half precision, positions in fp32."""
    problem = problem_on_gpu(torch.float32)
    with torch.autocast("cuda", dtype):
        got = results(problem)
    assert got["output"].dtype == dtype
    halves = {name: problem[name].to(dtype) for name in ("input", "weight", "bias")}
    wanted = results(problem | halves, grad_output=random_like(got["output"]))
    assert_close(got, wanted, TOLERANCES[dtype])


def test_double_precision_is_torchvisions(monkeypatch):
    monkeypatch.setenv("DCNRUN_BACKEND", "auto")
    problem = problem_on_gpu(torch.float32)
    wide = {name: v.double() if torch.is_tensor(v) else v for name, v in problem.items()}
    wide["offset"] += 1e-3  # off the map's border, where torchvision takes another slope
    assert dispatch.backend_for("cuda", torch.float64) == "torchvision"
    monkeypatch.setenv("DCNRUN_BACKEND", "reference")
    wanted = results(wide)
    monkeypatch.setenv("DCNRUN_BACKEND", "auto")
    assert_close(results(wide), wanted, 1e-10)


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="there is one GPU")
def test_another_gpu_than_the_current_one():
    problem = problem_on_gpu(device="cuda:1")
    got = results(problem)
    assert all(values.device == torch.device("cuda:1") for values in got.values())
    assert_close(moved(got, "cuda:0"), results(moved(problem, "cuda:0")), TOLERANCES[torch.bfloat16])


SMALL = """
import os
import sys
os.environ["DCNRUN_BACKEND"] = "cuda"
os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"
import torch
from tests.ops.deform_conv2d.parity import SHAPES, Case, deterministic, moved
from tests.ops.deform_conv2d.factories import results
from tests.ops.deform_roi_pool import parity as roi_parity
from tests.ops.deform_roi_pool.factories import results as roi_results
from tests.ops.deform_sample2d import parity as sample_parity
from tests.ops.deform_sample2d.factories import results as sample_results
for dtype in (getattr(torch, name) for name in sys.argv[1:]):
    for in_order in (False, True):
        with deterministic(in_order):
            for shape in SHAPES:
                results(moved(Case(shape, "std 4", dtype).problem(0), "cuda"))
            for shape in roi_parity.SHAPES:
                roi_results(moved(roi_parity.Case(shape, "odd", dtype).problem(0), "cuda"))
            for shape in sample_parity.SHAPES:
                sample_results(moved(sample_parity.Case(shape, "std 4", dtype).problem(0), "cuda"))
torch.cuda.synchronize()
print("computed")
"""


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("compute-sanitizer") is None, reason="there is no compute-sanitizer")
@pytest.mark.parametrize(
    ("options", "dtypes"),
    [
        # PyTorch and its libraries ask the driver for things that it may refuse.
        (["--tool=memcheck", "--report-api-errors=no"], DTYPES),
        # Threads wait for each other in the same way whatever they store.
        (["--tool=synccheck"], [torch.bfloat16]),
        # A slow tool, so without the kernels of cuBLAS.
        (
            ["--tool=racecheck", *(f"--kernel-name=kernel_substring={width}" for width in ("_wide", "_single"))],
            [torch.bfloat16],
        ),
    ],
    ids=["memcheck", "synccheck", "racecheck"],
)
def test_compute_sanitizer(options, dtypes):
    for name, dtype in itertools.product(("deform_conv2d", "deform_roi_pool", "deform_sample2d"), DTYPES):
        load_cuda(name, dtype, torch.device("cuda"))  # so that it need not be compiled there
    done = subprocess.run(
        ["compute-sanitizer", "--error-exitcode=9", *options, sys.executable, "-c", SMALL, *map(dtype_name, dtypes)],
        cwd=Path(__file__).parents[3],
        env=os.environ | {"PYTORCH_NO_CUDA_MEMORY_CACHING": "1"},
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "computed" in done.stdout


def test_launches_do_not_wait_for_the_gpu():
    """The host is done with a forward and backward pass long before the GPU is."""
    problem = problem_on_gpu(shape="C256 64x64")
    grad_output = random_like(results(problem)["output"])
    torch.cuda.synchronize()
    slept = torch.cuda.Event()
    torch.cuda._sleep(2_000_000_000)
    slept.record()
    results(problem, grad_output=grad_output)
    assert not slept.query()
    torch.cuda.synchronize()


def test_what_the_kernels_are_told_of_the_gpu():
    properties = torch.cuda.get_device_properties("cuda")
    known = cuda_call.cache_and_multiprocessors(torch.device("cuda", torch.cuda.current_device()))
    assert known == (properties.L2_cache_size, properties.multi_processor_count)
