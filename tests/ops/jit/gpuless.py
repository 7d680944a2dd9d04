"""What CUDA kernels are tested with on machines without a GPU: NVRTC, and a driver that only says what it is asked."""

import ctypes
import multiprocessing
import os
import subprocess
import sys
import traceback
from pathlib import Path

import pytest
import torch

from dcnrun.ops.jit import KernelUnavailable
from dcnrun.ops.jit.compiler import find_compiler
from dcnrun.ops.jit.nvrtc import find_nvrtc

# The driver's device handles and a stream, as it writes them to its log.
STREAM = 7
_processes = multiprocessing.get_context("fork")


def has_nvrtc() -> bool:
    try:
        find_nvrtc()
    except KernelUnavailable:
        return False
    return True


needs_nvrtc = pytest.mark.skipif(not has_nvrtc(), reason="there is no NVRTC")


def in_a_process(work) -> int:
    """Run a function in a copy of this process, and return the exit code: 0 if it returned."""
    process = _processes.Process(target=_run, args=(work,))
    process.start()
    process.join(60)
    return process.exitcode


def _run(work):
    try:
        work()
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)


def build_driver(folder: Path) -> Path:
    """Compile the driver of `driver.cpp`."""
    library = folder / "libcuda.so.1"
    command = [find_compiler().command[0], "-std=c++17", "-shared", "-fPIC", "-Wl,-soname,libcuda.so.1"]
    subprocess.run([*command, str(Path(__file__).with_name("driver.cpp")), "-o", str(library), "-ldl"], check=True)
    return library


class Driver:
    """Two GPUs of compute capability 9.0 that do no work."""

    def __init__(self, library: Path, log: Path) -> None:
        self._library, self._log = library, log

    def use(self, work) -> list[str]:
        """Run a function in a process that has these GPUs, and return what the driver was asked there."""

        def with_gpus():
            os.environ["DRIVER_LOG"] = str(self._log)
            ctypes.CDLL(str(self._library))
            torch.cuda.is_available = lambda: True
            torch.cuda.device_count = lambda: 2
            torch.cuda.current_device = lambda: 0
            torch.cuda.get_device_capability = lambda index: (9, 0)
            torch._C._cuda_getCurrentRawStream = lambda index: STREAM + index
            work()

        self._log.write_text("")
        assert in_a_process(with_gpus) == 0
        return self._log.read_text().splitlines()
