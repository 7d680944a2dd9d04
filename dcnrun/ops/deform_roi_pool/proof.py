"""The problems on which the CUDA kernels of deformable RoI pooling prove themselves.

Bins are as many pixels long as a power of two, or one and a half, in steps of which fp32 has everything: corners, offsets and sampling
points lie on multiples of 1/32, and the means are over as many points as a power of two.
"""

import math
from dataclasses import replace

import torch
from torch import Tensor

from dcnrun.ops.deform_conv2d.arguments import Pair
from dcnrun.ops.deform_roi_pool import dispatch
from dcnrun.ops.deform_roi_pool.arguments import Operands
from dcnrun.ops.proof.problem import Numbers, Problem, Subject
from dcnrun.ops.proof.verdict import Work

_SCALE = 0.5  # pixels of the feature map for one of the RoIs' coordinates


def make(
    name: str,
    numbers: Numbers,
    channels: int = 64,
    size: Pair = (20, 24),
    rois: int = 5,
    bins: Pair = (4, 4),
    ratio: int = 2,
    groups: int = 1,
    shifted: bool = True,
    masked: bool = True,
    aligned: bool = True,
    position_sensitive: bool = False,
    images: int = 2,
    lengths: tuple[float, ...] = (0.5, 1, 1.5, 2),
) -> Problem:
    """Make a problem of a shape; `channels` are the output's, and `lengths` those that bins may have on the feature map."""
    planes = bins[0] * bins[1] if position_sensitive else 1
    sides = numbers.choose(lengths, rois, 2) * torch.tensor(bins[::-1])
    start = numbers.quarters(1, rois, 2) + (torch.tensor(size[::-1]) / 2).floor() * numbers.choose((0, 0.5, 1), rois, 2)
    corners = (torch.cat([start, start + sides], 1) + (0.5 if aligned else 0)) / _SCALE
    image = numbers.choose(range(images), rois, 1)
    operands = Operands(
        input=numbers.features(images, channels * planes, *size),
        rois=torch.cat([image, corners], 1),
        offset=numbers.quarters(1, rois, 2 * groups, *bins) if shifted else None,
        mask=numbers.factors(rois, groups, *bins) if masked else None,
        output_size=bins,
        spatial_scale=_SCALE,
        sampling_ratio=ratio,
        gamma=0.125,
        aligned=aligned,
        position_sensitive=position_sensitive,
    )
    # What torchvision has too.
    return Problem(name, operands, numbers.signs(*operands.output_shape), peer=not shifted and not masked and ratio > 0)


def problems(seed: int) -> list[Problem]:
    """Return problems that meet every path through the kernels, and every kind of RoI."""
    numbers = Numbers(seed)
    small = make("eight RoIs", numbers, channels=16, size=(9, 11), rois=8)
    return [
        make("4x4", numbers),
        make("7x7 without offsets", numbers, bins=(7, 7), shifted=False, masked=False),
        make("adaptive", numbers, 32, (41, 36), bins=(2, 1), ratio=0, groups=2),
        make("position-sensitive", numbers, 16, (12, 10), bins=(2, 4), groups=2, position_sensitive=True),
        make("odd channels, not aligned", numbers, 35, (11, 10), bins=(4, 2), ratio=4, groups=5, aligned=False),
        make("many channels", numbers, 320, (6, 9), rois=3, bins=(2, 2), masked=False),
        make("more lines than are found at once", numbers, 8, (29, 27), rois=3, bins=(1, 1), ratio=16, lengths=(24,)),
        make("one pixel", numbers, 8, (1, 1), bins=(2, 2)),
        _other_layouts(make("other layouts", numbers)),
        replace(small, name="the input's gradient alone", wanted=("input",)),
        replace(small, name="the offsets' gradient alone", wanted=("offset",)),
        small.changed("all in one place", rois=small.operands.rois[:1].expand(8, 5).clone()),
        small.changed("inverted, empty, outside and far too large", rois=_odd_rois(small.operands.rois)),
        small.changed("images that are not there", rois=_of_no_image(small.operands.rois)),
        small.changed("no numbers", rois=_no_numbers(small.operands.rois)),
    ]


def timed(work: Work) -> Problem:
    """Return the RoIs of a detector's head on a feature map of 50x50 pixels, without offsets: what torchvision computes too."""
    numbers = Numbers(work.channels)
    return make(work.size, numbers, work.channels, (50, 50), work.pixels // 64, (8, 8), shifted=False, masked=False)


def _odd_rois(rois: Tensor) -> Tensor:
    changed, corners = rois.clone(), rois[:, 1:].clone()
    changed[0:2, 1:] = corners[0:2, [2, 3, 0, 1]]
    changed[2:4, 3] = corners[2:4, 0]
    changed[4:6, 1:] += 512
    changed[6:8, 1:] = torch.tensor([-512.0, -512.0, 512.0, 1536.0])
    return changed


def _of_no_image(rois: Tensor) -> Tensor:
    changed = rois.clone()
    changed[::2, 0] = torch.tensor([-1, 2, math.nan, 1e9])
    return changed


def _no_numbers(rois: Tensor) -> Tensor:
    changed = rois.clone()
    for i, value in enumerate((math.nan, math.inf, -math.inf, math.nan)):
        changed[2 * i, 1 + i] = value
    return changed


def _other_layouts(problem: Problem) -> Problem:
    operands = problem.operands
    changed = operands._replace(
        input=operands.input.contiguous(memory_format=torch.channels_last),
        offset=operands.offset.mT.contiguous().mT,
        mask=operands.mask.repeat_interleave(2, -1)[..., ::2],
    )
    return replace(problem, operands=changed, grad_output=problem.grad_output.mT.contiguous().mT)


SUBJECT = Subject(
    name="deform_roi_pool",
    computes=dispatch,
    stored=("input",),
    differentiated=("input", "offset", "mask"),
    problems=problems,
    timed=timed,
)
