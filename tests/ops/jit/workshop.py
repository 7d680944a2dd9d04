"""A place to compile in: a small kernel's source, an empty cache, and compilers of one's own."""

import tempfile
from pathlib import Path

from dcnrun.ops.jit import compiler, load, recipe

NAME = "deform_conv2d"
SOURCE = """
#include "answer.h"
#ifdef _OPENMP
#include <omp.h>
#endif
#define API extern "C" __attribute__((visibility("default")))

API int answer() { return ANSWER; }

API int threads() {
#ifdef _OPENMP
    return omp_get_max_threads();
#else
    return 1;
#endif
}

API int bits() {
#if defined(DCNRUN_FLOAT64)
    return 64;
#elif defined(DCNRUN_FLOAT32)
    return 32;
#elif defined(DCNRUN_BFLOAT16) || defined(DCNRUN_FLOAT16)
    return 16;
#endif
}
"""
# Counts its calls in the file beside it, but for questions for its version.
COUNTING = 'case "$1" in --version) ;; *) echo called >> "$0.calls" ;; esac\n'


class Workshop:
    """Where a test's kernels come from and go to."""

    def __init__(self, folder: Path, monkeypatch) -> None:
        self._monkeypatch = monkeypatch
        self.folder = folder
        self.source = folder / "kernels" / "cpu" / f"{NAME}.cpp"
        self.header = self.source.with_name("answer.h")
        self.cache = folder / "cache"
        self.temporary = folder / "temporary"
        self.source.parent.mkdir(parents=True)
        self.temporary.mkdir()
        self.source.write_text(SOURCE)
        self.header.write_text("#define ANSWER 42\n")
        monkeypatch.setattr(recipe, "resource_dir", lambda name: folder / name)
        monkeypatch.setattr(tempfile, "tempdir", str(self.temporary))
        monkeypatch.setenv("DCNRUN_CACHE", str(self.cache))
        for variable in ("CXX", "DCNRUN_CXXFLAGS"):
            monkeypatch.delenv(variable, raising=False)
        self.forget()

    def forget(self) -> None:
        """Know as little as a new process."""
        self._monkeypatch.setattr(load, "_known", {})
        self._monkeypatch.setattr(compiler, "_hung", {})

    def compiler(self, name: str = "own-c++", before: str = COUNTING) -> Path:
        """Set CXX to a script that does something before it becomes the true compiler, and return it."""
        script = self.folder / name
        script.write_text(f'#!/bin/sh\n{before}exec "{self._true_compiler()}" "$@"\n')
        script.chmod(0o755)
        self._monkeypatch.setenv("CXX", str(script))
        return script

    def _true_compiler(self) -> str:
        self._monkeypatch.delenv("CXX", raising=False)
        return compiler.find_compiler().command[0]

    def leave_no_compiler(self) -> None:
        """Empty PATH."""
        self._monkeypatch.delenv("CXX", raising=False)
        self._monkeypatch.setenv("PATH", "")

    def built(self) -> list[Path]:
        """The compiled files in the cache."""
        return sorted((self.cache / "kernels").glob("*.so"))

    def leftovers(self) -> list[Path]:
        """What should be gone when nobody builds."""
        return [*self.temporary.iterdir(), *self.cache.rglob("*.part")]


def calls(script: Path) -> int:
    """How often a counting compiler compiled."""
    log = script.with_name(f"{script.name}.calls")
    return len(log.read_text().splitlines()) if log.exists() else 0
