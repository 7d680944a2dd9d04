"""Everything that decides what a compiled kernel is, and so the name that it has in the cache."""

import hashlib
import json
import platform
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from dcnrun.ops.jit.compiler import Compiler, Flags, kernel_flags
from dcnrun.ops.jit.errors import KernelUnavailable
from dcnrun.ops.jit.nvrtc import Nvrtc, cuda_options, is_virtual
from dcnrun.ops.jit.processor import cpu_features
from dcnrun.resources import resource_dir

DEFINES = {
    torch.float32: "DCNRUN_FLOAT32",
    torch.float64: "DCNRUN_FLOAT64",
    torch.bfloat16: "DCNRUN_BFLOAT16",
    torch.float16: "DCNRUN_FLOAT16",
}
CPU_DTYPES = tuple(DEFINES)
CUDA_DTYPES = (torch.float32, torch.bfloat16, torch.float16)
_SUFFIXES = {"cpu": ".cpp", "cuda": ".cu"}
_HEADERS = (".h", ".hpp", ".cuh")


@dataclass(frozen=True)
class CpuBuildSpec:
    """A CPU kernel's source for one dtype, the flags to compile it with, and what its name says more."""

    source: Path
    dtype: str
    flags: Flags
    variant: str = ""

    def file_name(self, compiler: Compiler) -> str:
        """Return the name, such as deform_conv2d-float32-0123456789ab.so: the hash stands for all that decides the content.

        Its last four digits stand for the compiler, so that a machine without one finds what another compiled.
        """
        return f"{self.file_start()}{_digest(compiler.command, compiler.version)[:4]}.so"

    def file_start(self) -> str:
        """Return what the names for all compilers start with."""
        digest = _digest(
            _texts(self.source),
            [self.flags.needed, self.flags.optional],
            [sys.platform, platform.machine(), platform.libc_ver(), cpu_features()],
        )
        variant = f"{self.variant}-" if self.variant else ""
        return f"{self.source.stem}-{self.dtype}-{variant}{digest[:8]}"


@dataclass(frozen=True)
class CudaBuildSpec:
    """A CUDA kernel's source for one dtype and architecture, and the options to compile it with."""

    source: Path
    dtype: str
    architecture: str
    options: tuple[str, ...]

    def file_name(self, nvrtc: Nvrtc) -> str:
        """Return the name, such as deform_conv2d-float32-sm_90a-0123456789ab.cubin: the hash stands for all that decides the content."""
        digest = _digest(_texts(self.source), self.options, [nvrtc.version, nvrtc.headers_version])
        suffix = "ptx" if is_virtual(self.architecture) else "cubin"
        return f"{self.source.stem}-{self.dtype}-{self.architecture}-{digest[:12]}.{suffix}"


def cpu_build_spec(name: str, dtype: torch.dtype, variant: str = "", defines: Sequence[str] = ()) -> CpuBuildSpec:
    """Return what a CPU kernel is made of here; KernelUnavailable if something is missing.

    `variant` is the name of one that is compiled with further `defines`.
    """
    if sys.platform == "win32":
        raise KernelUnavailable("CPU kernels are made on Linux and macOS only", "use one of them, or WSL")
    define = _define(dtype, CPU_DTYPES, "CPU")
    return CpuBuildSpec(_source("cpu", name), dtype_name(dtype), kernel_flags(define, *defines), variant)


def cuda_build_spec(name: str, dtype: torch.dtype, architecture: str) -> CudaBuildSpec:
    """Return what a CUDA kernel is made of here; KernelUnavailable if something is missing."""
    define = _define(dtype, CUDA_DTYPES, "CUDA")
    return CudaBuildSpec(_source("cuda", name), dtype_name(dtype), architecture, cuda_options(define))


def kernel_names(kind: str) -> list[str]:
    """Return the names of all kernels that have a source; `kind` is "cpu" or "cuda"."""
    return sorted(path.stem for path in _folder(kind).glob(f"*{_SUFFIXES[kind]}"))


def cuda_texts(name: str) -> list[list[str]]:
    """Return the names and texts of a CUDA kernel's source and of the headers beside it."""
    return _texts(_source("cuda", name))


def dtype_name(dtype: torch.dtype) -> str:
    """Return the name, such as "float32"."""
    return str(dtype).removeprefix("torch.")


def _define(dtype: torch.dtype, dtypes: tuple[torch.dtype, ...], kind: str) -> str:
    if dtype not in dtypes:
        raise KernelUnavailable(f"there are no {kind} kernels for {dtype}", f"use one of {', '.join(map(str, dtypes))}")
    return DEFINES[dtype]


def _source(kind: str, name: str) -> Path:
    source = _folder(kind) / f"{name}{_SUFFIXES[kind]}"
    if not source.is_file():
        raise KernelUnavailable(f"{source} is missing", "install dcnrun again")
    return source


def _folder(kind: str) -> Path:
    return resource_dir("kernels") / kind


def _texts(source: Path) -> list[list[str]]:
    """A source and all headers beside it, by name."""
    headers = sorted(path for path in source.parent.rglob("*") if path.suffix in _HEADERS)
    return [[path.name, path.read_text("utf-8")] for path in (source, *headers)]


def _digest(*decides: object) -> str:
    return hashlib.sha256(json.dumps(decides).encode()).hexdigest()
