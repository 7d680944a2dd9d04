"""`dcnrun kernels build`: compile before the first use, as for the nodes of a cluster that share a folder."""

import logging
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import torch

from dcnrun.console import console
from dcnrun.errors import UsageError
from dcnrun.ops.jit.build import Built
from dcnrun.ops.jit.build_spec import CUDA_DTYPES, DEFINES, dtype_name, kernel_names
from dcnrun.ops.jit.cuda import architecture_of, build_cuda, gpus
from dcnrun.ops.jit.errors import KernelUnavailable
from dcnrun.ops.jit.load import build_cpu, build_spec
from dcnrun.ops.jit.units import Unit, buildable, spec_for

_log = logging.getLogger("dcnrun")

# The GPUs that the CUDA kernels are tested for: A100; A10 and RTX 30; L4, L40 and RTX 40; H100 and H200.
ARCHITECTURES = ("sm_80", "sm_86", "sm_89", "sm_90a")


def build_kernels(dtypes: Sequence[str], architectures: Sequence[str] = ()) -> dict[str, Any]:
    """Build every kernel for these dtypes (all if empty), a printed line each; return the files.

    That is the CUDA kernels for these architectures ("all" stands for ARCHITECTURES), or if there are none the CPU
    kernels and the CUDA kernels for this machine's GPUs.

    Raises:
        UsageError: nothing can be an architecture of this name, or there are no CUDA kernels for the dtypes.
        KernelUnavailable: one can't be built, after all that the compiler said was printed; the others were not tried.
    """
    wanted = [getattr(torch, dtype) for dtype in dtypes] or list(DEFINES)
    builds = _for_gpus(wanted, _checked(wanted, architectures)) if architectures else _for_this_machine(wanted)
    files = []
    for build_one in builds:
        try:
            built = build_one()
        except KernelUnavailable as problem:
            print(problem.output, end="", file=sys.stderr)
            raise
        if built is None:
            continue
        seconds = None if built.was_there else built.record["seconds"]
        console.print(
            f"{built.file}  {'cached' if seconds is None else f'{seconds:.1f} s'}", markup=False, soft_wrap=True
        )
        files.append({"file": built.file, "seconds": seconds})
    return {"files": files}


def _for_this_machine(dtypes: list[torch.dtype]) -> Iterator[Callable[[], Built | None]]:
    for name in kernel_names("cpu"):
        for dtype in dtypes:
            yield partial(build_cpu, name, dtype)
            yield from (partial(_build_for_unit, name, unit) for unit in buildable(name, dtype))
    # Found out as late as this, since a GPU without NVRTC is no reason not to build the CPU's kernels.
    yield from _for_gpus(dtypes, [architecture_of(index) for index in gpus()])


def _build_for_unit(name: str, unit: Unit) -> Built | None:
    """A kernel that uses one of the CPU's units; none where the compiler does not know it."""
    try:
        return build_spec(spec_for(name, unit))
    except KernelUnavailable as problem:
        _log.warning("dcnrun: without a kernel for the CPU's %s, since %s", unit, problem.reason)
        return None


def _for_gpus(dtypes: list[torch.dtype], architectures: list[str]) -> Iterator[Callable[[], Built | None]]:
    for name in kernel_names("cuda"):
        for architecture in dict.fromkeys(architectures):
            yield from (partial(build_cuda, name, dtype, architecture) for dtype in dtypes if dtype in CUDA_DTYPES)


def _checked(dtypes: list[torch.dtype], architectures: Sequence[str]) -> list[str]:
    """The architectures that were asked for by these names."""
    if not any(dtype in CUDA_DTYPES for dtype in dtypes):
        names = ", ".join(map(dtype_name, CUDA_DTYPES))
        raise UsageError(f"There are no CUDA kernels for {dtype_name(dtypes[0])}, only for {names}.")
    for architecture in architectures:
        if architecture != "all" and not re.fullmatch(r"sm_\d+[af]?", architecture):
            names = ", ".join(ARCHITECTURES)
            raise UsageError(f"{architecture!r} is no GPU architecture: give {names}, another of this form, or all.")
    return [one for name in architectures for one in (ARCHITECTURES if name == "all" else [name])]
