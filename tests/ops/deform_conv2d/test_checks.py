"""Operands that don't fit are refused by name, with both values, before any memory is touched."""

import re

import pytest
import torch

from dcnrun.ops import deform_conv2d
from dcnrun.ops.deform_conv2d.arguments import output_size

GOOD = {
    "input": torch.zeros(2, 4, 6, 6),
    "offset": torch.zeros(2, 18, 6, 6),
    "weight": torch.zeros(8, 4, 3, 3),
    "bias": torch.zeros(8),
    "mask": torch.zeros(2, 9, 6, 6),
    "padding": 1,
}
WRONG = [
    ({"offset": torch.zeros(2, 20, 6, 6)}, ValueError, r"offset has 20 channels.*3x3 kernel.*multiple of 18"),
    ({"offset": torch.zeros(2, 0, 6, 6)}, ValueError, r"offset has 0 channels.*multiple of 18"),
    ({"offset": torch.zeros(2, 18, 5, 6)}, ValueError, r"offset is 5x6, but the output is 6x6"),
    ({"offset": torch.zeros(1, 18, 6, 6)}, ValueError, r"offset has batch size 1, but input has 2"),
    ({"offset": torch.zeros(2, 54, 6, 6)}, ValueError, r"3 offset groups.*do not divide input's 4 channels"),
    ({"offset": torch.zeros(18, 6, 6)}, ValueError, r"offset must have 4 dimensions.*\(18, 6, 6\)"),
    ({"offset": torch.zeros(2, 18, 6, 6).double()}, TypeError, r"offset has torch.float64.*input has torch.float32"),
    ({"offset": torch.zeros(2, 18, 6, 6).bfloat16()}, TypeError, r"offset has torch.bfloat16.*input has torch.float32"),
    ({"offset": torch.zeros(2, 18, 6, 6, device="meta")}, ValueError, r"offset is on meta, but input is on cpu"),
    ({"offset": None}, TypeError, r"offset must be a tensor, but is NoneType"),
    ({"input": torch.zeros(4, 6, 6)}, ValueError, r"input must have 4 dimensions.*\(4, 6, 6\)"),
    ({"input": torch.zeros(2, 0, 6, 6)}, ValueError, r"input of shape \(2, 0, 6, 6\).*no empty channel"),
    ({"input": torch.zeros(2, 4, 6, 6).cfloat()}, TypeError, r"input must have a floating-point.*torch.complex64"),
    ({"input": torch.zeros(2, 4, 6, 6).bfloat16()}, TypeError, r"weight has torch.float32.*input has torch.bfloat16"),
    ({"padding": 0, "input": torch.zeros(2, 4, 2, 2)}, ValueError, r"input of 2x2.*smaller than the kernel 3x3"),
    ({"weight": torch.zeros(8, 3, 3, 3)}, ValueError, r"weight has 3 input channels.*input's 4 channels"),
    ({"weight": torch.zeros(7, 2, 3, 3), "bias": None}, ValueError, r"weight has 7 output channels.*2 groups"),
    ({"weight": torch.zeros(8, 4, 3)}, ValueError, r"weight must have 4 dimensions.*\(8, 4, 3\)"),
    ({"weight": torch.zeros(8, 4, 0, 3)}, ValueError, r"weight of shape \(8, 4, 0, 3\).*no empty channel or kernel"),
    ({"weight": torch.zeros(8, 4, 3, 3).long()}, TypeError, r"weight must have a floating-point.*torch.int64"),
    ({"weight": torch.zeros(8, 4, 3, 3, device="meta")}, ValueError, r"weight is on meta, but input is on cpu"),
    ({"bias": torch.zeros(7)}, ValueError, r"bias has 7 elements.*8 output channels"),
    ({"bias": torch.zeros(1, 8)}, ValueError, r"bias must have 1 dimension.*\(1, 8\)"),
    ({"bias": torch.zeros(8).double()}, TypeError, r"bias has torch.float64.*input has torch.float32"),
    ({"bias": 0.0}, (TypeError, RuntimeError), r"bias.*float"),
    ({"mask": torch.zeros(2, 18, 6, 6)}, ValueError, r"mask has 18 channels.*need 9"),
    ({"mask": torch.zeros(2, 9, 6, 5)}, ValueError, r"mask is 6x5, but the output is 6x6"),
    ({"mask": torch.zeros(3, 9, 6, 6)}, ValueError, r"mask has batch size 3, but input has 2"),
    ({"mask": torch.zeros(2, 9, 6, 6).bool()}, TypeError, r"mask must have a floating-point.*torch.bool"),
    ({"stride": 0}, ValueError, r"stride must be .* >= 1, but is 0"),
    ({"stride": (1, 0)}, ValueError, r"stride must be .* >= 1, but is \(1, 0\)"),
    ({"stride": True}, ValueError, r"stride must be .*, but is True"),
    ({"padding": -1}, ValueError, r"padding must be .* >= 0, but is -1"),
    ({"padding": 1.5}, ValueError, r"padding must be .*, but is 1.5"),
    ({"padding": "same"}, ValueError, r"padding must be .*, but is 'same'"),
    ({"dilation": (1, 2, 3)}, ValueError, r"dilation must be one or two.*\(1, 2, 3\)"),
    ({"dilation": None}, ValueError, r"dilation must be one or two.*None"),
]


@pytest.mark.parametrize(
    ("change", "error", "message"), WRONG, ids=lambda value: value if isinstance(value, str) else ""
)
def test_wrong_operands_are_named_with_both_values(change, error, message):
    """Each time, though all but one are as they were when they were right."""
    deform_conv2d(**GOOD)
    for _ in range(2):
        with pytest.raises(error, match=re.compile(message, re.DOTALL)):
            deform_conv2d(**(GOOD | change))


@pytest.mark.parametrize(
    ("change", "error", "message"), WRONG, ids=lambda value: value if isinstance(value, str) else ""
)
def test_so_they_are_where_shapes_alone_are_known(change, error, message):
    """As under torch.compile, on meta tensors."""
    meta = {name: t.to("meta") if torch.is_tensor(t) else t for name, t in (GOOD | change).items()}
    if " is on " in message:
        pytest.skip("all are on one device")
    with pytest.raises(error, match=re.compile(message, re.DOTALL)):
        deform_conv2d(**meta)


def expanded(*shape):
    """Of any size, in one number of memory."""
    return torch.zeros(1).expand(shape)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"input": expanded(2, 4, 2**18, 2**18)}, r"input is 262144x262144.*fewer than 2\*\*31 pixels"),
        ({"input": expanded(2, 4, 46339, 46339)}, r"input is 46339x46339.*border of one.*fewer than 2\*\*31 pixels"),
        ({"input": expanded(2**40, 4, 6, 6)}, r"offset has batch size 2, but input has 1099511627776"),
        ({"weight": expanded(2**40, 4, 3, 3)}, r"bias has 8 elements, but weight has 1099511627776"),
        ({"offset": expanded(2, 18, 2**20, 2**20)}, r"offset is 1048576x1048576, but the output is 6x6"),
        ({"mask": expanded(2**40, 9, 6, 6)}, r"mask has batch size 1099511627776, but input has 2"),
        ({"padding": 2**40}, r"offset is 6x6, but the output is \d+x\d+"),
        ({"stride": 2**40}, r"offset is 6x6, but the output is 1x1"),
        ({"dilation": 2**40}, r"input of 6x6 .* is smaller than the kernel 3x3 with dilation .1099511627776, 109"),
    ],
)
def test_nothing_is_reserved_for_operands_that_do_not_fit(change, message):
    """Terabytes, were they not refused first."""
    with pytest.raises(ValueError, match=message):
        deform_conv2d(**(GOOD | change))


@pytest.mark.parametrize(
    ("grad_output", "error", "message"),
    [
        (torch.zeros(2, 8, 6, 5), ValueError, r"grad_output has shape \(2, 8, 6, 5\).*the output's is \(2, 8, 6, 6\)"),
        (torch.zeros(2, 8, 6, 6).double(), TypeError, r"grad_output has torch.float64, but input has torch.float32"),
        (torch.zeros(2, 8, 6, 6, device="meta"), ValueError, r"grad_output is on meta, but input is on cpu"),
    ],
)
def test_a_gradient_that_is_not_the_outputs(grad_output, error, message):
    operands = [GOOD[name] for name in ("input", "offset", "weight", "mask")]
    with pytest.raises(error, match=message):
        torch.ops.dcnrun.deform_conv2d_backward(grad_output, *operands, [1, 1], [1, 1], [1, 1], [True] * 4)


@pytest.mark.parametrize("kernel", [1, 2, 3])
@pytest.mark.parametrize("stride", [1, 3])
@pytest.mark.parametrize("padding", [0, 2])
@pytest.mark.parametrize("dilation", [1, 4])
def test_the_output_is_as_large_as_a_plain_convolutions(kernel, stride, padding, dilation):
    x, weight = torch.zeros(1, 1, 11, 14), torch.zeros(1, 1, kernel, kernel + 1)
    plain = torch.nn.functional.conv2d(x, weight, None, stride, padding, dilation)
    two = [(value, value) for value in (stride, padding, dilation)]
    assert output_size((11, 14), (kernel, kernel + 1), *two) == plain.shape[2:]
