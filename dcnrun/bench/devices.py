"""What is compared on a CPU and on a GPU, and how it is measured there."""

import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch

from dcnrun.bench import operators as op
from dcnrun.bench.machine import describe_gpu
from dcnrun.bench.memory import in_fresh_process, peak_extra_gpu_bytes
from dcnrun.bench.operators import CPU, Case, Passes, dtype_of, extra_memory, make_candidate
from dcnrun.bench.timing import WALL_CLOCK, Clock, EventClock, LaunchClock, Work, copies_past_cache, in_turn
from dcnrun.errors import UsageError
from dcnrun.ops.jit.cuda import gpus

COLUMNS = "torchvision's columns"
# The CUBLAS_WORKSPACE_CONFIG without which some versions of PyTorch refuse products under deterministic algorithms.
CUBLAS_DETERMINISTIC = ":4096:8"

Works = Mapping[str, Work]
Pairs = tuple[tuple[str, str], ...]


class Device(ABC):
    """A kind of device: the operators, shapes and passes that are compared there, and how.

    Attributes:
        device: PyTorch's name of it.
        dtypes: what is measured unless something else is asked for.
        ours, peers: the candidates.
        passes: which of a candidate's passes are measured.
        time, memory: what is divided by what, in time and in memory.
        clock: measures a pass.
        launch_clock: measures what a pass costs the host, where another device computes.
    """

    device: torch.device
    dtypes: tuple[torch.dtype, ...]
    cases: tuple[Case, ...]
    ours: tuple[str, ...]
    peers: tuple[str, ...]
    passes: tuple[str, ...]
    time: Pairs
    memory: Pairs
    clock: Clock
    launch_clock: Clock | None = None

    @property
    def candidates(self) -> tuple[str, ...]:
        """All candidates: ours, then the peers."""
        return self.ours + self.peers

    @contextmanager
    def prepared(self) -> Iterator[None]:
        """Set what all is measured with."""
        yield

    def describe(self) -> dict[str, Any]:
        """Return what a result should say of the device, beside the machine."""
        return {}

    def candidate(self, name: str, case: Case, dtype: torch.dtype) -> Passes:
        """Return an operator with operands on the device."""
        return make_candidate(name, case, dtype, self.device)

    def works(self, name: str, case: Case, dtype: torch.dtype) -> Works:
        """Return a candidate's passes that are measured, ready to be timed."""
        passes = self.candidate(name, case, dtype)
        return {pass_: passes[pass_] for pass_ in self.passes if pass_ in passes}

    @abstractmethod
    def extra_bytes(self, name: str, case: Case, dtype: torch.dtype, pass_: str) -> int:
        """Measure the peak memory of one pass beyond operands and results; DcnrunError where it can't be told."""


class Cpu(Device):
    """The CPU, on which a pass is over when its call returns."""

    device = CPU
    dtypes = (torch.float32,)
    cases = (
        Case(2, 64, 64, reference=True),
        Case(2, 128, 32, reference=True),
        Case(2, 256, 32, reference=True),
        Case(1, 256, 64, reference=True),
        Case(2, 256, 32, offset_groups=4, reference=True),
        Case(2, 64, 56),
        Case(2, 256, 14),
        Case(2, 128, 32, kernel=1),
        Case(2, 64, 32, kernel=7),
    )
    ours = (op.OURS, op.OURS_NCHW)
    peers = (op.TORCHVISION, op.ONNXRUNTIME, op.OPENVINO, op.DEFORMOPS, op.CONV2D)
    passes = (op.FORWARD, op.BOTH)
    time = (
        (op.OURS, op.CONV2D),
        (op.OURS_NCHW, op.CONV2D),
        *((peer, op.OURS) for peer in (op.TORCHVISION, op.ONNXRUNTIME, op.OPENVINO, op.DEFORMOPS)),
    )
    memory = ((op.OURS, COLUMNS), (op.OURS, op.TORCHVISION))
    clock = WALL_CLOCK

    def extra_bytes(self, name: str, case: Case, dtype: torch.dtype, pass_: str) -> int:
        """Measure what the operating system counts, in a process of its own."""
        return in_fresh_process(extra_memory, name, case, dtype, pass_, torch.get_num_threads())


class Cuda(Device):
    """An NVIDIA GPU, which computes while the host continues."""

    dtypes = (torch.bfloat16, torch.float16, torch.float32)
    cases = tuple(
        Case(batch, channels, size, offset_groups=offset_groups, reference=(channels, offset_groups) == (256, 1))
        for batch, channels, size in ((8, 256, 64), (8, 64, 64), (8, 512, 32), (2, 128, (100, 167)))
        for offset_groups in (1, 4)
    )
    ours = (op.OURS, op.OURS_DETERMINISTIC, op.SAMPLING)
    peers = (op.TORCHVISION_FP16, op.TORCHVISION_FP32, op.CONV2D)
    passes = (op.FORWARD, op.BACKWARD, op.BOTH)
    time = (
        (op.OURS, op.CONV2D),
        (op.TORCHVISION_FP16, op.OURS),
        (op.TORCHVISION_FP32, op.OURS),
        (op.OURS_DETERMINISTIC, op.OURS),
    )
    memory = ((op.OURS, COLUMNS), (op.OURS, op.TORCHVISION_FP16), (op.OURS_DETERMINISTIC, op.OURS))

    def __init__(self, device: torch.device, cache_bytes: int, clock: Clock, launch_clock: Clock) -> None:
        self.device, self.cache_bytes = device, cache_bytes
        self.clock, self.launch_clock = clock, launch_clock

    @contextmanager
    def prepared(self) -> Iterator[None]:
        """Set what all is measured with: our kernels if no others are asked for, cuDNN's fastest, and fp32 without TF32 for all."""
        matmul = torch.backends.cuda.matmul
        precision, matmul.fp32_precision = matmul.fp32_precision, "ieee"
        try:
            with (
                _environment(DCNRUN_BACKEND="cuda", CUBLAS_WORKSPACE_CONFIG=CUBLAS_DETERMINISTIC),
                torch.backends.cudnn.flags(enabled=True, benchmark=True, allow_tf32=False),
            ):
                yield
        finally:
            matmul.fp32_precision = precision

    def describe(self) -> dict[str, Any]:
        """Describe the GPU, its driver and libraries."""
        return describe_gpu(self.device)

    def candidate(self, name: str, case: Case, dtype: torch.dtype) -> Passes:
        """Return an operator with positions in fp32, as layers have them under autocast; torchvision's takes one dtype only."""
        return make_candidate(name, case, dtype, self.device, torch.float32 if name in self.ours else None)

    def works(self, name: str, case: Case, dtype: torch.dtype) -> Works:
        """Return passes that take other operands at each call, so that none are in the L2 cache."""
        copies = copies_past_cache(case.least_operand_bytes(dtype_of(name, dtype)), self.cache_bytes)
        each = [super(Cuda, self).works(name, case, dtype) for _ in range(copies)]
        for works in each:
            for work in works.values():
                work()  # what a first call does more is never timed
        return {pass_: in_turn([works[pass_] for works in each]) for pass_ in each[0]}

    def extra_bytes(self, name: str, case: Case, dtype: torch.dtype, pass_: str) -> int:
        """Measure what PyTorch counts."""
        work = self.candidate(name, case, dtype)[pass_]
        work()
        return peak_extra_gpu_bytes(work, self.device)


@contextmanager
def _environment(**variables: str) -> Iterator[None]:
    """Set environment variables that are not set, for the time being."""
    missing = {name: value for name, value in variables.items() if name not in os.environ}
    os.environ.update(missing)
    try:
        yield
    finally:
        for name in missing:
            del os.environ[name]


def the_gpu() -> Cuda:
    """Return the current GPU; UsageError where there is none."""
    if not gpus():
        raise UsageError("--device cuda: PyTorch finds no NVIDIA GPU here; `dcnrun doctor` tells what it finds")
    device = torch.device("cuda", torch.cuda.current_device())
    return Cuda(
        device,
        torch.cuda.get_device_properties(device).L2_cache_size,
        EventClock(partial(torch.cuda.Event, enable_timing=True)),
        LaunchClock(torch.cuda.synchronize),
    )
