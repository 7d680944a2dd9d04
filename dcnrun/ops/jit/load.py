"""A kernel from its name: taken from the cache or compiled, then loaded, once in a process."""

import ctypes
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from dcnrun.ops.jit import cache
from dcnrun.ops.jit.compiler import SECONDS_TO_COMPILE, Compiler, compile_library, find_compiler
from dcnrun.ops.jit.recipe import Recipe, find_recipe
from dcnrun.ops.jit.unavailable import CacheUnusable, KernelUnavailable


@dataclass(frozen=True)
class Built:
    """A compiled kernel."""

    file: Path
    record: dict[str, Any]  # the flags that were used, and the seconds it took
    was_there: bool = False
    not_kept: CacheUnusable | None = None  # why the file is not in the cache, and soon gone


@dataclass(frozen=True)
class Loaded:
    """A kernel that can be called."""

    library: ctypes.CDLL
    built: Built


_known: dict[tuple[str, torch.dtype], Loaded | KernelUnavailable] = {}
_one_loads = threading.Lock()


def load_cpu(name: str, dtype: torch.dtype) -> ctypes.CDLL:
    """The library of a kernel for tensors of one dtype, compiled if it has to be; `name` is that of its source.

    What was loaded is remembered, and so is a failure: there is no second try in a process.

    Raises:
        KernelUnavailable: it can't be compiled or loaded here.
    """
    return load(name, dtype).library


def load(name: str, dtype: torch.dtype) -> Loaded:
    """`load_cpu`, with how the library came about."""
    kernel = name, dtype
    if kernel not in _known:
        with _one_loads:
            if kernel not in _known:
                _known[kernel] = _try_to_load(name, dtype)
    known = _known[kernel]
    if isinstance(known, KernelUnavailable):
        raise KernelUnavailable(*known.args)
    return known


def build_cpu(name: str, dtype: torch.dtype) -> Path:
    """The compiled file of a kernel, from the cache or compiled now; KernelUnavailable if it can't be had or kept."""
    return build(name, dtype).file


def build(name: str, dtype: torch.dtype) -> Built:
    """`build_cpu`, with how the file came about."""
    with _work_folder() as work:
        built = _build(find_recipe(name, dtype), work)
    if built.not_kept:
        raise built.not_kept
    return built


def _try_to_load(name: str, dtype: torch.dtype) -> Loaded | KernelUnavailable:
    try:
        with _work_folder() as work:
            built = _build(find_recipe(name, dtype), work)
            # After torch, whose OpenMP runtime it then shares.
            return Loaded(ctypes.CDLL(str(built.file)), built)
    except KernelUnavailable as problem:
        return problem
    except OSError as error:
        return KernelUnavailable(
            f"a compiled kernel can't be loaded: {error}",
            "set DCNRUN_CACHE to a folder that programs may be run from, and DCNRUN_CXXFLAGS to nothing unusual",
        )


def _build(recipe: Recipe, work: Path) -> Built:
    """A kernel from the cache, or compiled and put there; where it can't be put there, it stays in `work`."""
    try:
        compiler = find_compiler()
    except KernelUnavailable:
        # As on a cluster's nodes: what was compiled elsewhere, for the same CPU, will do.
        if built := _built_by_any(recipe):
            return built
        raise
    try:
        file = cache.kernels_folder() / recipe.file_name(compiler)
        if record := cache.find(file):
            return Built(file, record, was_there=True)
    except CacheUnusable as problem:
        return _compile(recipe, compiler, work, problem)
    with cache.one_builds(file, SECONDS_TO_COMPILE):
        if record := cache.find(file):
            return Built(file, record, was_there=True)
        built = _compile(recipe, compiler, work)
        try:
            cache.store(built.file, file, built.record)
        except CacheUnusable as problem:
            return replace(built, not_kept=problem)
        return replace(built, file=file)


def _built_by_any(recipe: Recipe) -> Built | None:
    with suppress(CacheUnusable):
        for file in sorted(cache.kernels_folder().glob(f"{recipe.file_start()}*.so")):
            if record := cache.find(file):
                return Built(file, record, was_there=True)
    return None


def _compile(recipe: Recipe, compiler: Compiler, work: Path, not_kept: CacheUnusable | None = None) -> Built:
    library = work / recipe.file_name(compiler)
    started = time.perf_counter()
    flags = compile_library(compiler, recipe.flags, recipe.source, library)
    seconds = time.perf_counter() - started
    return Built(library, {"flags": flags, "seconds": round(seconds, 2)}, not_kept=not_kept)


@contextmanager
def _work_folder() -> Iterator[Path]:
    """A folder of this process alone, gone afterwards; a loaded library stays loaded without its file."""
    try:
        folder = tempfile.TemporaryDirectory(prefix="dcnrun-", ignore_cleanup_errors=True)
    except OSError as error:
        raise KernelUnavailable(
            f"no temporary folder can be made to compile in: {error}", "make room for one, or set TMPDIR"
        ) from error
    with folder as path:
        yield Path(path)
