"""What a call of an operator costs the host beside its kernel: problems of one pixel, here and in another checkout.

    git worktree add /tmp/before COMMIT
    python benchmarks/host_time.py /tmp/before benchmarks/results/host_time.json [rounds]

A time is the CPU's, of the calling thread: other work on the machine takes little of it. "warm" is one of a hundred calls in a row, "cold" a call
after 8 MiB have gone through the caches, as a kernel leaves them. Both checkouts measure each case in turn, in processes of their own, on one thread. In
"cuda" our CUDA kernels are called for CPU tensors and launched by a stand-in driver that does nothing (`tests/ops/jit/driver.cpp`); on a GPU memory
comes from another allocator, and cuBLAS is called in place of the CPU's product of matrices. PyTorch's convolution, on the CPU, stands beside them
for scale.
"""

import ctypes
import json
import os
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from functools import partial
from importlib import import_module
from itertools import product
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

HERE = Path(__file__).parents[1]
ROUNDS, WARM_CALLS, COLD_CALLS, WARM_UP = 40, 100, 10, 5
WARM, COLD = "warm", "cold"
SWEPT = 2**23  # bytes
BEFORE, NOW = "before", "now"
FORWARD, RECORDED, BOTH = "forward", "forward, recorded by autograd", "forward and backward"
OPERATORS = "deform_conv2d", "deform_sample2d", "deform_roi_pool"
CHANNELS, POINTS = 16, 9


class Measurer:
    """A process that measures what a checkout's operators cost, on the CPU or through a stand-in driver."""

    def __init__(self, checkout: Path, driver: Path | None) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__, "--measure", *([] if driver is None else [str(driver)])],
            env=os.environ | {"PYTHONPATH": str(checkout)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.cases = self._answer()

    def seconds(self, cache: str, case: str) -> float:
        """Measure a case with warm or cold caches; return the seconds of one call."""
        assert self._process.stdin is not None
        print(cache, case, file=self._process.stdin, flush=True)
        return float(self._answer())

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        return json.loads(self._process.stdout.readline())


def measure(driver: str | None) -> None:
    """Answer each line of the standard input, `warm` or `cold` and a case, with its seconds."""
    torch.set_num_threads(1)
    if driver is not None:
        launch_by(driver)
    works = make_works()
    for work in works.values():
        work()  # each of its kernels is loaded once
    os.environ.pop("DRIVER_LOG", None)
    print(json.dumps(list(works)), flush=True)
    for line in sys.stdin:
        cache, case = line.strip().split(maxsplit=1)
        for _ in range(WARM_UP):
            works[case]()
        print((warm_seconds if cache == WARM else cold_seconds)(works[case]), flush=True)


def warm_seconds(work: Callable[[], object]) -> float:
    started = time.thread_time()
    for _ in range(WARM_CALLS):
        work()
    return (time.thread_time() - started) / WARM_CALLS


def cold_seconds(work: Callable[[], object]) -> float:
    swept, seconds = torch.zeros(SWEPT // 4), 0.0
    for _ in range(COLD_CALLS):
        swept += 1
        started = time.thread_time()
        work()
        seconds += time.thread_time() - started
    return seconds / COLD_CALLS


def launch_by(driver: str) -> None:
    """Have CPU tensors computed by our CUDA kernels, which a stand-in driver loads and launches."""
    from dcnrun.ops.common import cuda_call
    from dcnrun.ops.deform_roi_pool import operator
    from dcnrun.ops.jit import cuda

    # PyTorch asks this driver for GPUs too, before a backward pass.
    warnings.filterwarnings("ignore", "CUDA initialization")
    os.environ["DRIVER_LOG"] = os.devnull
    ctypes.CDLL(driver)
    stand_ins: list[tuple[Any, str, Any]] = [
        (torch.cuda, "current_device", lambda: 0),
        (torch._C, "_cuda_getCurrentRawStream", lambda index: 0),
        (cuda, "gpus", lambda: range(1)),
        (cuda, "architecture_of", lambda index: "sm_90a"),
        (cuda, "_build", lambda *what: SimpleNamespace(content=b"\x7fELF")),
        (cuda_call, "cache_and_multiprocessors", lambda device: (50 * 2**20, 132)),
        (operator, "check_images", lambda rois, images: None),  # nobody looks at them on a GPU
    ]
    for owner, name, stand_in in stand_ins:
        setattr(owner, name, stand_in)
    for name in OPERATORS:
        folder = f"dcnrun.ops.{name}"
        import_module(f"{folder}.dispatch").KERNELS["cpu"] = import_module(f"{folder}.cuda")


def make_works() -> dict[str, Callable[[], object]]:
    """Return what is measured: all passes of all operators, as layers call them."""
    from dcnrun.ops import deform_conv2d, deform_roi_pool, deform_sample2d

    ones = (1, 1)
    input, weight = torch.randn(1, CHANNELS, 1, 1), torch.randn(CHANNELS, CHANNELS, 3, 3)
    offset, mask, bias = torch.randn(1, 2 * POINTS, 1, 1), torch.randn(1, POINTS, 1, 1), torch.randn(CHANNELS)
    rois = torch.tensor([[0.0, 0.0, 0.0, 1.0, 1.0]])
    weight = weight.contiguous(memory_format=torch.channels_last)
    computed: dict[str, tuple[Callable[..., Tensor], list[Tensor]]] = {
        "deform_conv2d": (
            lambda input, offset, mask, weight, bias: deform_conv2d(
                input, offset, weight, bias, ones, ones, ones, mask
            ),
            [input, offset, mask, weight, bias],
        ),
        "deform_sample2d": (
            lambda input, offset, mask: deform_sample2d(input, offset, mask, (3, 3), ones, ones, ones),
            [input, offset, mask],
        ),
        "deform_roi_pool": (
            lambda input, offset, mask: deform_roi_pool(input, rois, offset, ones, 1.0, 2, 0.1, mask),
            [input, offset[:, :2], mask[:, :1]],
        ),
        "conv2d": (
            lambda input, weight, bias: torch.nn.functional.conv2d(input, weight, bias, ones, ones),
            [input, weight, bias],
        ),
    }
    works: dict[str, Callable[[], object]] = {}
    for name, (compute, operands) in computed.items():
        works |= {f"{name}, {pass_}": work for pass_, work in passes(compute, operands).items()}
    return works


def passes(compute: Callable[..., Tensor], operands: list[Tensor]) -> dict[str, Callable[[], object]]:
    """Return the passes of an operator on some operands."""
    leaves = [operand.detach().requires_grad_() for operand in operands]
    grad_output = torch.ones_like(compute(*operands))

    def both() -> object:
        return torch.autograd.grad(compute(*leaves), leaves, grad_output)

    return {FORWARD: partial(compute, *operands), RECORDED: partial(compute, *leaves), BOTH: both}


def main() -> None:
    from dcnrun.bench.machine import describe
    from dcnrun.bench.timing import interleaved, quartiles_us
    from tests.ops.jit.fakes import build_driver

    before, out, *more = sys.argv[1:]
    rounds = int(more[0]) if more else ROUNDS
    checkouts = {BEFORE: Path(before), NOW: HERE}
    works: dict[tuple[str, str], Callable[[], float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for device, driver in (("cpu", None), ("cuda", build_driver(Path(folder)))):
            for name, checkout in checkouts.items():
                measurer = Measurer(checkout, driver)
                for case, cache in product(measurer.cases, (WARM, COLD)):
                    works[f"{device}, {case}, {cache}", name] = partial(measurer.seconds, cache, case)
        seconds = interleaved(works, rounds, clock=_own_seconds)
    results: dict[str, Any] = {}
    for (case, name), times in seconds.items():
        results.setdefault(case, {})[name] = quartiles_us(times) | {"least": round(1e6 * min(times), 2)}
    for case, each in results.items():
        print(f"{case:60}", *(f"{name} {t['median']:6.1f} us, {t['least']:6.1f} at least;" for name, t in each.items()))
    commits = {name: _commit(checkout) for name, checkout in checkouts.items()}
    result = {
        "machine": describe(),
        "commits": commits,
        "rounds": rounds,
        "calls": [WARM_CALLS, COLD_CALLS],
        "microseconds": results,
    }
    Path(out).write_text(json.dumps(result, indent=1) + "\n")


def _own_seconds(work: Callable[[], Any]) -> float:
    return float(work())


def _commit(checkout: Path) -> str:
    git = ["git", "-C", str(checkout), "describe", "--always", "--dirty"]
    return subprocess.run(git, capture_output=True, text=True, check=True).stdout.strip()


if __name__ == "__main__":
    if sys.argv[1] == "--measure":
        measure(sys.argv[2] if sys.argv[2:] else None)
    else:
        main()
