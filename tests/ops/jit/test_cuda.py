import os
import statistics
import time

import pytest
import torch

from dcnrun.ops.jit import KernelUnavailable, cache, cuda, load_cuda
from dcnrun.ops.jit.build_spec import CUDA_DTYPES
from dcnrun.ops.jit.cuda import build_cuda
from tests.ops.jit.fakes import NAME, STREAM, Driver, MultiplyProblem, build_driver, in_a_process, needs_nvrtc
from tests.ops.jit.test_load import processes

pytestmark = [needs_nvrtc, pytest.mark.skipif(torch.cuda.is_available(), reason="the true driver is in the way")]
ONE = NAME, torch.float32
FIRST, SECOND = torch.device("cuda", 0), torch.device("cuda", 1)
SHAPE = (1, 1, 1), (32, 1, 1)


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    return build_driver(tmp_path_factory.mktemp("driver"))


@pytest.fixture
def driver(library, sandbox):
    return Driver(library, sandbox.folder / "driver.log")


@pytest.fixture
def compiled(sandbox, monkeypatch):
    """How often NVRTC compiled, in all processes."""
    log = sandbox.folder / "compiled"
    true = cuda.compile_image

    def compile_image(nvrtc, source, architecture, options):
        with log.open("a") as lines:
            lines.write(f"{architecture}\n")
        return true(nvrtc, source, architecture, options)

    monkeypatch.setattr(cuda, "compile_image", compile_image)
    return lambda: log.read_text().split() if log.exists() else []


# From the cache, or compiled.


def test_a_file_for_each_dtype_and_architecture(sandbox, compiled):
    wanted = [(dtype, architecture) for dtype in CUDA_DTYPES for architecture in ("sm_80", "sm_90a")]
    files = [build_cuda(NAME, *one) for one in wanted]
    assert not any(built.was_there for built in files)
    assert sorted(built.file for built in files) == sandbox.built()
    assert all(build_cuda(NAME, *one).was_there for one in wanted)
    assert len(compiled()) == len(wanted)
    assert sandbox.leftovers() == []


def test_a_second_process_does_not_compile(sandbox, compiled):
    built = build_cuda(*ONE, "sm_90a")
    assert in_a_process(lambda: os._exit(not build_cuda(*ONE, "sm_90a").was_there)) == 0
    built.file.write_bytes(built.file.read_bytes()[:-1])
    assert not build_cuda(*ONE, "sm_90a").was_there
    assert compiled() == ["sm_90a"] * 2


def test_ten_processes_at_once(sandbox, compiled):
    ready = processes.Barrier(10)

    def work():
        ready.wait()
        os._exit(not build_cuda(*ONE, "sm_80").file.read_bytes().startswith(b"\x7fELF"))

    started = [processes.Process(target=work) for _ in range(10)]
    for process in started:
        process.start()
    for process in started:
        process.join(60)
    assert [process.exitcode for process in started] == [0] * 10
    assert len(compiled()) == 1
    assert cache.find(sandbox.built()[0])
    assert sandbox.leftovers() == []


def test_a_cache_that_can_not_be_used(sandbox, driver, compiled):
    sandbox.cache.write_text("a file where the folder should be")
    with pytest.raises(KernelUnavailable, match="DCNRUN_CACHE"):
        build_cuda(*ONE, "sm_90a")
    assert "load cubin on 0" in driver.use(lambda: load_cuda(*ONE, FIRST))
    assert len(compiled()) == 2
    assert sandbox.leftovers() == []


# Loaded.


def test_loaded_once_per_gpu(driver, compiled):
    def work():
        first = load_cuda(*ONE, FIRST)
        assert load_cuda(*ONE, torch.device("cuda")) is first
        assert load_cuda(*ONE, SECOND) is load_cuda(*ONE, SECOND) is not first

    assert driver.use(work) == ["retain 0", "load cubin on 0", "retain 1", "load cubin on 1"]
    assert compiled() == ["sm_90a"]


def test_ptx_for_a_young_gpu(driver, sandbox):
    def work():
        torch.cuda.get_device_capability = lambda index: (8, 5)
        load_cuda(*ONE, FIRST)

    assert driver.use(work) == ["retain 0", "load ptx on 0"]
    assert [file.suffix for file in sandbox.built()] == [".ptx"]


def test_a_failure_is_remembered(driver, sandbox, compiled):
    sandbox.cuda_header.write_text("#define FACTOR +\n")

    def work():
        for _ in range(2):
            with pytest.raises(KernelUnavailable, match=r"can't compile .*\.cu\(\d+\)"):
                load_cuda(*ONE, FIRST)

    assert driver.use(work) == []
    assert compiled() == ["sm_90a"]


def test_a_driver_that_refuses(driver, monkeypatch):
    monkeypatch.setattr(cuda, "compile_image", lambda *_: b"not for this driver")

    def work():
        with pytest.raises(KernelUnavailable, match=r"can't be loaded: .*CUDA_ERROR.*; update the NVIDIA driver"):
            load_cuda(*ONE, FIRST)

    assert driver.use(work) == ["retain 0", "load -> 200"]


def test_what_there_is_no_kernel_of(driver):
    def work():
        with pytest.raises(KernelUnavailable, match=r"no CUDA kernels for torch.float64; .*torch.bfloat16"):
            load_cuda(NAME, torch.float64, FIRST)
        with pytest.raises(KernelUnavailable, match=r"cuda/nothing.cu is missing"):
            load_cuda("nothing", torch.float32, FIRST)
        with pytest.raises(KernelUnavailable, match="no GPU 2"):
            load_cuda(*ONE, torch.device("cuda", 2))

    assert driver.use(work) == []


def test_a_machine_without_a_gpu(sandbox):
    with pytest.raises(KernelUnavailable, match=r"no GPU 0 that PyTorch can use; .*doctor"):
        load_cuda(*ONE, FIRST)
    assert sandbox.built() == []


# Launched.


def test_what_is_launched(driver):
    def work():
        module = load_cuda(*ONE, SECOND)
        problem = MultiplyProblem(5, 6)
        module.launch("multiply", (1, 2, 3), (32, 4, 2), problem)
        problem.count = 7
        module.launch("multiply", (2, 1, 1), (32, 4, 2), problem, 100)

    device = "device 1 values 5 count"
    assert driver.use(work)[2:] == [
        "get multiply",
        f"launch multiply (1, 2, 3) (32, 4, 2) shared 0 stream {STREAM + 1} {device} 6",
        "grant 100",
        f"launch multiply (2, 1, 1) (32, 4, 2) shared 100 stream {STREAM + 1} {device} 7",
    ]


def test_much_shared_memory_is_granted_once(driver):
    def work():
        module = load_cuda(*ONE, FIRST)
        for shared_bytes in (0, 50_000, 60_000, 50_000, 49_152):
            module.launch("reverse", *SHAPE, MultiplyProblem(), shared_bytes)

    asked = [line.split(" stream")[0] for line in driver.use(work)[2:]]
    launched = "launch reverse (1, 1, 1) (32, 1, 1) shared"
    grants = ["get reverse", f"{launched} 0", "grant 50000", f"{launched} 50000", "grant 60000", f"{launched} 60000"]
    assert asked == [*grants, f"{launched} 50000", f"{launched} 49152"]


@pytest.mark.parametrize(
    ("launch", "message"),
    [
        (("nothing", *SHAPE), "nothing: CUDA_ERROR_NOT_FOUND"),
        (("multiply", (0, 1, 1), (32, 1, 1)), r"multiply: .*\(0, 1, 1\) blocks .*CUDA_ERROR_INVALID_VALUE: some words"),
        (("multiply", *SHAPE, 300_000), "multiply with 300000 bytes of shared memory: CUDA_ERROR_INVALID_VALUE"),
    ],
)
def test_a_launch_that_the_driver_refuses(driver, launch, message):
    def work():
        module = load_cuda(*ONE, FIRST)
        kernel, grid, block, *shared_bytes = launch
        with pytest.raises(RuntimeError, match=message):
            module.launch(kernel, grid, block, MultiplyProblem(), *shared_bytes)
        module.launch("multiply", *SHAPE, MultiplyProblem())

    assert driver.use(work)[-1].startswith("launch multiply")


def test_the_context_and_the_capture_mode_stay_as_they_were(driver):
    def work():
        from cuda.bindings import driver as api

        modes = api.CUstreamCaptureMode
        module = load_cuda(*ONE, FIRST)
        module.launch("multiply", *SHAPE, MultiplyProblem())
        with pytest.raises(RuntimeError):
            module.launch("nothing", *SHAPE, MultiplyProblem())
        # Nothing is left on the stack of contexts.
        assert api.cuCtxPopCurrent()[0] == 201
        before = api.cuThreadExchangeStreamCaptureMode(modes.CU_STREAM_CAPTURE_MODE_RELAXED)
        assert before[1] == modes.CU_STREAM_CAPTURE_MODE_GLOBAL

    driver.use(work)


def test_a_context_that_is_gone(driver):
    """The one that was current before stays so."""

    def work():
        from cuda.bindings import driver as api

        module, other = load_cuda(*ONE, FIRST), load_cuda(*ONE, SECOND)
        module.launch("multiply", *SHAPE, MultiplyProblem())
        (_, current) = api.cuDevicePrimaryCtxRetain(1)
        api.cuCtxPushCurrent(current)
        api.cuDevicePrimaryCtxReset(0)
        with pytest.raises(RuntimeError, match="multiply: CUDA_ERROR"):
            module.launch("multiply", *SHAPE, MultiplyProblem())
        assert int(api.cuCtxPopCurrent()[1]) == int(current)
        other.launch("multiply", *SHAPE, MultiplyProblem())

    assert driver.use(work)[-1].endswith("device 1 values 0 count 0")


def test_a_launch_costs_little(driver, sandbox):
    """Python's share of one; a forward pass makes about five, in 20 us."""
    log = sandbox.folder / "times"

    def work():
        module = load_cuda(*ONE, FIRST)
        problem = MultiplyProblem()
        module.launch("multiply", *SHAPE, problem)
        del os.environ["DRIVER_LOG"]
        times = []
        for _ in range(30):
            started = time.perf_counter()
            for _ in range(200):
                load_cuda(*ONE, FIRST).launch("multiply", *SHAPE, problem)
            times.append((time.perf_counter() - started) / 200)
        log.write_text(str(min(times)))
        print(
            f"load_cuda and launch: {min(times) * 1e6:.1f} us at best, {statistics.median(times) * 1e6:.1f} us usually"
        )

    driver.use(work)
    assert float(log.read_text()) < 10e-6
