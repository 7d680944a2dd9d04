"""What the registrations share, with an operator that can be worked out by hand: y = a * b."""

import importlib.util
from types import SimpleNamespace
from typing import NamedTuple

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.library import Library
from torch.utils.flop_counter import FlopCounterMode

from dcnrun.ops.common import operator, shortcuts
from dcnrun.ops.common.operator import (
    autocast,
    autocast_is_on,
    empty_like,
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


_library = Library("dcnrun_test_operator", "DEF")
_library.define("multiply(Tensor a, Tensor b, float scale, bool negate) -> Tensor")


def multiply(a, b, scale, negate, made=None):
    return a * b * (-scale if negate else scale)


_library.impl("multiply", multiply, "CompositeExplicitAutograd")


@pytest.fixture(params=["shortcuts", "none"])
def product(request, monkeypatch):
    """A call of the operator as it is made where PyTorch has all private names, and where it lacks one; what was dispatched and computed."""
    common = operator
    if request.param == "none":
        monkeypatch.setattr(shortcuts, "SHORTCUTS", None)
        spec = importlib.util.spec_from_file_location("operator_without_shortcuts", operator.__file__)
        common = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(common)
    dispatched, computed = [], []

    def dispatch(*arguments):
        dispatched.append(arguments)
        return torch.ops.dcnrun_test_operator.multiply(*arguments)

    def compute(*arguments, made=None):
        computed.append(made)
        return multiply(*arguments)

    def gradients(ctx, grad):
        a, b = ctx.saved_tensors
        return grad * b * ctx.scale, grad * a * ctx.scale, None, None

    def save(ctx, inputs, output):
        *tensors, ctx.scale, _ = inputs
        ctx.save_for_backward(*tensors)

    def vmap(info, in_dims, a, b, *settings):
        a, b = (common.folded(x, in_dims[i], info.batch_size, 0) for i, x in enumerate((a, b)))
        return call(a, b, *settings).unflatten(0, (info.batch_size, -1)), 0

    below = common.below_autograd(dispatch, compute, (0, 1), (2, 3))
    call = common.differentiable(dispatch, below, common.as_function("multiply", below, save, gradients, vmap))
    return SimpleNamespace(call=call, dispatched=dispatched, computed=computed, short=request.param == "shortcuts")


def test_a_call_computes_however_it_gets_there(product):
    a, b = torch.tensor([2.0, 3.0]), torch.tensor([5.0, 7.0])
    for _ in range(2):
        assert product.call(a, b, 2.0, False).tolist() == [20.0, 42.0]
    assert (len(product.dispatched), len(product.computed)) == ((0, 2) if product.short else (2, 0))
    leaf = a.clone().requires_grad_()
    product.call(leaf, b, 2.0, False).sum().backward()
    assert leaf.grad.tolist() == [10.0, 14.0]
    with torch.no_grad():
        assert not product.call(leaf, b, 2.0, False).requires_grad


def test_a_call_under_transforms(product):
    a, b = torch.tensor([2.0, 3.0]), torch.tensor([5.0, 7.0])
    assert torch.func.grad(lambda x: product.call(x, b, 1.0, False).sum())(a).tolist() == [5.0, 7.0]
    rows = torch.vmap(lambda x: product.call(x, b, 1.0, False))(torch.stack([a, 10 * a]))
    assert rows.tolist() == [[10.0, 21.0], [100.0, 210.0]]
    per_row = torch.vmap(torch.func.grad(lambda x: product.call(x, b, 1.0, False).sum()))(torch.stack([a, 10 * a]))
    assert per_row.tolist() == [[5.0, 7.0]] * 2
    with pytest.raises(NotImplementedError, match="multiply has no derivatives in forward mode"):
        torch.func.jvp(lambda x: product.call(x, b, 1.0, False), (a,), (a,))


@pytest.mark.parametrize(
    "context",
    [
        lambda: torch.autocast("cpu", dtype=torch.bfloat16),
        lambda: FlopCounterMode(display=False),
        lambda: FakeTensorMode(allow_non_fake_inputs=True),
        torch.autograd.profiler.profile,
    ],
    ids=["autocast", "FLOPs", "fake tensors", "profiler"],
)
def test_a_seen_call_is_dispatched_where_others_look(product, context):
    a, b = torch.ones(2), torch.ones(2)
    product.call(a, b, 1.0, False)
    product.dispatched.clear()
    with context(), torch.no_grad():
        product.call(a, b, 1.0, False)
    assert len(product.dispatched) == 1


def test_a_seen_call_is_none_with_another_form(product):
    """What was made of a form is found by calls of this form alone."""
    a, b = torch.ones(2, 3), torch.ones(2, 3)
    others = [(torch.ones(2, 3).double(), b.double()), (torch.ones(3, 2).mT, b), (a, torch.ones(3))]
    for arguments in ((a, b), *others, (b, a)):
        product.call(*arguments, 1.0, False)
    if product.short:
        made = product.computed
        assert [made.index(each) for each in made] == [0, 0, 0, 0, 0]  # all of them empty
        assert [next(i for i, first in enumerate(made) if first is each) for each in made] == [0, 1, 2, 3, 0]
    negative = torch._neg_view(a)
    assert product.call(negative, b, 1.0, False).tolist() == [[-1.0] * 3] * 2
    assert len(product.dispatched) == (1 if product.short else 6)


def test_arguments_of_wrong_types_are_the_dispatchers_to_refuse(product):
    for wrong in ("text", {}):
        with pytest.raises(RuntimeError, match="Expected a value of type 'Tensor'"):
            product.call(torch.ones(2), wrong, 1.0, False)
