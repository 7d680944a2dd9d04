"""What the calls of all CPU kernels share: tensors as a kernel sees them, and what its answer means."""

import ctypes
from collections.abc import Mapping
from ctypes import c_int64

import torch
from torch import Tensor

CPU = torch.device("cpu")
# What a kernel computes with, for each dtype that it stores.
DTYPES = {
    torch.float32: torch.float32,
    torch.float64: torch.float64,
    torch.bfloat16: torch.float32,
    torch.float16: torch.float32,
}


class View(ctypes.Structure):
    """`struct View`: a tensor's memory and its strides in elements; no data where the tensor is absent."""

    _fields_ = [("data", ctypes.c_void_p), ("strides", c_int64 * 4)]


class Arguments(ctypes.Structure):
    """The one structure that a kernel is called with. It has addresses only, so it keeps the tensors that they are of."""

    tensors: Mapping[str, Tensor | None]

    def view(self, tensors: Mapping[str, Tensor | None]) -> None:
        """Fill the fields of these names; None leaves a tensor absent."""
        self.tensors = tensors
        for name, tensor in tensors.items():
            if tensor is not None:
                strides = tensor.stride()
                missing = 4 - len(strides)
                setattr(self, name, View(tensor.data_ptr(), (*strides, *[0] * missing)))


def computed(tensor: Tensor | None, dtype: torch.dtype) -> Tensor | None:
    """Positions and their gradients in the dtype that is computed with, where `dtype` is stored."""
    return None if tensor is None else tensor.to(DTYPES[dtype])


def copy_back(grad: Tensor | None, written: Tensor | None) -> None:
    """Copy what the kernel wrote to the gradient that was asked for, unless it is the same tensor."""
    if grad is not None and written is not None and written is not grad:
        grad.copy_(written)


def call(library: ctypes.CDLL, function: str, arguments: Arguments) -> None:
    """Run a kernel's function; MemoryError where it found no room for its work."""
    if getattr(library, function)(ctypes.byref(arguments)):
        raise MemoryError(f"{function}: not enough memory for its work space")
