"""What follows from a convolution's arguments."""

import pytest
import torch
from torch.nn import functional as F

from dcnrun.ops.deform_conv2d.arguments import Operands
from tests.ops.deform_conv2d.factories import arguments, make_problem


def operands_of(**settings):
    return Operands(*arguments(make_problem(**settings)))


@pytest.mark.parametrize(
    "settings",
    [
        {"groups": 2, "offset_groups": 4},
        {"kernel": (2, 3), "stride": (2, 1), "padding": (0, 2), "dilation": (1, 3), "size": (9, 11)},
    ],
    ids=str,
)
def test_the_output_has_the_shape_of_a_plain_convolutions(settings):
    operands = operands_of(**settings)
    plain = F.conv2d(operands.input, operands.weight, None, *operands.settings, operands.groups)
    assert operands.output_shape == plain.shape
    assert operands.groups == settings.get("groups", 1)
    assert operands.offset_groups == settings.get("offset_groups", 1)


def test_the_form_is_everything_but_the_values():
    alike = operands_of()
    assert alike.form == operands_of(seed=1).form
    others = [
        operands_of(size=(5, 6)),
        operands_of(padding=(2, 2)),
        operands_of(masked=False),
        operands_of(dtype=torch.float32),
        alike._replace(input=alike.input.contiguous(memory_format=torch.channels_last)),
        alike._replace(bias=alike.bias.to("meta")),
    ]
    assert len({hash(operands.form) for operands in (alike, *others)}) == 1 + len(others)
