"""Poolings to compute, random ones too, and their results with every gradient."""

import torch
from hypothesis import strategies as st
from torch.nn import functional as F

from dcnrun.ops import deform_psroi_pool, deform_roi_pool
from dcnrun.ops.deform_roi_pool.arguments import Operands
from tests.ops.factories import output_and_gradients

OPERANDS = ("input", "offset", "mask")
LAYOUTS = {
    "channels last": lambda t: t.contiguous(memory_format=torch.channels_last),
    "columns of a wider tensor": lambda t: F.pad(t, (2, 3))[..., 2:-3],
    "every other row": lambda t: t.repeat_interleave(2, -2)[:, :, ::2],
    "transposed": lambda t: t.mT.contiguous().mT,
    "batch last": lambda t: t.permute(1, 2, 3, 0).contiguous().permute(3, 0, 1, 2),
    "channels of a wider channels-last tensor": lambda t: torch.cat([t, t, t], 1).contiguous(
        memory_format=torch.channels_last
    )[:, t.shape[1] : 2 * t.shape[1]],
    "one channel for all": lambda t: t[:, :1].expand(t.shape),
    "one row for all": lambda t: t[:, :, :1].expand(t.shape),
}


def make_problem(
    batch=2,
    channels=4,
    size=(9, 8),
    rois=5,
    bins=(3, 2),
    scale=0.5,
    ratio=0,
    gamma=0.1,
    groups=1,
    shifted=True,
    masked=True,
    aligned=True,
    position_sensitive=False,
    authors=False,
    spread=2.0,
    odd=False,
    dtype=torch.float64,
    seed=0,
):
    """Operands and settings; `channels` are the output's, `odd` RoIs are inverted, empty, outside or far too large too."""
    generator = torch.Generator().manual_seed(seed)

    def tensor(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)

    planes = bins[0] * bins[1] if position_sensitive else 1
    return {
        "input": tensor(batch, channels * planes, *size),
        "rois": make_rois(rois, batch, size, scale, odd, generator).to(dtype),
        "offset": spread * tensor(rois, 2 * groups, *bins) if shifted else None,
        "mask": tensor(rois, groups, *bins) if masked else None,
        "output_size": bins,
        "spatial_scale": scale,
        "sampling_ratio": ratio,
        "gamma": gamma,
        "aligned": aligned,
        "position_sensitive": position_sensitive,
        "authors": authors,
    }


def make_rois(count, batch, size, scale, odd, generator):
    """(count, 5) RoIs in fp64, mostly on the map; their sides are no whole numbers of bins, where roundings decide."""

    def uniform(low, high):
        return low + (high - low) * torch.rand(count, 2, generator=generator, dtype=torch.float64)

    extent = torch.tensor([size[1], size[0]], dtype=torch.float64) / scale
    start, sides = uniform(-0.2, 0.8) * extent, (0.02 + uniform(0, 1) ** 2) * extent
    if odd:
        kind = torch.randint(6, (count, 1), generator=generator)
        sides = torch.where(kind == 1, -sides, sides)
        sides = torch.where(kind == 2, sides * torch.tensor([0.0, 1.0], dtype=torch.float64), sides)
        start = torch.where(kind == 3, start + 3 * extent, start)
        start, sides = torch.where(kind == 4, start - 7 * extent, start), torch.where(kind == 4, sides * 30, sides)
    image = torch.randint(max(batch, 1), (count, 1), generator=generator).double()
    return torch.cat([image, start, start + sides], 1)


@st.composite
def problems(draw, dtype=torch.float64, channels=(1, 2, 3, 5, 8, 16, 17, 33, 64, 70), counts=(0, 1, 2, 5, 9), **fixed):
    """Random problems, odd ones among them: 1x1 maps, no RoIs, RoIs far larger than the map, groups of one channel."""
    groups = draw(st.sampled_from([1, 1, 2, 3]))
    position_sensitive = draw(st.booleans())
    few = [count for count in channels if count <= 5] if position_sensitive else list(channels)
    ratio = draw(st.sampled_from([0, 0, 1, 2, 3, 7]))
    drawn = {
        "batch": draw(st.integers(1, 3)),
        "channels": groups * draw(st.sampled_from(few)),
        "size": (draw(st.integers(1, 14)), draw(st.integers(1, 14))),
        "rois": draw(st.sampled_from(counts)),
        "bins": (draw(st.integers(1, 4)), draw(st.integers(1, 4))),
        "scale": draw(st.sampled_from([1.0, 0.5, 1 / 16, 0.37, 2.0])),
        "ratio": ratio,
        "gamma": draw(st.sampled_from([0.1, 1.0, 0.0])),
        "groups": groups,
        "shifted": draw(st.booleans()),
        "masked": draw(st.booleans()),
        "aligned": True if position_sensitive else draw(st.booleans()),
        "position_sensitive": position_sensitive,
        "authors": position_sensitive and ratio > 0 and draw(st.booleans()),
        "spread": draw(st.sampled_from([0.5, 3.0, 50.0])),
        "odd": draw(st.booleans()),
        "seed": draw(st.integers(0, 2**31)),
    }
    return make_problem(dtype=dtype, **drawn | fixed)


def operands_of(problem):
    return Operands(**problem)


def arguments(problem):
    """In the order of `torch.ops.dcnrun.deform_roi_pool`, and of its backward between the output's gradient and what is wanted."""
    return tuple(operands_of(problem))


backward_arguments = arguments


def compute(**problem):
    """The operator's public functions."""
    arguments = {name: value for name, value in problem.items() if name != "position_sensitive"}
    if not problem["position_sensitive"]:
        assert not arguments.pop("authors")
        return deform_roi_pool(**arguments)
    assert arguments.pop("aligned")
    return deform_psroi_pool(**arguments)


def results(problem, function=compute, grad_output=None):
    """The output, and the gradient of each operand that is there, by name."""
    return output_and_gradients(function, problem, OPERANDS, grad_output)


def away_from_integer_positions(**settings):
    """A small problem without sampling points near the kinks of the bilinear kernel, some of them outside the map."""
    for seed in range(100):
        problem = make_problem(1, 2, (4, 5), 2, (2, 2), seed=seed, scale=1.0, ratio=2, **settings)
        if _nearest_integer_position(problem) > 0.01:
            return problem
    raise AssertionError("each has such points")


def _nearest_integer_position(problem):
    rois, offset = problem["rois"], problem["offset"]
    shift = 0.5 if problem["aligned"] else 0.0
    distances = []
    for r, (_, *corners) in enumerate(rois.tolist()):
        for axis in (0, 1):
            start, end = corners[1 - axis] - shift, corners[3 - axis] - shift
            size = end - start if problem["aligned"] else max(end - start, 1)
            starts = start + torch.arange(2.0, dtype=torch.float64) * size / 2
            moves = 0 if offset is None else offset[r, axis::2] * problem["gamma"] * size
            begins = (starts[:, None] if axis == 0 else starts) + moves
            for point in (0.25, 0.75):
                position = begins + point * size / 2
                distances.append((position - position.round()).abs().min())
    return min(distances)
