"""Deformable samplings to compute, random ones too, and their results with every gradient."""

import torch
from hypothesis import strategies as st

from dcnrun.ops import deform_sample2d
from dcnrun.ops.deform_conv2d.arguments import output_size
from dcnrun.ops.deform_sample2d.arguments import Operands
from tests.ops.factories import output_and_gradients

OPERANDS = ("input", "offset", "mask")


def make_problem(
    batch=2,
    channels=4,
    size=(7, 6),
    kernel=(3, 3),
    stride=(1, 1),
    padding=(1, 1),
    dilation=(1, 1),
    groups=2,
    masked=True,
    offset_scale=1.0,
    softmax=False,
    remove_center=False,
    spread=2.0,
    dtype=torch.float64,
    seed=0,
):
    """Arguments of `deform_sample2d`; `spread` is the standard deviation of the offsets in pixels."""
    generator = torch.Generator().manual_seed(seed)
    points = kernel[0] * kernel[1] - remove_center
    out_size = output_size(size, kernel, stride, padding, dilation)

    def tensor(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)

    return {
        "input": tensor(batch, channels, *size),
        "offset": spread * tensor(batch, 2 * groups * points, *out_size),
        "mask": tensor(batch, groups * points, *out_size) if masked else None,
        "kernel_size": kernel,
        "stride": stride,
        "padding": padding,
        "dilation": dilation,
        "offset_scale": offset_scale,
        "softmax": softmax,
        "remove_center": remove_center,
    }


# Of a group: around the width of vectors and of blocks of channels.
CHANNELS = [1, 2, 3, 5, 8, 15, 16, 17, 31, 33, 64, 70, 130]


@st.composite
def problems(draw, dtype=torch.float64, channels=CHANNELS):
    """Random problems, odd ones among them: 1x1 maps, even kernels, groups of one channel."""
    masked, remove_center = draw(st.booleans()), draw(st.booleans())
    side = st.sampled_from([1, 3]) if remove_center else st.integers(1, 4)
    kernel = draw(st.tuples(side, side).filter(lambda sides: not remove_center or sides != (1, 1)))
    padding = draw(st.tuples(st.integers(0, 3), st.integers(0, 3)))
    dilation = draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    groups = draw(st.sampled_from([1, 2, 3, 16]))
    few = [count for count in channels if groups * count <= 64] if groups > 1 else channels
    least = [max(1, dilation[i] * (kernel[i] - 1) + 1 - 2 * padding[i]) for i in range(2)]
    return make_problem(
        batch=draw(st.integers(1, 3)),
        channels=groups * draw(st.sampled_from(few)),
        size=tuple(draw(st.integers(least[i], least[i] + 12)) for i in range(2)),
        kernel=kernel,
        stride=draw(st.tuples(st.integers(1, 3), st.integers(1, 3))),
        padding=padding,
        dilation=dilation,
        groups=groups,
        masked=masked,
        offset_scale=draw(st.sampled_from([1.0, 1.0, 0.5, 2.0])),
        softmax=masked and draw(st.booleans()),
        remove_center=remove_center,
        spread=draw(st.sampled_from([0.3, 2.0, 30.0])),
        dtype=dtype,
        seed=draw(st.integers(0, 2**31)),
    )


def arguments(problem):
    """In the order of `torch.ops.dcnrun.deform_sample2d`, and of its backward between the output's gradient and what is wanted."""
    return tuple(Operands(**problem))


backward_arguments = arguments


def compute(**problem):
    """The operator's public function."""
    return deform_sample2d(**problem)


def results(problem, function=compute, grad_output=None):
    """The output, and the gradient of each operand that is there, by name."""
    return output_and_gradients(function, problem, OPERANDS, grad_output)


def away_from_integer_positions(**settings):
    """A small problem without samples near the kinks of the bilinear kernel."""
    problem = make_problem(1, 4, (3, 3), (2, 2), padding=(0, 0), **settings)
    problem["offset"] = problem["offset"].sigmoid() * 0.6 + 0.2
    return problem


def as_convolution(convolve):
    """The same function by a modulated deformable convolution, ours or torchvision's: groups of one channel, weights of one."""

    def compute(input, offset, mask, kernel_size, stride, padding, dilation, offset_scale, softmax, remove_center):
        points, channels = kernel_size[0] * kernel_size[1], input.shape[1]
        kept = [point for point in range(points) if not remove_center or point != points // 2]
        n, groups = offset.shape[0], offset.shape[1] // (2 * len(kept))
        mask = offset.new_ones(n, groups * len(kept), *offset.shape[2:]) if mask is None else mask
        factors = mask.unflatten(1, (groups, len(kept)))
        factors = factors.softmax(2) if softmax else factors
        grid = torch.tensor([divmod(point, kernel_size[1]) for point in kept], dtype=offset.dtype)
        grid = grid * torch.tensor(dilation, dtype=offset.dtype)
        centre = torch.tensor([dilation[axis] * (kernel_size[axis] - 1) // 2 for axis in (0, 1)], dtype=offset.dtype)
        moved = (offset_scale - 1) * (grid - centre)
        offsets = offset_scale * offset.unflatten(1, (groups, len(kept), 2)) + moved[:, :, None, None]
        all_offsets = offset.new_zeros(n, groups, points, 2, *offset.shape[2:]).index_copy(
            2, torch.tensor(kept), offsets
        )
        all_factors = factors.new_zeros(n, groups, points, *offset.shape[2:]).index_copy(2, torch.tensor(kept), factors)
        weight = input.new_ones(channels, 1, *kernel_size)
        geometry = stride, padding, dilation
        return convolve(input, all_offsets.flatten(1, 3), weight, None, *geometry, mask=all_factors.flatten(1, 2))

    return compute
