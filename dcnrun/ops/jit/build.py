"""A compiled kernel's file: taken from the cache, or compiled and kept there."""

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from dcnrun.ops.jit import cache
from dcnrun.ops.jit.errors import CacheUnusable, KernelUnavailable

# Compiles to a file, and returns the flags that were used.
Compile = Callable[[Path], list[str]]


@dataclass(frozen=True)
class Built:
    """A compiled kernel."""

    file: Path
    content: bytes = field(repr=False)  # what is to be loaded, whatever has become of the file
    record: dict[str, Any]  # the flags that were used, and the seconds it took
    was_there: bool = False
    not_kept: CacheUnusable | None = None  # why the file is not in the cache, and soon gone

    def kept(self) -> "Built":
        """Return the kernel if it is in the cache; CacheUnusable if it could not be kept."""
        if self.not_kept:
            raise self.not_kept
        return self


def find_or_build(file_name: str, compile: Compile, work: Path, seconds: float) -> Built:
    """Return a kernel from the cache, or compile it and put it there; where it can't be put there, it stays in `work`.

    A process waits `seconds` at most for another that compiles the same kernel.
    """
    try:
        file = cache.kernels_folder() / file_name
        if kept := cache.find(file):
            return Built(file, *kept, was_there=True)
    except CacheUnusable as problem:
        return _compile(work / file_name, compile, problem)
    with cache.one_builds(file, seconds):
        if kept := cache.find(file):
            return Built(file, *kept, was_there=True)
        built = _compile(work / file_name, compile)
        try:
            cache.store(built.content, file, built.record)
        except CacheUnusable as problem:
            return replace(built, not_kept=problem)
        return replace(built, file=file)


def _compile(file: Path, compile: Compile, not_kept: CacheUnusable | None = None) -> Built:
    started = time.perf_counter()
    flags = compile(file)
    seconds = time.perf_counter() - started
    return Built(file, file.read_bytes(), {"flags": flags, "seconds": round(seconds, 2)}, not_kept=not_kept)


@contextmanager
def work_folder() -> Iterator[Path]:
    """A folder of this process alone, gone afterwards; a loaded library stays loaded without its file."""
    try:
        folder = tempfile.TemporaryDirectory(prefix="dcnrun-", ignore_cleanup_errors=True)
    except OSError as error:
        raise KernelUnavailable(
            f"no temporary folder can be made to compile in: {error}", "make room for one, or set TMPDIR"
        ) from error
    with folder as path:
        yield Path(path)
