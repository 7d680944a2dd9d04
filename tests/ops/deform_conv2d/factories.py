"""Deformable convolutions to compute, random ones too, and their results with every gradient."""

import math

import torch
from hypothesis import strategies as st

from dcnrun.ops import deform_conv2d
from dcnrun.ops.deform_conv2d.arguments import output_size
from tests.ops.factories import output_and_gradients

OPERANDS = ("input", "offset", "weight", "bias", "mask")


def make_problem(
    batch=2,
    channels=4,
    out_channels=6,
    size=(7, 6),
    kernel=(3, 3),
    stride=(1, 1),
    padding=(1, 1),
    dilation=(1, 1),
    groups=1,
    offset_groups=1,
    biased=True,
    masked=True,
    spread=2.0,
    dtype=torch.float64,
    seed=0,
):
    """Arguments of `deform_conv2d`; `spread` is the standard deviation of the offsets in pixels."""
    generator = torch.Generator().manual_seed(seed)
    points = kernel[0] * kernel[1]
    out_size = output_size(size, kernel, stride, padding, dilation)

    def tensor(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)

    return {
        "input": tensor(batch, channels, *size),
        "offset": spread * tensor(batch, 2 * offset_groups * points, *out_size),
        "weight": tensor(out_channels, channels // groups, *kernel),
        "bias": tensor(out_channels) if biased else None,
        "stride": stride,
        "padding": padding,
        "dilation": dilation,
        "mask": tensor(batch, offset_groups * points, *out_size) if masked else None,
    }


# Around the width of vectors and of blocks of channels.
CHANNELS = [1, 2, 3, 5, 8, 15, 16, 17, 31, 32, 33, 64, 70]


@st.composite
def problems(draw, dtype=torch.float64, channels=CHANNELS, least_side=1, spare=13):
    """Random problems, odd ones among them: 1x1 maps, even kernels, groups that cut across offset groups.

    A map's sides are at least `least_side`, and at most `spare` larger than the kernel needs.
    """
    kernel = draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    stride = draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    padding = draw(st.tuples(st.integers(0, 3), st.integers(0, 3)))
    dilation = draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    groups, offset_groups = draw(st.sampled_from([(1, 1), (1, 1), (1, 3), (2, 1), (2, 2), (3, 2), (2, 6)]))
    least = [max(least_side, dilation[i] * (kernel[i] - 1) + 1 - 2 * padding[i]) for i in range(2)]
    whole = math.lcm(groups, offset_groups)
    return make_problem(
        batch=draw(st.integers(1, 3)),
        channels=-(-draw(st.sampled_from(channels)) // whole) * whole,
        out_channels=-(-draw(st.sampled_from(channels)) // groups) * groups,
        size=tuple(draw(st.integers(least[i], least[i] + spare)) for i in range(2)),
        kernel=kernel,
        stride=stride,
        padding=padding,
        dilation=dilation,
        groups=groups,
        offset_groups=offset_groups,
        biased=draw(st.booleans()),
        masked=draw(st.booleans()),
        spread=draw(st.sampled_from([0.3, 2.0, 30.0])),
        dtype=dtype,
        seed=draw(st.integers(0, 2**31)),
    )


def results(problem, function=deform_conv2d, grad_output=None):
    """The output, and the gradient of each operand that is there, by name."""
    return output_and_gradients(function, problem, OPERANDS, grad_output)


def compute(**problem):
    """The operator's public function."""
    return deform_conv2d(**problem)


def arguments(problem):
    """In the order of `torch.ops.dcnrun.deform_conv2d`."""
    order = ("input", "offset", "weight", "bias", "stride", "padding", "dilation", "mask")
    return tuple(problem[name] for name in order)


def backward_arguments(problem):
    """In the order of `torch.ops.dcnrun.deform_conv2d_backward`, but for the output's gradient and what is wanted."""
    order = ("input", "offset", "weight", "mask", "stride", "padding", "dilation")
    return tuple(problem[name] for name in order)


def away_from_integer_positions(**settings):
    """A small problem without samples near the kinks of the bilinear kernel."""
    problem = make_problem(1, 2, 2, (3, 3), (2, 2), padding=(0, 0), **settings)
    problem["offset"] = problem["offset"].sigmoid() * 0.6 + 0.2
    return problem
