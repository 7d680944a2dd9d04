"""`dcnrun kernels build`: compile before the first use, as for the nodes of a cluster that share a folder."""

import sys
from collections.abc import Sequence
from typing import Any

import torch

from dcnrun.console import console
from dcnrun.ops.jit.load import build
from dcnrun.ops.jit.recipe import DEFINES, kernel_names
from dcnrun.ops.jit.unavailable import KernelUnavailable


def build_kernels(dtypes: Sequence[str]) -> dict[str, Any]:
    """Build every kernel for these dtypes (all if empty), a printed line each; return the files.

    KernelUnavailable is raised at the first one that can't be built, after all that the compiler said was printed.
    """
    wanted = [getattr(torch, dtype) for dtype in dtypes] or list(DEFINES)
    files = []
    for name in kernel_names():
        for dtype in wanted:
            try:
                built = build(name, dtype)
            except KernelUnavailable as problem:
                print(problem.output, end="", file=sys.stderr)
                raise
            seconds = None if built.was_there else built.record["seconds"]
            console.print(
                f"{built.file}  {'cached' if seconds is None else f'{seconds:.1f} s'}", markup=False, soft_wrap=True
            )
            files.append({"file": built.file, "seconds": seconds})
    return {"files": files}
