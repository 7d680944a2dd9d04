"""NVIDIA's runtime compiler: turns a CUDA source into code for a GPU, on machines without one too.

Its library and its headers come in the wheels that a torch for CUDA depends on: no toolkit, no other compiler.
"""

import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

import torch

from dcnrun.ops.jit.errors import KernelUnavailable, first_error
from dcnrun.ops.jit.memoize import memoize

# How long a process waits for another that compiles the same kernel.
SECONDS_TO_COMPILE = 60.0
_ARCHITECTURE = re.compile(r"(?:sm|compute)_(\d+)[af]?")
# Never --use_fast_math: in an offset, NaN and infinity have a meaning.
_OPTIONS = ("--std=c++17",)


@dataclass(frozen=True)
class Nvrtc:
    """The compiler that is here: its version, the GPUs it compiles for, and where its headers are."""

    version: str
    headers: Path
    headers_version: str
    capabilities: tuple[int, ...]  # such as 90 for compute capability 9.0
    api: Any


@memoize
def find_nvrtc() -> Nvrtc:
    """The NVRTC of this environment; KernelUnavailable says why there is none."""
    try:
        from cuda.bindings import nvrtc as api

        major, minor = _checked(api.nvrtcVersion())
        capabilities = tuple(sorted(_checked(api.nvrtcGetSupportedArchs())))
    # The first call loads the library.
    except (ImportError, RuntimeError, OSError) as error:
        if torch.version.cuda is None:
            raise KernelUnavailable(
                "CUDA kernels are compiled by what comes with a torch for CUDA, and this one is for CPUs",
                "install torch for CUDA",
            ) from None
        wheels = f'"cuda-bindings=={_major(torch.version.cuda)}.*" {_wheel("nvrtc", torch.version.cuda)}'
        raise KernelUnavailable(f"NVRTC can't be loaded: {error}", f"pip install {wheels}") from None
    headers, headers_version = _find_headers(f"{major}.{minor}")
    return Nvrtc(f"{major}.{minor}", headers, headers_version, capabilities, api)


def _find_headers(version: str) -> tuple[Path, str]:
    """The folder of cuda_fp16.h and its kin, of NVRTC's own major version, and their version."""
    wheel = _wheel("runtime", version)
    try:
        found = distribution(wheel)
        header = next(file for file in found.files or [] if file.name == "cuda_fp16.h")
    except (PackageNotFoundError, StopIteration):
        raise KernelUnavailable(
            f"the headers of CUDA {version} (cuda_fp16.h) were not found", f'pip install "{wheel}=={version}.*"'
        ) from None
    return Path(str(header.locate())).parent.resolve(), found.version


def _wheel(part: str, version: str) -> str:
    """The package with this part of CUDA: up to CUDA 12, its name ends with the major version."""
    return f"nvidia-cuda-{part}" + (f"-cu{_major(version)}" if _major(version) <= 12 else "")


def _major(version: str) -> int:
    return int(version.partition(".")[0])


def cuda_options(define: str) -> tuple[str, ...]:
    """What a kernel for one dtype is compiled with."""
    return (*_OPTIONS, f"--define-macro={define}")


def is_virtual(architecture: str) -> bool:
    """Whether its code is PTX, which the driver compiles for the GPU when it is loaded."""
    return architecture.startswith("compute_")


def best_architecture(nvrtc: Nvrtc, capability: tuple[int, int]) -> str:
    """What to compile for a GPU of this compute capability; KernelUnavailable if NVRTC has nothing that runs on it."""
    major, minor = capability
    # "a": with what only this architecture has (wgmma).
    if capability == (9, 0):
        return "sm_90a"
    if major * 10 + minor in nvrtc.capabilities:
        return f"sm_{major}{minor}"
    older = [known for known in nvrtc.capabilities if major * 10 <= known < major * 10 + minor]
    if not older:
        raise KernelUnavailable(
            f"NVRTC {nvrtc.version} does not compile for GPUs of compute capability {major}.{minor}",
            "install a torch that is made for this GPU",
        )
    return f"compute_{max(older)}"


def compile_image(nvrtc: Nvrtc, source: Path, architecture: str, options: tuple[str, ...]) -> bytes:
    """Return the code of a source for one architecture: a cubin, or PTX where that is virtual.

    KernelUnavailable if the architecture is unknown to NVRTC, or the source has errors.
    """
    parsed = _ARCHITECTURE.fullmatch(architecture)
    if parsed is None or int(parsed[1]) not in nvrtc.capabilities:
        known = ", ".join(f"sm_{capability}" for capability in nvrtc.capabilities)
        raise KernelUnavailable(f"NVRTC {nvrtc.version} does not compile for {architecture}", f"it does for {known}")
    api = nvrtc.api
    includes = [f"--include-path={folder}" for folder in (source.parent, nvrtc.headers)]
    given = [f"--gpu-architecture={architecture}", *options, *includes]
    program = _checked(api.nvrtcCreateProgram(source.read_bytes(), str(source).encode(), 0, [], []))
    try:
        (status,) = api.nvrtcCompileProgram(program, len(given), [option.encode() for option in given])
        if status:
            log = _read(program, api.nvrtcGetProgramLogSize, api.nvrtcGetProgramLog)
            output = log.rstrip(b"\0").decode(errors="replace").strip()
            raise KernelUnavailable(
                f"NVRTC {nvrtc.version} can't compile {source.name}: {first_error(output, str(status))}",
                "`dcnrun kernels build` prints all that it says; another version of torch brings another NVRTC",
                f"nvrtc {shlex.join([*given, str(source)])}\n{output}\n",
            )
        if is_virtual(architecture):
            return _read(program, api.nvrtcGetPTXSize, api.nvrtcGetPTX)
        return _read(program, api.nvrtcGetCUBINSize, api.nvrtcGetCUBIN)
    finally:
        api.nvrtcDestroyProgram(program)


def _read(program: Any, size_of: Callable[..., Any], read: Callable[..., Any]) -> bytes:
    content = bytearray(_checked(size_of(program)))
    _checked(read(program, content))
    return bytes(content)


def _checked(answer: tuple[Any, ...]) -> Any:
    """What a function of NVRTC returned beside its status; KernelUnavailable if that is a failure."""
    status, *rest = answer
    if status:
        raise KernelUnavailable(f"NVRTC fails with {status!s}", "install torch and what comes with it again")
    return rest[0] if len(rest) == 1 else rest
