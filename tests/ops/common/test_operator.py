"""What the registrations share, with an operator that can be worked out by hand: y = a * b."""

from typing import NamedTuple

import numpy
import pytest
import torch
from torch._dispatch.python import enable_python_dispatcher
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.testing._internal.two_tensor import TwoTensor
from torch.utils.flop_counter import FlopCounterMode

from dcnrun.ops.common.operator import (
    autocast,
    autocast_is_on,
    empty_like,
    is_dispatched,
    is_recorded,
    second_gradients,
    wanted_gradients,
    without_autocast,
)


class Operands(NamedTuple):
    a: torch.Tensor
    b: torch.Tensor | None
    scale: float = 1.0


def test_memory_for_the_gradients_that_are_wanted():
    a, b = torch.ones(2, 3), torch.ones(4, dtype=torch.float64)
    grads = empty_like([a, b, None], [True, False, True], a)
    assert [grad.shape for grad in grads] == [(2, 3), (0,), (0,)]
    present = wanted_gradients(grads, [a, b, None], [True, False, True])
    assert present[0] is grads[0]
    assert present[1:] == [None, None]


@pytest.mark.parametrize("wanted", [[True, True], [True, False], [False, True]])
def test_second_gradients_are_those_of_autograd(wanted):
    """The gradients of y = a^2 b are 2 a b g and a^2 g for the output's gradient g."""
    g, a, b = (torch.tensor([value, -value], dtype=torch.float64, requires_grad=True) for value in (2.0, 3.0, 5.0))
    grad_grads = [torch.tensor([7.0, 1.0], dtype=torch.float64), torch.tensor([1.0, 11.0], dtype=torch.float64)]

    def backward(g, a, b):
        return 2 * a * b * g, a * a * g

    got = second_gradients(backward, (g.detach(), a.detach(), b.detach()), wanted, grad_grads)
    loss = sum(
        (grad * other).sum() for grad, other, want in zip(backward(g, a, b), grad_grads, wanted, strict=True) if want
    )
    for ours, theirs in zip(got, torch.autograd.grad(loss, (g, a, b), allow_unused=True), strict=True):
        torch.testing.assert_close(ours, torch.zeros_like(g) if theirs is None else theirs)


def test_second_gradients_where_an_operand_is_absent():
    def backward(g, a, b):
        assert b is None
        return g * torch.ones_like(a), None

    g, a = torch.tensor([2.0]), torch.tensor([3.0])
    of_g, of_a, of_b = second_gradients(backward, (g, a, None), [True, True], [torch.tensor([5.0]), None])
    assert (of_g.tolist(), of_a.tolist(), of_b) == ([5.0], [0.0], None)


def test_autocast_converts_features_and_keeps_positions():
    calls = []

    def call(*arguments):
        assert not autocast_is_on("cpu")
        calls.append(Operands(*arguments))
        return calls[-1].a

    cast = autocast(call, Operands, ("a",), ("b",))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast(torch.ones(2), b=torch.ones(2, dtype=torch.float16), scale=3.0)
        cast(torch.ones(2, dtype=torch.float64), None)
    assert [(o.a.dtype, None if o.b is None else o.b.dtype, o.scale) for o in calls] == [
        (torch.bfloat16, torch.float32, 3.0),
        (torch.float64, None, 1.0),
    ]


def test_without_autocast():
    x = torch.ones(2, 2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert autocast_is_on("cpu")
        with without_autocast("cpu"):
            assert not autocast_is_on("cpu")
            assert (x @ x).dtype == torch.float32
        assert (x @ x).dtype == torch.bfloat16
    assert not autocast_is_on("cpu")


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
