"""Deformable convolutions to compute, random ones too, and their results with every gradient."""

import math

import torch
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from dcnrun.ops import deform_conv2d
from dcnrun.ops.deform_conv2d.checks import output_size

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
    taps = kernel[0] * kernel[1]
    out_size = output_size(size, kernel, stride, padding, dilation)

    def tensor(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)

    return {
        "input": tensor(batch, channels, *size),
        "offset": spread * tensor(batch, 2 * offset_groups * taps, *out_size),
        "weight": tensor(out_channels, channels // groups, *kernel),
        "bias": tensor(out_channels) if biased else None,
        "stride": stride,
        "padding": padding,
        "dilation": dilation,
        "mask": tensor(batch, offset_groups * taps, *out_size) if masked else None,
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


def examples(count):
    """So many random problems, or fewer where the profile wants it, as for slow builds of the kernels."""
    # The fixture that chooses a backend sets an environment variable, which examples don't change.
    fixture = HealthCheck.function_scoped_fixture
    return settings(max_examples=min(count, settings().max_examples), deadline=None, suppress_health_check=[fixture])


def results(problem, function=deform_conv2d, grad_output=None):
    """The output, and the gradient of each operand that is there, by name."""
    names = [name for name in OPERANDS if problem[name] is not None]
    leaves = {name: problem[name].detach().requires_grad_() for name in names}
    output = function(**problem | leaves)
    grads = torch.autograd.grad(output, leaves.values(), random_like(output) if grad_output is None else grad_output)
    return {"output": output.detach()} | dict(zip(names, grads, strict=True))


def random_like(output, seed=1):
    """The gradient of an output, the same in each call."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(output.shape, generator=generator, dtype=torch.float64).to(output)


def assert_close(got, wanted, relative, names=None):
    """Each result within `relative` of the largest value of the one that is wanted."""
    for name in names or wanted:
        largest = wanted[name].nan_to_num(0, 0, 0).abs().max().item() if wanted[name].numel() else 0
        torch.testing.assert_close(
            got[name].to(wanted[name].dtype),
            wanted[name],
            rtol=relative,
            atol=relative * largest,
            equal_nan=True,
            msg=lambda text, name=name: f"{name}: {text}",
        )


def assert_same_bits(got, wanted, names=None):
    for name in names or wanted:
        assert torch.equal(got[name], wanted[name]), name
