"""Positions and sums in fp32, also where autocast would make them half."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor


def autocast_is_on(device_type: str) -> bool:
    """Whether autocast rules the operators of this kind of device."""
    return torch.amp.is_autocast_available(device_type) and torch.is_autocast_enabled(device_type)


def without_autocast(device_type: str) -> AbstractContextManager[object]:
    """A region in which autocast changes nothing; free where it is off."""
    return torch.autocast(device_type, enabled=False) if autocast_is_on(device_type) else nullcontext()


def for_autocast(tensor: Any, dtype: torch.dtype) -> Any:
    """Another dtype for what autocast may change: fp64 stays as it is, as everywhere in autocast. None stays None."""
    return tensor if tensor is None or tensor.dtype == torch.float64 else tensor.to(dtype)


def for_torchvision(tensor: Tensor) -> Tensor:
    """Half precision as fp32: torchvision's operators would round positions to fp16, and have no bf16."""
    return tensor.float() if tensor.dtype.itemsize == 2 else tensor
