"""Stand-ins for what kernels are compiled and loaded with: a folder of small sources with a cache and compilers of its own,
and on machines without a GPU an NVIDIA driver that notes what it is asked.
"""

import ctypes
import multiprocessing
import os
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path

import pytest
import torch

from dcnrun.ops import DISPATCH
from dcnrun.ops.jit import KernelUnavailable, build_spec, compiler, cuda, load, units
from dcnrun.ops.jit.nvrtc import find_nvrtc

NAME = "deform_conv2d"
SOURCE = """
#include "answer.h"
#ifdef _OPENMP
#include <omp.h>
#endif
#define API extern "C" __attribute__((visibility("default")))

API int answer() { return ANSWER; }

API int threads() {
#ifdef _OPENMP
    return omp_get_max_threads();
#else
    return 1;
#endif
}

API int bits() {
#if defined(DCNRUN_FLOAT64)
    return 64;
#elif defined(DCNRUN_FLOAT32)
    return 32;
#elif defined(DCNRUN_BFLOAT16) || defined(DCNRUN_FLOAT16)
    return 16;
#endif
}
"""
CUDA_SOURCE = """
#include "factor.h"
#if defined(DCNRUN_FLOAT32)
typedef float Value;
#elif defined(DCNRUN_FLOAT16)
#include <cuda_fp16.h>
typedef __half Value;
#elif defined(DCNRUN_BFLOAT16)
#include <cuda_bf16.h>
typedef __nv_bfloat16 Value;
#endif

struct Problem {
    Value* values;
    long long count;
};

extern "C" __global__ void multiply(const __grid_constant__ Problem problem) {
    const long long i = blockIdx.x * (long long)blockDim.x + threadIdx.x;
    if (i < problem.count) problem.values[i] = Value(float(problem.values[i]) * FACTOR);
}

// Each block turns its numbers around, by way of shared memory.
extern "C" __global__ void reverse(const __grid_constant__ Problem problem) {
    extern __shared__ unsigned char memory[];
    Value* const shared = reinterpret_cast<Value*>(memory);
    Value* const own = problem.values + blockIdx.x * problem.count;
    for (long long i = threadIdx.x; i < problem.count; i += blockDim.x) shared[i] = own[i];
    __syncthreads();
    for (long long i = threadIdx.x; i < problem.count; i += blockDim.x) own[i] = shared[problem.count - 1 - i];
}
"""
# Counts its calls in the file beside it, but for questions for its version.
COUNTING = 'case "$1" in --version) ;; *) echo called >> "$0.calls" ;; esac\n'


class MultiplyProblem(ctypes.Structure):
    """`struct Problem` of the CUDA source."""

    _fields_ = (("values", ctypes.c_void_p), ("count", ctypes.c_longlong))


class Sandbox:
    """Where a test's kernels come from and go to."""

    def __init__(self, folder: Path, monkeypatch) -> None:
        self._monkeypatch = monkeypatch
        self.folder = folder
        self.source = folder / "kernels" / "cpu" / f"{NAME}.cpp"
        self.header = self.source.with_name("answer.h")
        self.cache = folder / "cache"
        self.temporary = folder / "temporary"
        self.source.parent.mkdir(parents=True)
        self.temporary.mkdir()
        self.source.write_text(SOURCE)
        self.header.write_text("#define ANSWER 42\n")
        self.cuda_source = folder / "kernels" / "cuda" / f"{NAME}.cu"
        self.cuda_header = self.cuda_source.with_name("factor.h")
        self.cuda_source.parent.mkdir()
        self.cuda_source.write_text(CUDA_SOURCE)
        self.cuda_header.write_text("#define FACTOR 2\n")
        monkeypatch.setattr(build_spec, "resource_dir", lambda name: folder / name)
        monkeypatch.setattr(tempfile, "tempdir", str(self.temporary))
        monkeypatch.setenv("DCNRUN_CACHE", str(self.cache))
        # The sources here use no unit.
        monkeypatch.setattr(units, "cpu_features", str)
        for variable in ("CXX", "DCNRUN_CXXFLAGS", "DCNRUN_CPU_UNITS"):
            monkeypatch.delenv(variable, raising=False)
        self.forget()

    def forget(self) -> None:
        """Know as little as a new process: what can't be had in the sandbox may be had by the next test."""
        for loader in (load.load, cuda.load, units.best, units.load_for):
            loader.cache_clear()
        for dispatch in DISPATCH.values():
            dispatch.DISPATCHER.forget()
        self._monkeypatch.setattr(compiler, "_hung", {})

    def compiler(self, name: str = "own-c++", before: str = COUNTING) -> Path:
        """Set CXX to a script that does something before it becomes the true compiler, and return it."""
        script = self.folder / name
        script.write_text(f'#!/bin/sh\n{before}exec "{self._true_compiler()}" "$@"\n')
        script.chmod(0o755)
        self._monkeypatch.setenv("CXX", str(script))
        return script

    def _true_compiler(self) -> str:
        self._monkeypatch.delenv("CXX", raising=False)
        return compiler.find_compiler().command[0]

    def leave_no_compiler(self) -> None:
        """Empty PATH."""
        self._monkeypatch.delenv("CXX", raising=False)
        self._monkeypatch.setenv("PATH", "")

    def built(self) -> list[Path]:
        """The compiled files in the cache."""
        return sorted(path for path in (self.cache / "kernels").glob("*") if path.suffix != ".json")

    def leftovers(self) -> list[Path]:
        """What should be gone when nobody builds."""
        return [*self.temporary.iterdir(), *self.cache.rglob("*.part")]


def calls(script: Path) -> int:
    """How often a counting compiler compiled."""
    log = script.with_name(f"{script.name}.calls")
    return len(log.read_text().splitlines()) if log.exists() else 0


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
    command = [compiler.find_compiler().command[0], "-std=c++17", "-shared", "-fPIC", "-Wl,-soname,libcuda.so.1"]
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
