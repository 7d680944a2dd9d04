"""The CUDA kernels of deformable sampling and their calls, emulated on the CPU, against the definition."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dcnrun.ops.deform_sample2d import cuda
from tests.ops.conformance import assert_close, assert_same_bits
from tests.ops.deform_conv2d.parity import OFFSETS, TOLERANCES, deterministic, kind_in_turn, on_grid
from tests.ops.deform_sample2d.factories import OPERANDS, Operands, compute, make_problem, problems, results
from tests.ops.deform_sample2d.parity import SHAPES, Case, errors, wanted
from tests.ops.factories import examples, random_like

# fp16 differs from bf16 in conversions alone, which the other operators' tests have too: it is left to the slow half.
every_dtype = pytest.mark.parametrize(
    "dtype", [torch.float32, torch.bfloat16, pytest.param(torch.float16, marks=pytest.mark.slow)]
)
both_ways = pytest.mark.parametrize("in_order", [False, True], ids=["atomic", "in order"])


def wanted_in_fp32(problem, grad_output=None):
    """Of positions with the same roundings, so that points on the map's border and slopes at whole positions agree too."""
    if grad_output is None:
        grad_output = random_like(compute(**problem))
    return wanted(problem, grad_output, torch.float32)


# What is computed ----------------------------------------------------------------------------------------------------


@every_dtype
@examples(16)
@given(problem=problems(dtype=torch.float32), positions=st.booleans(), in_order=st.booleans())
def test_equals_the_definition(gpu, dtype, problem, positions, in_order):
    narrow = OPERANDS if positions else ("input",)
    problem |= {name: problem[name].to(dtype) for name in narrow if problem[name] is not None}
    grad_output = random_like(compute(**problem))
    with deterministic(in_order):
        got = results(problem, grad_output=grad_output)
    for name in got.keys() & problem.keys():
        assert got[name].dtype == problem[name].dtype
    same = wanted_in_fp32(problem, grad_output)
    # half the distance of neighbouring numbers
    for name, value in got.items():
        assert_close(got, same, 1e-4 if value.dtype == torch.float32 else 0.6 * torch.finfo(dtype).eps, [name])


@pytest.mark.parametrize("shape", SHAPES)
@every_dtype
@both_ways
def test_parity(gpu, shape, dtype, in_order):
    """What the parity suite checks on a GPU, each combination with one kind of offsets."""
    case = Case(shape, kind_in_turn(OFFSETS, SHAPES, shape, dtype, in_order), dtype, in_order)
    found = errors(case, seed=7, device="cpu")
    assert max(found.values()) <= TOLERANCES[dtype], (str(case), found)


@pytest.mark.slow
def test_gpus_without_vector_reductions(gpu):
    gpu.architecture = 800
    found = errors(Case("DCNv4", "std 1", torch.bfloat16), seed=3, device="cpu")
    assert max(found.values()) <= TOLERANCES[torch.bfloat16], found


@both_ways
def test_a_point_outside_the_map_reads_nothing(gpu, in_order):
    problem = Case("DCNv4", "far outside", torch.float32).problem(1)
    problem["input"].fill_(torch.inf)
    with deterministic(in_order):
        got = results(problem)
    assert all(not values.any() for values in got.values())


@both_ways
@pytest.mark.parametrize("softmax", [False, True])
@pytest.mark.parametrize("operand", ["input", "mask", "grad_output"])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_operands_that_are_no_numbers(gpu, in_order, softmax, operand, value):
    """They spoil what the definition lets them spoil, and no more."""
    problem = make_problem(2, 6, softmax=softmax, dtype=torch.float32)
    tensors = problem | {"grad_output": random_like(compute(**problem))}
    tensors[operand].view(-1)[:: max(tensors[operand].numel() // 3, 1)] = value
    grad_output = tensors["grad_output"]
    with deterministic(in_order):
        got = results(problem, grad_output=grad_output)
    same = wanted_in_fp32(problem, grad_output)
    assert not all(values.isfinite().all() for values in same.values())
    for name, values in same.items():
        good = values.isfinite()
        assert not (good & ~got[name].isfinite()).any(), name
        if name not in (
            "offset",
            "mask",
        ):  # of a sample that reads nothing, the definition has slopes of zero times infinity
            assert torch.equal(got[name].isfinite(), good), name
        assert_close({name: got[name].where(good, 0)}, {name: values.where(good, 0)}, 1e-4)


def test_logits_that_overflow_without_care(gpu):
    problem = make_problem(softmax=True, dtype=torch.float32)
    problem["mask"] = 200 * problem["mask"]
    assert_close(results(problem), wanted_in_fp32(problem), 1e-4)


# In which order ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", ["DCNv3", "odd channels", "5x5 without its centre"])
@both_ways
def test_whoever_comes_first(gpu, shape, in_order):
    """Threads and blocks that take turns at random give the same bits, but for the order of atomic sums."""
    problem, found = Case(shape, "all to one pixel", torch.float32).problem(2), []
    for seed in range(3):
        gpu.seed = seed
        with deterministic(in_order):
            found.append(results(problem))
    names = found[0].keys() if in_order else found[0].keys() - {"input"}
    for other in found[1:]:
        assert_same_bits(other, found[0], names)
        assert_close(other, found[0], TOLERANCES[torch.float32])
    if not in_order:
        assert any(not torch.equal(other["input"], found[0]["input"]) for other in found[1:])


@both_ways
def test_what_is_launched(gpu, in_order):
    """Nothing more than what is asked for, and no atomic sums in order."""
    problem = make_problem(channels=8, dtype=torch.float32)

    def launched(*names):
        leaves = {name: problem[name].clone().requires_grad_() for name in names}
        with deterministic(in_order):
            output = compute(**problem | leaves)
            torch.autograd.grad(output, leaves.values(), random_like(output))
        first, *rest = gpu.take_launches()
        assert first == "sum_samples_wide"
        assert all(kernel == "sum_partials_wide" for kernel in rest[2:-1])
        return rest[:2] + rest[-1:]

    lists = ["list_corners", "sum_corners_wide"]
    assert launched("offset") == launched("mask") == 2 * ["scatter_gradients_wide"]
    assert launched("input") == ([*lists, "sum_partials_wide"] if in_order else 2 * ["scatter_gradients_wide"])
    assert launched(*OPERANDS) == ([*lists] if in_order else ["scatter_gradients_wide"]) + ["scatter_gradients_wide"]


# What is asked for, and where it lies -----------------------------------------------------------------------------------


@both_ways
@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize("wanted_names", [["input"], ["offset"], ["mask"], ["input", "mask"]])
def test_single_gradients(gpu, in_order, masked, wanted_names):
    problem = make_problem(channels=6, masked=masked, softmax=masked, dtype=torch.float32)
    names = [name for name in wanted_names if problem[name] is not None]
    if not names:
        return
    leaves = {name: problem[name].clone().requires_grad_() for name in names}
    with deterministic(in_order):
        output = compute(**problem | leaves)
        got = torch.autograd.grad(output, leaves.values(), random_like(output))
    assert_close(dict(zip(names, got, strict=True)), wanted_in_fp32(problem), 1e-4, names)


@pytest.mark.parametrize("operand", ["input", "offset", "mask", "grad_output"])
@pytest.mark.parametrize("layout", ["channels last", "a part", "turned"])
@both_ways
def test_any_layout(gpu, operand, layout, in_order):
    problem = make_problem(channels=8, softmax=True, dtype=torch.float32)
    tensors = problem | {"grad_output": random_like(compute(**problem))}
    dense = tensors[operand]
    if layout == "channels last":
        tensors[operand] = dense.contiguous(memory_format=torch.channels_last)
    elif layout == "a part":
        tensors[operand] = torch.stack([dense, dense + 1], 4).flatten(3)[..., ::2]
    else:
        tensors[operand] = dense.mT.contiguous().mT
    with deterministic(in_order):
        got = results({name: tensors[name] for name in problem}, grad_output=tensors["grad_output"])
    assert_close(got, wanted_in_fp32(problem, dense if operand == "grad_output" else tensors["grad_output"]), 1e-4)
    last = operand == "input" and layout == "channels last"
    assert got["output"].is_contiguous(memory_format=torch.channels_last if last else torch.contiguous_format)


@both_ways
@pytest.mark.parametrize("shape", [(0, 4, 7, 6), (2, 4, 0, 6)])
def test_empty(gpu, in_order, shape):
    batch, channels, *size = shape
    problem = make_problem(batch, channels, tuple(size), dtype=torch.float32)
    with deterministic(in_order):
        got = results(problem)
    assert all(not values.any() for values in got.values())
    assert not gpu.take_launches()


@every_dtype
def test_wide_accesses_where_channels_and_addresses_allow_them(gpu, dtype):
    per_access = 16 // dtype.itemsize

    def launched(channels, start=0, groups=2):
        problem = make_problem(2, channels, (5, 4), groups=groups, dtype=torch.float32)
        problem["offset"] = on_grid(problem["offset"])
        memory = torch.empty(problem["input"].numel() + start, dtype=dtype)
        rows = problem["input"].permute(0, 2, 3, 1)
        problem["input"] = memory[start:].view(rows.shape).copy_(rows).permute(0, 3, 1, 2)
        with deterministic(True):
            got = results(problem)
        names = set(gpu.take_launches())
        assert_close(got, wanted(problem, random_like(got["output"])), 2 * TOLERANCES[dtype])
        return {name for name in names if "sum_samples" in name or "scatter" in name}

    wide, single = (
        {f"{name}_{width}" for name in ("sum_samples", "scatter_gradients")} for width in ("wide", "single")
    )
    assert launched(4 * per_access) == wide
    assert launched(4 * per_access, groups=4) == wide
    assert launched(4 * per_access, groups=8) == single
    assert launched(2 * (per_access + 1)) == single
    assert launched(4 * per_access, start=1) == single


# How it is divided -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("most", [1, 400, 4000, 10**9])
def test_lists_in_parts(gpu, monkeypatch, most):
    """Some images, or some groups of one, at a time: together each once, and the same gradient."""
    monkeypatch.setattr(cuda, "_MOST_CORNERS", most)
    problem = make_problem(3, 8, (5, 4), groups=4, dtype=torch.float32)
    operands = Operands(**problem)
    parts = list(cuda._Call(operands).parts())
    maps = [
        (part.first_image + image, part.first_group + group)
        for part in parts
        for image in range(part.images)
        for group in range(part.groups)
    ]
    assert sorted(maps) == [(image, group) for image in range(3) for group in range(4)]
    corners = 4 * 9 * 5 * 4
    assert all(part.images * part.groups * corners <= max(most, corners) for part in parts)
    with deterministic(True):
        assert_close(results(problem), wanted_in_fp32(problem), 1e-4)


@pytest.mark.parametrize("pixels", [1, 8, 32, 64])
@pytest.mark.parametrize("points", [1, 4, 9, 24, 49, 121])
def test_points_placed_at_a_time(pixels, points):
    """As many as shared memory has room for, in as few and as equal parts as can be."""
    each = cuda._tile_points(points, pixels)
    assert 1 <= each <= points
    assert each * pixels <= cuda._TILE_SAMPLES
    parts = -(-points // each)
    assert parts == -(-points // min(points, cuda._TILE_SAMPLES // pixels))
    assert each == -(-points // parts)


def test_too_many_pixels(gpu):
    one = torch.empty(1)
    operands = Operands(**make_problem(1, 4, (1, 1)))
    many = operands._replace(input=one.expand(2**20, 4, 64, 64), offset=one.expand(2**20, 36, 64, 64))
    with pytest.raises(ValueError, match=r"1048576 images of 64x64 with 2 groups .* set DCNRUN_BACKEND=reference"):
        cuda._Call(many._replace(mask=None))
