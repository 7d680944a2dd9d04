"""What is compared where, and how it is measured on a GPU: with one that is not there."""

import os

import pytest
import torch

from dcnrun.bench import devices
from dcnrun.bench.devices import COLUMNS, Cpu, Cuda, the_gpu
from dcnrun.bench.operators import (
    BACKWARD,
    BOTH,
    CONV2D,
    FORWARD,
    OURS,
    OURS_DETERMINISTIC,
    SAMPLING,
    TORCHVISION,
    TORCHVISION_FP16,
    TORCHVISION_FP32,
    Case,
    make_candidate,
)
from dcnrun.bench.timing import EventClock, LaunchClock
from dcnrun.errors import UsageError
from dcnrun.ops import deform_conv2d
from tests.bench.fakes import Gpu

SMALL = Case(1, 4, 6)


def stand_in(cache_bytes=0):
    """Computed on the CPU, timed by a GPU that is not there."""
    gpu = Gpu()
    return Cuda(torch.device("cpu"), cache_bytes, EventClock(gpu.event), LaunchClock(gpu.synchronize))


def test_cases_on_the_cpu():
    assert [case.name for case in Cpu.cases if case.reference] == [
        "N2 C64 64x64",
        "N2 C128 32x32",
        "N2 C256 32x32",
        "N1 C256 64x64",
        "N2 C256 32x32 4 offset groups",
    ]
    assert {56, 14} <= {case.size for case in Cpu.cases}
    assert {1, 7} <= {case.kernel for case in Cpu.cases}


def test_the_plan_for_a_gpu():
    assert [case.name for case in Cuda.cases] == [
        "N8 C256 64x64",
        "N8 C256 64x64 4 offset groups",
        "N8 C64 64x64",
        "N8 C64 64x64 4 offset groups",
        "N8 C512 32x32",
        "N8 C512 32x32 4 offset groups",
        "N2 C128 100x167",
        "N2 C128 100x167 4 offset groups",
    ]
    assert [case.name for case in Cuda.cases if case.reference] == ["N8 C256 64x64"]
    assert set(Cuda.dtypes) == {torch.bfloat16, torch.float16, torch.float32}
    assert Cuda.passes == (FORWARD, BACKWARD, BOTH)
    gpu = stand_in()
    assert gpu.candidates == (OURS, OURS_DETERMINISTIC, SAMPLING, TORCHVISION_FP16, TORCHVISION_FP32, CONV2D)


@pytest.mark.parametrize("device", [Cpu, stand_in])
def test_what_is_divided_is_there(device):
    chosen = device()
    assert {name for pair in chosen.time for name in pair} <= set(chosen.candidates)
    assert {name for pair in chosen.memory for name in pair} <= {*chosen.candidates, COLUMNS}


def test_what_must_be_shown_of_a_gpu():
    """Against the floor, times faster than torchvision in fp16, and the deterministic backward pass against the default."""
    assert {(OURS, CONV2D), (TORCHVISION_FP16, OURS), (OURS_DETERMINISTIC, OURS)} <= set(Cuda.time)


@pytest.mark.parametrize("name", [OURS, TORCHVISION_FP32, CONV2D])
@pytest.mark.parametrize("times", [0, 1, 3.5])
def test_operands_are_others_at_each_call(monkeypatch, name, times):
    """As many sets of operands as fill the cache beside the one in use, each in its turn."""
    made, ran = [], []

    def watched(*arguments):
        number, candidate = len(made), make_candidate(*arguments)
        made.append(arguments[:3])
        for pass_, work in candidate.items():
            candidate[pass_] = lambda work=work: ran.append(number) or work()
        return candidate

    monkeypatch.setattr(devices, "make_candidate", watched)
    dtype = torch.bfloat16
    own = torch.float32 if name == TORCHVISION_FP32 else dtype
    works = stand_in(int(times * SMALL.least_operand_bytes(own))).works(name, SMALL, dtype)
    copies = {0: 1, 1: 2, 3.5: 5}[times]
    assert made == [(name, SMALL, dtype)] * copies
    assert list(works) == [FORWARD, BACKWARD, BOTH]
    for work in works.values():
        ran.clear()
        for _ in range(2 * copies + 1):
            work()
        assert ran == [*range(copies), *range(copies), 0]


def test_copies_share_no_memory(monkeypatch):
    """And hold the same numbers."""
    inputs = []

    def watched(input, *arguments, **named):
        inputs.append(input.detach())
        return deform_conv2d(input, *arguments, **named)

    monkeypatch.setattr("dcnrun.bench.operators.deform_conv2d", watched)
    work = stand_in(3 * SMALL.least_operand_bytes(torch.float32)).works(OURS, SMALL, torch.float32)[FORWARD]
    inputs.clear()
    for _ in range(4):
        work()
    assert len({input.data_ptr() for input in inputs}) == 4
    assert all(torch.equal(input, inputs[0]) for input in inputs)


def test_what_the_first_calls_do_is_not_timed(monkeypatch):
    """Such as the forward pass that a backward pass starts from."""
    forwards = []

    def watched(*arguments, **named):
        forwards.append(1)
        return deform_conv2d(*arguments, **named)

    monkeypatch.setattr("dcnrun.bench.operators.deform_conv2d", watched)
    work = stand_in(3 * SMALL.least_operand_bytes(torch.float32)).works(OURS, SMALL, torch.float32)[BACKWARD]
    forwards.clear()
    for _ in range(9):
        work()
    assert not forwards


def test_positions_in_fp32_for_ours():
    gpu, half, full = stand_in(), torch.bfloat16, torch.float32
    for name in (OURS, OURS_DETERMINISTIC):
        gradients = gpu.candidate(name, SMALL, half)[BACKWARD]()
        assert [gradient.dtype for gradient in gradients] == [half, full, full, half]
    assert {gradient.dtype for gradient in Cpu().candidate(OURS, SMALL, half)[BACKWARD]()} == {half}


def test_memory_is_measured_once_all_is_loaded(monkeypatch):
    calls, seen = [], []

    def work():
        calls.append(1)
        return []

    def peak(measured, device):
        seen.append((len(calls), measured is work, device))
        return 7

    gpu = stand_in(10**6)
    monkeypatch.setattr(devices, "peak_extra_gpu_bytes", peak)
    monkeypatch.setattr(gpu, "candidate", lambda *_: {BOTH: work})
    assert gpu.extra_bytes(OURS, SMALL, torch.float16, BOTH) == 7
    assert seen == [(1, True, torch.device("cpu"))]


def settings():
    return (
        os.environ.get("DCNRUN_BACKEND"),
        os.environ.get("CUBLAS_WORKSPACE_CONFIG"),
        torch.backends.cudnn.benchmark,
        torch.backends.cudnn.allow_tf32,
        torch.backends.cuda.matmul.allow_tf32,
        torch.backends.cuda.matmul.fp32_precision,
    )


@pytest.mark.parametrize("asked", [{}, {"DCNRUN_BACKEND": "torchvision"}, {"CUBLAS_WORKSPACE_CONFIG": ":16:8"}])
def test_settings_on_a_gpu(monkeypatch, asked):
    variables = {"DCNRUN_BACKEND": "cuda", "CUBLAS_WORKSPACE_CONFIG": ":4096:8"}
    for name in variables:
        monkeypatch.delenv(name, raising=False)
    for name, value in asked.items():
        monkeypatch.setenv(name, value)
    before = settings()
    with stand_in().prepared():
        assert settings()[:5] == (*(variables | asked).values(), True, False, False)
    assert settings() == before
    with pytest.raises(ZeroDivisionError), stand_in().prepared():
        1 / 0
    assert settings() == before


@pytest.fixture
def _tf32():
    matmul = torch.backends.cuda.matmul
    before, matmul.fp32_precision = matmul.fp32_precision, "tf32"
    yield
    matmul.fp32_precision = before


@pytest.mark.usefixtures("_tf32")
def test_fp32_that_was_allowed_to_be_tf32():
    with stand_in().prepared():
        assert torch.backends.cuda.matmul.fp32_precision == "ieee"
    assert torch.backends.cuda.matmul.fp32_precision == "tf32"


def test_settings_on_the_cpu():
    before = settings()
    with Cpu().prepared():
        assert settings() == before


def test_without_a_gpu(monkeypatch):
    monkeypatch.setattr(devices, "gpus", lambda: range(0))
    with pytest.raises(UsageError, match=r"--device cuda: PyTorch finds no NVIDIA GPU here; `dcnrun doctor`") as caught:
        the_gpu()
    assert caught.value.exit_code == 2


def test_the_gpu_that_is_there(monkeypatch):
    monkeypatch.setattr(devices, "gpus", lambda: range(2))
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 1)
    properties = type("Properties", (), {"L2_cache_size": 50 * 2**20})
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: properties)
    gpu = the_gpu()
    assert (gpu.device, gpu.cache_bytes) == (torch.device("cuda:1"), 50 * 2**20)
    assert isinstance(gpu.clock, EventClock)
    assert isinstance(gpu.launch_clock, LaunchClock)


def test_torchvision_in_one_dtype_is_no_peer_of_the_cpu():
    assert TORCHVISION in Cpu.peers
    assert not {TORCHVISION_FP16, TORCHVISION_FP32} & set(Cpu.peers)
