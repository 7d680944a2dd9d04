"""What the CUDA kernels of RoI pooling must compute as the definition does in fp64: on a GPU, and emulated without one."""

import itertools
import math
from dataclasses import dataclass

import torch

from dcnrun.ops.deform_roi_pool.reference import deform_roi_pool_backward_reference, deform_roi_pool_reference
from tests.ops.deform_conv2d.parity import DTYPES, errors_of, moved, on_grid
from tests.ops.deform_roi_pool.factories import OPERANDS, make_problem, operands_of, results

ROIS = ("usual", "all in one place", "odd", "images not there", "some no numbers")
SHAPES = {
    "7x7": {"channels": 64, "size": (20, 24), "rois": 4, "bins": (7, 7), "ratio": 2},
    "adaptive": {"channels": 32, "size": (41, 36), "bins": (2, 1), "groups": 2},
    "position-sensitive": {"channels": 16, "bins": (3, 3), "groups": 2, "position_sensitive": True},
    "odd channels": {"channels": 35, "bins": (4, 5), "groups": 5, "ratio": 3, "aligned": False},
    "plain": {"channels": 24, "bins": (4, 4), "shifted": False, "masked": False, "rois": 9},
    "many channels": {"channels": 320, "size": (6, 9), "bins": (2, 2), "rois": 3, "masked": False},
    "many points": {"channels": 8, "size": (7, 5), "bins": (2, 2), "ratio": 32, "shifted": False, "rois": 3},
}

# For GPUs alone: as many RoIs on maps as large as detectors have.
LARGE_SHAPES = {
    "512 RoIs, C256 50x50": {"channels": 256, "size": (50, 50), "rois": 512, "bins": (7, 7), "ratio": 2},
    "300 RoIs, C64 100x167, adaptive": {"channels": 64, "size": (100, 167), "rois": 300, "bins": (7, 7)},
    "300 RoIs, 21 classes": {
        **{"channels": 21, "size": (38, 63), "rois": 300, "bins": (7, 7), "groups": 21, "position_sensitive": True}
    },
}


@dataclass(frozen=True)
class Case:
    """One problem, and the way in which it is computed."""

    shape: str
    rois: str
    dtype: torch.dtype
    deterministic: bool = False

    def __str__(self):
        name = f"RoI pooling, {self.shape}, RoIs {self.rois}, {str(self.dtype).removeprefix('torch.')}"
        return f"{name}, deterministic" if self.deterministic else name

    def problem(self, seed):
        """Random operands; the RoIs, offsets and masks of half-precision inputs in fp32."""
        settings = (SHAPES | LARGE_SHAPES)[self.shape]
        problem = make_problem(**settings, gamma=0.125, odd=self.rois == "odd", dtype=torch.float32, seed=seed)
        problem = exact(problem)
        change(self.rois, problem)
        return problem | {"input": problem["input"].to(self.dtype)}


def cases(shapes):
    """Every shape, RoIs and dtype, the deterministic way too."""
    return [Case(*each) for each in itertools.product(shapes, ROIS, DTYPES, (False, True))]


def exact(problem, steps=16):
    """With positions that fp32 has too: else some sampling points would lie on another side of a pixel than in fp64."""
    bins = torch.tensor(problem["output_size"]).flip(0)
    start, end = problem["rois"][:, 1:3], problem["rois"][:, 3:]
    scale = problem["spatial_scale"]
    assert math.log2(scale).is_integer()
    assert math.log2(problem["gamma"]).is_integer()
    size = ((end - start) * scale / bins * steps).round() * bins / steps
    start = (start * scale * steps).round() / steps
    rois = torch.cat([problem["rois"][:, :1], start / scale, (start + size) / scale], 1)
    offset = None if problem["offset"] is None else on_grid(problem["offset"])
    return problem | {"rois": rois, "offset": offset}


def change(kind, problem):
    """Make a problem's RoIs and offsets those of a kind."""
    rois, offset = problem["rois"], problem["offset"]
    if kind == "all in one place":
        rois.copy_(rois[:1].clone())
        if offset is not None:
            offset.copy_(offset[:1].clone())
    elif kind == "images not there":
        rois[::2, 0] = torch.tensor([-1.0, problem["input"].shape[0], math.nan, 1e9, -math.inf]).repeat(len(rois))[
            : len(rois[::2])
        ]
    elif kind == "some no numbers":
        values = torch.tensor([math.nan, math.inf, -math.inf, 1e30, -3e38])
        for r in range(1, len(rois), 2):
            rois[r, 1 + r // 2 % 4] = values[r // 2 % 5]
        if offset is not None:
            some = offset.view(-1)[:: max(1, offset.numel() // 101)]
            some.copy_(values.repeat(len(some))[: len(some)])


def wanted(problem, grad_output, dtype=torch.float64):
    """The definition, computed in a dtype."""
    wide = {name: value.to(dtype) if torch.is_tensor(value) else value for name, value in problem.items()}
    operands = operands_of(wide)
    grads = dict(zip(OPERANDS, deform_roi_pool_backward_reference(grad_output.to(dtype), operands), strict=True))
    present = {name: grad for name, grad in grads.items() if grad is not None}
    return {"output": deform_roi_pool_reference(operands)} | present


def errors(case, seed, device):
    """The largest error of each result, as a part of its largest value; infinite where NaN or infinity differ."""
    problem = moved(case.problem(seed), device)
    return errors_of(case, problem, operands_of(problem).output_shape, results, wanted)
