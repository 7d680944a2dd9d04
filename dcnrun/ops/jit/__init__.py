"""The project's own CPU kernels, compiled when first used: found, compiled, kept and loaded.

A kernel is one C++ source in `kernels/cpu/` with the headers beside it, and becomes one plain C library per dtype.
"""

from dcnrun.ops.jit.load import build_cpu, load_cpu
from dcnrun.ops.jit.unavailable import KernelUnavailable

__all__ = ["KernelUnavailable", "build_cpu", "load_cpu"]
