"""Peak memory of a work: on Linux as the operating system counts it, on a GPU as PyTorch does."""

import ctypes
import gc
import multiprocessing
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import torch
from numpy.typing import NDArray
from torch import Tensor

from dcnrun.errors import DcnrunError

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")
Sized = Tensor | NDArray[Any]

# What measured processes start with: imported once, in the process that they are forked from.
_IMPORTED = ["dcnrun.bench.operators"]
_RESET_PEAK = "5"  # proc(5), clear_refs
_PAGE = 4096
_GPU_BLOCK = 512  # what PyTorch rounds an allocation up to


def peak_extra_bytes(work: Callable[[], Iterable[Sized]]) -> int:
    """Measure how far this process's resident memory rises during a pass, beyond what stays: the results it returns.

    Counted are pages, at least one; it is right to a quarter of a MiB. What was freed before and kept for reuse would not
    show: measure in a fresh process. DcnrunError where the system doesn't tell.
    """
    gc.collect()
    _give_back_freed_memory()
    try:
        Path("/proc/self/clear_refs").write_text(_RESET_PEAK)
        before = _status("VmRSS")
        results = list(work())
        return max(_PAGE, _status("VmHWM") - before - sum(result.nbytes for result in results))
    except OSError as error:
        raise DcnrunError(f"this system does not tell a process's peak memory ({error})") from error


def peak_extra_gpu_bytes(work: Callable[[], Iterable[Sized]], device: torch.device) -> int:
    """Measure how far PyTorch's memory on a GPU rises during a pass, beyond the results; at least one block.

    It counts libraries' workspaces too, as far as they get them from PyTorch: cuDNN's and cuBLAS's. Run the work before,
    since it may make what stays.
    """
    torch.cuda.synchronize(device)
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    results = list(work())
    extra = torch.cuda.max_memory_allocated(device) - before - sum(result.nbytes for result in results)
    return max(_GPU_BLOCK, extra)


def in_fresh_process(
    function: Callable[Parameters, Result], *arguments: Parameters.args, **options: Parameters.kwargs
) -> Result:
    """Call a function of a module in a process that has computed nothing before."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_IMPORTED)
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(function, *arguments, **options).result()


def _give_back_freed_memory() -> None:
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc's
    if trim is not None:
        trim(0)


def _status(key: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    (kib,) = (line.split()[1] for line in lines if line.startswith(f"{key}:"))
    return int(kib) * 1024
