"""Checks of arguments that every operator makes, before any memory is touched."""

from collections.abc import Sequence

import torch
from torch import Tensor

MOST_PIXELS = 2**31 - 1  # of a feature map and a border of one, which kernels on the CPU put around it
# Of a side: fp32, in which half precision has its positions too, has no odd numbers further on.
MOST_LINES_IN_FP32 = 2**24


def pair(value: int | tuple[int, int], name: str, least: int) -> tuple[int, int]:
    """Return (height, width) from one number or two; ValueError when they are not integers of at least `least`."""
    if type(value) is tuple and len(value) == 2:  # as layers give it, in calls that count microseconds
        y, x = value
        if type(y) is int and type(x) is int and y >= least and x >= least:
            return value
    two = tuple(value) if isinstance(value, (tuple, Sequence)) else (value, value)
    if len(two) == 2:
        y, x = two
        if isinstance(y, int) and isinstance(x, int) and bool not in (type(y), type(x)) and y >= least and x >= least:
            return y, x
    raise ValueError(f"{name} must be one or two integers >= {least}, but is {value!r}")


def check_tensor(name: str, tensor: Tensor, input: Tensor, dimensions: int) -> None:
    """Raise TypeError or ValueError when an operand is no tensor of numbers, or not where the input is."""
    if not isinstance(tensor, Tensor):
        raise TypeError(f"{name} must be a tensor, but is {type(tensor).__name__}")
    if not tensor.is_floating_point():
        raise TypeError(f"{name} must have a floating-point dtype, but has {tensor.dtype}")
    if tensor.device != input.device:
        raise ValueError(f"{name} is on {tensor.device}, but input is on {input.device}: they must be on one device")
    if tensor.dim() != dimensions:
        raise ValueError(f"{name} must have {dimensions} dimensions, but has shape {tuple(tensor.shape)}")


def check_dtype(name: str, tensor: Tensor, input: Tensor, *, positions: bool) -> None:
    """Raise TypeError unless an operand shares input's dtype; what makes positions may be wider, for its precision."""
    may_be_wider = positions and input.dtype.itemsize == 2
    if tensor.dtype == input.dtype or (may_be_wider and tensor.dtype == torch.float32):
        return
    allowed = f"{input.dtype} or torch.float32" if may_be_wider else f"{input.dtype}"
    raise TypeError(f"{name} has {tensor.dtype}, but input has {input.dtype}: {name} must have {allowed}")


def check_sides(input: Tensor) -> None:
    """Raise ValueError when a feature map is too large for its pixels to be counted, or for the precision of positions."""
    height, width = input.shape[2:]
    if (height + 2) * (width + 2) > MOST_PIXELS:
        raise ValueError(
            f"input is {height}x{width}: a feature map and a border of one must have fewer than 2**31 pixels"
        )
    # Not of sides that torch.export leaves open, which it would bound: the graph checks them when it runs.
    longest = max(side for side in (height, width, 0) if isinstance(side, int))
    if input.dtype.itemsize < 8 and longest > MOST_LINES_IN_FP32:
        raise ValueError(
            f"input is {height}x{width}: positions in torch.float32 tell 2**24 rows or columns apart, and no more; "
            "cut the feature map, or use torch.float64"
        )


def check_gradient(grad_output: Tensor, expected: tuple[int, ...], input: Tensor) -> None:
    """Raise ValueError or TypeError when the gradient is not that of an output of this shape."""
    if tuple(grad_output.shape) != expected:
        raise ValueError(f"grad_output has shape {tuple(grad_output.shape)}, but the output's is {expected}")
    if grad_output.dtype != input.dtype:
        raise TypeError(f"grad_output has {grad_output.dtype}, but input has {input.dtype}")
    if grad_output.device != input.device:
        raise ValueError(f"grad_output is on {grad_output.device}, but input is on {input.device}")


def memory_format_of(tensor: Tensor) -> torch.memory_format:
    """Return channels-last where the tensor is that and nothing else, so that an operator can answer in kind."""
    last = tensor.is_contiguous(memory_format=torch.channels_last) and not tensor.is_contiguous()
    return torch.channels_last if last else torch.contiguous_format
