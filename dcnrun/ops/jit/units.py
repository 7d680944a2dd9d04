"""The units of CPUs that multiply matrices in bf16: which there are, and a kernel's library that uses the best of them."""

import ctypes
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

import torch

from dcnrun.errors import UsageError
from dcnrun.ops.jit.build_spec import CpuBuildSpec, cpu_build_spec
from dcnrun.ops.jit.errors import KernelUnavailable
from dcnrun.ops.jit.load import Loaded, load, load_spec
from dcnrun.ops.jit.memoize import memoize
from dcnrun.ops.jit.processor import cpu_features, cpu_vendor

_log = logging.getLogger("dcnrun")


class Unit(StrEnum):
    """What multiplies matrices, and what DCNRUN_CPU_UNITS may ask for beside `auto`."""

    AMX = "amx"  # AMX-BF16: tiles of 16 rows and 64 bytes
    AVX512_BF16 = "avx512_bf16"  # dot products of pairs
    VECTORS = "vectors"  # fp32, what every CPU has
    EMULATED_AMX = "emulated_amx"  # the same instructions in plain C++, for tests
    EMULATED_AVX512_BF16 = "emulated_avx512_bf16"


# The kernels that multiply matrices.
KERNELS = ("deform_conv2d",)
# In the order in which they are tried.
UNITS = (Unit.AMX, Unit.AVX512_BF16)
_FEATURES = {Unit.AMX: ("amx_tile", "amx_bf16", "avx512_bf16"), Unit.AVX512_BF16: ("avx512_bf16",)}
_DEFINES = {
    Unit.AMX: ("DCNRUN_UNIT_AMX",),
    Unit.AVX512_BF16: ("DCNRUN_UNIT_AVX512_BF16",),
    Unit.EMULATED_AMX: ("DCNRUN_UNIT_AMX", "DCNRUN_EMULATED_UNITS"),
    Unit.EMULATED_AVX512_BF16: ("DCNRUN_UNIT_AVX512_BF16", "DCNRUN_EMULATED_UNITS"),
}
# What a library answers when it is asked for its unit (kernels/cpu/unit.h).
_ANSWERS = {
    1: "the CPU does not say that it has this unit",
    2: "the operating system does not let this process use it",
    3: "it gave a wrong answer to a known product",
}


@dataclass(frozen=True)
class Choice:
    """The library that is used, the unit that it uses, and for each better unit why it is not used."""

    unit: Unit
    loaded: Loaded
    why_not: Mapping[Unit, str]


def requested_unit() -> Unit | None:
    """Return what the environment variable DCNRUN_CPU_UNITS asks for, None for `auto`; UsageError if it names no unit."""
    requested = os.environ.get("DCNRUN_CPU_UNITS", "auto")
    try:
        return None if requested == "auto" else Unit(requested)
    except ValueError:
        raise UsageError(f"DCNRUN_CPU_UNITS is {requested!r}: it must be one of auto, {', '.join(Unit)}") from None


def why_absent(unit: Unit) -> str | None:
    """Return why a unit is not even tried unless it is asked for; None if it is."""
    missing = [feature for feature in _FEATURES.get(unit, ()) if feature not in cpu_features().split()]
    if missing:
        return f"this CPU has no {missing[0]}"
    if unit is Unit.AVX512_BF16 and cpu_vendor() == "GenuineIntel":
        return "on Intel's CPUs it is slower than fp32 vectors"
    return None


def spec_for(name: str, unit: Unit) -> CpuBuildSpec:
    """Return what a kernel for bf16 tensors that uses a unit is made of; KernelUnavailable if something is missing."""
    variant = "" if unit is Unit.VECTORS else unit
    return cpu_build_spec(name, torch.bfloat16, variant, _DEFINES.get(unit, ()))


def load_best(name: str, dtype: torch.dtype) -> Choice:
    """Return a kernel's library for tensors of one dtype: what `choose` returns where it uses units."""
    if dtype is torch.bfloat16 and name in KERNELS:
        return choose(name)
    return Choice(Unit.VECTORS, load(name, dtype), {})


def choose(name: str) -> Choice:
    """Return the library of a kernel for bf16 tensors, with the best unit that this process can use.

    One line in the log says so, once, where the CPU has a unit that can't be used.

    Raises:
        UsageError: DCNRUN_CPU_UNITS names no unit, or asks for one that can't be used here.
        KernelUnavailable: there is no library at all.
    """
    requested = requested_unit()
    if requested is None:
        return best(name)
    try:
        return Choice(requested, load_for(name, requested), {})
    except KernelUnavailable as problem:
        if requested is Unit.VECTORS:
            raise
        raise UsageError(f"DCNRUN_CPU_UNITS={requested}: {problem.reason}") from problem


@memoize
def best(name: str) -> Choice:
    """`choose` where nothing is asked for."""
    why_not = {}
    for unit in UNITS:
        if reason := why_absent(unit):
            why_not[unit] = reason
            continue
        try:
            return Choice(unit, load_for(name, unit), why_not)
        except KernelUnavailable as problem:
            why_not[unit] = problem.reason
            _log.warning("dcnrun: bf16 is computed without the CPU's %s, more slowly, since %s", unit, problem.reason)
    return Choice(Unit.VECTORS, load_for(name, Unit.VECTORS), why_not)


@memoize
def load_for(name: str, unit: Unit) -> Loaded:
    """Return the library that uses a unit, which has answered right; KernelUnavailable if it can't be used."""
    if unit is Unit.VECTORS:
        return load(name, torch.bfloat16)
    loaded = load_spec(spec_for(name, unit))
    if answer := _ask(loaded.library, name):
        raise KernelUnavailable(_ANSWERS[answer], "DCNRUN_CPU_UNITS=vectors does not ask for it")
    return loaded


def buildable(name: str, dtype: torch.dtype) -> tuple[Unit, ...]:
    """Return the units that a kernel may use on this machine, for which it can be compiled ahead."""
    if dtype is not torch.bfloat16 or name not in KERNELS:
        return ()
    requested = requested_unit()
    if requested is None:
        return tuple(unit for unit in UNITS if not why_absent(unit))
    return () if requested is Unit.VECTORS else (requested,)


def _ask(library: ctypes.CDLL, name: str) -> int:
    answer: int = getattr(library, f"dcnrun_{name}_unit")()
    return answer
