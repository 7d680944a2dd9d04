"""Tensors as CPU kernels see them."""

import ctypes
from types import SimpleNamespace

import pytest
import torch

from dcnrun.ops.common.cpu_call import Arguments, View, call, computed
from dcnrun.ops.common.dispatch import write_gradients
from dcnrun.ops.jit.build_spec import CPU_DTYPES


class Two(Arguments):
    _fields_ = (("first", View), ("second", View))


def test_a_view_is_an_address_and_strides():
    tensor = torch.arange(24.0).reshape(2, 3, 4)[:, 1:]
    two = Two()
    two.view(first=tensor, second=None)
    assert two.first.data == tensor.data_ptr()
    assert list(two.first.strides) == [12, 4, 1, 0]
    assert two.second.data is None
    # Row 1, column 2 of the first image.
    assert ctypes.cast(two.first.data, ctypes.POINTER(ctypes.c_float))[1 * 4 + 2] == tensor[0, 1, 2] == 10
    assert two.tensors["first"] is tensor


@pytest.mark.parametrize("dtype", CPU_DTYPES)
def test_gradients_are_computed_in_another_memory_where_they_are_half(dtype):
    grad = torch.zeros(3, dtype=dtype)
    written = computed(grad)
    assert written.dtype == (torch.float32 if dtype.itemsize == 2 else dtype)
    assert (written is grad) == (dtype.itemsize > 2)
    written.copy_(torch.tensor([1.0, 2.0, 3.0]))
    write_gradients([grad], [written])
    assert grad.tolist() == [1, 2, 3]
    assert computed(None) is None


def test_what_a_kernels_answer_means():
    call(SimpleNamespace(kernel=lambda pointer: 0), "kernel", Two())
    with pytest.raises(MemoryError, match="kernel: not enough memory"):
        call(SimpleNamespace(kernel=lambda pointer: 1), "kernel", Two())
