"""Deformable convolution in bf16 on the CPU's matrix units: emulated on every CPU, and the true ones where they are."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dcnrun.ops import deform_conv2d
from dcnrun.ops.deform_conv2d.reference import deform_conv2d_reference
from dcnrun.ops.jit.units import UNITS, Unit, why_absent
from tests.ops.conformance import FORMATS, assert_close, assert_same_bits
from tests.ops.deform_conv2d.factories import make_problem, problems, results
from tests.ops.factories import examples, random_like

EMULATED = (Unit.EMULATED_AMX, Unit.EMULATED_AVX512_BF16)
BF16 = ("input", "weight", "bias")
EPS = torch.finfo(torch.bfloat16).eps

pytestmark = pytest.mark.usefixtures("kernel_backend")


@pytest.fixture(params=EMULATED)
def unit(request, monkeypatch):
    monkeypatch.setenv("DCNRUN_CPU_UNITS", request.param)
    return request.param


def in_bf16(problem):
    """The problem as autocast gives it: features and weights in bf16, positions in fp32."""
    return {
        name: value.to(torch.bfloat16 if name in BF16 else torch.float32) if torch.is_tensor(value) else value
        for name, value in problem.items()
    }


def in_fp64(problem):
    return {name: value.double() if torch.is_tensor(value) else value for name, value in problem.items()}


def definition_of_rounded_columns(input, offset, weight, bias, stride, padding, dilation, mask):
    """The definition in fp64, but for the columns, which are rounded to bf16."""
    groups = input.shape[1] // weight.shape[1]
    points = weight.shape[2] * weight.shape[3]
    # What a weight of a single 1 gives is a column: channel c at sampling point k is row c * points + k.
    single = torch.eye(points, dtype=input.dtype).reshape(points, 1, *weight.shape[2:])
    settings = {"stride": stride, "padding": padding, "dilation": dilation}
    columns = deform_conv2d_reference(input, offset, single.repeat(input.shape[1], 1, 1, 1), mask=mask, **settings)
    rounded = columns + (columns.bfloat16().double() - columns).detach()
    by_group = rounded.flatten(2).unflatten(1, (groups, -1)), weight.flatten(1).unflatten(0, (groups, -1))
    output = torch.einsum("ngkp,gok->ngop", *by_group).flatten(1, 2).unflatten(2, columns.shape[2:])
    return output if bias is None else output + bias.reshape(-1, 1, 1)


@examples(12)
@given(data=problems(dtype=torch.float32), format=st.sampled_from(FORMATS))
def test_the_definition_of_columns_that_are_rounded_once(unit, data, format):
    problem = in_bf16(data)
    problem["input"] = problem["input"].contiguous(memory_format=format)
    grad_output = random_like(deform_conv2d(**problem))
    got = results(problem, grad_output=grad_output)
    wanted = results(in_fp64(problem), definition_of_rounded_columns, grad_output.double())
    for name, value in got.items():
        assert_close(got, wanted, 1e-4 if value.dtype == torch.float32 else EPS, [name])


@pytest.mark.parametrize("kernel", [(7, 7), (13, 1)])
@pytest.mark.parametrize("channels", [3, 140])
def test_kernels_of_many_points(unit, kernel, channels):
    problem = in_bf16(make_problem(1, channels, 33, (8, 7), kernel, padding=(6, 5)))
    wanted = results(in_fp64(problem), definition_of_rounded_columns, random_like(deform_conv2d(**problem)).double())
    assert_close(results(problem), wanted, EPS)


MAPS = [
    {"channels": 70, "out_channels": 33, "size": (9, 15), "offset_groups": 2},
    {"channels": 64, "out_channels": 32, "size": (8, 8)},
    {"channels": 12, "out_channels": 9, "size": (16, 16), "groups": 3, "offset_groups": 2, "masked": False},
]


@pytest.mark.parametrize("settings", MAPS, ids=str)
@pytest.mark.parametrize("format", FORMATS, ids=str)
def test_the_same_bits_on_every_run_for_any_number_of_threads_and_split_of_the_batch(unit, settings, format, threads):
    problem = in_bf16(make_problem(3, **settings))
    problem["input"] = problem["input"].contiguous(memory_format=format)
    first = results(problem)
    for count in (1, 2, 3):
        threads(count)
        assert_same_bits(results(problem), first, first.keys() - {"bias"})
    grad_output = random_like(first["output"])
    for image in range(3):
        one = {
            name: problem[name][image : image + 1] for name in ("input", "offset", "mask") if problem[name] is not None
        }
        got = results(problem | one, grad_output=grad_output[image : image + 1])
        for name in ("output", *one):
            assert torch.equal(got[name][0], first[name][image]), name


@pytest.mark.parametrize("true", UNITS)
@pytest.mark.parametrize("settings", MAPS, ids=str)
def test_the_emulation_gives_the_bits_of_the_unit(true, settings, monkeypatch):
    if reason := why_absent(true):
        pytest.skip(reason)
    problem = in_bf16(make_problem(2, **settings))
    monkeypatch.setenv("DCNRUN_CPU_UNITS", true)
    got = results(problem)
    monkeypatch.setenv("DCNRUN_CPU_UNITS", f"emulated_{true}")
    assert_same_bits(results(problem), got)


def test_every_finite_number_is_read_and_written_right_and_subnormal_ones_are_zero(unit):
    numbers = torch.arange(-(2**15), 2**15).to(torch.int16).view(torch.bfloat16)
    numbers = numbers[numbers.isfinite()]
    weight = torch.tensor([1.0, 1 / 3, 100.0]).bfloat16()
    image = numbers.reshape(1, 1, 255, 256)
    got = deform_conv2d(image, torch.zeros(1, 2, 255, 256), weight.reshape(-1, 1, 1, 1)).flatten(2)[0].T
    least = torch.finfo(torch.bfloat16).tiny
    wanted = numbers.float().masked_fill(numbers.abs() < least, 0)[:, None] * weight.float()
    wanted = wanted.masked_fill(wanted.abs() < least, 0).bfloat16()
    torch.testing.assert_close(got, wanted, rtol=0, atol=0)


@pytest.mark.parametrize("operand", ["input", "mask", "weight", "bias", "grad_output"])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_operands_that_are_no_numbers_spoil_what_they_do_in_fp32(unit, operand, value, monkeypatch):
    problem = in_bf16(make_problem(2, 5, 4, (9, 8)))
    problem |= {"grad_output": random_like(deform_conv2d(**problem))}
    spoilt = problem[operand].flatten()
    spoilt[:: spoilt.numel() // 4] = value
    problem[operand] = spoilt.reshape(problem[operand].shape)
    grad_output = problem.pop("grad_output")
    got = results(problem, grad_output=grad_output)
    monkeypatch.setenv("DCNRUN_CPU_UNITS", Unit.VECTORS)
    wanted = results(problem, grad_output=grad_output)
    assert not all(values.isfinite().all() for values in wanted.values())
    for name in wanted:
        assert torch.equal(got[name].isfinite(), wanted[name].isfinite()), name
        got[name], wanted[name] = (values.nan_to_num(0, 0, 0) for values in (got[name], wanted[name]))
    assert_close(got, wanted, 1e-2)
