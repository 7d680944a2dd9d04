"""A stand-in for `dcnrun.ops.jit.CudaModule` that runs the kernels of `kernels/cuda` on the CPU, on CPU tensors."""

import ctypes
import functools
import hashlib
import json
import re
import sys
from pathlib import Path

import pytest
import torch

from dcnrun.ops.jit import KernelUnavailable
from dcnrun.ops.jit.build import find_or_build, work_folder
from dcnrun.ops.jit.compiler import SECONDS_TO_COMPILE, Flags, compile_library, find_compiler, kernel_flags
from dcnrun.resources import resource_dir

INCLUDE = Path(__file__).parent / "include"
DEFINES = {
    torch.float32: "DCNRUN_FLOAT32",
    torch.float16: "DCNRUN_FLOAT16",
    torch.bfloat16: "DCNRUN_BFLOAT16",
}
_KERNEL = re.compile(r"__global__[^;{]*?\b(\w+)\s*\(\s*const")


def skip_without_emulation():
    if sys.platform != "linux":
        pytest.skip("the emulation is for Linux")
    try:
        find_compiler()
    except KernelUnavailable as problem:
        pytest.skip(str(problem))


class EmulatedModule:
    """The kernels of one source for one dtype, as a GPU of an architecture such as 900 would run them.

    Attributes:
        launches: what was launched: kernel, grid and block.
        seed: of the order in which threads and blocks take turns; 0 is their natural one.
    """

    def __init__(self, name, dtype, architecture=900, sources=None):
        self.library = _compiled(name, DEFINES[dtype], architecture, sources or resource_dir("kernels") / "cuda")
        self.launches, self.seed = [], 0

    def launch(self, kernel, grid, block, parameters, shared_bytes=0):
        assert shared_bytes == 0, "dynamic shared memory is not emulated"
        self.launches.append((kernel, grid, block))
        launch(self.library, kernel, grid, block, parameters, self.seed)


def launch(library, kernel, grid, block, parameters, seed=0):
    """Run a kernel; AssertionError where a GPU would refuse it, hang or do as it likes."""
    function = getattr(library, f"emulated_{kernel}")
    function.restype = ctypes.c_char_p
    sizes = [(ctypes.c_uint * 3)(*three) for three in (grid, block)]
    pointer, size = ctypes.byref(parameters), ctypes.c_size_t(ctypes.sizeof(parameters))
    failure = function(*sizes, pointer, size, ctypes.c_uint64(seed))
    assert failure is None, f"{kernel} in {grid} blocks of {block} threads: {failure.decode()}"


@functools.cache
def _compiled(name, define, architecture, sources):
    source = sources / f"{name}.cu"
    return compiled_text(source.read_text("utf-8"), define, architecture, source.parent)


def compiled_text(text, define="DCNRUN_FLOAT32", architecture=900, folder=INCLUDE):
    """A library of the kernels in a CUDA source, each under its name after `emulated_`; from the kernels' cache, if it is there."""
    kernels = _KERNEL.findall(text)
    assert kernels, "the source has no kernels"
    lines = ['#include "emulation.h"', text, *(f"EMULATED({kernel})" for kernel in kernels)]
    flags = (
        *kernel_flags(define).needed,
        *("-O1", "-fno-strict-aliasing", "-Wall", "-Wno-sign-compare", "-U_FORTIFY_SOURCE"),
        f"-D__CUDA_ARCH__={architecture}",
    )
    folders, compiler = (INCLUDE, folder, resource_dir("kernels")), find_compiler()

    def compile(library):
        unit = library.with_suffix(".cpp")
        unit.write_text("\n".join(lines), "utf-8")
        return compile_library(compiler, Flags((*flags, *(f"-I{each}" for each in folders)), ()), unit, library)

    headers = [header.read_text("utf-8") for each in folders for header in sorted(each.rglob("*.h"))]
    decides = json.dumps([lines, headers, flags, compiler.command, compiler.version])
    file_name = f"emulated_cuda-{hashlib.sha256(decides.encode()).hexdigest()[:12]}.so"
    with work_folder() as work:
        built = find_or_build(file_name, compile, work, SECONDS_TO_COMPILE)
        return ctypes.CDLL(str(built.file))
