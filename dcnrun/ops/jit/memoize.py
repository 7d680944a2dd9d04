"""A function's results, and its failures to get a kernel, remembered for the rest of the process."""

import functools
import threading
from collections.abc import Callable
from typing import Generic, TypeVar, TypeVarTuple

from dcnrun.ops.jit.errors import KernelUnavailable

Key = TypeVarTuple("Key")
Made = TypeVar("Made")


class memoize(Generic[*Key, Made]):
    """Decorates a function: what it returned for some arguments is remembered, and so is a KernelUnavailable it raised.

    Threads that ask at the same time wait for the first of them.
    """

    def __init__(self, make: Callable[[*Key], Made]) -> None:
        functools.update_wrapper(self, make)
        self._make = make
        self._one_makes = threading.Lock()
        self._known: dict[tuple[*Key], Made | KernelUnavailable] = {}

    def __call__(self, *key: *Key) -> Made:
        """Return what the function returns for these arguments."""
        try:
            known = self._known[key]
        except KeyError:
            known = self._first(key)
        if isinstance(known, KernelUnavailable):
            raise KernelUnavailable(*known.args)
        return known

    def _first(self, key: tuple[*Key]) -> Made | KernelUnavailable:
        with self._one_makes:
            if key not in self._known:
                try:
                    self._known[key] = self._make(*key)
                except KernelUnavailable as problem:
                    self._known[key] = problem
            return self._known[key]

    def cache_clear(self) -> None:
        """Forget all results and failures."""
        self._known.clear()
