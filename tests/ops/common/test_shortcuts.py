"""What PyTorch is asked by names that it does not promise, and PyTorch without one of them."""

import importlib.util
import logging
from types import SimpleNamespace

import numpy
import pytest
import torch
from torch._dispatch.python import enable_python_dispatcher
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.testing._internal.two_tensor import TwoTensor
from torch.utils.flop_counter import FlopCounterMode

from dcnrun.ops.common import shortcuts
from dcnrun.ops.common.shortcuts import Shortcuts, look_up

HERE = Shortcuts()  # with the PyTorch of the tests

is_dispatched, is_recorded = HERE.is_dispatched, HERE.is_recorded


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        *((torch._C, name) for name in ("_AutoDispatchBelowAutograd", "_any_requires_grad", "_dispatch_keys")),
        *((torch._C, name) for name in ("_are_functorch_transforms_active", "_is_any_autocast_enabled")),
        *((torch._C, name) for name in ("_dispatch_tls_local_include_set", "_len_torch_dispatch_stack")),
        *((torch._C, name) for name in ("DispatchKey", "DispatchKeySet")),
        (torch._C._autograd, "_profiler_enabled"),
        (torch._C._dynamo.guards, "TensorGuards"),
        *(
            (torch._C._dynamo.guards, f"_{name}")
            for name in ("reinterpret_tensor", "empty_strided_cpu", "empty_strided_cuda")
        ),
        (torch.autograd.forward_ad, "_current_level"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_name_that_is_gone(owner, name, monkeypatch, caplog):
    caplog.set_level(logging.DEBUG, "dcnrun")
    monkeypatch.delattr(owner, name)
    assert look_up() is None
    assert [record.levelname for record in caplog.records] == ["DEBUG"]
    assert name in caplog.text


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("_any_requires_grad", lambda *arguments: False),
        ("_any_requires_grad", lambda *arguments: None),
        ("_dispatch_keys", lambda tensor, mode: None),
        ("_dispatch_keys", lambda tensor: torch._C.DispatchKeySet(torch._C.DispatchKey.Python)),
        ("_AutoDispatchBelowAutograd", lambda level: None),
        ("_dynamo.guards._reinterpret_tensor", lambda tensor, shape, strides: tensor.as_strided(shape, strides, 0)),
        ("_dynamo.guards._empty_strided_cpu", lambda shape, strides, dtype: torch.empty(shape, dtype=torch.float64)),
    ],
)
def test_a_name_that_means_something_else(name, other, monkeypatch):
    monkeypatch.setattr(f"torch._C.{name}", other)
    assert look_up() is None


@pytest.mark.parametrize("short", [True, False])
def test_views_and_memory(short, monkeypatch):
    """They are PyTorch's own, with its shortcuts and where it lacks one."""
    if not short:
        monkeypatch.delattr(torch._C._dynamo.guards, "_reinterpret_tensor")
    spec = importlib.util.spec_from_file_location("other_shortcuts", shortcuts.__file__)
    other = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(other)
    assert (other.SHORTCUTS is not None) == short
    like = torch.arange(6, dtype=torch.bfloat16)[1:]
    with torch.no_grad():
        view = other.as_strided(like, (2, 2), (1, 2))
    assert view.tolist() == [[1, 3], [2, 4]]
    assert view.data_ptr() == like.data_ptr()
    for shape, strides in (((2, 3, 1, 4), (12, 1, 3, 3)), ((0, 3), (3, 1)), ((2, 3), (1, 2))):
        room = other.empty_strided(like, shape, strides)
        assert (room.shape, room.stride(), room.dtype, room.device) == (shape, strides, like.dtype, like.device)
        assert not room.requires_grad
    with torch.inference_mode():
        assert other.empty_strided(like, (2,), (1,)).is_inference()


@pytest.mark.parametrize("current", [0, 1])
def test_memory_of_a_gpu_that_may_not_be_the_current_one(current, monkeypatch):
    """A GPU that is not there: PyTorch's private function knows the current one alone."""
    monkeypatch.setattr(torch._C, "_cuda_getDevice", lambda: current, raising=False)
    monkeypatch.setattr(torch._C._dynamo.guards, "_empty_strided_cuda", lambda *what: ("current", *what))
    like = SimpleNamespace(is_cpu=False, is_cuda=True, dtype=torch.float16, get_device=lambda: 1)
    like.new_empty_strided = lambda *what: ("its own", *what)
    expected = ("current", (2,), (1,), torch.float16) if current == 1 else ("its own", (2,), (1,))
    assert Shortcuts().empty_strided(like, (2,), (1,)) == expected


def test_what_is_recorded():
    plain, leaf = torch.ones(2), torch.ones(2, requires_grad=True)
    assert not is_recorded((plain, None, 1.0))
    assert is_recorded((plain, leaf))
    with torch.no_grad():
        assert not is_recorded((plain, leaf))
        with torch.autograd.forward_ad.dual_level():
            assert is_recorded((plain,))
        recorded = []
        torch.func.vmap(lambda x: recorded.append(is_recorded((x,))) or x)(plain)
    assert recorded == [True]


def test_the_dispatcher_is_passed_by_where_it_has_nothing_to_do():
    plain = torch.ones(2)
    assert not is_dispatched((plain, None, torch.nn.Parameter(plain), (1, 1), [1, 1], 1, 1.0, True))
    with torch.inference_mode():
        assert not is_dispatched((torch.ones(2), plain))


@pytest.mark.parametrize(
    "other",
    [
        torch._neg_view(torch.ones(2)),
        torch.ones(2, dtype=torch.complex64).conj(),
        torch.ones(2, device="meta"),
        torch.ones(2).to_sparse(),
        torch._to_functional_tensor(torch.ones(2)),
        FakeTensorMode().from_tensor(torch.ones(2)),
        TwoTensor(torch.ones(2), torch.ones(2)),
        "a setting of a wrong type",
        numpy.ones(2),
    ],
    ids=["negative", "conjugate", "meta", "sparse", "functional", "fake", "subclass", "text", "array"],
)
def test_the_dispatcher_gets_what_is_not_plain(other):
    assert is_dispatched((torch.ones(2), other))


@pytest.mark.parametrize(
    "context",
    [
        lambda: torch.autocast("cpu", dtype=torch.bfloat16),
        lambda: FlopCounterMode(display=False),
        lambda: FakeTensorMode(),
        torch.autograd.profiler.profile,
        enable_python_dispatcher,
    ],
    ids=["autocast", "FLOPs", "fake tensors", "profiler", "Python's dispatcher"],
)
def test_the_dispatcher_is_used_where_others_look(context):
    plain = torch.ones(2)
    with context():
        assert is_dispatched((plain,))
    assert not is_dispatched((plain,))


def test_the_dispatcher_is_used_under_transforms():
    dispatched = []
    torch.func.vmap(lambda x: dispatched.append(is_dispatched((x,))) or x)(torch.ones(2))
    assert dispatched == [True]
