"""What tells that a call may pass by autograd and PyTorch's dispatcher, since they have nothing to do there; and memory and views without them.

All of it is private to PyTorch, so it is looked up here, in one place. Where a release lacks a name, or means something else by it,
`SHORTCUTS` is None, and calls take PyTorch's own way: right everywhere, and slower by some ten microseconds.
"""

import functools
import logging
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

_log = logging.getLogger("dcnrun")

# What the dispatcher looks at on its way from a plain tensor to its kernel, below autograd.
_KEYS = (
    *("CPU", "AutogradCPU", "AutocastCPU", "CUDA", "AutogradCUDA", "AutocastCUDA"),
    *("ADInplaceOrView", "BackendSelect"),
)
_SETTINGS = (int, float, bool, tuple, list)

# Whether tensors are as those were that it was made of, in all but their values.
Alike = Callable[..., bool]


class Shortcuts:
    """PyTorch's private functions; AttributeError, TypeError or RuntimeError where they are not as they are known."""

    def __init__(self) -> None:
        private: Any = torch._C
        self.below_autograd: Callable[[], AbstractContextManager[None]] = private._AutoDispatchBelowAutograd
        self.needs_grad: Callable[..., bool] = private._any_requires_grad
        self._transforms_are_active: Callable[[], bool] = private._are_functorch_transforms_active
        self._autocast_is_on: Callable[[], bool] = private._is_any_autocast_enabled
        self.profiler_is_on: Callable[[], bool] = private._autograd._profiler_enabled
        self.modes: Callable[[], int] = private._len_torch_dispatch_stack  # such as the counter of FLOPs
        self._keys_of: Callable[[Tensor], Any] = private._dispatch_keys
        self._keys_here: Callable[[], Any] = private._dispatch_tls_local_include_set
        self._guard: Callable[..., Any] = private._dynamo.guards.TensorGuards
        self.as_strided: Callable[..., Tensor] = private._dynamo.guards._reinterpret_tensor
        self._empty_on_cpu: Callable[..., Tensor] = private._dynamo.guards._empty_strided_cpu
        self._empty_on_gpu: Callable[..., Tensor] = private._dynamo.guards._empty_strided_cuda
        # A PyTorch without CUDA has no such function.
        self._current_gpu: Callable[[], int] = getattr(private, "_cuda_getDevice", lambda: -1)
        keys = (private.DispatchKeySet(getattr(private.DispatchKey, key)) for key in _KEYS)
        self._other: int = ~functools.reduce(lambda all, more: all | more, keys).raw_repr()
        self._try()

    def _try(self) -> None:
        plain = torch.empty(1, device="cpu")
        with self.below_autograd():
            answers = self.alike([plain])(plain), self._keys_of(plain).raw_repr() & self._other, self.needs_grad(plain)
        if answers != (True, 0, False) or self.needs_grad(1, plain.requires_grad_()) is not True:
            raise TypeError("they answer otherwise than they are known to")
        self.transforms_are_active()
        self.is_dispatched([plain])
        room = self.as_strided(self.empty_strided(plain, (2, 3), (3, 1))[1], (3, 1), (1, 1))
        if (room.shape, room.stride(), room.dtype, room.storage_offset()) != ((3, 1), (1, 1), plain.dtype, 3):
            raise TypeError("they make other tensors than they are known to")

    def transforms_are_active(self) -> bool:
        """Whether a transform of torch.func is at work, or forward mode, whose tangents PyTorch would drop without a word."""
        return self._transforms_are_active() or forward_ad._current_level >= 0

    def is_recorded(self, arguments: Sequence[Any]) -> bool:
        """Whether a call has to be recorded for derivatives: by autograd, a transform of torch.func, or forward mode."""
        if self._transforms_are_active() or forward_ad._current_level >= 0:
            return True
        return torch.is_grad_enabled() and self.needs_grad(*arguments)

    def is_dispatched(self, arguments: Sequence[Any]) -> bool:
        """Whether PyTorch's dispatcher has more to do than to find the kernel.

        So it has under autocast, modes such as the counter of FLOPs, transforms and the profiler, and for tensors of other kinds: fake
        ones, those of subclasses, views of a negative, ...; and it is what refuses arguments of wrong types.
        """
        if self._keys_here().raw_repr() & self._other or self._autocast_is_on() or self.profiler_is_on():
            return True
        for argument in arguments:
            if isinstance(argument, Tensor):
                if self._keys_of(argument).raw_repr() & self._other:
                    return True
            elif argument is not None and type(argument) not in _SETTINGS:
                return True
        return False

    def empty_strided(self, like: Tensor, shape: Sequence[int], strides: Sequence[int]) -> Tensor:
        """Return `like.new_empty_strided(shape, strides)`."""
        if like.is_cpu:
            return self._empty_on_cpu(shape, strides, like.dtype)
        if like.is_cuda and like.get_device() == self._current_gpu():
            return self._empty_on_gpu(shape, strides, like.dtype)
        return like.new_empty_strided(shape, strides)

    def alike(self, tensors: Sequence[Tensor]) -> Alike:
        """Return a function that tells of as many tensors whether they have the form of these.

        In one step, that is whether they have the same types, shapes, strides, dtypes, devices and keys of the dispatcher, as
        these are where the function is called: under autocast they are others.
        """
        sizes, strides = [list(tensor.shape) for tensor in tensors], [list(tensor.stride()) for tensor in tensors]
        alike: Alike = self._guard(*tensors, dynamic_dims_sizes=sizes, dynamic_dims_strides=strides).check
        return alike


def look_up() -> Shortcuts | None:
    """Return the shortcuts; None, and a line in the log for those who debug, where this PyTorch does not have them all."""
    try:
        return Shortcuts()
    except (AttributeError, TypeError, RuntimeError) as problem:
        why = str(problem).partition("\n")[0]
        _log.debug("dcnrun: calls of operators take PyTorch %s's own way, which is slower: %s", torch.__version__, why)
        return None


SHORTCUTS = look_up()

# Views and memory, below autograd.
as_strided: Callable[[Tensor, Sequence[int], Sequence[int]], Tensor]
empty_strided: Callable[[Tensor, Sequence[int], Sequence[int]], Tensor]
if SHORTCUTS is None:
    as_strided, empty_strided = Tensor.as_strided, Tensor.new_empty_strided
else:
    as_strided, empty_strided = SHORTCUTS.as_strided, SHORTCUTS.empty_strided
