"""What CUDA kernels must compute as the definition does in fp64: by the parity suite on a GPU, and emulated without one."""

import itertools
import math
from contextlib import contextmanager
from dataclasses import dataclass
from types import SimpleNamespace

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from dcnrun.ops.deform_conv2d import cuda
from dcnrun.ops.deform_conv2d.reference import deform_conv2d_reference
from tests.ops.deform_conv2d.factories import make_problem, results
from tests.ops.factories import random_like

# The largest error that passes, as a part of the largest value.
TOLERANCES = {torch.float32: 1e-5, torch.float16: 5e-3, torch.bfloat16: 1e-2}
TF32_TOLERANCE = 1e-3
DTYPES = list(TOLERANCES)

OFFSETS = ("std 0", "std 1", "std 4", "all to one pixel", "far outside", "some no numbers")
SHAPES = {
    "3x3": {"channels": 64, "out_channels": 32, "size": (12, 13)},
    "3x3 without mask": {"channels": 32, "out_channels": 48, "size": (11, 10), "masked": False, "biased": False},
    "4 offset groups": {"channels": 64, "out_channels": 32, "size": (9, 10), "offset_groups": 4},
    "groups": {"channels": 48, "out_channels": 24, "size": (9, 8), "groups": 3, "offset_groups": 2},
    "odd channels": {"channels": 35, "out_channels": 21, "size": (8, 9), "offset_groups": 5},
    "stride, dilation, 5x4": {
        **{"channels": 16, "out_channels": 8, "size": (21, 24), "kernel": (5, 4)},
        **{"stride": (2, 3), "padding": (3, 1), "dilation": (2, 1)},
    },
    "1x1": {"channels": 320, "out_channels": 16, "size": (7, 9), "kernel": (1, 1), "padding": (0, 0)},
}

# For GPUs alone: many blocks and chunks, and as large as layers are.
LARGE_SHAPES = {
    "C256 64x64": {"batch": 8, "channels": 256, "out_channels": 256, "size": (64, 64)},
    "C64 64x64": {"batch": 8, "channels": 64, "out_channels": 64, "size": (64, 64)},
    "C512 32x32, 4 offset groups": {
        **{"batch": 8, "channels": 512, "out_channels": 512, "size": (32, 32), "offset_groups": 4}
    },
    "C128 100x167": {"batch": 2, "channels": 128, "out_channels": 128, "size": (100, 167)},
}


@dataclass(frozen=True)
class Case:
    """One problem, and the way in which it is computed."""

    shape: str
    offsets: str
    dtype: torch.dtype
    deterministic: bool = False

    def __str__(self):
        name = f"{self.shape}, offsets {self.offsets}, {str(self.dtype).removeprefix('torch.')}"
        return f"{name}, deterministic" if self.deterministic else name

    def problem(self, seed):
        """Random operands, the offsets and masks of half-precision inputs in fp32."""
        problem = make_problem(**(SHAPES | LARGE_SHAPES)[self.shape], dtype=torch.float32, seed=seed)
        problem["offset"] = on_grid(offsets(self.offsets, problem))
        return stored_as(self.dtype, problem)


def cases(shapes):
    """Every shape, offset and dtype, the deterministic way too."""
    return [Case(*each) for each in itertools.product(shapes, OFFSETS, DTYPES, (False, True))]


def kind_in_turn(kinds, shapes, shape, dtype, in_order):
    """One of the kinds of positions for a combination: each meets every shape, and every dtype and order.

    Each of the three decides code of its own; on a GPU all combinations of them are computed.
    """
    return kinds[(list(shapes).index(shape) + 2 * DTYPES.index(dtype) + in_order) % len(kinds)]


def offsets(kind, problem):
    """Offsets of a kind for a problem whose own have a standard deviation of 2."""
    random = problem["offset"] / 2
    if kind.startswith("std"):
        return float(kind.removeprefix("std ")) * random
    if kind == "far outside":
        return random.sign() * 1e6 + random
    if kind == "some no numbers":
        changed = random.clone()
        values = torch.tensor([math.nan, math.inf, -math.inf, 1e30, -3e38])
        every = changed.view(-1)[:: max(1, changed.numel() // 101)]
        every.copy_(values.repeat(-(-len(every) // len(values)))[: len(every)])
        return changed
    return to_one_pixel(problem)


def to_one_pixel(problem, y=3.25, x=2.5):
    """Offsets with which all sampling points of all pixels sample one position."""
    kernel_height, kernel_width = problem["weight"].shape[2:]
    n, channels, out_height, out_width = problem["offset"].shape
    target = torch.tensor([y, x])
    changed = torch.empty(
        n, channels // (2 * kernel_height * kernel_width), kernel_height, kernel_width, 2, out_height, out_width
    )
    for axis, (points, out) in enumerate(((kernel_height, out_height), (kernel_width, out_width))):
        point = torch.arange(points) * problem["dilation"][axis] - problem["padding"][axis]
        pixel = torch.arange(out) * problem["stride"][axis]
        place = point.reshape((-1, 1, 1, 1) if axis == 0 else (-1, 1, 1)) + pixel.reshape(
            (-1, 1) if axis == 0 else (-1,)
        )
        changed[..., axis, :, :] = target[axis] - place
    return changed.reshape(n, channels, out_height, out_width)


def on_grid(values, steps=64):
    """Rounded so that positions are exact in fp32: else some would lie on the other side of a pixel than in fp64."""
    return torch.where(values.isfinite() & (values.abs() < 1e6), (values * steps).round() / steps, values)


def stored_as(dtype, problem):
    """With input, weight and bias of a dtype."""
    stored = ("input", "weight", "bias")
    return {name: v.to(dtype) if name in stored and v is not None else v for name, v in problem.items()}


def moved(problem, device):
    return {name: value.to(device) if torch.is_tensor(value) else value for name, value in problem.items()}


def wanted(problem, grad_output):
    """The definition, in fp64, image by image: its samples take 8 bytes for each sampling point, channel and pixel."""
    wide = {name: value.double() if torch.is_tensor(value) else value for name, value in problem.items()}
    batched = [name for name in ("input", "offset", "mask") if problem[name] is not None]
    images = [
        results(wide | {name: wide[name][i : i + 1] for name in batched}, deform_conv2d_reference, grad[None].double())
        for i, grad in enumerate(grad_output)
    ]
    return {
        name: torch.cat(values) if name in (*batched, "output") else sum(values)
        for name in images[0]
        for values in [[image[name] for image in images]]
    }


def errors(case, seed, device):
    """The largest error of each result, as a part of its largest value; infinite where NaN or infinity differ."""
    problem = moved(case.problem(seed), device)
    size = problem["input"].shape[0], problem["weight"].shape[0], *problem["offset"].shape[2:]
    return errors_of(case, problem, size, results, wanted)


def errors_of(case, problem, output_size, results, wanted):
    """The same of a case's problem, where its operator has `results` and its definition `wanted`."""
    grad_output = random_like(torch.empty(output_size, dtype=case.dtype)).to(problem["input"].device)
    with deterministic(case.deterministic):
        got = results(problem, grad_output=grad_output)
    return {name: error(got[name], value) for name, value in wanted(problem, grad_output).items()}


def error(got, wanted):
    got, finite = got.double(), wanted.isfinite()
    if not torch.equal(got.isfinite(), finite) or not torch.equal(got.isnan(), wanted.isnan()):
        return math.inf
    got, wanted = (values.nan_to_num(0, 0, 0) for values in (got, wanted))
    return ((got - wanted).abs().max() / wanted.abs().max().clamp(min=1e-30)).item()


@contextmanager
def deterministic(on):
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(on)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)


class Watched(TorchDispatchMode):
    """Fills what is allocated with NaN, and refuses what would make the host wait for the GPU."""

    WAITS = ("_local_scalar_dense", "nonzero", "masked_select", "unique", "is_nonzero", "equal", "_unique2")

    def __torch_dispatch__(self, function, types, arguments=(), named=None):
        name = function.__name__.split(".")[0]
        assert name not in self.WAITS, f"{name} waits for the GPU"
        made = function(*arguments, **named or {})
        if name in ("empty", "empty_like", "new_empty", "empty_strided", "new_empty_strided"):
            made.fill_(math.nan if made.is_floating_point() else 2**30)
        return made


def watched_kernels(kernels=cuda):
    """The functions of such a module, watched."""

    def watch(function):
        def call(*arguments):
            results = arguments[-1]  # the output, or a list of gradients
            for result in [results] if torch.is_tensor(results) else results:
                if result is not None:
                    result.fill_(math.nan)
            with Watched():
                function(*arguments)

        return call

    functions = {"forward": watch(kernels.forward), "backward": watch(kernels.backward)}
    return SimpleNamespace(DTYPES=kernels.DTYPES, load=kernels.load, **functions)
