"""The definition in plain PyTorch: against a loop over numbers and torchvision, its written-out backward against autograd."""

import itertools
import math

import numpy as np
import pytest
import torch
import torchvision.ops
from hypothesis import given

from dcnrun.ops.deform_roi_pool.reference import deform_roi_pool_backward_reference, deform_roi_pool_reference
from tests.ops.conformance import assert_close
from tests.ops.deform_roi_pool.factories import (
    OPERANDS,
    away_from_integer_positions,
    make_problem,
    operands_of,
    problems,
    results,
)
from tests.ops.factories import examples, random_like

SMALL = (1, 2, 3)
SOME = (1, 2, 5)


def reference(**problem):
    return deform_roi_pool_reference(operands_of(problem))


def by_hand(problem):
    """As the papers and torchvision's documentation have it: numbers, one after the other."""
    input, rois = problem["input"].numpy(), problem["rois"].numpy()
    high, wide = problem["output_size"]
    _, channels, height, width = input.shape
    out_channels = channels // (high * wide) if problem["position_sensitive"] else channels
    groups = 1
    if problem["offset"] is not None:
        groups = problem["offset"].shape[1] // 2
    elif problem["mask"] is not None:
        groups = problem["mask"].shape[1]
    output = np.zeros((len(rois), out_channels, high, wide))

    def sample(plane, y, x):
        if y < -1 or y > height or x < -1 or x > width:
            return 0.0
        y, x = min(max(y, 0.0), height - 1.0), min(max(x, 0.0), width - 1.0)
        top, left = math.floor(y), math.floor(x)
        bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
        down, across = y - top, x - left
        upper = plane[top, left] * (1 - across) + plane[top, right] * across
        lower = plane[bottom, left] * (1 - across) + plane[bottom, right] * across
        return upper * (1 - down) + lower * down

    for r, c, i, j in np.ndindex(output.shape):
        image, *corners = rois[r]
        x1, y1, x2, y2 = (value * problem["spatial_scale"] - (0.5 if problem["aligned"] else 0) for value in corners)
        roi_height, roi_width = y2 - y1, x2 - x1
        if not problem["aligned"]:
            roi_height, roi_width = max(roi_height, 1.0), max(roi_width, 1.0)
        group = c // (out_channels // groups)
        if problem["offset"] is not None:
            y1 += problem["gamma"] * problem["offset"][r, 2 * group, i, j].item() * roi_height
            x1 += problem["gamma"] * problem["offset"][r, 2 * group + 1, i, j].item() * roi_width
        bin_height, bin_width = roi_height / high, roi_width / wide
        grid_y, grid_x = problem["sampling_ratio"], problem["sampling_ratio"]
        if not problem["sampling_ratio"]:
            grid_y, grid_x = max(math.ceil(bin_height), 0), max(math.ceil(bin_width), 0)
        plane = input[int(image), (c * high + i) * wide + j if problem["position_sensitive"] else c]
        total = sum(
            sample(plane, y1 + (i + (k + 0.5) / grid_y) * bin_height, x1 + (j + (m + 0.5) / grid_x) * bin_width)
            for k, m in itertools.product(range(grid_y), range(grid_x))
        )
        factor = 1.0 if problem["mask"] is None else problem["mask"][r, group, i, j].item()
        output[r, c, i, j] = factor * total / max(grid_y * grid_x, 1)
    return torch.from_numpy(output)


@examples(40)
@given(problem=problems(channels=SMALL, counts=SOME, odd=False, authors=False))
def test_equals_a_loop_over_numbers(problem):
    assert_close({"output": reference(**problem)}, {"output": by_hand(problem)}, 1e-10)


@examples(15)
@given(problem=problems(channels=(1,), odd=True, batch=1, bins=(2, 1), scale=1.0, size=(5, 3), authors=False))
def test_so_do_odd_rois(problem):
    """Inverted ones, empty ones, and such as are far larger than the map, of whose points most are left out."""
    assert_close({"output": reference(**problem)}, {"output": by_hand(problem)}, 1e-10)


@examples(40)
@given(
    problem=problems(
        channels=SMALL, counts=SOME, odd=False, shifted=False, masked=False, position_sensitive=False, authors=False
    )
)
def test_without_offsets_it_is_roi_align(problem):
    def align(input, rois, output_size, spatial_scale, sampling_ratio, aligned, **more):
        return torchvision.ops.roi_align(input, rois, output_size, spatial_scale, sampling_ratio, aligned)

    assert_close(results(problem, reference), results(problem, align), 1e-10)


@examples(40)
@given(
    problem=problems(
        channels=SMALL,
        counts=SOME,
        odd=False,
        position_sensitive=True,
        aligned=True,
        shifted=False,
        masked=False,
        authors=False,
    )
)
def test_without_offsets_it_is_ps_roi_align(problem):
    def align(input, rois, output_size, spatial_scale, sampling_ratio, **more):
        return torchvision.ops.ps_roi_align(input, rois, output_size, spatial_scale, sampling_ratio)

    assert_close(results(problem, reference), results(problem, align), 1e-10)


@examples(40)
@given(problem=problems(channels=SMALL, counts=SOME))
def test_the_backward_written_out_equals_autograd(problem):
    grad_output = random_like(reference(**problem))
    got = dict(zip(OPERANDS, deform_roi_pool_backward_reference(grad_output, operands_of(problem)), strict=True))
    wanted = results(problem, reference, grad_output)
    assert {name for name in got if got[name] is not None} == wanted.keys() - {"output"}
    assert_close(got, wanted, 1e-10, wanted.keys() - {"output"})


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_the_backward_written_out_has_the_operands_dtypes(dtype):
    problem = make_problem(dtype=dtype)
    problem["offset"] = problem["offset"].float()
    grads = deform_roi_pool_backward_reference(random_like(reference(**problem)), operands_of(problem))
    assert [grad.dtype for grad in grads] == [dtype, torch.float32, dtype]


@pytest.mark.parametrize("settings", [{}, {"masked": False}, {"groups": 2}, {"position_sensitive": True, "groups": 2}])
def test_differentiable_twice(settings):
    problem = away_from_integer_positions(**settings)
    names = [name for name in OPERANDS if problem[name] is not None]
    leaves = [problem[name].requires_grad_() for name in names]

    def pooled(*leaves):
        return reference(**problem | dict(zip(names, leaves, strict=True)))

    assert torch.autograd.gradcheck(pooled, leaves)
    assert torch.autograd.gradgradcheck(pooled, leaves, fast_mode=True)


def test_a_roi_of_no_image_is_zero():
    """As accelerators have it, where looking for such RoIs would cost time."""
    problem = make_problem()
    problem["rois"][1, 0], problem["rois"][3, 0] = 2, -1
    output = reference(**problem)
    assert not output[[1, 3]].any()
    assert output[[0, 2, 4]].abs().amax((1, 2, 3)).all()
    grads = deform_roi_pool_backward_reference(torch.ones_like(output), operands_of(problem))
    others = {name: problem[name][[0, 2, 4]] for name in ("rois", "offset", "mask")}
    wanted = deform_roi_pool_backward_reference(torch.ones_like(output[:3]), operands_of(problem | others))
    torch.testing.assert_close(grads[0], wanted[0])
    for got, alone in zip(grads[1:], wanted[1:], strict=True):
        torch.testing.assert_close(got[[0, 2, 4]], alone)
        assert not got[[1, 3]].any()
