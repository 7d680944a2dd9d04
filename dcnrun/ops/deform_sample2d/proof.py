"""The problems on which the CUDA kernels of deformable sampling prove themselves."""

from dataclasses import replace

import torch
from torch import Tensor

from dcnrun.ops.deform_conv2d.arguments import Pair, output_size
from dcnrun.ops.deform_conv2d.reference import sampling_points
from dcnrun.ops.deform_sample2d import dispatch
from dcnrun.ops.deform_sample2d.arguments import Operands
from dcnrun.ops.proof.problem import Numbers, Problem, Subject


def make(
    name: str,
    numbers: Numbers,
    channels: int = 64,
    groups: int = 4,
    size: Pair = (11, 13),
    batch: int = 2,
    kernel: Pair = (3, 3),
    stride: Pair = (1, 1),
    padding: Pair = (1, 1),
    dilation: Pair = (1, 1),
    offset_scale: float = 1.0,
    masked: bool = True,
    softmax: bool = False,
    remove_center: bool = False,
    spread: float = 2.5,
) -> Problem:
    """Make a problem of a shape; `spread` is how many pixels offsets reach at most, before they are scaled."""
    points = kernel[0] * kernel[1] - remove_center
    out_size = output_size(size, kernel, stride, padding, dilation)
    operands = Operands(
        input=numbers.features(batch, channels, *size),
        offset=numbers.quarters(spread, batch, 2 * groups * points, *out_size),
        mask=numbers.factors(batch, groups * points, *out_size) if masked else None,
        kernel_size=kernel,
        stride=stride,
        padding=padding,
        dilation=dilation,
        offset_scale=offset_scale,
        softmax=softmax,
        remove_center=remove_center,
    )
    return Problem(name, operands, numbers.signs(*operands.output_shape), peer=False)


def problems(seed: int) -> list[Problem]:
    """Return problems that meet every path through the kernels, and every kind of position."""
    numbers = Numbers(seed)
    plain = make("DCNv4", numbers)
    small = make("one image", numbers, channels=16, groups=2, size=(7, 9), batch=1)
    return [
        plain,
        make("one group without mask", numbers, 80, 1, (9, 10), masked=False),
        make("groups of one channel", numbers, 6, 6, (9, 8)),
        make("odd channels", numbers, 35, 5, (8, 9)),
        make(
            "5x5 without its centre",
            numbers,
            channels=96,
            groups=2,
            size=(21, 24),
            kernel=(5, 5),
            stride=(2, 3),
            padding=(3, 1),
            dilation=(2, 1),
            offset_scale=2.0,
            remove_center=True,
        ),
        make("1x1", numbers, 320, 4, (7, 9), kernel=(1, 1), padding=(0, 0)),
        make("one pixel", numbers, 8, 2, (1, 1)),
        make("a long row", numbers, 8, 2, (2, 700), batch=1),
        _other_layouts(plain),
        _even_softmax(numbers),
        _softmax(numbers),
        replace(small, name="the input's gradient alone", wanted=("input",)),
        replace(small, name="the mask's gradient alone", wanted=("mask",)),
        small.changed("on the border", offset=_on_the_border(numbers, small.operands)),
        plain.changed("all to one pixel", offset=_from_places(plain.operands, torch.tensor(3.25), torch.tensor(2.5))),
        small.changed("far outside", offset=numbers.choose((-3e38, -1e6, 1e6, 3e38), *small.operands.offset.shape)),
        small.changed("no numbers", offset=numbers.with_some_odd(small.operands.offset)),
    ]


def _even_softmax(numbers: Numbers) -> Problem:
    """Logits of which four are equal and the others are out of exp's reach, so that factors are 1/4 and 0, exactly."""
    problem = make("softmax of equal logits", numbers, size=(7, 8), softmax=True, remove_center=True)
    n, channels, *out_size = problem.operands.mask.shape
    ranks = torch.rand(n, channels // 8, 8, *out_size, generator=numbers.generator).argsort(2).argsort(2)
    mask = torch.where(ranks < 4, 5.0, -5000.0).reshape(n, channels, *out_size)
    return problem.changed(problem.name, mask=mask)


def _softmax(numbers: Numbers) -> Problem:
    """Any logits. A factor is off by at most 4 roundings of its exponential (CUDA's expf: 2 ulp), as many and one for each term of the
    total, and one of the division; each of the 4 P terms of a sum by one for its product, and one for each addition: (5 P + 10) in all.
    Gradients of logits go through two such sums.
    """
    problem = make("softmax", numbers, size=(7, 8), softmax=True)
    points, group_channels = problem.operands.points, problem.operands.input.shape[1] // problem.operands.groups
    dot = 3.0 * group_channels  # of a sample's channels, at most 3, with the gradient's, 1
    bounds = {"output": 3.0, "offset": 2 * dot, "mask": 2 * dot, "input": 9.0 * problem.grad_output[0, 0].numel()}
    mask = numbers.quarters(2, *problem.operands.mask.shape)
    return replace(problem.changed("softmax", mask=mask), roundings=2 * (5 * points + 10), bounds=bounds)


def _other_layouts(problem: Problem) -> Problem:
    """Channels-last operands, offsets and masks that are parts of one tensor, and an output's gradient of every other column."""
    operands, last = problem.operands, torch.channels_last
    both = torch.cat([operands.offset, operands.mask], 1).contiguous(memory_format=last)
    offset, mask = both.tensor_split([operands.offset.shape[1]], 1)
    changed = operands._replace(input=operands.input.contiguous(memory_format=last), offset=offset, mask=mask)
    grad_output = problem.grad_output.repeat_interleave(2, -1)[..., ::2]
    return replace(problem, name="other layouts", operands=changed, grad_output=grad_output)


def _from_places(operands: Operands, y: Tensor, x: Tensor) -> Tensor:
    """Return offsets that take the sampling points of (N*G, P, Ho, Wo) to these places, where offsets are not scaled."""
    zero = torch.zeros_like(operands.offset)
    base_y, base_x = sampling_points(zero, *operands.grid)
    return torch.stack([y - base_y, x - base_x], 2).reshape(zero.shape)


def _on_the_border(numbers: Numbers, operands: Operands) -> Tensor:
    n, _, *out_size = operands.offset.shape
    shape = n * operands.groups, operands.points, *out_size
    along = (numbers.around_the_border(side, *shape) for side in operands.input.shape[2:])
    return _from_places(operands, *along)


SUBJECT = Subject(
    name="deform_sample2d",
    computes=dispatch,
    stored=("input",),
    differentiated=("input", "offset", "mask"),
    problems=problems,
)
