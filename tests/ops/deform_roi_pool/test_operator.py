"""The operator wherever PyTorch users expect operators to work: derivatives, compilers, autocast, FLOPs."""

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from dcnrun.ops import deform_roi_pool
from tests.ops.conformance import OperatorSuite
from tests.ops.deform_roi_pool import factories
from tests.ops.deform_roi_pool.factories import (
    compute,
    make_problem,
)

OPERATOR = torch.ops.dcnrun.deform_roi_pool.default
BACKWARD = torch.ops.dcnrun.deform_roi_pool_backward.default


# torch.library's own checks ------------------------------------------------------------------------------------------

CASES = {
    "modulated": make_problem(),
    "without offsets": make_problem(shifted=False, masked=False, aligned=False),
    "groups": make_problem(channels=6, groups=3, masked=False, ratio=2),
    "position-sensitive": make_problem(channels=6, groups=3, position_sensitive=True),
    "half": make_problem(dtype=torch.bfloat16) | {"offset": make_problem(dtype=torch.float32)["offset"]},
    "empty": make_problem(rois=0),
}


DIFFERENTIATED = [{}, {"masked": False}, {"shifted": False, "masked": False}]


class TestOperator(OperatorSuite):
    factories = factories
    name = "deform_roi_pool"
    cases = CASES
    empty = {"rois": 0}
    features = ("input",)
    # Not 5 RoIs at first, which PyTorch would take for the 5 numbers of one.
    sizes = ((2, (9, 8), 6), (3, (12, 7), 2), (4, (6, 13), 9))
    values = {
        "case": CASES,
        "case_and_second": [(case, False) for case in CASES],
        "wanted": [[True] * 3, [False, True, False]],
        "derivative": [
            *({**settings, "aligned": aligned} for aligned in (True, False) for settings in DIFFERENTIATED),
            {"groups": 2, "position_sensitive": True},
        ],
        "backend": ["kernel", "reference"],
    }

    def network(self):
        return Network()

    def inputs(self, *size):
        return sample_inputs(*size)


# Derivatives -----------------------------------------------------------------------------------------------------------


# Compilers ---------------------------------------------------------------------------------------------------------------


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.branch = nn.Linear(8 * 9, 3 * 9)

    def forward(self, x, boxes):
        maps = self.conv(x)
        still = deform_roi_pool(maps, boxes, None, 3, 0.5)
        offset, mask = self.branch(still.flatten(1)).unflatten(1, (3, 3, 3)).split([2, 1], 1)
        return deform_roi_pool(maps, boxes, offset, 3, 0.5, mask=mask.sigmoid())


def sample_inputs(images=2, size=(9, 8), rois=5):
    problem = make_problem(images, 3, size, rois, dtype=torch.float32)
    return problem["input"], problem["rois"]


def test_compile_with_boxes_image_by_image(fresh_compiler):
    network, (x, rois) = Network(), sample_inputs()
    boxes = [rois[rois[:, 0] == i, 1:] for i in range(2)]
    compiled = torch.compile(network, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(x, boxes), network(x, boxes))


# Autocast ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_keeps_positions(dtype):
    """At pixel 300 half precision has no 256th of a pixel left."""
    x = torch.zeros(1, 1, 1, 400)
    x[..., 301] = 256.0
    rois = torch.tensor([[0, 299.5, -0.5, 301.5, 1.5]])
    offset = torch.tensor([0, 10 / 512]).reshape(1, 2, 1, 1)
    leaves = [operand.requires_grad_() for operand in (x, offset)]
    with torch.autocast("cpu", dtype=dtype):
        got = deform_roi_pool(leaves[0], rois, leaves[1], 1, 1.0, 1)
    assert got.dtype == dtype
    assert got.item() == 1.0
    grads = torch.autograd.grad(got, leaves, torch.ones_like(got))
    assert [grad.dtype for grad in grads] == [torch.float32] * 2
    torch.testing.assert_close(grads[1][0, 1, 0, 0].item(), 256 * 0.1 * 2)


# FLOPs -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("ratio", "samples"), [(3, 9), (0, 4)])
def test_flops_worked_out_by_hand(ratio, samples):
    """5 RoIs, 3x2 bins, 4 channels, and so many samples in each."""
    problem = make_problem(ratio=ratio)
    problem["input"].requires_grad_()
    with FlopCounterMode(display=False) as forward:
        output = compute(**problem)
    assert forward.get_total_flops() == 5 * 6 * 4 * samples * 8
    with FlopCounterMode(display=False) as backward:
        output.sum().backward()
    assert backward.get_total_flops() == 5 * 6 * 4 * samples * 16


@pytest.mark.parametrize(
    "mapped",
    [("input", "rois", "offset", "mask"), ("input",), ("rois", "offset", "mask"), ("rois",), ("offset", "mask")],
    ids="-".join,
)
@pytest.mark.parametrize("settings", [{"masked": True}, {"channels": 6, "groups": 3, "position_sensitive": True}])
def test_vmap_and_gradients_under_it_are_a_loop(mapped, settings):
    """RoIs of the second image too: each of the mapped ones has images of its own."""
    names = ("input", "rois", "offset", "mask")
    problems = [make_problem(**settings, seed=seed) for seed in range(3)]
    held = {
        name: torch.stack([each[name] for each in problems]) if name in mapped else problems[0][name] for name in names
    }
    in_dims = tuple(0 if name in mapped else None for name in names)

    def pooled(*operands):
        return compute(**problems[0] | dict(zip(names, operands, strict=True)))

    def loss(*operands):
        return pooled(*operands).square().sum()

    def of(index):
        return [held[name][index] if name in mapped else held[name] for name in names]

    got = torch.func.vmap(pooled, in_dims)(*held.values())
    torch.testing.assert_close(got, torch.stack([pooled(*of(index)) for index in range(3)]))
    wanted = [torch.func.grad(loss, (0, 2, 3))(*of(index)) for index in range(3)]
    for gradient, each in zip(
        torch.func.vmap(torch.func.grad(loss, (0, 2, 3)), in_dims)(*held.values()),
        zip(*wanted, strict=True),
        strict=True,
    ):
        torch.testing.assert_close(gradient, torch.stack(each))


def test_vmap_of_the_operator_itself():
    problem = make_problem(shifted=False, masked=False)
    inputs = torch.stack([problem["input"], 2 * problem["input"]])
    got = torch.func.vmap(lambda x: OPERATOR(x, problem["rois"], None, None, [3, 2], 0.5, 0, 0.1, True, False))(inputs)
    wanted = compute(**problem)
    torch.testing.assert_close(got, torch.stack([wanted, 2 * wanted]))
