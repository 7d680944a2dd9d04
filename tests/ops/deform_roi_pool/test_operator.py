"""The operator wherever PyTorch users expect operators to work: derivatives, compilers, autocast, FLOPs."""

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from dcnrun.ops import deform_roi_pool
from tests.ops.deform_roi_pool.factories import (
    OPERANDS,
    away_from_whole_positions,
    make_problem,
    operands_of,
    pool,
    results,
)
from tests.ops.factories import random_like

OPERATOR = torch.ops.dcnrun.deform_roi_pool.default
BACKWARD = torch.ops.dcnrun.deform_roi_pool_backward.default


def as_function(problem):
    """The pooling of the operands that are there, and these."""
    names = [name for name in OPERANDS if problem[name] is not None]

    def pooled(*operands):
        return pool(**problem | dict(zip(names, operands, strict=True)))

    return pooled, [problem[name] for name in names]


def differentiable(problem):
    leaves = {name: problem[name].clone().requires_grad_() for name in OPERANDS if problem[name] is not None}
    return problem | leaves


# torch.library's own checks ------------------------------------------------------------------------------------------

CASES = {
    "modulated": make_problem(),
    "without offsets": make_problem(shifted=False, masked=False, aligned=False),
    "groups": make_problem(channels=6, groups=3, masked=False, ratio=2),
    "position-sensitive": make_problem(channels=6, groups=3, position_sensitive=True),
    "half": make_problem(dtype=torch.bfloat16) | {"offset": make_problem(dtype=torch.float32)["offset"]},
    "empty": make_problem(rois=0),
}


@pytest.mark.parametrize("case", CASES)
def test_opcheck(case):
    checked = torch.library.opcheck(OPERATOR, tuple(operands_of(differentiable(CASES[case]))))
    assert set(checked.values()) == {"SUCCESS"}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("wanted", [[True] * 3, [False, True, False]])
def test_opcheck_of_the_backward(case, wanted):
    grad_output = random_like(pool(**CASES[case]))
    checked = torch.library.opcheck(BACKWARD, (grad_output, *operands_of(CASES[case]), wanted))
    assert set(checked.values()) == {"SUCCESS"}


# Derivatives -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "settings",
    [{}, {"masked": False}, {"shifted": False, "masked": False}, {"groups": 2, "position_sensitive": True}],
    ids=str,
)
@pytest.mark.parametrize("aligned", [True, False])
def test_first_and_second_derivatives(settings, aligned):
    if settings.get("position_sensitive") and not aligned:
        pytest.skip("always aligned")
    pooled, operands = as_function(away_from_whole_positions(**settings, aligned=aligned))
    operands = [operand.requires_grad_() for operand in operands]
    assert torch.autograd.gradcheck(pooled, operands)
    assert torch.autograd.gradgradcheck(pooled, operands, fast_mode=True)


def test_second_derivatives_of_some_operands_alone():
    pooled, operands = as_function(away_from_whole_positions())
    for i in range(len(operands)):
        alone = [operand.detach().requires_grad_(j == i) for j, operand in enumerate(operands)]
        assert torch.autograd.gradgradcheck(lambda *o: pooled(*o).square(), alone, fast_mode=True)


def test_second_derivatives_of_no_rois():
    pooled, operands = as_function(make_problem(rois=0))
    operands = [operand.requires_grad_() for operand in operands]
    first = torch.autograd.grad(pooled(*operands).square().sum(), operands, create_graph=True)
    second = torch.autograd.grad(sum(grad.sum() for grad in first), operands, allow_unused=True)
    assert not any(grad.any() for grad in second if grad is not None)


def test_forward_mode_is_refused():
    """PyTorch would leave the tangents out without a word."""
    pooled, operands = as_function(make_problem())
    with pytest.raises(NotImplementedError, match="deform_roi_pool has no derivatives in forward mode"):
        torch.func.jvp(pooled, tuple(operands), tuple(torch.ones_like(operand) for operand in operands))


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


def outcome(network, *inputs):
    """The output, and the gradients of every parameter."""
    output = network(*inputs)
    return [output, *torch.autograd.grad(output.square().mean(), network.parameters())]


def same(got, wanted, tolerance=1e-5):
    for ours, theirs in zip(got, wanted, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=tolerance)


def sample_inputs(images=2, size=(9, 8), rois=5):
    problem = make_problem(images, 3, size, rois, dtype=torch.float32)
    return problem["input"], problem["rois"]


@pytest.fixture
def fresh_compiler():
    torch.compiler.reset()
    yield
    torch.compiler.reset()


@pytest.mark.usefixtures("fresh_compiler")
def test_compile_without_graph_breaks():
    network = Network()
    compiled = torch.compile(network, backend="aot_eager", fullgraph=True)
    same(outcome(compiled, *sample_inputs()), outcome(network, *sample_inputs()))


@pytest.mark.usefixtures("fresh_compiler")
def test_compile_with_boxes_image_by_image():
    network, (x, rois) = Network(), sample_inputs()
    boxes = [rois[rois[:, 0] == i, 1:] for i in range(2)]
    compiled = torch.compile(network, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(x, boxes), network(x, boxes))


@pytest.mark.usefixtures("fresh_compiler")
def test_compile_once_for_any_number_of_rois():
    network, graphs = Network(), []

    def count(graph, example):
        graphs.append(graph)
        return graph

    compiled = torch.compile(network, backend=count, fullgraph=True, dynamic=True)
    with torch.no_grad():
        # Not 5 RoIs at first, which PyTorch would take for the 5 numbers of one.
        for settings in ((2, (9, 8), 6), (3, (12, 7), 2), (4, (6, 13), 9)):
            inputs = sample_inputs(*settings)
            torch.testing.assert_close(compiled(*inputs), network(*inputs))
    assert len(graphs) == 1


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


def test_autocast_computes_as_half_precision_does():
    problem = make_problem(dtype=torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got = pool(**problem)
    assert torch.equal(got, pool(**problem | {"input": problem["input"].bfloat16()}))


def test_autocast_leaves_double_precision_alone():
    problem = make_problem()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(pool(**problem), pool(**problem))
        assert pool(**problem).dtype == torch.float64


@pytest.mark.parametrize("backend", ["kernel", "reference"], indirect=True)
def test_a_backward_pass_under_autocast(backend):
    problem = make_problem(dtype=torch.float32)
    wanted = results(problem)
    leaf = problem["input"].requires_grad_()
    output = pool(**problem | {"input": leaf})
    with torch.autocast("cpu", dtype=torch.bfloat16):
        (got,) = torch.autograd.grad(output, leaf, random_like(output))
    torch.testing.assert_close(got, wanted["input"])


# FLOPs -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("ratio", "samples"), [(3, 9), (0, 4)])
def test_flops_worked_out_by_hand(ratio, samples):
    """5 RoIs, 3x2 bins, 4 channels, and so many samples in each."""
    problem = make_problem(ratio=ratio)
    problem["input"].requires_grad_()
    with FlopCounterMode(display=False) as forward:
        output = pool(**problem)
    assert forward.get_total_flops() == 5 * 6 * 4 * samples * 8
    with FlopCounterMode(display=False) as backward:
        output.sum().backward()
    assert backward.get_total_flops() == 5 * 6 * 4 * samples * 16
