"""The operator wherever PyTorch users expect operators to work: derivatives, compilers, torch.func, autocast, FLOPs."""

import itertools
import subprocess
import sys

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from dcnrun.models.conv import DeformConv2d, ModulatedDeformConv2d
from dcnrun.ops import deform_conv2d
from dcnrun.ops.common import forms
from dcnrun.ops.common.checks import memory_format_of
from dcnrun.ops.deform_conv2d import operator
from tests.ops.conformance import OperatorSuite
from tests.ops.deform_conv2d import factories
from tests.ops.deform_conv2d.factories import OPERANDS, away_from_integer_positions, make_problem, results

OPERATOR = torch.ops.dcnrun.deform_conv2d.default
BACKWARD = torch.ops.dcnrun.deform_conv2d_backward.default


def as_function(problem):
    """The convolution of the operands that are there, and these."""
    names = [name for name in OPERANDS if problem[name] is not None]

    def convolve(*operands):
        return deform_conv2d(**problem | dict(zip(names, operands, strict=True)))

    return convolve, [problem[name] for name in names]


# What a call costs the host --------------------------------------------------------------------------------------------


@pytest.fixture
def checks(monkeypatch):
    """The shapes of the inputs that were checked."""
    checked, check = [], operator.check_deform_conv2d

    def watch(operands):
        checked.append(tuple(operands.input.shape))
        check(operands)

    monkeypatch.setattr(operator, "check_deform_conv2d", watch)
    monkeypatch.setattr(forms, "_made", {})
    return checked


def test_operands_are_checked_once_for_each_form(checks):
    unseen = {"size": (11, 13)}  # of which no other test in this process has had any
    alike = make_problem(**unseen)
    others = [
        make_problem(size=(13, 11)),
        make_problem(**unseen, padding=(2, 2)),
        make_problem(**unseen, dtype=torch.float32),
        make_problem(**unseen, masked=False),
        channels_last(alike),
    ]
    for problem in (alike, *others):
        checks.clear()
        outputs = [deform_conv2d(**problem) for _ in range(3)]
        assert checks == [problem["input"].shape]
        assert {memory_format_of(output) for output in outputs} == {memory_format_of(problem["input"])}
    checks.clear()
    for _ in range(3):
        results(alike)
    assert len(checks) == 2  # of operands that require gradients, and of the backward, which takes no bias


# torch.library's own checks ------------------------------------------------------------------------------------------


def channels_last(problem):
    return problem | {"input": problem["input"].contiguous(memory_format=torch.channels_last)}


CASES = {
    "v2": make_problem(),
    "v1": make_problem(masked=False, biased=False),
    "groups": make_problem(channels=12, groups=3, offset_groups=2, stride=(2, 1), dilation=(1, 2), padding=(2, 2)),
    "channels last": channels_last(make_problem(channels=5, dtype=torch.float32)),
    "half": make_problem(dtype=torch.bfloat16) | {"offset": make_problem(dtype=torch.float32)["offset"]},
    "empty": make_problem(batch=0),
}


class TestOperator(OperatorSuite):
    factories = factories
    name = "deform_conv2d"
    cases = CASES
    empty = {"batch": 0}
    features = ("input", "weight", "bias")
    fast = True
    sizes = ((2, 3, 9, 8), (3, 3, 12, 7), (5, 3, 6, 13))
    values = {
        "case": CASES,
        # Second derivatives take long to trace: for one case.
        "case_and_second": [("v2", True), *((case, False) for case in CASES)],
        "wanted": [[True] * 4, [False, True, False, False]],
        "derivative": [{}, {"masked": False, "biased": False}, {"groups": 2, "offset_groups": 2}],
        "backend": ["kernel", "torchvision", "reference"],
    }

    def network(self):
        return Network()

    def inputs(self, *size):
        return (torch.randn(size),)


# Derivatives -----------------------------------------------------------------------------------------------------------


def test_third_derivatives():
    problem = away_from_integer_positions(biased=False)
    convolve, operands = as_function(problem)
    operands = [operand.requires_grad_() for operand in operands]

    def gradients(*operands):
        return torch.autograd.grad(convolve(*operands).pow(3).sum(), operands, create_graph=True)

    assert torch.autograd.gradgradcheck(gradients, operands, fast_mode=True)


@pytest.mark.parametrize("kind", [DeformConv2d, ModulatedDeformConv2d])
def test_second_derivatives_where_offsets_come_from_the_input(kind):
    """What the offsets add to the input's gradient counts once."""
    torch.manual_seed(0)
    layer = kind(2, 2, 2).double()
    nn.init.uniform_(layer.offset_branch.weight, -0.02, 0.02)
    nn.init.constant_(layer.offset_branch.bias, 0.4)
    x = torch.randn(1, 2, 4, 4, dtype=torch.float64, requires_grad=True)

    def loss(x, *parameters):
        values = dict(zip((name for name, _ in layer.named_parameters()), parameters, strict=True))
        return torch.func.functional_call(layer, values, x).square()

    parameters = [parameter.detach().requires_grad_() for parameter in layer.parameters()]
    assert torch.autograd.gradgradcheck(loss, (x, *parameters), fast_mode=True)


def test_so_is_a_hessian_by_forward_mode():
    convolve, operands = as_function(make_problem())
    with pytest.raises(NotImplementedError, match="deform_conv2d has no derivatives in forward mode"):
        torch.func.hessian(lambda x: convolve(x, *operands[1:]).sum())(operands[0])


# torch.func --------------------------------------------------------------------------------------------------------------

SOME_OPERANDS = [names for count in (1, 2, 5) for names in itertools.combinations(OPERANDS, count)]


def several(problem, names, dims=None, count=3):
    """A problem with a further dimension in some operands."""
    stacked = {}
    for i, name in enumerate(names):
        variants = [make_problem(channels=4, groups=2, offset_groups=2, seed=seed)[name] for seed in range(count)]
        stacked[name] = torch.stack(variants, 0 if dims is None else dims[i])
    return problem | stacked


def each(function, problem, names, count=3):
    return torch.stack([function(**problem | {name: problem[name][i] for name in names}) for i in range(count)])


@pytest.mark.parametrize("names", SOME_OPERANDS, ids="-".join)
def test_vmap_is_a_loop(names):
    problem = several(make_problem(channels=4, groups=2, offset_groups=2), names)
    in_dims = [0 if name in names else None for name in OPERANDS]

    def convolve(*operands):
        return deform_conv2d(**problem | dict(zip(OPERANDS, operands, strict=True)))

    got = torch.func.vmap(convolve, tuple(in_dims))(*(problem[name] for name in OPERANDS))
    torch.testing.assert_close(got, each(deform_conv2d, problem, names))


def test_vmap_over_other_dimensions_and_twice():
    problem = make_problem(channels=4, groups=2, offset_groups=2)
    inner = several(problem, ("input", "weight"), dims=(4, 2))

    def convolve(input, weight):
        return deform_conv2d(**problem | {"input": input, "weight": weight})

    got = torch.func.vmap(convolve, (4, 2), out_dims=1)(inner["input"], inner["weight"])
    moved = inner | {"input": inner["input"].movedim(4, 0), "weight": inner["weight"].movedim(2, 0)}
    wanted = each(deform_conv2d, moved, ("input", "weight"))
    torch.testing.assert_close(got.movedim(1, 0), wanted)
    twice = torch.func.vmap(torch.func.vmap(convolve, (None, 0)), (0, None))(moved["input"], moved["weight"])
    torch.testing.assert_close(torch.stack([twice[i, i] for i in range(3)]), wanted)


def test_vmap_of_the_operator_itself():
    problem = make_problem(masked=False)
    inputs = torch.stack([problem["input"], 2 * problem["input"]])
    got = torch.func.vmap(
        lambda x: OPERATOR(x, problem["offset"], problem["weight"], None, [1, 1], [1, 1], [1, 1], None)
    )(inputs)
    wanted = deform_conv2d(**problem | {"bias": None})
    torch.testing.assert_close(got, torch.stack([wanted, 2 * wanted]))


def test_autograd_through_vmap():
    problem = several(make_problem(channels=4, groups=2, offset_groups=2), ("input",))
    leaves = [problem[name].clone().requires_grad_() for name in OPERANDS]

    def convolve(*operands):
        return deform_conv2d(**problem | dict(zip(OPERANDS, operands, strict=True)))

    got = torch.autograd.grad(torch.func.vmap(convolve, (0, *[None] * 4))(*leaves).square().sum(), leaves)
    loop = torch.stack([convolve(image, *leaves[1:]) for image in leaves[0]])
    for ours, theirs in zip(got, torch.autograd.grad(loop.square().sum(), leaves), strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("kind", [DeformConv2d, ModulatedDeformConv2d])
def test_gradients_per_image_of_a_layer(kind):
    torch.manual_seed(0)
    layer = kind(3, 4, 3, padding=1, offset_groups=3).double()
    nn.init.normal_(layer.offset_branch.weight, std=0.1)
    parameters = dict(layer.named_parameters())
    images = torch.randn(3, 3, 6, 5, dtype=torch.float64)

    def loss(parameters, image):
        return torch.func.functional_call(layer, parameters, image.unsqueeze(0)).square().sum()

    got = torch.func.vmap(torch.func.grad(loss), (None, 0))(parameters, images)
    for i, image in enumerate(images):
        wanted = torch.autograd.grad(loss(parameters, image), parameters.values())
        for name, grad in zip(parameters, wanted, strict=True):
            torch.testing.assert_close(got[name][i], grad)


# Compilers ---------------------------------------------------------------------------------------------------------------


class Network(nn.Module):
    def __init__(self, seed=0):
        super().__init__()
        torch.manual_seed(seed)
        self.layers = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1),
            DeformConv2d(8, 6, 3, padding=1, offset_groups=2, groups=2),
            nn.ReLU(),
            ModulatedDeformConv2d(6, 4, (3, 2), stride=(2, 1), padding=1, dilation=(1, 2), bias=False),
        )
        for layer in (self.layers[1], self.layers[3]):
            nn.init.normal_(layer.offset_branch.weight, std=0.2)

    def forward(self, x):
        return self.layers(x)


def outcome(network, x):
    """The output, and the gradients of the input and every parameter."""
    leaves = [x.requires_grad_(), *network.parameters()]
    output = network(x)
    return [output, *torch.autograd.grad(output.square().mean(), leaves)]


def same(got, wanted, tolerance=1e-5):
    for ours, theirs in zip(got, wanted, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=tolerance)


@pytest.mark.usefixtures("fresh_compiler")
def test_compile_with_gradients_for_all_sizes():
    network = Network()
    compiled = torch.compile(network, backend="aot_eager", fullgraph=True, dynamic=True)
    for size in ((2, 3, 9, 8), (3, 3, 12, 7)):
        x = torch.randn(size)
        same(outcome(compiled, x), outcome(network, x))


@pytest.mark.usefixtures("fresh_compiler")
def test_compile_under_autocast():
    network, x = Network(), torch.randn(2, 3, 9, 8)
    compiled = torch.compile(network, backend="aot_eager", fullgraph=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got, wanted = outcome(compiled, x), outcome(network, x)
    assert got[0].dtype == torch.bfloat16
    same(got, wanted, 0.02)


@pytest.mark.slow
@pytest.mark.usefixtures("fresh_compiler")
def test_compile_with_inductor():
    network, x = Network().layers[:2], torch.randn(2, 3, 9, 8)  # each layer more is C++ to compile
    # So are its headers of vector instructions, which our operator has nothing to do with, and processes to compile in.
    with torch._inductor.config.patch({"cpp.simdlen": 1, "compile_threads": 1}):
        same(outcome(torch.compile(network, fullgraph=True), x), outcome(network, x), 1e-4)


def test_export_for_any_batch_and_size():
    network, x = Network().eval(), torch.randn(2, 3, 9, 8)
    n, h, w = (torch.export.Dim(name, min=least) for name, least in (("n", 2), ("h", 3), ("w", 3)))
    exported = torch.export.export(network, (x,), dynamic_shapes=({0: n, 2: h, 3: w},))
    called = [node.target for node in exported.graph.nodes if node.op == "call_function"]
    assert called.count(OPERATOR) == 2
    for size in ((2, 3, 9, 8), (3, 3, 12, 7)):
        x = torch.randn(size)
        torch.testing.assert_close(exported.module()(x), network(x))


@pytest.mark.slow  # since another process imports PyTorch
def test_a_saved_program_is_loaded_after_the_operators_alone(tmp_path):
    network, x = Network().eval(), torch.randn(2, 3, 9, 8)
    torch.export.save(torch.export.export(network, (x,)), tmp_path / "program.pt2")
    torch.save(x, tmp_path / "x.pt")
    script = """
import sys
import torch
import dcnrun.ops

x = torch.load(sys.argv[1] + "/x.pt", weights_only=True)
torch.save(torch.export.load(sys.argv[1] + "/program.pt2").module()(x), sys.argv[1] + "/y.pt")
"""
    subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=True, timeout=100)
    torch.testing.assert_close(torch.load(tmp_path / "y.pt", weights_only=True), network(x))


# Autocast ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("memory", ["same", "converted"])
def test_autocast_keeps_positions(dtype, memory):
    """At pixel 300 half precision has no 256th of a pixel left."""
    x = torch.zeros(1, 1, 1, 400)
    x[..., 301] = 256.0
    offset = torch.zeros(1, 2, 1, 400)
    offset[0, 1] = 1 / 256
    operands = [x, offset, torch.ones(1, 1, 1, 1)]
    mask = torch.full((1, 1, 1, 400), 1 + 2.0**-12)
    if memory == "converted":
        operands[0] = operands[0].to(dtype)
    leaves = [operand.requires_grad_() for operand in operands]
    with torch.autocast("cpu", dtype=dtype):
        got = deform_conv2d(*leaves, mask=mask)
    assert got.dtype == dtype
    assert got[0, 0, 0, 300] == 1.0
    assert got[0, 0, 0, 301] == 255.0
    grads = torch.autograd.grad(got, leaves, torch.ones_like(got))
    assert [grad.dtype for grad in grads] == [leaf.dtype for leaf in leaves]
    assert grads[1][0, 1, 0, 300] == 256 * (1 + 2.0**-12)


# FLOPs -------------------------------------------------------------------------------------------------------------------


def test_flops_worked_out_by_hand():
    """2 images, 5x4 pixels of output, 6 filters of 4 channels and 3x3 sampling points; 8 channels are sampled."""
    problem = make_problem(2, 8, 6, (5, 4), groups=2)
    problem["input"].requires_grad_()
    products = 2 * (2 * 5 * 4) * 6 * 4 * 9
    samples = (2 * 5 * 4) * 8 * 9
    with FlopCounterMode(display=False) as forward:
        output = deform_conv2d(**problem)
    assert forward.get_total_flops() == products + 7 * samples == 37_440
    with FlopCounterMode(display=False) as backward:
        output.sum().backward()
    assert backward.get_total_flops() == 2 * products + 23 * samples == 100_800


# Several processes --------------------------------------------------------------------------------------------------------

# The second process is forked from the first before anything is computed, so torch is imported once.
DDP = """
import os, sys, torch
from torch import nn
from dcnrun.models.conv import DeformConv2d, ModulatedDeformConv2d
second = os.fork()
rank, rendezvous = int(second == 0), sys.argv[1]
torch.manual_seed(0)
network = nn.Sequential(DeformConv2d(3, 4, 3, padding=1), nn.Tanh(), ModulatedDeformConv2d(4, 2, 3, padding=1)).double()
for layer in (network[0], network[2]):
    nn.init.normal_(layer.offset_branch.weight, std=0.2)
images = torch.randn(4, 3, 8, 7, dtype=torch.float64)
wanted = torch.autograd.grad(network(images).square().mean(), network.parameters())
torch.distributed.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=2)
parallel = nn.parallel.DistributedDataParallel(network)
for _ in range(2):
    parallel.zero_grad()
    parallel(images[2 * rank : 2 * rank + 2]).square().mean().backward()
for parameter, grad in zip(network.parameters(), wanted, strict=True):
    torch.testing.assert_close(parameter.grad, grad)
torch.distributed.destroy_process_group()
print("same\\n", end="")  # in one piece: both processes write to one pipe
if second:
    assert os.waitpid(second, 0)[1] == 0
"""


def test_two_processes_have_the_gradients_of_the_whole_batch(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", DDP, str(tmp_path / "rendezvous")], capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "same\n" * 2
