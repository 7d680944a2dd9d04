"""What the calls of all CPU kernels share: tensors as a kernel sees them, and what its answer means."""

import ctypes
from ctypes import c_int64
from typing import Self

import torch
from torch import Tensor

CPU = torch.device("cpu")


class View(ctypes.Structure):
    """`struct View`: a tensor's memory and its strides in elements; no data where the tensor is absent."""

    _fields_ = [("data", ctypes.c_void_p), ("strides", c_int64 * 4)]


def view(tensor: Tensor | None) -> View:
    """Return what a kernel is told of a tensor. It has the address only: keep the tensor."""
    return View() if tensor is None else View(tensor.data_ptr(), tensor.stride())


class Arguments(ctypes.Structure):
    """The one structure that a kernel is called with. It has addresses only, so it keeps the tensors that they are of."""

    tensors: dict[str, Tensor | None]

    def of(self, **tensors: Tensor | None) -> Self:
        """Return a copy for other operands of the same form: all but their addresses is as it was."""
        copy = type(self).from_buffer_copy(self)
        copy.tensors = tensors
        for name, tensor in tensors.items():
            if tensor is not None:
                getattr(copy, name).data = tensor.data_ptr()
        return copy

    def view(self, **tensors: Tensor | None) -> None:
        """Fill the fields of these names; None leaves a tensor absent."""
        self.tensors |= tensors
        for name, tensor in tensors.items():
            if tensor is not None:
                setattr(self, name, view(tensor))


def computed(tensor: Tensor | None) -> Tensor | None:
    """Return positions or memory for their gradients in the dtype that is computed with: half precision as fp32."""
    return tensor if tensor is None or tensor.dtype.itemsize > 2 else tensor.float()


def call(library: ctypes.CDLL, function: str, arguments: Arguments) -> None:
    """Run a kernel's function; MemoryError where it found no room for its work."""
    if getattr(library, function)(ctypes.byref(arguments)):
        raise MemoryError(f"{function}: not enough memory for its work space")
