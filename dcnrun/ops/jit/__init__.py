"""The project's own kernels, compiled when first used: found, compiled, kept and loaded.

A kernel is one source with the headers beside it. One in `kernels/cpu/` becomes a plain C library per dtype, one in
`kernels/cuda/` the code of one GPU architecture per dtype.
"""

from dcnrun.ops.jit.cuda import CudaModule, compile_cuda, load_cuda
from dcnrun.ops.jit.errors import KernelUnavailable
from dcnrun.ops.jit.load import build_cpu, load_cpu

__all__ = ["CudaModule", "KernelUnavailable", "build_cpu", "compile_cuda", "load_cpu", "load_cuda"]
