"""Tensors as CPU kernels see them."""

import ctypes
from types import SimpleNamespace

import pytest
import torch

from dcnrun.ops.common.cpu_call import Arguments, View, call, computed, view
from dcnrun.ops.common.dispatch import write_gradients
from dcnrun.ops.jit.build_spec import CPU_DTYPES


class Three(Arguments):
    _fields_ = (*((name, View) for name in ("first", "second", "third")), ("size", ctypes.c_int64))


def test_a_view_is_an_address_and_strides():
    tensor = torch.arange(24.0).reshape(2, 3, 4)[:, 1:]
    found = view(tensor)
    assert found.data == tensor.data_ptr()
    assert list(found.strides) == [12, 4, 1, 0]
    assert view(None).data is None
    # Row 1, column 2 of the first image.
    assert ctypes.cast(found.data, ctypes.POINTER(ctypes.c_float))[1 * 4 + 2] == tensor[0, 1, 2] == 10


def test_a_plan_is_copied_for_each_call():
    planned, given, result = torch.zeros(2, 3).mT, torch.ones(2, 3).mT, torch.zeros(5)
    plan = Three(first=view(planned), size=7)
    told = plan.of(first=given, second=None)
    told.view(third=result)
    assert (told.first.data, list(told.first.strides)) == (given.data_ptr(), [1, 3, 0, 0])
    assert (told.third.data, told.size) == (result.data_ptr(), 7)
    assert told.second.data is None
    assert told.tensors == {"first": given, "second": None, "third": result}
    assert (plan.first.data, plan.third.data) == (planned.data_ptr(), None)


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
    call(SimpleNamespace(kernel=lambda pointer: 0), "kernel", Three())
    with pytest.raises(MemoryError, match="kernel: not enough memory"):
        call(SimpleNamespace(kernel=lambda pointer: 1), "kernel", Three())
