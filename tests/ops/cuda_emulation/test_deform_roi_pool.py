"""The CUDA kernels of deformable RoI pooling and their calls, emulated on the CPU, against the definition."""

import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dcnrun.ops.deform_roi_pool import cuda
from tests.ops.conformance import assert_close, assert_same_bits
from tests.ops.deform_conv2d.parity import DTYPES, TOLERANCES, deterministic, kind_in_turn
from tests.ops.deform_roi_pool.factories import LAYOUTS, OPERANDS, compute, make_problem, operands_of, problems, results
from tests.ops.deform_roi_pool.parity import ROIS, SHAPES, Case, change, errors, wanted
from tests.ops.factories import examples, random_like

both_ways = pytest.mark.parametrize("in_order", [False, True], ids=["atomic", "in order"])


def wanted_in_fp32(problem, grad_output=None):
    """Of positions with the same roundings, so that points on the map's border and slopes at whole positions agree too."""
    if grad_output is None:
        grad_output = random_like(compute(**problem))
    return wanted(problem, grad_output, torch.float32)


# What is computed ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@examples(30)
@given(
    problem=problems(dtype=torch.float32, counts=(1, 2, 5, 9), authors=False),
    positions=st.booleans(),
    in_order=st.booleans(),
)
def test_equals_the_definition(gpu, dtype, problem, positions, in_order):
    narrow = ("input", "rois", "offset", "mask") if positions else ("input",)
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
@pytest.mark.parametrize("dtype", DTYPES)
@both_ways
def test_parity(gpu, shape, dtype, in_order):
    """What the parity suite checks on a GPU, each combination with one kind of RoIs."""
    case = Case(shape, kind_in_turn(ROIS, SHAPES, shape, dtype, in_order), dtype, in_order)
    found = errors(case, seed=7, device="cpu")
    assert max(found.values()) <= TOLERANCES[dtype], (str(case), found)


def test_gpus_without_vector_reductions(gpu):
    gpu.architecture = 800
    found = errors(Case("7x7", "usual", torch.bfloat16), seed=3, device="cpu")
    assert max(found.values()) <= TOLERANCES[torch.bfloat16], found


@pytest.mark.parametrize("bins", [(7, 7), (3, 5), (1, 1)])
@pytest.mark.parametrize("ratio", [0, 2])
@pytest.mark.parametrize("aligned", [True, False])
def test_boxes_of_whole_pixels(gpu, bins, ratio, aligned):
    """Sampling points on the very border of the map, where roundings decide whether they count."""
    sides = torch.tensor(list(itertools.product(range(-4, 3), range(1, 23, 4))), dtype=torch.float32) / 0.3
    rois = torch.stack([torch.zeros(len(sides)), sides[:, 0], sides[:, 0], *(sides.sum(1),) * 2], 1)
    problem = make_problem(1, 3, (8, 9), len(rois), bins, 0.3, ratio, aligned=aligned, dtype=torch.float32)
    problem |= {"rois": rois, "offset": torch.zeros_like(problem["offset"])}
    assert_close(results(problem), wanted_in_fp32(problem), 1e-5)


@both_ways
def test_a_roi_of_an_image_that_is_not_there_is_zero(gpu, in_order):
    problem = make_problem(rois=6, dtype=torch.float32)
    problem["input"].fill_(torch.inf)
    change("images not there", problem)
    with deterministic(in_order):
        got = results(problem)
    assert all(not got[name][::2].any() for name in ("output", "offset", "mask"))
    assert got["output"][1::2].isinf().any()


@both_ways
@pytest.mark.parametrize("aligned", [True, False])
def test_a_point_outside_the_map_reads_nothing(gpu, in_order, aligned):
    problem = make_problem(1, 4, (5, 6), 4, (2, 2), 1.0, 2, aligned=aligned, shifted=False, dtype=torch.float32)
    problem["input"].fill_(torch.inf)
    problem["rois"] = torch.tensor([[0, -9, 0, -3, 5], [0, 0, 9, 3, 12.0], [0, 1e9, 1e9, 1e10, 1e10], [0, 8, 1, 9, 2]])
    with deterministic(in_order):
        got = results(problem)
    assert all(not values.any() for values in got.values())


@both_ways
@pytest.mark.parametrize("axis", [0, 1])
def test_a_roi_without_extent_on_one_axis_and_no_number_on_the_other(gpu, in_order, axis):
    problem = make_problem(rois=2, dtype=torch.float32)
    problem["rois"][0, 3 + axis] = problem["rois"][0, 1 + axis]
    problem["rois"][0, 4 - axis] = math.nan
    with deterministic(in_order):
        got = results(problem)
    assert not got["output"][0].any()
    assert_close(got, wanted_in_fp32(problem), 1e-5)


@both_ways
@pytest.mark.parametrize("size", [1e3, 1e5, 1e9, 1e20, 1e38])
@pytest.mark.parametrize("ratio", [0, 4])
def test_absurdly_large_rois_take_no_longer(gpu, in_order, size, ratio):
    """They have as many sampling points as pixels, but those on the map are few."""
    problem = make_problem(1, 3, (9, 8), 2, ratio=ratio, dtype=torch.float32)
    problem["rois"] = torch.tensor([[0, -size / 2, -size / 3, size / 2, size], [0, 1, 1, size, size]])
    with deterministic(in_order):
        got = results(problem)
    assert all(values.isfinite().all() for values in got.values())
    if size <= 1e3:
        assert_close(got, wanted_in_fp32(problem), 1e-4)


@pytest.mark.parametrize("size", [0, 1e-8, 1e-6, 1e-5, 1e-3])
def test_tiny_rois_of_many_points(gpu, size):
    """On both sides of whole positions, or all on one, where each has its own slopes."""
    problem = make_problem(1, 3, (9, 8), 6, (2, 1), 1.0, 50, dtype=torch.float32, seed=3)
    corners = torch.tensor([[2, 3], [5, 0], [6, 7], [4, 8], [1, 1], [3.5, 5]]) + 0.5 - size / 3
    problem["rois"] = torch.cat([torch.zeros(6, 1), corners, corners + size], 1)
    problem["offset"].zero_()
    assert_close(results(problem), wanted_in_fp32(problem), 1e-4)


@both_ways
@pytest.mark.parametrize("operand", ["input", "mask", "grad_output"])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_operands_that_are_no_numbers(gpu, in_order, operand, value):
    """They spoil what the definition lets them spoil, and no more."""
    problem = make_problem(2, 5, dtype=torch.float32)
    tensors = problem | {"grad_output": random_like(compute(**problem))}
    tensors[operand].view(-1)[:: max(tensors[operand].numel() // 7, 1)] = value
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
        ):  # of a bin that reads nothing, the definition has slopes of zero times infinity
            assert torch.equal(got[name].isfinite(), good), name
        assert_close({name: got[name].where(good, 0)}, {name: values.where(good, 0)}, 1e-4)


# In which order ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", ["7x7", "many channels", "odd channels"])
@pytest.mark.parametrize("dtype", DTYPES)
@both_ways
def test_whoever_comes_first(gpu, shape, dtype, in_order):
    """Threads and blocks that take turns at random give the same bits, but for the order of atomic sums."""
    problem, found = Case(shape, "all in one place", dtype).problem(2), []
    for seed in range(3):
        gpu.seed = seed
        with deterministic(in_order):
            found.append(results(problem))
    names = found[0].keys() if in_order else found[0].keys() - {"input"}
    for other in found[1:]:
        assert_same_bits(other, found[0], names)
        assert_close(other, found[0], TOLERANCES[dtype])
    if not in_order and dtype == torch.float32:
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
        return gpu.take_launches()

    assert launched("input") == ["pool_wide", "gather_wide" if in_order else "scatter_gradients_wide"]
    assert launched("offset") == launched("mask") == ["pool_wide", "scatter_gradients_wide"]
    assert launched(*OPERANDS) == ["pool_wide", *["gather_wide"] * in_order, "scatter_gradients_wide"]


# What is asked for, and where it lies -----------------------------------------------------------------------------------


@both_ways
@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize("position_sensitive", [True, False])
def test_gradients_of_some_operands_alone(gpu, in_order, masked, position_sensitive):
    problem = make_problem(masked=masked, position_sensitive=position_sensitive, dtype=torch.float32)
    all_of_them = results(problem)
    present = [name for name in OPERANDS if problem[name] is not None]
    for count in (1, 2):
        for names in itertools.combinations(present, count):
            leaves = {name: problem[name].clone().requires_grad_() for name in names}
            with deterministic(in_order):
                output = compute(**problem | leaves)
                grads = torch.autograd.grad(output, leaves.values(), random_like(output))
            assert_close(dict(zip(names, grads, strict=True)), all_of_them, 1e-5, names)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("operand", ["input", "offset", "mask", "grad_output"])
@pytest.mark.parametrize("position_sensitive", [True, False])
def test_any_layout(gpu, layout, operand, position_sensitive):
    problem = make_problem(3, 16, (9, 8), groups=2, position_sensitive=position_sensitive, dtype=torch.float32)
    tensors = problem | {"grad_output": random_like(compute(**problem))}
    tensors[operand] = LAYOUTS[layout](tensors[operand])
    assert not tensors[operand].is_contiguous()
    dense = tensors | {operand: tensors[operand].contiguous()}
    got, same = (results(each, grad_output=each.pop("grad_output")) for each in (tensors, dense))
    assert_close(got, same, 1e-5)
    assert got["output"].is_contiguous()


def test_rois_of_any_layout(gpu):
    problem = make_problem(dtype=torch.float32)
    wide = torch.stack([problem["rois"]] * 2, 2)[..., 0]
    assert not wide.is_contiguous()
    assert_close(results(problem | {"rois": wide}), results(problem), 1e-5)


@pytest.mark.parametrize("dtype", DTYPES)
def test_wide_accesses_where_channels_and_addresses_allow_them(gpu, dtype):
    per_access = 16 // dtype.itemsize

    def launched(channels, start=0, **settings):
        problem = make_problem(2, channels, (5, 4), dtype=torch.float32, **settings)
        memory = torch.empty(problem["input"].numel() + start, dtype=dtype)
        rows = problem["input"].permute(0, 2, 3, 1)
        problem["input"] = memory[start:].view(rows.shape).copy_(rows).permute(0, 3, 1, 2)
        with deterministic(True):
            got = results(problem)
        names = set(gpu.take_launches())
        assert_close(got, wanted(problem, random_like(got["output"])), 2 * TOLERANCES[dtype])
        return names

    wide, single = (
        {f"{name}_{width}" for name in ("pool", "gather", "scatter_gradients")} for width in ("wide", "single")
    )
    assert launched(4 * per_access) == wide
    assert launched(4 * per_access, groups=4) == wide
    assert launched(per_access, position_sensitive=True) == wide
    assert launched(4 * per_access, groups=8) == single
    assert launched(per_access + 1) == single
    assert launched(4 * per_access, start=1) == single


# How it is divided -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("multiprocessors", [1, 10, 1000])
@pytest.mark.parametrize("bins", [(1, 1), (7, 7), (14, 15)])
def test_any_number_of_blocks(gpu, multiprocessors, bins):
    gpu.multiprocessors = multiprocessors
    problem = make_problem(1, 8, (9, 8), 2, bins, ratio=1, dtype=torch.float32)
    got = results(problem)
    assert_close(got, wanted_in_fp32(problem), 1e-4)
    (blocks, _, _), block = gpu.modules["deform_roi_pool", torch.float32, 900].launches[0][1:]
    count = bins[0] * bins[1]
    assert block == (8, 16, 1)
    assert 2 * -(-count // 32) <= blocks <= 2 * max(-(-count // 32), -(-count // 16))
    assert blocks >= min(2 * -(-count // 16), 2 * multiprocessors)


def test_too_many_bins(gpu):
    one = torch.empty(1)
    input, rois = one.expand(1, 1, 2, 2), one.expand(2**25, 5)
    operands = operands_of(make_problem() | {"input": input, "rois": rois, "offset": None, "mask": None})
    many = operands._replace(output_size=(8, 8))
    with pytest.raises(ValueError, match=r"33554432 RoIs of 1 x 8 x 8 bins: .* set DCNRUN_BACKEND=reference"):
        cuda.forward(many, one.expand(2**25, 1, 8, 8))
