"""Our operator against torchvision's, a loop over pixels and the definition, wherever operands lie and whatever they hold."""

import itertools
import math
import mmap
import sys

import pytest
import torch
import torchvision.ops
from hypothesis import given
from torch.nn import functional as F

from dcnrun.ops import deform_conv2d
from dcnrun.ops.deform_conv2d import cpu
from dcnrun.ops.deform_conv2d.arguments import Operands, output_size
from dcnrun.ops.deform_conv2d.reference import deform_conv2d_reference
from tests.ops.conformance import ResultSuite, assert_close, assert_same_bits
from tests.ops.deform_conv2d import factories
from tests.ops.deform_conv2d.factories import OPERANDS, make_problem, problems, results
from tests.ops.factories import examples, random_like

BACKENDS = ["kernel", "torchvision", "reference"]
every_backend = pytest.mark.parametrize("backend", BACKENDS, indirect=True)
with_kernel = pytest.mark.parametrize("backend", ["kernel"], indirect=True)


# Against other implementations ---------------------------------------------------------------------------------------


@with_kernel
@examples(100)
@given(problem=problems())
def test_equals_torchvision_in_double_precision(backend, problem):
    assert_close(results(problem), results(problem, torchvision.ops.deform_conv2d), 1e-10)


@with_kernel
@examples(60)
@given(problem=problems(dtype=torch.float32))
def test_equals_torchvision_in_single_precision(backend, problem):
    assert_close(results(problem), results(problem, torchvision.ops.deform_conv2d), 5e-5)


@every_backend
@examples(25)
@given(problem=problems(channels=[1, 2, 3, 5]))
def test_every_backend_equals_the_definition(backend, problem):
    assert_close(results(problem), results(problem, deform_conv2d_reference), 1e-10)


def by_hand(input, offset, weight, bias, stride, padding, dilation, mask):
    """One image, one group, written as the papers have it: a loop over pixels and sampling points."""
    _, _, height, width = input.shape
    out_channels, channels, kernel_h, kernel_w = weight.shape
    output = torch.zeros(1, out_channels, *offset.shape[2:], dtype=input.dtype) + bias.reshape(-1, 1, 1)

    def pixel(row, column):
        inside = 0 <= row < height and 0 <= column < width
        return input[0, :, row, column] if inside else torch.zeros(channels, dtype=input.dtype)

    for i, j in itertools.product(*map(range, output.shape[2:])):
        for point in range(kernel_h * kernel_w):
            y = i * stride[0] - padding[0] + point // kernel_w * dilation[0] + float(offset[0, 2 * point, i, j])
            x = j * stride[1] - padding[1] + point % kernel_w * dilation[1] + float(offset[0, 2 * point + 1, i, j])
            sample = sum(
                pixel(row, column) * (1 - abs(y - row)) * (1 - abs(x - column))
                for row in (math.floor(y), math.floor(y) + 1)
                for column in (math.floor(x), math.floor(x) + 1)
            )
            output[0, :, i, j] += weight[:, :, point // kernel_w, point % kernel_w] @ sample * mask[0, point, i, j]
    return output


@every_backend
def test_equals_the_definition_written_as_a_loop(backend):
    settings = {"kernel": (3, 2), "stride": (2, 1), "padding": (1, 2), "dilation": (2, 1)}
    problem = make_problem(1, 3, 2, (7, 5), **settings)
    torch.testing.assert_close(deform_conv2d(**problem), by_hand(**problem))


@every_backend
@pytest.mark.parametrize("groups", [1, 2])
def test_zero_offsets_give_the_plain_convolution(backend, groups):
    x, weight = torch.randn(2, 4, 9, 8), torch.randn(6, 4 // groups, 3, 3)
    got = deform_conv2d(x, torch.zeros(2, 18, 5, 4), weight, stride=2, padding=1)
    torch.testing.assert_close(got, F.conv2d(x, weight, stride=2, padding=1, groups=groups), rtol=1e-5, atol=1e-5)


@with_kernel
@pytest.mark.parametrize("channels", [(12, 6), (66, 33), (96, 210)])
@pytest.mark.parametrize("groups", [1, 3])
@pytest.mark.parametrize("offset_groups", [1, 2, 6])
def test_groups_that_cut_across_offset_groups(backend, channels, groups, offset_groups):
    problem = make_problem(2, *channels, size=(5, 6), groups=groups, offset_groups=offset_groups)
    assert_close(results(problem), results(problem, torchvision.ops.deform_conv2d), 1e-10)


@with_kernel
@pytest.mark.parametrize("kernel", [(7, 7), (5, 4), (1, 11), (13, 1)])
@pytest.mark.parametrize("channels", [3, 65, 140])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_kernels_of_many_taps(backend, kernel, channels, dtype):
    problem = make_problem(1, channels, 33, (8, 7), kernel, padding=(6, 5), dtype=dtype)
    relative = 1e-10 if dtype == torch.float64 else 5e-5
    assert_close(results(problem), results(problem, torchvision.ops.deform_conv2d), relative)


@with_kernel
@pytest.mark.parametrize("size", [(1, 1), (1, 113), (113, 1), (37, 29), (16, 16)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_maps_smaller_and_larger_than_a_tile(backend, size, dtype):
    problem = make_problem(2, 35, 19, size, spread=5.0, dtype=dtype)
    relative = 1e-10 if dtype == torch.float64 else 5e-5
    assert_close(results(problem), results(problem, torchvision.ops.deform_conv2d), relative)


@with_kernel
@pytest.mark.parametrize(("batch", "channels", "size"), [(7, 3, (40, 41)), (5, 16, (40, 40)), (18, 16, (24, 24))])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_more_pixels_than_weights(backend, batch, channels, size, dtype):
    """Where sums over images may be shared out."""
    problem = make_problem(batch, channels, 2, size, dtype=dtype)
    relative = 1e-10 if dtype == torch.float64 else 5e-5
    assert_close(results(problem), results(problem, torchvision.ops.deform_conv2d), relative)


@with_kernel
@pytest.mark.parametrize("format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize(("groups", "kernel"), [(1, (3, 3)), (2, (2, 1))])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_weights_that_are_copied_in_whole_vectors(backend, format, groups, kernel, dtype):
    problem = make_problem(3, 32 * groups, 48 * groups, (9, 8), kernel, groups=groups, dtype=dtype)
    problem["weight"] = problem["weight"].contiguous(memory_format=format)
    relative = 1e-10 if dtype == torch.float64 else 5e-5
    assert_close(results(problem), results(problem, torchvision.ops.deform_conv2d), relative)


# Half precision: stored so, computed in single precision; on the CPU's units for bf16 see test_units.py -----------------


@pytest.fixture
def on_vectors(monkeypatch):
    monkeypatch.setenv("DCNRUN_CPU_UNITS", "vectors")


@with_kernel
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("positions", ["half", "single"])
@examples(25)
@given(data=problems(dtype=torch.float32))
def test_half_precision_is_single_precision_of_rounded_operands(on_vectors, backend, dtype, positions, data):
    narrow = OPERANDS if positions == "half" else ("input", "weight", "bias")
    problem = {name: value.to(dtype) if name in narrow and value is not None else value for name, value in data.items()}
    grad_output = random_like(deform_conv2d(**problem))
    got = results(problem, grad_output=grad_output)
    for name in got.keys() & problem.keys():
        assert got[name].dtype == problem[name].dtype
    widened = {name: value.float() if torch.is_tensor(value) else value for name, value in problem.items()}
    wanted = results(widened, deform_conv2d_reference, grad_output.float())
    # half the distance of neighbouring numbers, and what sums in another order make of it
    for name, value in got.items():
        assert_close(got, wanted, 1e-4 if value.dtype == torch.float32 else 0.6 * torch.finfo(dtype).eps, [name])


@with_kernel
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_every_half_precision_number_is_read_and_written_right(on_vectors, backend, dtype):
    """65,536 maps of one pixel times weights that reach subnormal numbers, ties and overflow."""
    numbers = torch.arange(-(2**15), 2**15).to(torch.int16).view(dtype)
    weight = torch.tensor([1.0, 1 / 3, 2.0**-12, 1.5 * 2.0**-7, 100.0, -1.0009765625]).to(dtype)
    got = deform_conv2d(numbers.reshape(-1, 1, 1, 1), torch.zeros(2**16, 2, 1, 1), weight.reshape(-1, 1, 1, 1))
    wanted = (numbers.float()[:, None] * weight.float()).to(dtype)
    assert got.flatten(1).equal(wanted) or torch.equal(got.flatten(1).nan_to_num(7), wanted.nan_to_num(7))
    assert torch.equal(got.flatten(1).isnan(), wanted.isnan())


@every_backend
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_keeps_positions(backend, dtype):
    """At column 3000 half precision has no quarter pixels left; positions must not be rounded to it."""
    x = torch.arange(4000.0).remainder(7).reshape(1, 1, 1, 4000)
    offset = torch.full((1, 2, 1, 4000), 0.25)
    offset[:, 0] = 0
    wanted = deform_conv2d(x, offset, torch.ones(1, 1, 1, 1))
    got = deform_conv2d(x.to(dtype), offset, torch.ones(1, 1, 1, 1, dtype=dtype))
    assert got.dtype == dtype
    torch.testing.assert_close(got.float(), wanted, rtol=1e-2, atol=1e-2)


# Where operands lie ----------------------------------------------------------------------------------------------------

LAYOUTS = {
    "channels last": lambda t: t.contiguous(memory_format=torch.channels_last),
    "columns of a wider tensor": lambda t: F.pad(t, (2, 3))[..., 2:-3],
    "every other column": lambda t: t.repeat_interleave(2, -1)[..., ::2],
    "every other row": lambda t: t.repeat_interleave(2, -2)[:, :, ::2],
    "transposed": lambda t: t.mT.contiguous().mT,
    "batch last": lambda t: t.permute(1, 2, 3, 0).contiguous().permute(3, 0, 1, 2),
    "channels of a wider channels-last tensor": lambda t: torch.cat([t, t, t], 1).contiguous(
        memory_format=torch.channels_last
    )[:, t.shape[1] : 2 * t.shape[1]],
    "columns of a wider channels-last tensor": lambda t: F.pad(t, (2, 3)).contiguous(memory_format=torch.channels_last)[
        ..., 2:-3
    ],
}


DETERMINISTIC = [
    {"channels": 64, "out_channels": 32, "size": (13, 11), "dtype": torch.float32},
    {"channels": 70, "out_channels": 33, "size": (17, 19), "offset_groups": 2, "dtype": torch.float32},
    {"channels": 12, "out_channels": 9, "size": (16, 16), "groups": 3, "offset_groups": 2, "dtype": torch.float64},
    {"channels": 33, "out_channels": 17, "size": (5, 5), "masked": False, "dtype": torch.bfloat16},
    {"channels": 16, "out_channels": 4, "size": (40, 40), "dtype": torch.float32},
]


class TestResults(ResultSuite):
    factories = factories
    layouts = LAYOUTS
    not_ours = frozenset({"bias"})
    values = {
        "backend": BACKENDS,
        "layout": LAYOUTS,
        "operand": ["input", "offset", "weight", "mask", "grad_output"],
        "layout_settings": [
            {"channels": channels, "dtype": dtype}
            for channels, dtype in ((64, torch.float32), (10, torch.float64), (64, torch.bfloat16))
        ],
        "some_settings": [{"masked": True}, {"masked": False}],
        "bits_settings": DETERMINISTIC,
    }

    def problem_of_layouts(self, settings):
        return make_problem(3, out_channels=20, size=(9, 8), groups=2, offset_groups=2, **settings)

    def problem_of_bits(self, settings):
        return make_problem(5, **settings)


@with_kernel
@pytest.mark.parametrize("operand", ["input", "offset", "weight", "mask", "grad_output"])
@pytest.mark.parametrize("dim", [0, 1, 2, 3])
def test_expanded_operands(backend, operand, dim):
    problem = make_problem(3, 4, 4, (5, 4))
    tensor = random_like(problem["input"]) if operand == "grad_output" else problem[operand]
    expanded = tensor.narrow(dim, 0, 1).expand(tensor.shape)
    assert 0 in expanded.stride()
    if operand == "grad_output":
        got, wanted = results(problem, grad_output=expanded), results(problem, grad_output=expanded.contiguous())
    else:
        got = results(problem | {operand: expanded})
        wanted = results(problem | {operand: expanded.contiguous()})
    assert_close(got, wanted, 1e-12)


@with_kernel
def test_a_bias_of_any_step(backend):
    problem = make_problem()
    spread = problem["bias"].repeat_interleave(3)[::3]
    assert torch.equal(deform_conv2d(**problem | {"bias": spread}), deform_conv2d(**problem))


@with_kernel
def test_views_that_pytorch_resolves_late(backend):
    """Their memory holds other numbers than they do."""
    problem = make_problem()
    negated = torch.complex(problem["input"], -problem["input"]).conj().imag
    assert negated.is_neg()
    assert_same_bits(results(problem | {"input": negated}), results(problem))


@with_kernel
@pytest.mark.parametrize("format", [torch.contiguous_format, torch.channels_last])
def test_the_output_and_gradients_lie_as_the_operands_do(backend, format):
    problem = make_problem(channels=5, dtype=torch.float32)
    problem["input"] = problem["input"].contiguous(memory_format=format)
    got = results(problem)
    assert got["output"].is_contiguous(memory_format=format)
    assert got["input"].is_contiguous(memory_format=format)
    assert got["offset"].is_contiguous()


# What is asked for, and nothing else -----------------------------------------------------------------------------------


@every_backend
@pytest.mark.parametrize(
    ("batch", "size", "padding"),
    [(0, (5, 5), (1, 1)), (0, (5, 5), (0, 0)), (2, (0, 5), (1, 0)), (2, (0, 4), (2, 1)), (2, (3, 0), (1, 2))],
)
def test_nothing_to_convolve(backend, batch, size, padding):
    """Empty batches and maps: the output is the bias, and gradients are zero."""
    problem = make_problem(batch, 4, 6, size, padding=padding)
    got = results(problem)
    out_size = output_size(size, (3, 3), (1, 1), padding, (1, 1))
    assert torch.equal(got["output"], problem["bias"].reshape(-1, 1, 1).expand(batch, -1, *out_size))
    for name in ("input", "offset", "weight", "mask"):
        assert torch.equal(got[name], torch.zeros_like(problem[name])), name
    assert torch.equal(deform_conv2d(**problem | {"bias": None}), torch.zeros(batch, 6, *out_size, dtype=torch.float64))


# Numbers that are none, and positions at and beyond the border ----------------------------------------------------------

EXTREMES = [math.nan, math.inf, -math.inf, 1e30, -1e30, 1e9, -1e9, 2.0**31, -(2.0**31), 3e38]


def sprinkled(tensor, values, every, seed=0):
    """A copy with some elements replaced by each of the values in turn."""
    order = torch.randperm(tensor.numel(), generator=torch.Generator().manual_seed(seed))[:: 4 * every]
    changed = tensor.clone()
    changed.view(-1)[order] = torch.tensor(values).to(tensor.dtype).repeat(-(-len(order) // len(values)))[: len(order)]
    return changed


@every_backend
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("channels", [3, 35])
def test_offsets_that_are_no_positions(backend, dtype, channels):
    problem = make_problem(2, channels, 4, (13, 11), dtype=dtype)
    for value in EXTREMES:
        extreme = problem | {"offset": sprinkled(problem["offset"], [value], 20)}
        assert_close(results(extreme), results(extreme, deform_conv2d_reference), 5e-5)
    every = problem | {"offset": sprinkled(problem["offset"], EXTREMES, 1)}
    assert_close(results(every), results(every, deform_conv2d_reference), 5e-5)


@with_kernel
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("operand", ["input", "mask", "weight", "bias", "grad_output"])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("format", [torch.contiguous_format, torch.channels_last])
def test_operands_that_are_no_numbers(backend, dtype, operand, value, format, monkeypatch):
    """They spoil what the definition's forward and backward let them spoil, and no more."""
    problem = make_problem(2, 5, 4, (9, 8), dtype=dtype)
    grad_output = random_like(deform_conv2d(**problem))
    if operand == "grad_output":
        grad_output = sprinkled(grad_output, [value], 10)
    else:
        problem[operand] = sprinkled(problem[operand], [value], 1 if operand == "bias" else 10)
    problem["input"] = problem["input"].contiguous(memory_format=format)
    got = results(problem, grad_output=grad_output)
    monkeypatch.setenv("DCNRUN_BACKEND", "reference")
    wanted = results(problem, grad_output=grad_output)
    assert not all(values.isfinite().all() for values in wanted.values())
    for name in wanted:
        spoilt = torch.isnan if math.isnan(value) else lambda values: ~values.isfinite()
        assert torch.equal(spoilt(got[name]), spoilt(wanted[name])), name
        got[name], wanted[name] = (values.nan_to_num(0, 0, 0) for values in (got[name], wanted[name]))
    assert_close(got, wanted, 5e-5 if dtype.itemsize > 2 else 1e-2)


@with_kernel
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_every_kind_of_nan_stays_one(backend, dtype):
    """Rounding must not carry one with all its bits set over to a number."""
    bits = torch.tensor([0x7FFFFFFF, -1, 0x7F800001, 0x7FC00000], dtype=torch.int32).view(torch.float32)
    ones = torch.ones(4, 1, 1, 1, dtype=dtype)
    got = deform_conv2d(ones, torch.zeros(4, 2, 1, 1), ones[:1], mask=bits.reshape(4, 1, 1, 1))
    assert got.isnan().all()


@every_backend
@pytest.mark.parametrize("position", [-1.0, -1.5, 4.0, 5.0, 1e9, math.inf])
def test_a_sample_outside_the_map_reads_nothing(backend, position):
    """Not even the pixels beside it, where zero times infinity would be no number."""
    x = torch.full((1, 3, 4, 4), math.inf)
    for axis in range(2):
        offset = torch.zeros(1, 2, 4, 4)
        coordinates = torch.arange(4.0)
        offset[0, axis] = position - (coordinates[:, None] if axis == 0 else coordinates)
        problem = {"input": x, "offset": offset, "weight": torch.ones(2, 3, 1, 1), "bias": None, "mask": None}
        got = results(problem)
        for name in got.keys() - {"weight"}:
            assert not got[name].any(), name
        assert not got["weight"].any()


@every_backend
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_whole_positions_and_the_border(backend, dtype):
    """Where the bilinear kernel has its kinks: the value and slope of the side that the definition takes."""
    problem = make_problem(2, 5, 4, (6, 5), padding=(2, 2), dtype=dtype)
    problem["offset"] = problem["offset"].round()
    assert_close(results(problem), results(problem, deform_conv2d_reference), 5e-5)
    beside = torch.tensor([-1e-3, 0, 1e-3], dtype=dtype)
    problem["offset"] += beside.repeat(problem["offset"].numel() // 3).view_as(problem["offset"])
    assert_close(results(problem), results(problem, deform_conv2d_reference), 5e-5)


@every_backend
@pytest.mark.parametrize("axis", [0, 1])
def test_the_slope_at_whole_positions(backend, axis):
    """Worked out by hand: to the next pixel; none from -1 and from the map's end on, to and along which the map is zero."""
    pixels = torch.tensor([3.0, 5, 11, 2])
    positions = torch.tensor([-2.0, -1, 0, 1, 2, 3, 4, 5])
    wanted = torch.tensor([0.0, 0, 2, 6, -9, -2, 0, 0])
    x = pixels.reshape((1, 1, 4, 1) if axis == 0 else (1, 1, 1, 4))
    offset = torch.zeros(8, 2, 1, 1)
    offset[:, axis, 0, 0] = positions
    problem = {"input": x.expand(8, -1, -1, -1), "offset": offset, "weight": torch.ones(1, 1, 1, 1)}
    stride = {"stride": (4, 1) if axis == 0 else (1, 4)}
    got = results(problem | stride | {"bias": None, "mask": None}, grad_output=torch.ones(8, 1, 1, 1))
    assert torch.equal(got["offset"][:, axis].flatten(), wanted)


def at_the_end_of(side, dtype):
    """A row of a map, as rows of channels, sampled at its last pixel; what lies beside it would spoil the sample."""
    memory = torch.zeros(side + 64, dtype=dtype)
    memory[side - 1], memory[side:] = 5, math.nan
    input = memory.as_strided((1, 1, 1, side), (side, 1, side, 1))
    offset = torch.tensor([0.0, side - 1]).reshape(1, 2, 1, 1).to(torch.promote_types(dtype, torch.float32))
    return Operands(input, offset, torch.ones(1, 1, 1, 1, dtype=dtype), None, (1, side), (0, 0), (1, 1), None)


@with_kernel
def test_the_kernel_stays_on_maps_whose_sides_single_precision_rounds(backend):
    output = torch.zeros(1, 1, 1, 1)
    cpu.forward(at_the_end_of(2**24 + 3, torch.float32), output)
    assert output.item() == 5


@every_backend
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_sides_longer_than_positions_can_tell_are_refused(backend, dtype):
    longest = 2**24 if dtype == torch.float32 else 2**24 + 1
    assert deform_conv2d(*at_the_end_of(longest, dtype)).item() == 5
    if dtype == torch.float32:
        message = r"input is 1x16777217: positions in torch.float32 .* use torch.float64"
        with pytest.raises(ValueError, match=message):
            deform_conv2d(*at_the_end_of(longest + 1, dtype))


# The same bits -----------------------------------------------------------------------------------------------------------


@with_kernel
@pytest.mark.parametrize("settings", DETERMINISTIC, ids=lambda s: f"{s['channels']}-{s['dtype']}")
@pytest.mark.parametrize("format", [torch.contiguous_format, torch.channels_last])
class TestSameBits:
    def problem(self, settings, format, batch=5):
        problem = make_problem(batch, **settings)
        return problem | {"input": problem["input"].contiguous(memory_format=format)}

    def test_for_any_split_of_the_batch(self, backend, settings, format, threads):
        problem = self.problem(settings, format)
        grad_output = random_like(deform_conv2d(**problem))
        whole = results(problem, grad_output=grad_output)
        for sizes, count in (([1] * 5, 1), ([1] * 5, 2), ([2, 3], 2)):
            threads(count)
            batched = [name for name in ("input", "offset", "mask") if problem[name] is not None]
            parts = [
                results(problem | dict(zip(batched, tensors, strict=False)), grad_output=tensors[-1])
                for tensors in zip(
                    *(t.split(sizes) for t in (*(problem[n] for n in batched), grad_output)), strict=True
                )
            ]
            joined = {name: torch.cat([part[name] for part in parts]) for name in ("output", *batched)}
            assert_same_bits(joined, whole, joined.keys())


# More than 2^31 elements ---------------------------------------------------------------------------------------------------


# Memory that is promised, not set aside; not every Python has Linux's name for it.
NO_RESERVE = getattr(mmap, "MAP_NORESERVE", 0x4000 if sys.platform == "linux" else 0)
SPAN = 2**33  # so that what starts at a quarter of a row also lies beyond 2^31


def far_apart(like, dim):
    """A copy whose neighbours along `dim` lie so far apart that it spans 2^33 elements, hardly any of which exist."""
    strides = list(torch.empty_like(like, memory_format=torch.contiguous_format).stride())
    if dim == "pixels":  # as rows of channels
        step = SPAN // (like.shape[2] * like.shape[3] - 1) + 1
        strides = [like.shape[1], 1, like.shape[3] * step, step]
    else:
        strides[dim] = SPAN // (like.shape[dim] - 1) + 1
    elements = 1 + sum((length - 1) * stride for length, stride in zip(like.shape, strides, strict=True))
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | NO_RESERVE
    memory = torch.frombuffer(mmap.mmap(-1, elements * like.itemsize, flags), dtype=like.dtype)
    return memory.as_strided(like.shape, strides).copy_(like)


@with_kernel
@pytest.mark.parametrize("dim", [0, 1, 2, 3, "pixels"])
@pytest.mark.parametrize(
    ("tensor", "dtype"),
    [
        *((name, torch.float32) for name in ("input", "offset", "mask", "weight", "output")),
        *((name, torch.bfloat16) for name in ("input", "weight", "output")),
    ],
)
def test_more_than_two_to_the_31_elements(backend, dim, tensor, dtype):
    """One operand and its gradient, or the output and its gradient, spread over memory."""
    problem = make_problem(2, 32, 17, (3, 45), dtype=dtype)
    settings = problem["stride"], problem["padding"], problem["dilation"]
    tensors = {name: problem[name] for name in ("input", "offset", "weight", "mask")}
    tensors |= {name: tensors[name].float() for name in ("offset", "mask")}  # as the kernel has them
    tensors["output"] = torch.zeros(2, 17, 3, 45, dtype=dtype)
    tensors["grad_output"] = random_like(tensors["output"])
    grads = {name: torch.zeros_like(tensors[name]) for name in ("input", "offset", "weight", "mask")}

    def compute(tensors, grads):
        input, offset, weight, mask, output, grad_output = tensors.values()
        operands = Operands(input, offset, weight, problem["bias"], *settings, mask)
        cpu.forward(operands, output)
        cpu.backward(grad_output, operands, [*grads.values()])
        return {"output": output.clone()} | {name: grad.clone() for name, grad in grads.items()}

    wanted = compute(tensors, grads)
    tensors["output"].zero_()
    for name in ("output", "grad_output") if tensor == "output" else (tensor,):
        tensors[name] = far_apart(tensors[name], dim)
    if tensor in grads:
        grads[tensor] = far_apart(torch.zeros_like(grads[tensor]), dim)
    assert_same_bits(compute(tensors, grads), wanted)
