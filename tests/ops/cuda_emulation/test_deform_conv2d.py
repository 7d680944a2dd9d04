"""The CUDA kernels of deformable convolution and their calls, emulated on the CPU, against the definition in fp64."""

import ctypes
import itertools

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from dcnrun.ops import deform_conv2d
from dcnrun.ops.common import cuda_call
from dcnrun.ops.deform_conv2d import cuda
from dcnrun.ops.deform_conv2d.arguments import Operands
from tests.ops.conformance import assert_close, assert_same_bits
from tests.ops.deform_conv2d.factories import OPERANDS, make_problem, problems, results
from tests.ops.deform_conv2d.parity import (
    DTYPES,
    OFFSETS,
    SHAPES,
    TOLERANCES,
    Case,
    deterministic,
    error,
    errors,
    kind_in_turn,
    on_grid,
    stored_as,
    to_one_pixel,
    wanted,
)
from tests.ops.factories import examples, random_like

both_ways = pytest.mark.parametrize("in_order", [False, True], ids=["atomic", "in order"])


# What is computed ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@examples(30)
@given(
    problem=problems(dtype=torch.float32),
    positions=st.booleans(),
    in_order=st.booleans(),
    l2=st.sampled_from([1, 10_000, 10**8]),
)
def test_equals_the_definition(gpu, dtype, problem, positions, in_order, l2):
    gpu.l2_bytes = l2
    problem = stored_as(dtype, problem | {"offset": on_grid(problem["offset"])})
    if positions:
        problem |= {name: problem[name].to(dtype) for name in ("offset", "mask") if problem[name] is not None}
    grad_output = random_like(deform_conv2d(**problem))
    with deterministic(in_order):
        got = results(problem, grad_output=grad_output)
    for name, value in wanted(problem, grad_output).items():
        if name in problem:
            assert got[name].dtype == problem[name].dtype
        largest = (got[name].double() - value).abs().max().item()
        assert largest <= TOLERANCES[dtype] * scales(problem, grad_output)[name], name


def scales(problem, grad_output):
    """The largest sum that each result could be if no two terms cancelled: what rounding errors are a part of.

    Small random problems have results in which all terms happen to cancel.
    """
    ones = torch.ones_like(problem["offset"][:, ::2])
    positive = {
        name: value.abs()
        for name, value in problem.items()
        if name not in ("offset", "mask") and torch.is_tensor(value)
    }
    mask = ones if problem["mask"] is None else problem["mask"].abs()
    sums = wanted(problem | positive | {"mask": mask}, grad_output.abs())
    largest = {name: values.max().item() for name, values in sums.items()}
    # A sample may be small where its slope is not, as on the border. At zero offsets on an even map none is.
    level = problem["input"].abs().amax().expand(problem["input"].shape)
    even = wanted(
        problem | positive | {"input": level, "offset": 0 * ones.repeat(1, 2, 1, 1), "mask": ones}, grad_output.abs()
    )
    return largest | {"offset": 2 * max(largest["mask"], even["mask"].max().item()) * mask.max().item()}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", DTYPES)
@both_ways
def test_parity(gpu, shape, dtype, in_order):
    """What the parity suite checks on a GPU, each combination with one kind of offsets."""
    case = Case(shape, kind_in_turn(OFFSETS, SHAPES, shape, dtype, in_order), dtype, in_order)
    found = errors(case, seed=7, device="cpu")
    assert max(found.values()) <= TOLERANCES[dtype], (str(case), found)


def test_gpus_without_vector_reductions(gpu):
    gpu.architecture = 800
    found = errors(Case("3x3", "std 1", torch.bfloat16), seed=3, device="cpu")
    assert max(found.values()) <= TOLERANCES[torch.bfloat16], found


@both_ways
def test_a_sample_outside_the_map_reads_nothing(gpu, in_order):
    """Not even the pixels beside it, where zero times infinity would be no number."""
    problem = make_problem(1, 4, 2, (4, 4), (1, 1), padding=(0, 0), masked=False, biased=False, dtype=torch.float32)
    problem["input"].fill_(torch.inf)
    for axis, position in itertools.product(range(2), (-1.0, -1.5, 4.0, 5.0, 1e9, torch.inf)):
        problem["offset"].zero_()
        rows = torch.arange(4.0)
        problem["offset"][0, axis] = position - (rows[:, None] if axis == 0 else rows)
        with deterministic(in_order):
            got = results(problem)
        assert all(not values.any() for values in got.values())


@pytest.mark.parametrize("channels", [8, 24, 72, 136])
@pytest.mark.parametrize("dtype", DTYPES)
@both_ways
def test_teams_and_slices_that_are_not_full(gpu, channels, dtype, in_order):
    """Threads without channels, alone or in their pair, and teams without a row."""
    problem = make_problem(1, channels, 8, (5, 7), (2, 2), biased=False, dtype=torch.float32, seed=channels)
    problem = stored_as(dtype, problem | {"offset": on_grid(problem["offset"])})
    grad_output = random_like(deform_conv2d(**problem))
    with deterministic(in_order):
        got = results(problem, grad_output=grad_output)
    assert {name for name in gpu.take_launches() if name.startswith("scatter_gradients")} == {"scatter_gradients_wide"}
    for name, value in wanted(problem, grad_output).items():
        assert error(got[name], value) <= TOLERANCES[dtype], name


@pytest.mark.parametrize("channels", [8, 24])
def test_nothing_is_added_past_the_last_channel(gpu, channels, monkeypatch):
    """Not even the zeros of a thread without channels, which would turn the sign of the zeros there."""
    problem = make_problem(1, channels, 8, (3, 3), (1, 1), padding=(0, 0), spread=0, dtype=torch.float32)
    memory = torch.full((9 * channels + 8,), -0.0)

    def zero_sums(rows):
        return memory[: rows.numel()].zero_().view(rows.shape)

    monkeypatch.setattr(cuda, "zero_sums", zero_sums)
    results(stored_as(torch.bfloat16, problem))
    assert memory[-8 - channels : -8].all()
    assert memory[-8:].signbit().all()


# In which order ------------------------------------------------------------------------------------------------------


def problem_for_orders(dtype=torch.float32):
    problem = stored_as(dtype, make_problem(2, 40, 16, (12, 11), offset_groups=2, dtype=torch.float32))
    problem["offset"][1] = to_one_pixel(problem)[1]
    return problem


@pytest.mark.parametrize("dtype", DTYPES)
@both_ways
def test_whoever_comes_first(gpu, dtype, in_order):
    """Threads and blocks that take turns at random give the same bits, but for the order of atomic sums."""
    problem, found = problem_for_orders(dtype), []
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
def test_only_what_is_asked_for_uses_atomics(gpu, in_order):
    problem = problem_for_orders()
    with deterministic(in_order):
        results(problem)
    launched = gpu.take_launches()
    assert ("list_corners" in launched) == in_order
    assert any(name.startswith("sum_") for name in launched) == in_order


def test_long_lists_are_shared_out(gpu):
    """However much goes to one place, nobody adds up more than a segment, and few levels are enough."""
    problem = make_problem(1, 4, 4, (40, 40), dtype=torch.float32)
    problem["offset"] = to_one_pixel(problem)
    gpu.l2_bytes = 10**9
    with deterministic(True):
        got = results(problem)
    levels = [name for name in gpu.take_launches() if name.startswith("sum_")]
    assert levels == ["sum_corners_wide", "sum_partials_wide", "sum_partials_wide"]  # of 900, 29 and 1 segments
    assert_close(got, wanted(problem, random_like(got["output"])), 1e-5)


@examples(60)
@given(
    lengths=st.lists(st.one_of(st.integers(1, 5), st.integers(1, 200)), min_size=1, max_size=12),
    outside=st.integers(0, 13),
    channels=st.integers(1, 3),
)
def test_a_row_is_added_to_by_one_segment_alone(gpu, lengths, outside, channels):
    """Blocks run at the same time on a GPU, which shows in no result of the emulation."""
    keys = torch.arange(len(lengths)).repeat_interleave(torch.tensor(lengths)).int()
    rows = torch.randn(len(keys), channels)
    segments = -(-len(keys) // cuda_call.SEGMENT)
    sums, next_keys = torch.zeros(len(lengths), channels), torch.full((segments, 2), 99).int()
    next_rows = torch.full((segments, 2, channels), torch.nan)
    runs = cuda_call.Runs(keys=keys.data_ptr(), rows=rows.data_ptr(), count=len(keys), outside=outside)
    runs.next_keys, runs.next_rows = next_keys.data_ptr(), next_rows.data_ptr()
    runs.sums, runs.row_channels = sums.data_ptr(), channels
    module = gpu.load("deform_conv2d", torch.float32, None)
    module.launch("sum_partials_single", (-(-segments // 4), 1, 1), (4, 4, 1), runs)

    wanted_sums, wanted_keys = torch.zeros_like(sums), torch.full_like(next_keys, -1)
    wanted_rows = torch.zeros_like(next_rows)
    for key in range(min(outside, len(lengths))):
        entries = (keys == key).nonzero().flatten()
        touched = sorted({int(entry) // cuda_call.SEGMENT for entry in entries})
        if len(touched) == 1:
            wanted_sums[key] = rows[entries].sum(0)
        for segment in touched if len(touched) > 1 else []:
            own = entries[entries // cuda_call.SEGMENT == segment]
            sides = [side for side, crossed in ((0, segment > touched[0]), (1, segment < touched[-1])) if crossed]
            wanted_keys[segment, sides] = key
            wanted_rows[segment, sides[0]] = rows[own].sum(0)
    assert torch.equal(next_keys, wanted_keys)
    torch.testing.assert_close(sums, wanted_sums, rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(next_rows[wanted_keys >= 0], wanted_rows[wanted_keys >= 0], rtol=1e-5, atol=1e-4)


# What is asked for, and where it lies -----------------------------------------------------------------------------------


@both_ways
@pytest.mark.parametrize("masked", [True, False])
def test_gradients_of_some_operands_alone(gpu, in_order, masked):
    problem = make_problem(3, 16, 8, masked=masked, dtype=torch.float32)
    all_of_them = results(problem)
    present = [name for name in OPERANDS if problem[name] is not None]
    for count in (1, 2):
        for names in itertools.combinations(present, count):
            leaves = {name: problem[name].clone().requires_grad_() for name in names}
            with deterministic(in_order):
                output = deform_conv2d(**problem | leaves)
                grads = torch.autograd.grad(output, leaves.values(), random_like(output))
            assert_close(dict(zip(names, grads, strict=True)), all_of_them, 1e-5, names)


LAYOUTS = {
    "channels last": lambda t: t.contiguous(memory_format=torch.channels_last),
    "every other column": lambda t: t.repeat_interleave(2, -1)[..., ::2],
    "batch last": lambda t: t.permute(1, 2, 3, 0).contiguous().permute(3, 0, 1, 2),
    "expanded": lambda t: t[:1].expand(t.shape),
    "channels of a wider channels-last tensor": lambda t: torch.cat([t, t, t], 1).contiguous(
        memory_format=torch.channels_last
    )[:, t.shape[1] : 2 * t.shape[1]],
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("operand", ["input", "offset", "weight", "mask", "grad_output"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_any_layout(gpu, layout, operand, dtype):
    problem = stored_as(dtype, make_problem(3, 16, 20, (9, 8), groups=2, offset_groups=2, dtype=torch.float32))
    tensors = problem | {"grad_output": random_like(deform_conv2d(**problem))}
    tensors[operand] = LAYOUTS[layout](tensors[operand])
    assert not tensors[operand].is_contiguous()
    dense = tensors | {operand: tensors[operand].contiguous()}
    got, same = (results(each, grad_output=each.pop("grad_output")) for each in (tensors, dense))
    assert_close(got, same, 1e-5)
    last = tensors["input"].is_contiguous(memory_format=torch.channels_last)
    assert got["output"].is_contiguous(memory_format=torch.channels_last if last else torch.contiguous_format)


@pytest.mark.parametrize("dtype", DTYPES)
def test_wide_accesses_where_channels_and_addresses_allow_them(gpu, dtype):
    per_access = 16 // dtype.itemsize

    def launched(channels, start=0, **settings):
        problem = stored_as(dtype, make_problem(2, channels, channels, (5, 4), dtype=torch.float32, **settings))
        memory = torch.empty(problem["input"].numel() + start, dtype=dtype)
        rows = problem["input"].permute(0, 2, 3, 1)
        problem["input"] = memory[start:].view(rows.shape).copy_(rows).permute(0, 3, 1, 2)
        got = results(problem)
        names = set(gpu.take_launches())
        assert_close(got, wanted(problem, random_like(got["output"])), 2 * TOLERANCES[dtype])
        return names

    wide, single = (
        {f"{name}_{width}" for name in ("sample_columns", "scatter_gradients")} for width in ("wide", "single")
    )
    assert launched(4 * per_access) == wide
    assert launched(4 * per_access, groups=2, offset_groups=4) == wide
    assert launched(4 * per_access, groups=8, offset_groups=2) == single
    assert launched(4 * per_access, groups=2, offset_groups=8) == single
    assert launched(4 * per_access, start=1) == single
    assert launched(per_access + 1) == single


# How it is divided -----------------------------------------------------------------------------------------------------


@given(
    batch=st.integers(1, 40),
    out_pixels=st.integers(1, 10**6),
    row_bytes=st.integers(2, 10**6),
    l2_bytes=st.integers(1, 10**9),
    most_images=st.integers(1, 2**31),
)
def test_chunks(batch, out_pixels, row_bytes, l2_bytes, most_images):
    assume(batch * out_pixels * row_bytes < 2**36)  # some hundred chunks at most
    chunks = cuda._chunks(batch, out_pixels, row_bytes, l2_bytes, most_images)
    at = 0
    for chunk in chunks:
        assert (chunk.first, chunk.rows >= 1) == (at, True)
        assert (chunk.first_image, chunk.first_pixel) == divmod(at, out_pixels)
        assert chunk.images == (at + chunk.rows - 1) // out_pixels - chunk.first_image + 1
        assert chunk.images <= most_images
        assert chunk.images == 1 or chunk.rows * row_bytes <= l2_bytes
        assert chunk.rows * row_bytes <= cuda._MOST_COLUMN_BYTES or chunk.rows == 1
        at += chunk.rows
    assert at == batch * out_pixels
    assert chunks[0].rows == max(chunk.rows for chunk in chunks)


def test_chunks_of_a_large_layer():
    """8 images of 64x64 with 256 channels in bf16, on a GPU with 50 MiB of L2: two at a time."""
    chunks = cuda._chunks(8, 64 * 64, 9 * 256 * 2, 50 * 2**20, 2**20)
    assert [chunk.images for chunk in chunks] == [2, 2, 2, 2]


def test_images_whose_columns_take_too_much_memory(gpu, monkeypatch):
    problem = make_problem(2, 16, 8, (9, 10), dtype=torch.float32)
    monkeypatch.setattr(cuda, "_MOST_COLUMN_BYTES", 20 * 16 * 9 * 4)
    for in_order in (False, True):
        with deterministic(in_order):
            got = results(problem)
        assert_close(got, wanted(problem, random_like(got["output"])), 1e-5)
    assert gpu.take_launches().count("sample_columns_wide") == 2 * 2 * 5


@given(points=st.integers(1, 2000), tiles=st.integers(1, 10**6), multiprocessors=st.integers(1, 200))
def test_tile_points(points, tiles, multiprocessors):
    each = cuda._tile_points(points, tiles, multiprocessors)
    parts = -(-points // each)
    assert 1 <= each <= cuda._MOST_TILE_POINTS
    assert tiles * parts >= min(2 * multiprocessors, tiles * points)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("groups", [(), (2,)])
def test_the_weights_gradient_is_added_up_in_fp32(dtype, groups, monkeypatch):
    """By cuBLAS, without a batch of one: that would not be split among the multiprocessors."""
    if not groups:
        monkeypatch.delattr(torch, "bmm")
    matrices = torch.empty(*groups, 4, 8, dtype=dtype, device="meta")
    product = cuda._product_in_fp32(matrices, matrices.mT)
    assert (product.dtype, product.shape) == (torch.float32, (*groups, 4, 4))


def test_maps_too_large(gpu):
    one = torch.empty(1)
    input, offset, output = (one.expand(1, channels, 2**15, 2**15) for channels in (8, 4, 8))
    operands = Operands(input, offset, one.expand(8, 8, 1, 1), None, (1, 1), (0, 0), (1, 1), None)
    with pytest.raises(
        ValueError, match=r"input of 32768x32768 with 2 offset groups .* set DCNRUN_BACKEND=torchvision"
    ):
        cuda.forward(operands, output)


def test_structures_are_as_large_as_the_kernels_have_them(gpu):
    """What the fields hold shows in the results."""

    class Short(ctypes.Structure):
        _fields_ = (("only", ctypes.c_int),)

    module = gpu.load("deform_conv2d", torch.float32, None)
    with pytest.raises(AssertionError, match="the parameters have 4 bytes, the kernel's struct has"):
        module.launch("sample_columns_wide", (1, 1, 1), (32, 1, 1), Short())
