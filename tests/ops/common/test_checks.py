"""Checks that every operator makes."""

import pytest
import torch

from dcnrun.ops.common.checks import check_dtype, check_gradient, check_tensor, memory_format_of, pair


def test_memory_format():
    x = torch.zeros(2, 3, 4, 5)
    last = x.contiguous(memory_format=torch.channels_last)
    assert memory_format_of(x) == torch.contiguous_format
    assert memory_format_of(last) == torch.channels_last
    assert memory_format_of(last[..., 1:]) == torch.contiguous_format
    assert memory_format_of(torch.zeros(2, 1, 4, 5)) == torch.contiguous_format  # is both


@pytest.mark.parametrize(("value", "wanted"), [(3, (3, 3)), ((2, 1), (2, 1)), ([2, 1], (2, 1))])
def test_one_number_or_two(value, wanted):
    assert pair(value, "stride", 1) == wanted


@pytest.mark.parametrize("value", [0, (1, 0), True, 1.5, "12", (1, 2, 3), None, ()])
def test_other_numbers(value):
    with pytest.raises(ValueError, match="stride must be one or two integers >= 1, but is"):
        pair(value, "stride", 1)


def test_positions_of_half_precision_may_be_wider():
    half, single, double = (torch.ones(1, dtype=dtype) for dtype in (torch.bfloat16, torch.float32, torch.float64))
    check_dtype("offset", single, half, positions=True)
    for tensor, input, positions, allowed in (
        (single, half, False, "torch.bfloat16$"),
        (double, half, True, "torch.bfloat16 or torch.float32"),
        (double, single, True, "torch.float32$"),
    ):
        with pytest.raises(TypeError, match=f"offset must have {allowed}"):
            check_dtype("offset", tensor, input, positions=positions)


@pytest.mark.parametrize(
    ("tensor", "error"),
    [(None, TypeError), (torch.ones(1, 1).long(), TypeError), (torch.ones(1), ValueError), ("meta", ValueError)],
)
def test_operands(tensor, error):
    input = torch.ones(1, 1)
    check_tensor("mask", input, input, 2)
    tensor = input.to("meta") if tensor == "meta" else tensor
    with pytest.raises(error, match=r"^mask "):
        check_tensor("mask", tensor, input, 2)


@pytest.mark.parametrize(
    ("grad", "error"),
    [
        (torch.ones(2, 3), ValueError),
        (torch.ones(3, 2).double(), TypeError),
        (torch.ones(3, 2, device="meta"), ValueError),
    ],
)
def test_gradients(grad, error):
    check_gradient(torch.ones(3, 2), (3, 2), torch.ones(1))
    with pytest.raises(error, match=r"^grad_output "):
        check_gradient(grad, (3, 2), torch.ones(1))
