"""Loading and launching on true GPUs."""

import statistics
import threading
import time

import pytest
import torch

from dcnrun.ops.jit import load_cuda
from dcnrun.ops.jit.build_spec import CUDA_DTYPES
from dcnrun.ops.jit.cuda import load
from tests.ops.jit.fakes import NAME, MultiplyProblem

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")]
GPU = torch.device("cuda", 0)
THREADS = 128


@pytest.fixture(autouse=True)
def _own_kernels(sandbox):
    """Those of the sandbox, in place of the project's."""


def launch_multiply(values):
    """Double the values in place."""
    grid = (-(-values.numel() // THREADS), 1, 1)
    module = load_cuda(NAME, values.dtype, values.device)
    module.launch("multiply", grid, (THREADS, 1, 1), MultiplyProblem(values.data_ptr(), values.numel()))


def numbers(dtype=torch.float32, device=GPU, count=1000):
    return torch.arange(count, device=device, dtype=torch.float32).remainder(100).to(dtype)


@pytest.mark.parametrize("dtype", CUDA_DTYPES)
def test_the_numbers(dtype):
    values = numbers(dtype)
    expected = values * 2
    launch_multiply(values)
    assert torch.equal(values, expected)
    assert load_cuda(NAME, dtype, GPU) is load_cuda(NAME, dtype, torch.device("cuda"))


def test_a_second_load_is_from_the_cache(sandbox):
    assert not load(NAME, torch.float32, 0).built.was_there
    sandbox.forget()
    assert load(NAME, torch.float32, 0).built.was_there
    values = numbers()
    launch_multiply(values)
    assert torch.equal(values, numbers() * 2)


def test_ptx_runs_too(sandbox, monkeypatch):
    from dcnrun.ops.jit import cuda

    major, minor = torch.cuda.get_device_capability(GPU)
    monkeypatch.setattr(cuda, "architecture_of", lambda index: f"compute_{major}{minor}")
    test_the_numbers(torch.float32)
    assert [file.suffix for file in sandbox.built()] == [".ptx"]


def test_the_current_stream():
    launch_multiply(numbers())
    values, seen = numbers(), numbers()
    side = torch.cuda.Stream()
    torch.cuda.synchronize()
    with torch.cuda.stream(side):
        # The launch waits behind this; on any other stream it would not.
        torch.cuda._sleep(200_000_000)
        launch_multiply(values)
    seen.copy_(values)
    torch.cuda.current_stream().synchronize()
    assert torch.equal(seen.cpu(), numbers().cpu())
    side.synchronize()
    assert torch.equal(values, numbers() * 2)


def test_a_thread_that_never_used_the_gpu():
    values = numbers()
    torch.cuda.synchronize()
    thread = threading.Thread(target=launch_multiply, args=(values,))
    thread.start()
    thread.join()
    torch.cuda.synchronize()
    assert torch.equal(values, numbers() * 2)


@pytest.mark.parametrize("loaded_before", [True, False])
def test_capture(loaded_before):
    values = numbers()
    if loaded_before:
        launch_multiply(numbers())
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        launch_multiply(values)
    assert torch.equal(values, numbers())
    for _ in range(3):
        graph.replay()
    assert torch.equal(values, numbers() * 8)


def test_much_shared_memory():
    values = numbers(count=20_000)
    module = load_cuda(NAME, torch.float32, GPU)
    problem = MultiplyProblem(values.data_ptr(), values.numel())
    module.launch("reverse", (1, 1, 1), (THREADS, 1, 1), problem, values.numel() * 4)
    assert torch.equal(values, numbers(count=20_000).flip(0))
    with pytest.raises(RuntimeError, match="bytes of shared memory: CUDA_ERROR_INVALID_VALUE"):
        module.launch("reverse", (1, 1, 1), (THREADS, 1, 1), problem, 2**30)
    # The error is over with it.
    test_the_numbers(torch.float32)


def test_what_the_driver_refuses():
    module = load_cuda(NAME, torch.float32, GPU)
    with pytest.raises(RuntimeError, match="nothing: CUDA_ERROR_NOT_FOUND"):
        module.launch("nothing", (1, 1, 1), (1, 1, 1), MultiplyProblem())
    with pytest.raises(RuntimeError, match=r"multiply: .*CUDA_ERROR_INVALID_VALUE"):
        module.launch("multiply", (1, 1, 1), (4096, 1, 1), MultiplyProblem())
    test_the_numbers(torch.float32)


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="there is one GPU only")
def test_two_gpus():
    second = torch.device("cuda", 1)
    there, here = numbers(device=second), numbers()
    with torch.cuda.device(0):
        launch_multiply(there)
        launch_multiply(here)
        assert torch.cuda.current_device() == 0
    with torch.cuda.device(1):
        launch_multiply(here)
        assert torch.cuda.current_device() == 1
    assert torch.equal(there.cpu(), numbers().cpu() * 2)
    assert torch.equal(here.cpu(), numbers().cpu() * 4)


def test_a_launch_costs_little():
    """The host's share; a forward pass makes about five calls, in 20 us."""
    values = numbers()
    module = load_cuda(NAME, torch.float32, GPU)
    problem = MultiplyProblem(values.data_ptr(), values.numel())
    times = []
    for _ in range(30):
        torch.cuda.synchronize()
        started = time.perf_counter()
        for _ in range(100):
            module.launch("multiply", (8, 1, 1), (THREADS, 1, 1), problem)
        times.append((time.perf_counter() - started) / 100)
    print(f"launch: {min(times) * 1e6:.1f} us at best, {statistics.median(times) * 1e6:.1f} us usually")
    assert min(times) < 10e-6
