"""The operator wherever PyTorch users expect operators to work: derivatives, compilers, torch.func, autocast, FLOPs."""

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from dcnrun.ops import deform_sample2d
from tests.ops.conformance import OperatorSuite
from tests.ops.deform_sample2d import factories
from tests.ops.deform_sample2d.factories import OPERANDS, compute, make_problem

CASES = {
    "modulated": make_problem(offset_scale=1.5, remove_center=True),
    "softmax": make_problem(softmax=True),
    "half": make_problem(dtype=torch.bfloat16) | {"offset": make_problem(dtype=torch.float32)["offset"]},
}


class TestOperator(OperatorSuite):
    factories = factories
    name = "deform_sample2d"
    cases = CASES
    empty = {"batch": 0}
    features = ("input",)
    fast = True
    sizes = ((2, 9, 8), (3, 12, 7), (4, 6, 13))
    values = {
        "case": CASES,
        "case_and_second": [("modulated", False), ("softmax", False)],
        "wanted": [[True] * 3, [False, True, False]],
        "derivative": [{}, {"softmax": True, "offset_scale": 1.25}, {"masked": False}],
        "backend": ["kernel", "reference"],
    }

    def network(self):
        return Network()

    def inputs(self, *size):
        generator = torch.Generator().manual_seed(0)
        return (torch.randn(size[0], 3, *size[1:], generator=generator),)


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.branch = nn.Conv2d(8, 3 * 2 * 9, 3, stride=2, padding=1)

    def forward(self, x):
        maps = self.conv(x)
        offset, mask = self.branch(maps).split([36, 18], 1)
        return deform_sample2d(maps, offset, mask, 3, 2, 1, softmax=True)


# torch.func --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("names", [("input",), ("offset", "mask"), OPERANDS])
def test_vmap_is_a_loop(names):
    problem = make_problem(softmax=True)
    several = problem | {name: torch.stack([problem[name] * factor for factor in (1, 0.5)]) for name in names}

    def sample(*operands):
        return compute(**problem | dict(zip(OPERANDS, operands, strict=True)))

    in_dims = tuple(0 if name in names else None for name in OPERANDS)
    leaves = [several[name].requires_grad_() for name in OPERANDS]
    got = torch.func.vmap(sample, in_dims)(*leaves)
    each = [
        sample(*(leaf[i] if dim == 0 else leaf for leaf, dim in zip(leaves, in_dims, strict=True))) for i in range(2)
    ]
    torch.testing.assert_close(got, torch.stack(each))
    grads = torch.autograd.grad(got.square().sum(), leaves)
    for ours, theirs in zip(grads, torch.autograd.grad(torch.stack(each).square().sum(), leaves), strict=True):
        torch.testing.assert_close(ours, theirs)


# Autocast ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_keeps_positions(dtype):
    """At pixel 300 half precision has no 256th of a pixel left."""
    x = torch.zeros(1, 1, 1, 400)
    x[..., 301] = 256.0
    offset = torch.tensor([0, 300 + 1 / 256]).reshape(1, 2, 1, 1)
    with torch.autocast("cpu", dtype=dtype):
        got = deform_sample2d(x, offset, torch.ones(1, 1, 1, 1), 1, (1, 400))
    assert got.dtype == dtype
    assert got.item() == 1.0


# FLOPs -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("remove_center", "points"), [(False, 9), (True, 8)])
def test_flops_worked_out_by_hand(remove_center, points):
    """Two images of 7x6 pixels and 4 channels, and so many samples of each."""
    problem = make_problem(remove_center=remove_center)
    problem["input"].requires_grad_()
    with FlopCounterMode(display=False) as forward:
        output = compute(**problem)
    assert forward.get_total_flops() == 2 * 42 * 4 * points * 9
    with FlopCounterMode(display=False) as backward:
        output.sum().backward()
    assert backward.get_total_flops() == 2 * 42 * 4 * points * 16
