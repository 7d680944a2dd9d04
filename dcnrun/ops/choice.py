"""Which implementation computes an operator: our kernel where it can, else torchvision's, else the definition."""

import logging
import os
from collections.abc import Mapping
from typing import Any

import torch

from dcnrun.errors import UsageError
from dcnrun.ops.jit import KernelUnavailable, load_cpu, load_cuda

BACKENDS = ("auto", "kernel", "cuda", "torchvision", "reference")

_log = logging.getLogger("dcnrun")


class Choice:
    """The choice for one operator.

    Args:
        name: of its kernels' sources.
        kernels: for a type of device, the module that calls our kernel there, with the `DTYPES` that it stores.
        parity: architectures, such as "sm_90", on which our CUDA kernels have passed `make parity`, and the file that
            says so. On others they run only where they are asked for.
        without: what the log says of its being computed without our kernel, with {device} in it where that matters.
    """

    def __init__(self, name: str, kernels: Mapping[str, Any], parity: Mapping[str, str], without: str) -> None:
        self.name = name
        self.kernels = kernels
        self.parity = parity
        self.without = without
        self._usable: dict[tuple[torch.device, torch.dtype], bool] = {}

    def backend_for(self, device: torch.device | str, dtype: torch.dtype, *, torchvision: bool) -> str:
        """ "kernel", "torchvision" or "reference"; `torchvision` tells whether that has an operator for the operands.

        Set DCNRUN_BACKEND to force one: "kernel" is our kernel on every device, "cuda" is ours on NVIDIA GPUs and changes
        nothing elsewhere; "torchvision" leaves the choice here where torchvision has no such operator. Where our kernel
        can't be had, one line in the log says so, once.
        """
        asked, device = os.environ.get("DCNRUN_BACKEND", "auto"), torch.device(device)
        if asked not in BACKENDS:
            raise UsageError(f"DCNRUN_BACKEND is {asked!r}: it must be one of {', '.join(BACKENDS)}")
        there_is_one = device.type in self.kernels and dtype in self.kernels[device.type].DTYPES
        if asked == "kernel" or (asked == "cuda" and device.type == "cuda"):
            if not there_is_one:
                raise UsageError(f"DCNRUN_BACKEND={asked}, but there is no kernel for {dtype} on {device.type}")
            self._load(device, dtype)
            return "kernel"
        if asked == "reference" or (asked == "torchvision" and torchvision):
            return asked
        if there_is_one and self._is_usable(device, dtype):
            return "kernel"
        return "torchvision" if torchvision and (there_is_one or device.type == "cuda") else "reference"

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
            self._load(device, dtype)
        except KernelUnavailable as problem:
            without = self.without.format(device=device.type.upper())
            _log.warning("dcnrun: %s, since %s; %s", without, problem.reason, problem.remedy)
            return False
        return True

    def _load(self, device: torch.device, dtype: torch.dtype) -> None:
        if device.type == "cpu":
            load_cpu(self.name, dtype)
        else:
            load_cuda(self.name, dtype, device)
