"""Which implementation computes an operator: our kernel where it can, else torchvision's, else the definition."""

import logging
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from enum import StrEnum
from typing import Any, Generic, Protocol, TypeVar

import torch
from torch import Tensor

from dcnrun.errors import UsageError
from dcnrun.ops.jit import KernelUnavailable
from dcnrun.ops.jit.build_spec import dtype_name
from dcnrun.ops.proof import first_use
from dcnrun.ops.proof.verdict import Work

Operands = TypeVar("Operands")
Called = TypeVar("Called", contravariant=True)

_log = logging.getLogger("dcnrun")


_VARIABLE = "DCNRUN_BACKEND"
# To find nothing in os.environ itself takes 0.7 us, for an exception that it raises and catches.
_environment: Mapping[Any, Any] = getattr(os.environ, "_data", os.environ)
_KEY = os.environ.encodekey(_VARIABLE) if _environment is not os.environ else _VARIABLE


class Backend(StrEnum):
    """What DCNRUN_BACKEND may ask for; what computes in the end is KERNEL, TORCHVISION or REFERENCE."""

    AUTO = "auto"  # our kernel where it can be had, on NVIDIA GPUs where it has proved right and is not the slower
    KERNEL = "kernel"  # our kernel, on every device
    CUDA = "cuda"  # our kernel on NVIDIA GPUs; elsewhere as AUTO
    TORCHVISION = "torchvision"  # torchvision's operator; as AUTO where it has none
    REFERENCE = "reference"  # the definition in plain PyTorch


def requested_backend() -> Backend:
    """Return what the environment variable DCNRUN_BACKEND asks for; UsageError if it names no backend."""
    if _KEY not in _environment:
        return Backend.AUTO
    requested = os.environ[_VARIABLE]
    try:
        return Backend(requested)
    except ValueError:
        raise UsageError(f"DCNRUN_BACKEND is {requested!r}: it must be one of {', '.join(Backend)}") from None


class Kernels(Protocol[Called]):
    """The module that calls our kernels of one operator on one type of device."""

    @property
    def DTYPES(self) -> Collection[torch.dtype]:
        """What the kernels store."""

    def load(self, dtype: torch.dtype, device: torch.device) -> object:
        """Compile and load them, once in a process; KernelUnavailable where that can't be done."""

    def forward(self, operands: Called, output: Tensor) -> None:
        """Write the result of checked operands to `output`."""

    def backward(self, grad_output: Tensor, operands: Called, grads: list[Tensor | None]) -> None:
        """Write the gradients to those of `grads` that are tensors."""


_NOTHING: frozenset[Work] = frozenset()


class Dispatcher(Generic[Operands]):
    """The choice of a backend for one operator.

    Args:
        operator: its name, and that of its kernels' sources. On an NVIDIA GPU these prove themselves before they compute unasked.
        kernels: for a type of device, what calls our kernels there.
        fallback: what the log says of its being computed without our kernel, with {device} in it where that matters.
    """

    def __init__(self, operator: str, kernels: Mapping[str, Kernels[Operands]], fallback: str) -> None:
        self.operator = operator
        self.kernels = kernels
        self.fallback = fallback
        self._slower: dict[tuple[torch.device | str, torch.dtype], frozenset[Work] | None] = {}

    def backend_for(
        self,
        device: torch.device | str,
        dtype: torch.dtype,
        *,
        torchvision: bool,
        work: Callable[[], Work] | None = None,
    ) -> Backend:
        """Return KERNEL, TORCHVISION or REFERENCE.

        Where our kernel can't be had or is not trusted, and was not asked for by DCNRUN_BACKEND, one line in the log says so, once.

        Args:
            device: of the operands.
            dtype: of the input.
            torchvision: whether that has an operator for the operands.
            work: tells the class of the call, if anybody asks: torchvision's may be the faster one for some.

        Raises:
            UsageError: DCNRUN_BACKEND names no backend, or asks for a kernel that does not exist.
            KernelUnavailable: DCNRUN_BACKEND asks for our kernel, which can't be compiled or loaded.
        """
        requested, device = requested_backend(), torch.device(device)
        exists = device.type in self.kernels and dtype in self.kernels[device.type].DTYPES
        if requested is Backend.KERNEL or (requested is Backend.CUDA and device.type == "cuda"):
            if not exists:
                raise UsageError(f"DCNRUN_BACKEND={requested}, but there is no kernel for {dtype} on {device.type}")
            self.kernels[device.type].load(dtype, device)
            return Backend.KERNEL
        if requested is Backend.REFERENCE or (requested is Backend.TORCHVISION and torchvision):
            return requested
        if exists and (slower := self._slower_works(device, dtype)) is not None:
            # torchvision's adds gradients up in any order, which deterministic algorithms may not.
            if not slower or not torchvision or work is None or torch.are_deterministic_algorithms_enabled():
                return Backend.KERNEL
            return Backend.TORCHVISION if work() in slower else Backend.KERNEL
        return Backend.TORCHVISION if torchvision and (exists or device.type == "cuda") else Backend.REFERENCE

    def trusted(self, tensor: Tensor) -> Kernels[Operands] | None:
        """Our kernels, if it is known already that they compute all calls of this kind of tensor, as they nearly always do."""
        if _KEY in _environment or self._slower.get((tensor.device, tensor.dtype)) != _NOTHING:
            return None
        return self.kernels["cuda" if tensor.is_cuda else "cpu"]

    def forget(self) -> None:
        """Look again at what can be loaded and what is proved: what was found is remembered."""
        self._slower.clear()

    def _slower_works(self, device: torch.device, dtype: torch.dtype) -> frozenset[Work] | None:
        """Return the classes of calls in which torchvision's is faster; None where our kernel does not run unasked."""
        kind = device, dtype
        if kind not in self._slower:
            if device.type == "cpu":
                self._slower[kind] = _NOTHING if self._loads(device, dtype) else None
            elif not torch.cuda.is_available():
                self._slower[kind] = None
            else:
                return self._proved(device, dtype)
        return self._slower[kind]

    def _proved(self, device: torch.device, dtype: torch.dtype) -> frozenset[Work] | None:
        # Before they are loaded: to prove them compiles them too, all at once.
        try:
            verdict, name = first_use.verdict_for(self.operator, device), dtype_name(dtype)
        except KernelUnavailable as problem:
            self._slower[device, dtype] = None
            self._log_absence(device, problem)
            return None
        slower = verdict.slower.get(name, frozenset()) if name in verdict.right else None
        if not verdict.final:
            return slower
        self._slower[device, dtype] = slower
        if slower is None:
            fallback = self.fallback.format(device=device.type.upper())
            report = f"; see {verdict.file}" if verdict.file else ""
            why = f"{verdict.why_not}; `dcnrun kernels prove` tries again{report}"
            _log.warning("dcnrun: %s, since our kernels are not trusted here: %s", fallback, why)
        elif not self._loads(device, dtype):
            self._slower[device, dtype] = slower = None
        return slower

    def _loads(self, device: torch.device, dtype: torch.dtype) -> bool:
        try:
            self.kernels[device.type].load(dtype, device)
        except KernelUnavailable as problem:
            self._log_absence(device, problem)
            return False
        return True

    def _log_absence(self, device: torch.device, problem: KernelUnavailable) -> None:
        fallback = self.fallback.format(device=device.type.upper())
        _log.warning("dcnrun: %s, since %s; %s", fallback, problem.reason, problem.remedy)


def write_zeros(grads: Sequence[Tensor | None]) -> None:
    """Set the gradients that are wanted, those that are tensors, to zero."""
    for grad in grads:
        if grad is not None:
            grad.zero_()


def write_gradients(grads: Sequence[Tensor | None], computed: Sequence[Tensor | None]) -> None:
    """Copy what was computed elsewhere to the gradients that are wanted, those that are tensors."""
    for grad, values in zip(grads, computed, strict=True):
        if grad is not None and values is not None:
            grad.copy_(values)


def for_torchvision(tensor: Tensor) -> Tensor:
    """Convert half precision to fp32: torchvision's operators would round positions to fp16, and have no bf16."""
    return tensor.float() if tensor.dtype.itemsize == 2 else tensor
