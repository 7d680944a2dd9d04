"""Which implementation computes an operator: our kernel where it can, else torchvision's, else the definition."""

import logging
import os
from collections.abc import Collection, Mapping, Sequence
from enum import StrEnum
from typing import Generic, Protocol, TypeVar

import torch
from torch import Tensor

from dcnrun.errors import UsageError
from dcnrun.ops.jit import KernelUnavailable

Operands = TypeVar("Operands")
Called = TypeVar("Called", contravariant=True)

_log = logging.getLogger("dcnrun")


class Backend(StrEnum):
    """What DCNRUN_BACKEND may ask for; what computes in the end is KERNEL, TORCHVISION or REFERENCE."""

    AUTO = "auto"  # our kernel where it can be had
    KERNEL = "kernel"  # our kernel, on every device
    CUDA = "cuda"  # our kernel on NVIDIA GPUs; elsewhere as AUTO
    TORCHVISION = "torchvision"  # torchvision's operator; as AUTO where it has none
    REFERENCE = "reference"  # the definition in plain PyTorch


def requested_backend() -> Backend:
    """Return what the environment variable DCNRUN_BACKEND asks for; UsageError if it names no backend."""
    requested = os.environ.get("DCNRUN_BACKEND", Backend.AUTO)
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


class Dispatcher(Generic[Operands]):
    """The choice of a backend for one operator.

    Args:
        kernels: for a type of device, what calls our kernels there.
        parity: architectures, such as "sm_90", on which our CUDA kernels have passed `make parity`, and the file that
            says so. On others they run only where they are asked for.
        fallback: what the log says of its being computed without our kernel, with {device} in it where that matters.
    """

    def __init__(self, kernels: Mapping[str, Kernels[Operands]], parity: Mapping[str, str], fallback: str) -> None:
        self.kernels = kernels
        self.parity = parity
        self.fallback = fallback
        self._usable: dict[tuple[torch.device, torch.dtype], bool] = {}

    def backend_for(self, device: torch.device | str, dtype: torch.dtype, *, torchvision: bool) -> Backend:
        """Return KERNEL, TORCHVISION or REFERENCE; `torchvision` tells whether that has an operator for the operands.

        Where our kernel can't be had and was not asked for by DCNRUN_BACKEND, one line in the log says so, once.

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
        if exists and self._is_usable(device, dtype):
            return Backend.KERNEL
        return Backend.TORCHVISION if torchvision and (exists or device.type == "cuda") else Backend.REFERENCE

    def forget(self) -> None:
        """Look again at what can be loaded: what was found is remembered."""
        self._usable.clear()

    def _is_usable(self, device: torch.device, dtype: torch.dtype) -> bool:
        """Whether our kernel runs without being asked for."""
        if (device, dtype) not in self._usable:
            self._usable[device, dtype] = self._passed_parity(device) and self._loads(device, dtype)
        return self._usable[device, dtype]

    def _passed_parity(self, device: torch.device) -> bool:
        if device.type == "cpu":
            return True
        return torch.cuda.is_available() and "sm_{}{}".format(*torch.cuda.get_device_capability(device)) in self.parity

    def _loads(self, device: torch.device, dtype: torch.dtype) -> bool:
        try:
            self.kernels[device.type].load(dtype, device)
        except KernelUnavailable as problem:
            fallback = self.fallback.format(device=device.type.upper())
            _log.warning("dcnrun: %s, since %s; %s", fallback, problem.reason, problem.remedy)
            return False
        return True


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
