"""The imports that most of a command's start goes into: PyTorch and what stands on it."""

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def kept_imports() -> Iterator[None]:
    """Import PyTorch within it: what that makes is never garbage, and Python does not look for some among it, then or later.

    That takes a third of the imports' time otherwise. Where PyTorch was imported before, nothing is different.
    """
    if "torch" in sys.modules or not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
