"""The problems on which the CUDA kernels of deformable convolution prove themselves."""

from dataclasses import replace

import torch
from torch import Tensor

from dcnrun.ops.deform_conv2d import dispatch
from dcnrun.ops.deform_conv2d.arguments import Operands, Pair, output_size
from dcnrun.ops.deform_conv2d.reference import sampling_points
from dcnrun.ops.proof.problem import Numbers, Problem, Subject
from dcnrun.ops.proof.verdict import Work


def make(
    name: str,
    numbers: Numbers,
    channels: int = 64,
    out_channels: int = 32,
    size: Pair = (12, 13),
    batch: int = 2,
    kernel: Pair = (3, 3),
    stride: Pair = (1, 1),
    padding: Pair = (1, 1),
    dilation: Pair = (1, 1),
    groups: int = 1,
    offset_groups: int = 1,
    masked: bool = True,
    biased: bool = True,
    spread: float = 2.5,
) -> Problem:
    """Make a problem of a shape; `spread` is how many pixels offsets reach at most."""
    points, out_size = kernel[0] * kernel[1], output_size(size, kernel, stride, padding, dilation)
    operands = Operands(
        input=numbers.features(batch, channels, *size),
        offset=numbers.quarters(spread, batch, 2 * offset_groups * points, *out_size),
        weight=numbers.signs(out_channels, channels // groups, *kernel),
        bias=numbers.features(out_channels) if biased else None,
        stride=stride,
        padding=padding,
        dilation=dilation,
        mask=numbers.factors(batch, offset_groups * points, *out_size) if masked else None,
    )
    return Problem(name, operands, numbers.signs(*operands.output_shape))


def problems(seed: int) -> list[Problem]:
    """Return problems that meet every path through the kernels, and every kind of position."""
    numbers = Numbers(seed)
    plain = make("3x3", numbers)
    small = make("one image", numbers, batch=1, size=(7, 9), channels=16, out_channels=8)
    return [
        plain,
        make("without mask and bias", numbers, channels=32, size=(11, 10), masked=False, biased=False),
        make("4 offset groups", numbers, size=(9, 10), offset_groups=4),
        make("groups across offset groups", numbers, 48, 24, (9, 8), groups=3, offset_groups=2),
        make("odd channels", numbers, 35, 21, (8, 9), offset_groups=5),
        make(
            "stride, padding, dilation, 5x4",
            numbers,
            channels=16,
            out_channels=8,
            size=(21, 24),
            kernel=(5, 4),
            stride=(2, 3),
            padding=(3, 1),
            dilation=(2, 1),
        ),
        make("1x1", numbers, 320, 16, (7, 9), kernel=(1, 1), padding=(0, 0)),
        make("one pixel", numbers, 8, 8, (1, 1)),
        make("a long row", numbers, 8, 8, (2, 700), batch=1),
        _other_layouts(plain),
        replace(small, name="the weight's gradient alone", wanted=("weight",)),
        replace(small, name="the input's gradient alone", wanted=("input",)),
        replace(small, name="the offsets' gradient alone", wanted=("offset",)),
        small.changed("on the border", offset=_on_the_border(numbers, small.operands)),
        plain.changed("all to one pixel", offset=_to_one_pixel(plain.operands)),
        small.changed(
            "far outside", offset=numbers.choose((-3e38, -1e6, 1e6, 3e38), *small.operands.offset.shape), peer=False
        ),
        small.changed("no numbers", offset=numbers.with_some_odd(small.operands.offset), peer=False),
    ]


def timed(work: Work) -> Problem:
    """Return a layer of 64x64 pixels with as many channels out as in."""
    numbers = Numbers(work.channels)
    batch = work.pixels // 64**2
    return make(work.size, numbers, work.channels, work.channels, (64, 64), batch, spread=1)


def _other_layouts(problem: Problem) -> Problem:
    """Channels-last operands, offsets and masks that are parts of one tensor, and an output's gradient of every other column."""
    operands, last = problem.operands, torch.channels_last
    both = torch.cat([operands.offset, operands.mask], 1).contiguous(memory_format=last)
    offset, mask = both.tensor_split([operands.offset.shape[1]], 1)
    changed = operands._replace(
        input=operands.input.contiguous(memory_format=last),
        weight=operands.weight.contiguous(memory_format=last),
        offset=offset,
        mask=mask,
    )
    grad_output = problem.grad_output.repeat_interleave(2, -1)[..., ::2]
    return replace(problem, name="other layouts", operands=changed, grad_output=grad_output)


def _from_places(operands: Operands, y: Tensor, x: Tensor) -> Tensor:
    """Return offsets that take the sampling points of (N*G, P, Ho, Wo) to these places."""
    zero, kernel = torch.zeros_like(operands.offset), (operands.weight.shape[2], operands.weight.shape[3])
    base_y, base_x = sampling_points(zero, kernel, *operands.settings)
    return torch.stack([y - base_y, x - base_x], 2).reshape(zero.shape)


def _on_the_border(numbers: Numbers, operands: Operands) -> Tensor:
    n, channels, *out_size = operands.offset.shape
    shape = n * operands.offset_groups, channels // (2 * operands.offset_groups), *out_size
    along = (numbers.around_the_border(side, *shape) for side in operands.input.shape[2:])
    return _from_places(operands, *along)


def _to_one_pixel(operands: Operands) -> Tensor:
    """All samples of an image between the same four pixels, so that all threads add to these."""
    return _from_places(operands, torch.tensor(3.25), torch.tensor(2.5))


SUBJECT = Subject(
    name="deform_conv2d",
    computes=dispatch,
    stored=("input", "weight", "bias"),
    differentiated=("input", "offset", "weight", "mask"),
    problems=problems,
    timed=timed,
)
