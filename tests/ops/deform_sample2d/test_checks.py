"""Operands that don't fit are refused by name, with both values, before any memory is touched."""

import math
import re

import pytest
import torch

from dcnrun.ops import deform_sample2d

GOOD = {
    "input": torch.zeros(2, 4, 6, 6),
    "offset": torch.zeros(2, 36, 6, 6),
    "mask": torch.zeros(2, 18, 6, 6),
    "kernel_size": 3,
    "padding": 1,
}
WRONG = [
    ({"offset": torch.zeros(2, 20, 6, 6)}, ValueError, r"offset has 20 channels.*3x3 kernel needs.*multiple of 18"),
    ({"offset": torch.zeros(2, 0, 6, 6)}, ValueError, r"offset has 0 channels.*multiple of 18"),
    ({"remove_center": True}, ValueError, r"36 channels.*3x3 kernel without its centre.*16 \(2 x 8 sampling points\)"),
    ({"offset": torch.zeros(2, 36, 5, 6)}, ValueError, r"offset is 5x6, but the output is 6x6"),
    ({"offset": torch.zeros(1, 36, 6, 6)}, ValueError, r"offset has batch size 1, but input has 2"),
    ({"offset": torch.zeros(2, 54, 6, 6)}, ValueError, r"offset has 3 groups.*do not divide input's 4 channels"),
    ({"offset": torch.zeros(36, 6, 6)}, ValueError, r"offset must have 4 dimensions.*\(36, 6, 6\)"),
    ({"offset": torch.zeros(2, 36, 6, 6).double()}, TypeError, r"offset has torch.float64.*input has torch.float32"),
    ({"offset": torch.zeros(2, 36, 6, 6, device="meta")}, ValueError, r"offset is on meta, but input is on cpu"),
    ({"offset": None}, TypeError, r"offset must be a tensor, but is NoneType"),
    ({"input": torch.zeros(4, 6, 6)}, ValueError, r"input must have 4 dimensions.*\(4, 6, 6\)"),
    ({"input": torch.zeros(2, 0, 6, 6)}, ValueError, r"input of shape \(2, 0, 6, 6\).*no empty channel"),
    ({"input": torch.zeros(2, 4, 6, 6).cfloat()}, TypeError, r"input must have a floating-point.*torch.complex64"),
    ({"input": torch.zeros(1).expand(2, 4, 2**17, 2**17)}, ValueError, r"input is 131072x131072.*2\*\*31 pixels"),
    ({"padding": 0, "input": torch.zeros(2, 4, 2, 2)}, ValueError, r"input of 2x2.*smaller than the kernel 3x3"),
    ({"mask": torch.zeros(2, 36, 6, 6)}, ValueError, r"mask has 36 channels, but offset's 2 groups x 9.*need 18"),
    ({"mask": torch.zeros(2, 18, 6, 5)}, ValueError, r"mask is 6x5, but the output is 6x6"),
    ({"mask": torch.zeros(3, 18, 6, 6)}, ValueError, r"mask has batch size 3, but input has 2"),
    ({"mask": torch.zeros(2, 18, 6, 6).bool()}, TypeError, r"mask must have a floating-point.*torch.bool"),
    ({"mask": None, "softmax": True}, ValueError, r"softmax=True makes factors of the mask's logits, but mask is None"),
    ({"kernel_size": 0}, ValueError, r"kernel_size must be .* >= 1, but is 0"),
    ({"kernel_size": (2, 3), "remove_center": True}, ValueError, r"remove_center=True needs.*odd.*but it is 2x3"),
    ({"kernel_size": 1, "remove_center": True}, ValueError, r"remove_center=True needs.*points around it.*1x1"),
    ({"stride": 0}, ValueError, r"stride must be .* >= 1, but is 0"),
    ({"padding": -1}, ValueError, r"padding must be .* >= 0, but is -1"),
    ({"dilation": (1, 2, 3)}, ValueError, r"dilation must be one or two.*\(1, 2, 3\)"),
    ({"offset_scale": math.nan}, ValueError, r"offset_scale must be a finite number, but is nan"),
]
IDS = [message for _, _, message in WRONG]


@pytest.mark.parametrize(("change", "error", "message"), WRONG, ids=IDS)
def test_wrong_operands_are_named_with_both_values(change, error, message):
    deform_sample2d(**GOOD)
    with pytest.raises(error, match=re.compile(message, re.DOTALL)):
        deform_sample2d(**(GOOD | change))


@pytest.mark.parametrize(("change", "error", "message"), WRONG, ids=IDS)
def test_so_they_are_where_shapes_alone_are_known(change, error, message):
    """As under torch.compile, on meta tensors."""
    meta = {name: t.to("meta") if torch.is_tensor(t) else t for name, t in (GOOD | change).items()}
    if " is on " in message:
        pytest.skip("all are on one device")
    with pytest.raises(error, match=re.compile(message, re.DOTALL)):
        deform_sample2d(**meta)


@pytest.mark.parametrize(
    ("grad_output", "error", "message"),
    [
        (torch.zeros(2, 4, 6, 5), ValueError, r"grad_output has shape \(2, 4, 6, 5\).*the output's is \(2, 4, 6, 6\)"),
        (torch.zeros(2, 4, 6, 6).double(), TypeError, r"grad_output has torch.float64, but input has torch.float32"),
    ],
)
def test_a_gradient_that_is_not_the_outputs(grad_output, error, message):
    tensors, two = [GOOD[name] for name in ("input", "offset", "mask")], [1, 1]
    settings = [3, 3], two, two, two, 1.0, False, False
    with pytest.raises(error, match=message):
        torch.ops.dcnrun.deform_sample2d_backward(grad_output, *tensors, *settings, [True] * 3)
