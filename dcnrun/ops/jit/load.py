"""A CPU kernel from its name: taken from the cache or compiled, then loaded, once in a process."""

import ctypes
import os
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import torch

from dcnrun.ops.jit import cache
from dcnrun.ops.jit.build import Built, find_or_build, work_folder
from dcnrun.ops.jit.build_spec import CpuBuildSpec, cpu_build_spec
from dcnrun.ops.jit.compiler import SECONDS_TO_COMPILE, compile_library, find_compiler
from dcnrun.ops.jit.errors import CacheUnusable, KernelUnavailable
from dcnrun.ops.jit.memoize import memoize

# Of libraries that were loaded from memory.
_names: set[str] = set()


@dataclass(frozen=True)
class Loaded:
    """A kernel that can be called."""

    library: ctypes.CDLL
    built: Built


def load_cpu(name: str, dtype: torch.dtype) -> ctypes.CDLL:
    """Return the library of a kernel for tensors of one dtype, compiled if it has to be; `name` is that of its source.

    What was loaded is remembered, and so is a failure to (KernelUnavailable): there is no second try in a process.
    """
    return load(name, dtype).library


@memoize
def load(name: str, dtype: torch.dtype) -> Loaded:
    """`load_cpu`, with how the library came about."""
    return load_spec(cpu_build_spec(name, dtype))


def load_spec(spec: CpuBuildSpec) -> Loaded:
    """Return a kernel taken from the cache or compiled, and loaded; KernelUnavailable where that can't be done."""
    with work_folder() as work:
        built = _build(spec, work)
        try:
            # After torch, whose OpenMP runtime it then shares.
            return Loaded(_open(built, work), built)
        except OSError as error:
            raise KernelUnavailable(
                f"a compiled kernel can't be loaded: {error}",
                "set TMPDIR to a folder that programs may be run from, and DCNRUN_CXXFLAGS to nothing unusual",
            ) from error


def _open(built: Built, work: Path) -> ctypes.CDLL:
    """Load the content that was checked, and not the file, which may be another by now."""
    if sys.platform == "linux":
        with suppress(OSError):
            return _open_from_memory(built)
    private = work / built.file.name
    private.write_bytes(built.content)
    return ctypes.CDLL(str(private))


def _open_from_memory(built: Built) -> ctypes.CDLL:
    """Load from a file in memory that nobody can change; OSError where the system has no such files, or refuses to run them."""
    import fcntl

    descriptor = os.memfd_create(built.file.name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    name = f"/proc/self/fd/{descriptor}"
    try:
        # The system knows a library by its name: of one that was used it would return the old library.
        if name in _names:
            raise FileExistsError(name)
        with os.fdopen(descriptor, "wb", closefd=False) as memory:
            memory.write(built.content)
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK)
        library = ctypes.CDLL(name)
    except OSError:
        os.close(descriptor)
        raise
    _names.add(name)  # and the descriptor stays open, for debuggers
    return library


def build_cpu(name: str, dtype: torch.dtype) -> Built:
    """Return the compiled file of a kernel, from the cache or compiled now; KernelUnavailable if it can't be had or kept."""
    return build_spec(cpu_build_spec(name, dtype))


def build_spec(spec: CpuBuildSpec) -> Built:
    """`build_cpu` of a kernel that is compiled in a way of its own."""
    with work_folder() as work:
        return _build(spec, work).kept()


def _build(spec: CpuBuildSpec, work: Path) -> Built:
    try:
        compiler = find_compiler()
    except KernelUnavailable:
        # As on a cluster's nodes: what was compiled elsewhere, for the same CPU, will do.
        if built := _built_by_any(spec):
            return built
        raise

    def compile(library: Path) -> list[str]:
        return compile_library(compiler, spec.flags, spec.source, library)

    return find_or_build(spec.file_name(compiler), compile, work, SECONDS_TO_COMPILE)


def _built_by_any(spec: CpuBuildSpec) -> Built | None:
    with suppress(CacheUnusable):
        for file in sorted(cache.kernels_folder().glob(f"{spec.file_start()}*.so")):
            if kept := cache.find(file):
                return Built(file, *kept, was_there=True)
    return None
