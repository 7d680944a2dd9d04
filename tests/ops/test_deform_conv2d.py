"""Every way to compute deformable convolution, against torchvision's own and against a loop over pixels."""

import math
import re

import pytest
import torch
import torchvision.ops
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from dcnrun.errors import UsageError
from dcnrun.ops import deform_conv2d
from dcnrun.ops.checks import output_size
from dcnrun.ops.deform_conv2d import backend_for

BACKENDS = ["rows", "reference"]


@st.composite
def problems(draw):
    """Operands and settings of a random deformable convolution, odd ones among them."""
    kernel = draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    stride = draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    padding = draw(st.tuples(st.integers(0, 3), st.integers(0, 3)))
    dilation = draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    groups, offset_groups = draw(st.sampled_from([1, 2, 3])), draw(st.sampled_from([1, 2, 3]))
    least = [max(1, dilation[i] * (kernel[i] - 1) + 1 - 2 * padding[i]) for i in range(2)]
    height, width = (draw(st.integers(least[i], least[i] + 7)) for i in range(2))
    channels = math.lcm(groups, offset_groups) * draw(st.integers(1, 2))
    n, out_channels = draw(st.integers(1, 3)), groups * draw(st.integers(1, 3))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))

    def tensor(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64).requires_grad_()

    size = output_size((height, width), kernel, stride, padding, dilation)
    taps = kernel[0] * kernel[1]
    offset = (
        tensor(n, 2 * offset_groups * taps, *size).detach() * draw(st.sampled_from([0.3, 2.0, 30.0]))
    ).requires_grad_()
    return {
        "input": tensor(n, channels, height, width),
        "offset": offset,
        "weight": tensor(out_channels, channels // groups, *kernel),
        "bias": tensor(out_channels) if draw(st.booleans()) else None,
        "stride": stride,
        "padding": padding,
        "dilation": dilation,
        "mask": tensor(n, offset_groups * taps, *size) if draw(st.booleans()) else None,
    }


@pytest.mark.parametrize("backend", BACKENDS)
@settings(max_examples=60, deadline=None)
@given(problem=problems())
def test_forward_and_every_gradient_equal_torchvision(backend, problem):
    wanted = torchvision.ops.deform_conv2d(**problem)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DCNRUN_BACKEND", backend)
        got = deform_conv2d(**problem)
    torch.testing.assert_close(got, wanted, rtol=1e-9, atol=1e-9)
    operands = [value for value in problem.values() if isinstance(value, torch.Tensor)]
    seed = torch.randn_like(wanted)
    for ours, theirs in zip(
        torch.autograd.grad(got, operands, seed), torch.autograd.grad(wanted, operands, seed), strict=True
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-8, atol=1e-8)


def by_hand(x, offset, weight, stride, padding, dilation):
    """One image, one group, written as the paper has it: a loop over pixels and taps."""
    _, height, width = x.shape
    out_channels, channels, kernel_h, kernel_w = weight.shape
    out_h, out_w = offset.shape[-2:]
    output = torch.zeros(out_channels, out_h, out_w, dtype=x.dtype)

    def pixel(row, column):
        inside = 0 <= row < height and 0 <= column < width
        return x[:, row, column] if inside else torch.zeros(channels, dtype=x.dtype)

    for i in range(out_h):
        for j in range(out_w):
            for tap in range(kernel_h * kernel_w):
                y = i * stride - padding + tap // kernel_w * dilation + float(offset[2 * tap, i, j])
                z = j * stride - padding + tap % kernel_w * dilation + float(offset[2 * tap + 1, i, j])
                top, left = math.floor(y), math.floor(z)
                value = sum(
                    pixel(row, column) * (1 - abs(y - row)) * (1 - abs(z - column))
                    for row in (top, top + 1)
                    for column in (left, left + 1)
                )
                output[:, i, j] += weight[:, :, tap // kernel_w, tap % kernel_w] @ value
    return output


@pytest.mark.parametrize("backend", [*BACKENDS, "torchvision"])
def test_equals_the_definition_written_as_a_loop(backend, monkeypatch):
    monkeypatch.setenv("DCNRUN_BACKEND", backend)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(1, 3, 7, 5, generator=generator, dtype=torch.float64)
    weight = torch.randn(2, 3, 3, 2, generator=generator, dtype=torch.float64)
    size = output_size((7, 5), (3, 2), (2, 2), (1, 1), (2, 2))
    offset = torch.randn(1, 12, *size, generator=generator, dtype=torch.float64) * 2
    got = deform_conv2d(x, offset, weight, stride=2, padding=1, dilation=2)
    torch.testing.assert_close(got[0], by_hand(x[0], offset[0], weight, 2, 1, 2))


@pytest.mark.parametrize("backend", [*BACKENDS, "torchvision"])
@pytest.mark.parametrize("groups", [1, 2])
def test_zero_offsets_give_the_plain_convolution(backend, groups, monkeypatch):
    monkeypatch.setenv("DCNRUN_BACKEND", backend)
    x, weight = torch.randn(2, 4, 9, 8), torch.randn(6, 4 // groups, 3, 3)
    got = deform_conv2d(x, torch.zeros(2, 18, 5, 4), weight, stride=2, padding=1)
    torch.testing.assert_close(got, F.conv2d(x, weight, stride=2, padding=1, groups=groups), rtol=1e-5, atol=1e-5)


def test_reference_is_differentiable_twice(monkeypatch):
    monkeypatch.setenv("DCNRUN_BACKEND", "reference")
    generator = torch.Generator().manual_seed(1)
    # away from whole positions, where the bilinear kernel has a kink
    offset = torch.rand(1, 8, 2, 2, generator=generator, dtype=torch.float64) * 0.6 + 0.2
    operands = [
        torch.randn(1, 2, 3, 3, generator=generator, dtype=torch.float64),
        offset,
        torch.randn(2, 2, 2, 2, generator=generator, dtype=torch.float64),
        torch.rand(1, 4, 2, 2, generator=generator, dtype=torch.float64),
    ]
    for operand in operands:
        operand.requires_grad_()

    def convolution(x, offset, weight, mask):
        return deform_conv2d(x, offset, weight, mask=mask)

    assert torch.autograd.gradcheck(convolution, operands)
    assert torch.autograd.gradgradcheck(convolution, operands)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_keeps_positions(dtype):
    """At column 3000 half precision has no quarter pixels left; positions must not be rounded to it."""
    x = torch.arange(4000.0).remainder(7).reshape(1, 1, 1, 4000)
    offset = torch.full((1, 2, 1, 4000), 0.25)
    offset[:, 0] = 0
    wanted = deform_conv2d(x, offset, torch.ones(1, 1, 1, 1))
    got = deform_conv2d(x.to(dtype), offset, torch.ones(1, 1, 1, 1, dtype=dtype))
    assert got.dtype == dtype
    torch.testing.assert_close(got.float(), wanted, rtol=1e-2, atol=1e-2)


def test_autocast_computes_in_fp32():
    x, offset, weight = torch.randn(1, 4, 6, 6), torch.randn(1, 18, 6, 6), torch.randn(4, 4, 3, 3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got = deform_conv2d(x, offset, weight, padding=1)
    assert torch.equal(got, deform_conv2d(x, offset, weight, padding=1))


def test_empty_batch_and_empty_map():
    weight = torch.randn(3, 2, 3, 3)
    assert deform_conv2d(torch.zeros(0, 2, 5, 5), torch.zeros(0, 18, 3, 3), weight).shape == (0, 3, 3, 3)


@pytest.mark.parametrize("backend", BACKENDS)
def test_same_bits_on_every_run(backend, monkeypatch):
    monkeypatch.setenv("DCNRUN_BACKEND", backend)
    generator = torch.Generator().manual_seed(2)
    x = torch.randn(4, 32, 16, 16, generator=generator, requires_grad=True)
    offset = torch.randn(4, 18, 16, 16, generator=generator).mul(3).requires_grad_()
    weight = torch.randn(16, 32, 3, 3, generator=generator, requires_grad=True)

    def results():
        output = deform_conv2d(x, offset, weight, padding=1)
        return (output, *torch.autograd.grad(output.square().sum(), (x, offset, weight)))

    first = results()
    for _ in range(3):
        assert all(torch.equal(a, b) for a, b in zip(first, results(), strict=True))


GOOD = {
    "input": torch.zeros(2, 4, 6, 6),
    "offset": torch.zeros(2, 18, 6, 6),
    "weight": torch.zeros(8, 4, 3, 3),
    "bias": torch.zeros(8),
    "mask": torch.zeros(2, 9, 6, 6),
    "padding": 1,
}
WRONG = [
    ({"offset": torch.zeros(2, 20, 6, 6)}, ValueError, r"offset has 20 channels.*multiple of 18"),
    ({"offset": torch.zeros(2, 18, 5, 6)}, ValueError, r"offset is 5x6, but the output is 6x6"),
    ({"offset": torch.zeros(1, 18, 6, 6)}, ValueError, r"offset has batch size 1, but input has 2"),
    ({"offset": torch.zeros(2, 54, 6, 6)}, ValueError, r"3 offset groups.*do not divide input's 4 channels"),
    ({"weight": torch.zeros(8, 3, 3, 3)}, ValueError, r"weight has 3 input channels.*input's 4 channels"),
    ({"weight": torch.zeros(7, 2, 3, 3), "bias": None}, ValueError, r"weight has 7 output channels.*2 groups"),
    ({"weight": torch.zeros(8, 4, 3)}, ValueError, r"weight must have 4 dimensions.*\(8, 4, 3\)"),
    ({"bias": torch.zeros(7)}, ValueError, r"bias has 7 elements.*8 output channels"),
    ({"mask": torch.zeros(2, 18, 6, 6)}, ValueError, r"mask has 18 channels.*need 9"),
    ({"mask": torch.zeros(2, 9, 6, 5)}, ValueError, r"mask is 6x5, but the output is 6x6"),
    ({"offset": torch.zeros(2, 18, 6, 6, dtype=torch.float64)}, TypeError, r"offset has torch.float64.*torch.float32"),
    ({"weight": torch.zeros(8, 4, 3, 3, dtype=torch.int64)}, TypeError, r"weight must have a floating-point"),
    ({"offset": torch.zeros(2, 18, 6, 6, device="meta")}, ValueError, r"offset is on meta, but input is on cpu"),
    ({"offset": None}, TypeError, r"offset must be a tensor"),
    ({"padding": 0, "input": torch.zeros(2, 4, 2, 2)}, ValueError, r"input of 2x2.*smaller than the kernel 3x3"),
    ({"stride": 0}, ValueError, r"stride must be .* >= 1, but is 0"),
    ({"dilation": (1, 2, 3)}, ValueError, r"dilation must be one or two"),
    ({"padding": 1.5}, (ValueError, TypeError), r"padding|float"),
]


@pytest.mark.parametrize(("change", "error", "message"), WRONG, ids=lambda v: v if isinstance(v, str) else "")
def test_wrong_operands_are_named_with_both_values(change, error, message):
    with pytest.raises(error, match=re.compile(message, re.DOTALL)):
        deform_conv2d(**(GOOD | change))


def test_backends(monkeypatch):
    x, offset = torch.zeros(1, 1, 4, 4), torch.zeros(1, 18, 4, 4)
    monkeypatch.delenv("DCNRUN_BACKEND", raising=False)
    assert backend_for(x, offset) == "rows"
    assert backend_for(x.bfloat16(), offset) == "reference"
    monkeypatch.setenv("DCNRUN_BACKEND", "torchvision")
    assert backend_for(x, offset) == "torchvision"
    monkeypatch.setenv("DCNRUN_BACKEND", "fastest")
    with pytest.raises(UsageError, match="fastest"):
        backend_for(x, offset)
