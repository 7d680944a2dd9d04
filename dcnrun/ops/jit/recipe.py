"""All that decides what a compiled kernel is, and so the name that it has in the cache."""

import hashlib
import json
import platform
import sys
from dataclasses import dataclass
from pathlib import Path

import torch

from dcnrun.ops.jit.compiler import Compiler, Flags, kernel_flags
from dcnrun.ops.jit.processor import cpu_features
from dcnrun.ops.jit.unavailable import KernelUnavailable
from dcnrun.resources import resource_dir

DEFINES = {
    torch.float32: "DCNRUN_FLOAT32",
    torch.float64: "DCNRUN_FLOAT64",
    torch.bfloat16: "DCNRUN_BFLOAT16",
    torch.float16: "DCNRUN_FLOAT16",
}
_HEADERS = (".h", ".hpp")


@dataclass(frozen=True)
class Recipe:
    """A kernel's source for one dtype, and the flags to compile it with."""

    source: Path
    dtype: str
    flags: Flags

    def file_name(self, compiler: Compiler) -> str:
        """Such as deform_conv2d-float32-0123456789ab.so: the hash stands for all that decides the content.

        Its last four digits stand for the compiler, so that a machine without one finds what another compiled.
        """
        return f"{self.file_start()}{_digest(compiler.command, compiler.version)[:4]}.so"

    def file_start(self) -> str:
        """What the names for all compilers start with."""
        headers = sorted(path for path in self.source.parent.rglob("*") if path.suffix in _HEADERS)
        digest = _digest(
            [[path.name, path.read_text("utf-8")] for path in (self.source, *headers)],
            [self.flags.needed, self.flags.optional],
            [sys.platform, platform.machine(), platform.libc_ver(), cpu_features()],
        )
        return f"{self.source.stem}-{self.dtype}-{digest[:8]}"


def find_recipe(name: str, dtype: torch.dtype) -> Recipe:
    """What there is here to make a kernel of; KernelUnavailable if something is missing."""
    if sys.platform == "win32":
        raise KernelUnavailable("CPU kernels are made on Linux and macOS only", "use one of them, or WSL")
    if dtype not in DEFINES:
        raise KernelUnavailable(f"there are no CPU kernels for {dtype}", f"use one of {', '.join(map(str, DEFINES))}")
    source = resource_dir("kernels") / "cpu" / f"{name}.cpp"
    if not source.is_file():
        raise KernelUnavailable(f"{source} is missing", "install dcnrun again")
    return Recipe(source, str(dtype).removeprefix("torch."), kernel_flags(DEFINES[dtype]))


def kernel_names() -> list[str]:
    """Every kernel that there is a source of."""
    return sorted(path.stem for path in (resource_dir("kernels") / "cpu").glob("*.cpp"))


def _digest(*decides: object) -> str:
    return hashlib.sha256(json.dumps(decides).encode()).hexdigest()
