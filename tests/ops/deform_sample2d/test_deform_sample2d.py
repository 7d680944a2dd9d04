"""Our operator against modulated deformable convolution, a loop over pixels and the definition, wherever operands lie."""

import itertools
import math

import pytest
import torch
import torchvision.ops
from hypothesis import given

from dcnrun.ops import deform_conv2d, deform_sample2d
from dcnrun.ops.deform_sample2d import cpu
from dcnrun.ops.deform_sample2d.arguments import Operands
from dcnrun.ops.deform_sample2d.reference import deform_sample2d_reference
from tests.ops.conformance import HALF, ResultSuite, assert_close, assert_same_bits
from tests.ops.deform_sample2d import factories
from tests.ops.deform_sample2d.factories import as_convolution, make_problem, problems, results
from tests.ops.factories import examples, random_like

BACKENDS = ["kernel", "reference"]
every_backend = pytest.mark.parametrize("backend", BACKENDS, indirect=True)
with_kernel = pytest.mark.parametrize("backend", ["kernel"], indirect=True)


def defined(**problem):
    return deform_sample2d_reference(Operands(**problem))


# Against other implementations ---------------------------------------------------------------------------------------


@with_kernel
@examples(40)
@given(problem=problems())
def test_equals_torchvisions_convolution_with_weights_of_one(backend, problem):
    assert_close(results(problem), results(problem, as_convolution(torchvision.ops.deform_conv2d)), 1e-10)


@with_kernel
@examples(30)
@given(problem=problems(dtype=torch.float32))
def test_equals_our_convolution_with_weights_of_one(backend, problem):
    assert_close(results(problem), results(problem, as_convolution(deform_conv2d)), 5e-5)


def by_hand(input, offset, mask, kernel_size, stride, padding, dilation, offset_scale, softmax, remove_center):
    """One image, one group, written as the papers have it: a loop over pixels and sampling points."""
    _, channels, height, width = input.shape
    output = torch.zeros(1, channels, *offset.shape[2:], dtype=input.dtype)
    grid = list(itertools.product(*map(range, kernel_size)))
    if remove_center:
        grid.remove((kernel_size[0] // 2, kernel_size[1] // 2))

    def pixel(row, column):
        inside = 0 <= row < height and 0 <= column < width
        return input[0, :, row, column] if inside else torch.zeros(channels, dtype=input.dtype)

    def position(out, line, axis, shift):
        centre = dilation[axis] * (kernel_size[axis] - 1) // 2
        return out * stride[axis] - padding[axis] + centre + offset_scale * (line * dilation[axis] - centre + shift)

    for i, j in itertools.product(*map(range, output.shape[2:])):
        factors = mask[0, :, i, j].softmax(0) if softmax else mask[0, :, i, j]
        for point, (row_of_kernel, column_of_kernel) in enumerate(grid):
            y = position(i, row_of_kernel, 0, float(offset[0, 2 * point, i, j]))
            x = position(j, column_of_kernel, 1, float(offset[0, 2 * point + 1, i, j]))
            for row, column in itertools.product(*((math.floor(at), math.floor(at) + 1) for at in (y, x))):
                output[0, :, i, j] += pixel(row, column) * (1 - abs(y - row)) * (1 - abs(x - column)) * factors[point]
    return output


@every_backend
@pytest.mark.parametrize(
    "settings",
    [
        {"kernel": (3, 2), "stride": (2, 1), "padding": (1, 2), "dilation": (2, 1)},
        {"softmax": True, "remove_center": True, "offset_scale": 1.5, "dilation": (1, 2)},
    ],
    ids=str,
)
def test_equals_the_definition_written_as_a_loop(backend, settings):
    problem = make_problem(1, 3, (7, 5), groups=1, **settings)
    torch.testing.assert_close(deform_sample2d(**problem), by_hand(**problem))


@every_backend
def test_zero_offsets_and_logits_give_the_mean_of_the_window(backend):
    """What a fresh DCNv3 layer samples."""
    x = torch.randn(2, 8, 9, 8)
    got = deform_sample2d(x, torch.zeros(2, 36, 5, 4), torch.zeros(2, 18, 5, 4), 3, 2, 1, softmax=True)
    torch.testing.assert_close(got, torch.nn.functional.avg_pool2d(x, 3, 2, 1))


@with_kernel
@pytest.mark.parametrize(("channels", "groups"), [(260, 1), (160, 2), (200, 8)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_groups_that_are_cut_into_parts(backend, channels, groups, dtype):
    problem = make_problem(1, channels, (9, 11), groups=groups, softmax=True, dtype=dtype)
    relative = 1e-10 if dtype == torch.float64 else 5e-5
    assert_close(results(problem), results(problem, defined), relative)


@with_kernel
@pytest.mark.parametrize("width", [15, 16, 37])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_maps_wider_than_vectors(backend, width, dtype):
    """Contiguous ones are turned block by block, the last of which overlaps another: the same bits as in channels-last."""
    problem = make_problem(1, 64, (3, width), groups=2, dtype=dtype)
    got = results(problem)
    assert_close(got, results(problem, defined), 1e-10 if dtype == torch.float64 else 5e-5)
    last = problem | {"input": problem["input"].contiguous(memory_format=torch.channels_last)}
    assert_same_bits(results(last), got)


@with_kernel
def test_logits_that_overflow_without_care(backend):
    problem = make_problem(softmax=True, dtype=torch.float32)
    problem["mask"] = 200 * problem["mask"]
    assert_close(results(problem), results(problem, defined), 5e-5)
    assert deform_sample2d(**problem).isfinite().all()


# Half precision: stored so, computed in single precision ---------------------------------------------------------------


@with_kernel
@pytest.mark.parametrize("dtype", HALF)
@pytest.mark.parametrize("format", [torch.contiguous_format, torch.channels_last])
def test_every_number_of_half_precision_is_read_and_rounded_as_by_pytorch(backend, dtype, format):
    """One sample a pixel, at a pixel with zeros to the right and below, so that the output is its product with the factor."""
    numbers = torch.arange(2**16).to(torch.uint16).view(dtype).view(1, 32, 64, 32)
    input = torch.zeros(1, 32, 128, 64, dtype=dtype).to(memory_format=format)
    input[..., ::2, ::2] = numbers
    mask = torch.rand(1, 1, 64, 32, generator=torch.Generator().manual_seed(0)) * 3
    got = deform_sample2d(input, torch.zeros(1, 2, 64, 32), mask, 1, stride=2)
    torch.testing.assert_close(
        got, (numbers.float() * mask).to(dtype), rtol=0, atol=0, equal_nan=True, check_stride=False
    )


@with_kernel
@pytest.mark.parametrize("dtype", HALF)
@pytest.mark.parametrize("positions", ["half", "single"])
@examples(8)
@given(data=problems(dtype=torch.float32))
def test_half_precision_is_single_precision_of_rounded_operands(backend, dtype, positions, data):
    narrow = ("input", "offset", "mask") if positions == "half" else ("input",)
    problem = {name: value.to(dtype) if name in narrow and value is not None else value for name, value in data.items()}
    grad_output = random_like(deform_sample2d(**problem))
    got = results(problem, grad_output=grad_output)
    for name in got.keys() & problem.keys():
        assert got[name].dtype == problem[name].dtype
    widened = {name: value.float() if torch.is_tensor(value) else value for name, value in problem.items()}
    wanted = results(widened, defined, grad_output.float())
    # half the distance of neighbouring numbers, and what sums in another order make of it
    for name, value in got.items():
        assert_close(got, wanted, 1e-4 if value.dtype == torch.float32 else 0.6 * torch.finfo(dtype).eps, [name])


# Where operands lie, and the same bits -----------------------------------------------------------------------------------

LAYOUTS = {
    "channels last": lambda t: t.contiguous(memory_format=torch.channels_last),
    "every other row": lambda t: t.repeat_interleave(2, -2)[:, :, ::2],
    "transposed": lambda t: t.mT.contiguous().mT,
    "batch last": lambda t: t.permute(1, 2, 3, 0).contiguous().permute(3, 0, 1, 2),
    "channels of a wider channels-last tensor": lambda t: torch.cat([t, t, t], 1).contiguous(
        memory_format=torch.channels_last
    )[:, t.shape[1] : 2 * t.shape[1]],
}


class TestResults(ResultSuite):
    factories = factories
    layouts = LAYOUTS
    values = {
        "backend": BACKENDS,
        "layout": LAYOUTS,
        "operand": ["input", "offset", "mask", "grad_output"],
        "layout_settings": [{"channels": 64, "dtype": torch.float32}, {"channels": 10, "dtype": torch.bfloat16}],
        "some_settings": [{"softmax": True}, {"masked": False}],
        "bits_settings": [
            {"channels": 64, "size": (13, 11), "groups": 4, "softmax": True, "dtype": torch.float32},
            {"channels": 140, "size": (9, 7), "groups": 1, "dtype": torch.float32},
            {"channels": 33, "size": (5, 5), "groups": 3, "masked": False, "dtype": torch.bfloat16},
        ],
    }

    def problem_of_layouts(self, settings):
        return make_problem(3, size=(9, 8), **settings)

    def problem_of_bits(self, settings):
        return make_problem(5, **settings)


@with_kernel
def test_other_images_change_no_bit(backend):
    problem = make_problem(3, 140, (9, 8), groups=1, softmax=True, dtype=torch.float32)
    grad_output = random_like(deform_sample2d(**problem))
    whole = results(problem, grad_output=grad_output)
    for i in range(3):
        alone = problem | {name: problem[name][i : i + 1] for name in ("input", "offset", "mask")}
        part = results(alone, grad_output=grad_output[i : i + 1])
        assert_same_bits(part, {name: values[i : i + 1] for name, values in whole.items()})


@with_kernel
@pytest.mark.parametrize("format", [torch.contiguous_format, torch.channels_last])
def test_the_output_and_gradients_lie_as_the_operands_do(backend, format):
    problem = make_problem(channels=10, dtype=torch.float32)
    problem["input"] = problem["input"].contiguous(memory_format=format)
    got = results(problem)
    assert got["output"].is_contiguous(memory_format=format)
    assert got["input"].is_contiguous(memory_format=format)
    assert got["offset"].is_contiguous()


@every_backend
@pytest.mark.parametrize(("batch", "size", "padding"), [(0, (5, 5), (1, 1)), (2, (0, 5), (1, 0)), (2, (3, 0), (1, 2))])
def test_nothing_to_sample(backend, batch, size, padding):
    """Empty batches and maps: output and gradients are zero."""
    problem = make_problem(batch, 4, size, padding=padding)
    for name, values in results(problem).items():
        assert not values.any(), name


# Numbers that are none, and positions at and beyond the border ----------------------------------------------------------

EXTREMES = [math.nan, math.inf, -math.inf, 1e30, -1e30, 1e9, 2.0**31, -(2.0**31), 3e38]


def sprinkled(tensor, values, every):
    """A copy with some elements replaced by each of the values in turn."""
    order = torch.randperm(tensor.numel(), generator=torch.Generator().manual_seed(0))[::every]
    changed = tensor.clone()
    changed.view(-1)[order] = torch.tensor(values).to(tensor.dtype).repeat(-(-len(order) // len(values)))[: len(order)]
    return changed


@every_backend
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_offsets_that_are_no_positions(backend, dtype):
    problem = make_problem(2, 10, (13, 11), dtype=dtype)
    problem["offset"] = sprinkled(problem["offset"], EXTREMES, 8)
    assert_close(results(problem), results(problem, defined), 5e-5)


@with_kernel
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("operand", ["input", "mask", "grad_output"])
@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("softmax", [True, False])
def test_operands_that_are_no_numbers(backend, dtype, operand, value, softmax, monkeypatch):
    """They spoil what the definition's forward and backward let them spoil, and no more."""
    problem = make_problem(2, 6, (9, 8), groups=2, softmax=softmax, dtype=dtype)
    grad_output = random_like(deform_sample2d(**problem))
    if operand == "grad_output":
        grad_output = sprinkled(grad_output, [value], 40)
    else:
        problem[operand] = sprinkled(problem[operand], [value], 40)
    got = results(problem, grad_output=grad_output)
    monkeypatch.setenv("DCNRUN_BACKEND", "reference")
    wanted = results(problem, grad_output=grad_output)
    assert not all(values.isfinite().all() for values in wanted.values())
    for name in wanted:
        assert torch.equal(got[name].isfinite(), wanted[name].isfinite()), name
        got[name], wanted[name] = (values.nan_to_num(0, 0, 0) for values in (got[name], wanted[name]))
    assert_close(got, wanted, 5e-5 if dtype.itemsize > 2 else 1e-2)


@every_backend
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_whole_positions_and_the_border(backend, dtype):
    """Where the bilinear kernel has its kinks: the value and slope of the side that the convolution takes."""
    problem = make_problem(2, 6, (6, 5), padding=(2, 2), dtype=dtype)
    problem["offset"] = problem["offset"].round()
    assert_close(results(problem), results(problem, as_convolution(deform_conv2d)), 5e-5)


@every_backend
@pytest.mark.parametrize("position", [-1.0, -1.5, 4.0, 1e9, math.inf])
def test_a_sample_outside_the_map_reads_nothing(backend, position):
    """Not even the pixels beside it, where zero times infinity would be no number."""
    x, mask = torch.full((1, 16, 4, 4), math.inf), torch.ones(1, 1, 4, 4)
    offset = torch.zeros(1, 2, 4, 4)
    offset[0, 0] = position - torch.arange(4.0)[:, None]
    assert not deform_sample2d(x, offset, mask, 1).any()


def at_the_end_of(side):
    """A row of a map sampled at its last pixel; what lies beside it would spoil the sample."""
    memory = torch.zeros(side + 64)
    memory[side - 1], memory[side:] = 5, math.nan
    offset = torch.tensor([0.0, side - 1]).reshape(1, 2, 1, 1)
    input = memory.as_strided((1, 1, 1, side), (side, 1, side, 1))
    return Operands(input, offset, None, (1, 1), (1, side), (0, 0), (1, 1), 1.0, False, False)


@with_kernel
def test_the_longest_sides_that_single_precision_tells_apart(backend):
    output = torch.zeros(1, 1, 1, 1)
    cpu.forward(at_the_end_of(2**24), output)
    assert output.item() == 5
    with pytest.raises(ValueError, match=r"input is 1x16777219: positions in torch.float32 .* use torch.float64"):
        deform_sample2d(*at_the_end_of(2**24 + 3))
