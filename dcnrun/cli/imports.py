"""The imports that most of a command's start goes into: PyTorch and what stands on it."""

import atexit
import contextlib
import gc
import os
import sys
from collections.abc import Iterator

_STDERR = 2


@contextlib.contextmanager
def kept_imports() -> Iterator[None]:
    """Import PyTorch within it: what that makes is never garbage, and Python does not look for some among it, then or later.

    That takes a third of a command's time otherwise, most of it at its end. Where PyTorch was imported before, nothing is different.
    """
    if "torch" in sys.modules or not gc.isenabled():
        yield
        return
    atexit.register(_end_in_silence)  # before the imports register theirs, so that it comes after these
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def _end_in_silence() -> None:
    """Let nothing be written to standard error once Python has ended.

    The bindings of Triton 3.9, which PyTorch 2.15 imports, count there what is kept as leaks, in thirty lines.
    """
    with contextlib.suppress(OSError, ValueError):  # it is closed, or its reader is gone
        if sys.stderr is not None:
            sys.stderr.flush()
        os.dup2(os.open(os.devnull, os.O_WRONLY), _STDERR)
