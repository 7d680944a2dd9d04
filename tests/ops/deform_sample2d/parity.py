"""What the CUDA kernels of deformable sampling must compute as the definition does in fp64: on a GPU, and emulated without one."""

import itertools

import torch

from dcnrun.ops.deform_conv2d.reference import sampling_points
from dcnrun.ops.deform_sample2d.reference import deform_sample2d_backward_reference, deform_sample2d_reference
from tests.ops.deform_conv2d import parity
from tests.ops.deform_conv2d.parity import DTYPES, OFFSETS, errors_of, moved, on_grid
from tests.ops.deform_sample2d.factories import OPERANDS, Operands, make_problem, results

SHAPES = {
    "DCNv4": {"channels": 64, "size": (12, 13), "groups": 4},
    "DCNv3": {"channels": 64, "size": (11, 10), "groups": 4, "softmax": True, "offset_scale": 2.0},
    "one group without mask": {"channels": 80, "size": (9, 10), "groups": 1, "masked": False},
    "groups of one channel": {"channels": 6, "size": (9, 8), "groups": 6, "softmax": True},
    "odd channels": {"channels": 35, "size": (8, 9), "groups": 5},
    "5x5 without its centre": {
        **{"channels": 96, "size": (21, 24), "kernel": (5, 5), "stride": (2, 3), "padding": (3, 1), "dilation": (2, 1)},
        **{"groups": 2, "softmax": True, "remove_center": True, "offset_scale": 0.5},
    },
    "1x1": {"channels": 320, "size": (7, 9), "kernel": (1, 1), "padding": (0, 0)},
}

# For GPUs alone: as large as layers are.
LARGE_SHAPES = {
    "C256 64x64, 16 groups": {"batch": 8, "channels": 256, "size": (64, 64), "groups": 16},
    "C64 64x64, 4 groups, softmax": {"batch": 8, "channels": 64, "size": (64, 64), "groups": 4, "softmax": True},
    "C512 32x32, one group": {"batch": 8, "channels": 512, "size": (32, 32), "groups": 1},
    "C128 100x167, 8 groups": {"batch": 2, "channels": 128, "size": (100, 167), "groups": 8},
}


class Case(parity.Case):
    """One problem, and the way in which it is computed."""

    def __str__(self):
        return f"sampling, {super().__str__()}"

    def problem(self, seed):
        """Random operands, the offsets and masks of half-precision inputs in fp32."""
        problem = make_problem(**(SHAPES | LARGE_SHAPES)[self.shape], dtype=torch.float32, seed=seed)
        if self.offsets == "all to one pixel":
            problem["offset"] = to_one_pixel(problem)
        else:
            problem["offset"] = parity.offsets(self.offsets, problem)
        problem["offset"] = on_grid(problem["offset"])
        return problem | {"input": problem["input"].to(self.dtype)}


def cases(shapes):
    """Every shape, offset and dtype, the deterministic way too."""
    return [Case(*each) for each in itertools.product(shapes, OFFSETS, DTYPES, (False, True))]


def to_one_pixel(problem, y=3.25, x=2.75):
    """Offsets with which all sampling points of all pixels lie between the same four pixels, those of a group apart."""
    offset = torch.zeros_like(problem["offset"])
    places = sampling_points(offset, *Operands(**problem).grid)
    apart = (torch.arange(places[0].shape[1]) % 5 / 8)[:, None, None]
    targets = y + apart, x - apart
    moved_by = [(target - place) / problem["offset_scale"] for target, place in zip(targets, places, strict=True)]
    return torch.stack(moved_by, 2).reshape(offset.shape)


def wanted(problem, grad_output, dtype=torch.float64):
    """The definition, image by image: its samples take 8 bytes for each sampling point, channel and pixel."""
    wide = {name: value.to(dtype) if torch.is_tensor(value) else value for name, value in problem.items()}
    present = [name for name in OPERANDS if problem[name] is not None]
    found = {name: [] for name in ("output", *present)}
    for i in range(len(grad_output)):
        operands = Operands(**wide | {name: wide[name][i : i + 1] for name in present})
        grads = deform_sample2d_backward_reference(grad_output[i : i + 1].to(dtype), operands)
        image = {"output": deform_sample2d_reference(operands)} | dict(zip(OPERANDS, grads, strict=True))
        for name, values in found.items():
            values.append(image[name])
    return {name: torch.cat(values) for name, values in found.items()}


def errors(case, seed, device):
    """The largest error of each result, as a part of its largest value; infinite where NaN or infinity differ."""
    problem = moved(case.problem(seed), device)
    return errors_of(case, problem, Operands(**problem).output_shape, results, wanted)
