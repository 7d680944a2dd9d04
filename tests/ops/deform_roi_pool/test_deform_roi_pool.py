"""Our operator against torchvision's and the definition, wherever operands lie and whatever RoIs and offsets are."""

import itertools
import math

import pytest
import torch
import torchvision.ops
from hypothesis import given

from dcnrun.ops import deform_psroi_pool, deform_roi_pool
from dcnrun.ops.deform_roi_pool import cpu
from dcnrun.ops.deform_roi_pool.reference import deform_roi_pool_reference
from tests.ops.conformance import ResultSuite, assert_close, assert_same_bits
from tests.ops.deform_roi_pool import factories
from tests.ops.deform_roi_pool.factories import LAYOUTS, OPERANDS, compute, make_problem, operands_of, problems, results
from tests.ops.factories import examples, random_like

BACKENDS = ["kernel", "reference"]
every_backend = pytest.mark.parametrize("backend", BACKENDS, indirect=True)
with_kernel = pytest.mark.parametrize("backend", ["kernel"], indirect=True)
SOME = (1, 2, 5, 9)


def reference(**problem):
    return deform_roi_pool_reference(operands_of(problem))


def align(input, rois, output_size, spatial_scale, sampling_ratio, aligned, position_sensitive, authors=False, **more):
    """torchvision's two operators."""
    if position_sensitive:
        return torchvision.ops.ps_roi_align(input, rois, output_size, spatial_scale, sampling_ratio)
    return torchvision.ops.roi_align(input, rois, output_size, spatial_scale, sampling_ratio, aligned)


# Against other implementations ---------------------------------------------------------------------------------------


@with_kernel
@examples(100)
@given(problem=problems(counts=SOME))
def test_equals_the_definition(backend, problem):
    assert_close(results(problem), results(problem, reference), 1e-10)


@with_kernel
@examples(60)
@given(problem=problems(dtype=torch.float32, counts=SOME))
def test_equals_the_definition_in_single_precision(backend, problem):
    """Of the same numbers in single precision, since a sampling point on a whole position has one of two slopes."""
    assert_close(results(problem), results(problem, reference), 1e-4, results(problem).keys() - {"offset"})


@with_kernel
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("zeros", [True, False])
@examples(50)
@given(data=problems(counts=SOME, odd=False, shifted=False, masked=False, authors=False))
def test_zero_offsets_give_roi_align(backend, dtype, zeros, data):
    problem = data | {"input": data["input"].to(dtype), "rois": data["rois"].to(dtype)}
    wanted = results(problem, align)
    if zeros:
        problem["offset"] = problem["rois"].new_zeros(len(problem["rois"]), 2, *problem["output_size"])
    relative, found = 1e-12 if dtype == torch.float64 else 1e-5, results(problem)
    mixed = (
        problem["input"].abs().max().item() if problem["input"].numel() else 0.0
    )  # of a bin, whose samples may cancel
    assert_close(found, wanted, relative, ["output"], summands=mixed)
    assert_close(found, wanted, relative, wanted.keys() - {"output"})


@every_backend
@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize("bins", [(7, 7), (3, 5), (1, 1)])
@pytest.mark.parametrize("scale", [1.0, 0.3])
@pytest.mark.parametrize("ratio", [0, 2])
def test_boxes_of_whole_pixels(backend, aligned, bins, scale, ratio):
    """Sampling points on the very border of the map, where roundings decide whether they count."""
    sides = torch.tensor(list(itertools.product(range(-4, 3), range(1, 23, 2))), dtype=torch.float32) / scale
    rois = torch.stack([torch.zeros(len(sides)), sides[:, 0], sides[:, 0], *(sides.sum(1),) * 2], 1)
    problem = make_problem(1, 3, (8, 9), 1, bins, scale, ratio, shifted=False, masked=False, aligned=aligned)
    problem |= {"input": problem["input"].float(), "rois": rois}
    assert_close(results(problem), results(problem, align), 1e-5)


@with_kernel
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("positions", ["half", "single"])
@examples(25)
@given(data=problems(dtype=torch.float32, counts=SOME))
def test_half_precision_is_single_precision_of_rounded_operands(backend, dtype, positions, data):
    narrow = ("input", "rois", "offset", "mask") if positions == "half" else ("input",)
    problem = {name: value.to(dtype) if name in narrow and value is not None else value for name, value in data.items()}
    grad_output = random_like(compute(**problem))
    got = results(problem, grad_output=grad_output)
    assert got["output"].dtype == dtype
    for name in got.keys() & problem.keys():
        assert got[name].dtype == problem[name].dtype
    widened = {name: value.float() if torch.is_tensor(value) else value for name, value in problem.items()}
    wanted = results(widened, grad_output=grad_output.float())
    # half the distance of neighbouring numbers
    for name, value in got.items():
        assert_close(got, wanted, 1e-4 if value.dtype == torch.float32 else 0.6 * torch.finfo(dtype).eps, [name])


@every_backend
def test_y_comes_first_in_units_of_the_roi(backend):
    """A bin of a map that rises by 1 along y and by 100 along x tells where it is."""
    ramp = torch.arange(40.0)[:, None] + 100 * torch.arange(40.0)
    rois = torch.tensor([[0, 4.0, 6.0, 24.0, 16.0]])  # 20 wide, 10 high
    still = deform_roi_pool(ramp[None, None], rois, None, (1, 1))
    offset = torch.tensor([0.5, -0.25]).reshape(1, 2, 1, 1)
    moved = deform_roi_pool(ramp[None, None], rois, offset, (1, 1), gamma=0.4)
    torch.testing.assert_close(moved - still, torch.full_like(still, 0.4 * 0.5 * 10 - 100 * 0.4 * 0.25 * 20))


@every_backend
def test_groups_have_offsets_and_masks_of_their_own(backend):
    for position_sensitive in (False, True):
        problem = make_problem(channels=6, groups=3, position_sensitive=position_sensitive, odd=True, rois=9)
        planes = 6 if position_sensitive else 1
        alone = [
            compute(
                **problem
                | {
                    "input": problem["input"][:, 2 * g * planes : 2 * (g + 1) * planes],
                    "offset": problem["offset"][:, 2 * g : 2 * g + 2],
                    "mask": problem["mask"][:, g : g + 1],
                }
            )
            for g in range(3)
        ]
        torch.testing.assert_close(compute(**problem), torch.cat(alone, 1))


@every_backend
def test_boxes_may_come_image_by_image(backend):
    problem = make_problem(batch=3, rois=8)
    order = problem["rois"][:, 0].argsort(stable=True)
    problem |= {name: problem[name][order] for name in ("rois", "offset", "mask")}
    problem["rois"][:, 0] = torch.tensor([0, 0, 0, 2, 2, 2, 2, 2])
    boxes = list(problem["rois"][:, 1:].split([3, 0, 5]))
    assert torch.equal(compute(**problem | {"rois": boxes}), compute(**problem))


def as_the_authors_have_it(input, rois, offset, output_size, spatial_scale, sampling_ratio, gamma):
    """`DeformablePSROIPoolForwardKernel` of the DCN authors' code, number by number; here offsets have y first."""
    _, channels, height, width = input.shape
    high, wide = output_size
    out_channels, groups = channels // (high * wide), offset.shape[1] // 2
    output = input.new_zeros(len(rois), out_channels, high, wide)

    def whole(corner):
        return math.copysign(math.floor(abs(corner) + 0.5), corner)

    for r, top, i, j in itertools.product(range(len(rois)), range(out_channels), range(high), range(wide)):
        image, x1, y1, x2, y2 = rois[r].tolist()
        start_w, start_h = whole(x1) * spatial_scale - 0.5, whole(y1) * spatial_scale - 0.5
        roi_width = max((whole(x2) + 1) * spatial_scale - 0.5 - start_w, 0.1)
        roi_height = max((whole(y2) + 1) * spatial_scale - 0.5 - start_h, 0.1)
        group = top // (out_channels // groups)
        trans_y, trans_x = offset[r, 2 * group, i, j] * gamma, offset[r, 2 * group + 1, i, j] * gamma
        start_h = i * roi_height / high + start_h + trans_y * roi_height
        start_w = j * roi_width / wide + start_w + trans_x * roi_width
        plane, samples = input[int(image), (top * high + i) * wide + j], []
        for iy, ix in itertools.product(range(sampling_ratio), repeat=2):
            w = start_w + ix * (roi_width / wide / sampling_ratio)
            h = start_h + iy * (roi_height / high / sampling_ratio)
            if w < -0.5 or w > width - 0.5 or h < -0.5 or h > height - 0.5:
                continue
            w, h = w.clamp(0, width - 1), h.clamp(0, height - 1)
            left, right, upper, lower = (int(v.detach()) for v in (w.floor(), w.ceil(), h.floor(), h.ceil()))
            dx, dy = w - left, h - upper
            upper_row = (1 - dx) * plane[upper, left] + dx * plane[upper, right]
            samples.append((1 - dy) * upper_row + dy * ((1 - dx) * plane[lower, left] + dx * plane[lower, right]))
        if samples:
            output[r, top, i, j] = sum(samples) / len(samples)
    return output


@every_backend
@pytest.mark.parametrize(("spread", "scale"), [(0.5, 0.5), (6.0, 1.0)])
def test_the_authors_position_sensitive_pooling(backend, spread, scale):
    """Inside the map, across its border and outside; empty and inverted too."""
    settings = {"position_sensitive": True, "authors": True, "masked": False, "spread": spread, "scale": scale}
    problem = make_problem(2, 2, (7, 6), 9, (2, 2), ratio=3, groups=2, odd=True, **settings)
    problem["rois"][:2, 1:] = torch.tensor([[0, 0, 6, 5], [-2.5, 1.5, 3.5, 20]], dtype=torch.float64)
    assert_close(
        results(problem), results(problem, lambda **p: as_the_authors_have_it(*(p[n] for n in AUTHORS))), 1e-10
    )


AUTHORS = ("input", "rois", "offset", "output_size", "spatial_scale", "sampling_ratio", "gamma")


@every_backend
def test_minus_one_is_the_adaptive_number_of_samples(backend):
    """As in torchvision."""
    problem = make_problem(shifted=False, masked=False)
    assert torch.equal(compute(**problem | {"sampling_ratio": -1}), compute(**problem))
    torch.testing.assert_close(compute(**problem | {"sampling_ratio": -1}), align(**problem | {"sampling_ratio": -1}))
    sensitive = make_problem(position_sensitive=True)
    assert torch.equal(compute(**sensitive | {"sampling_ratio": -1}), compute(**sensitive))


# Where operands lie ----------------------------------------------------------------------------------------------------


DETERMINISTIC = [
    {"channels": 70, "dtype": torch.float32},
    {"channels": 200, "dtype": torch.float32, "masked": False},
    {"channels": 12, "groups": 3},
    {"channels": 33, "dtype": torch.bfloat16},
    {"channels": 6, "groups": 2, "position_sensitive": True, "dtype": torch.float32},
]


class TestResults(ResultSuite):
    factories = factories
    layouts = LAYOUTS
    values = {
        "backend": BACKENDS,
        "layout": LAYOUTS,
        "operand": ["input", "offset", "mask", "grad_output"],
        "layout_settings": [
            {"channels": 64, "dtype": torch.float32},
            {"channels": 10, "groups": 2},
            {"channels": 64, "dtype": torch.bfloat16},
            {"channels": 4, "groups": 2, "position_sensitive": True},
        ],
        "some_settings": [
            {"masked": masked, "position_sensitive": position_sensitive}
            for masked in (True, False)
            for position_sensitive in (True, False)
        ],
        "bits_settings": DETERMINISTIC,
    }

    def problem_of_layouts(self, settings):
        return make_problem(2, size=(9, 8), bins=(3, 3), **settings)

    def problem_of_bits(self, settings):
        return make_problem(3, size=(13, 11), rois=20, **settings)


@with_kernel
def test_rois_of_any_layout(backend):
    problem = make_problem()
    wide = torch.stack([problem["rois"]] * 2, 2)[..., 0]
    assert not wide.is_contiguous()
    assert_same_bits(results(problem | {"rois": wide}), results(problem))


@every_backend
@pytest.mark.parametrize("format", [torch.contiguous_format, torch.channels_last])
def test_the_output_is_contiguous_and_gradients_lie_as_the_operands_do(backend, format):
    problem = make_problem(channels=5, dtype=torch.float32)
    problem["input"] = problem["input"].contiguous(memory_format=format)
    got = results(problem)
    assert got["output"].is_contiguous()
    assert got["input"].is_contiguous(memory_format=format)


# What is asked for, and nothing else -----------------------------------------------------------------------------------


@every_backend
def test_rois_get_no_gradient(backend):
    problem = make_problem()
    leaf = problem["rois"].clone().requires_grad_()
    problem["input"].requires_grad_()
    assert torch.autograd.grad(compute(**problem | {"rois": leaf}).sum(), leaf, allow_unused=True) == (None,)


@every_backend
@pytest.mark.parametrize("settings", [{"rois": 0}, {"rois": 0, "batch": 0}, {"rois": 0, "position_sensitive": True}])
def test_no_rois(backend, settings):
    problem = make_problem(**settings)
    got = results(problem)
    assert got["output"].shape == (0, 4, 3, 2)
    for name in OPERANDS:
        assert torch.equal(got[name], torch.zeros_like(problem[name]))
    no_boxes = [problem["rois"].new_zeros(0, 4)] * problem["input"].shape[0]
    if no_boxes:
        assert compute(**problem | {"rois": no_boxes}).shape == (0, 4, 3, 2)


# Odd RoIs ----------------------------------------------------------------------------------------------------------------


@every_backend
@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize("ratio", [0, 2])
@pytest.mark.parametrize(
    "box",
    [[3, 3, 3, 3], [2, 3, 2, 6], [4, 5, 2, 1], [100, 100, 120, 130], [-90, 0, -60, 7], [-1.5, -1.5, -0.5, -0.5]],
    ids=str,
)
def test_empty_inverted_and_outside_rois_are_as_roi_align_has_them(backend, aligned, ratio, box):
    input = torch.randn(1, 3, 8, 7, dtype=torch.float64)
    rois = torch.tensor([[0, *box]], dtype=torch.float64)
    wanted = torchvision.ops.roi_align(input, rois, 3, 1.0, ratio, aligned)
    torch.testing.assert_close(deform_roi_pool(input, rois, None, 3, 1.0, ratio, aligned=aligned), wanted)
    if aligned:
        planes = input.repeat_interleave(9, 1)
        torch.testing.assert_close(deform_psroi_pool(planes, rois, None, 3, 1.0, ratio), wanted)


@every_backend
@pytest.mark.parametrize("size", [1e3, 1e5, 1e9, 1e20, 1e38])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_absurdly_large_rois_take_no_longer(backend, size, dtype):
    """They have as many sampling points as pixels, but those on the map are few."""
    problem = make_problem(1, 3, (9, 8), 2, dtype=dtype)
    problem["rois"] = torch.tensor([[0, -size / 2, -size / 3, size / 2, size], [0, 1, 1, size, size]], dtype=dtype)
    got = results(problem)
    assert all(values.isfinite().all() for values in got.values())
    if size <= 1e3:
        plain = problem | {"offset": None, "mask": None}
        assert results(plain)["output"].any()
        assert_close(results(plain), results(plain, align), 1e-5)


EXTREMES = [math.nan, math.inf, -math.inf, 1e30, -1e30, 1e9, -1e9, 2.0**31, 3e38]


@every_backend
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("value", EXTREMES)
def test_rois_and_offsets_that_are_no_positions(backend, dtype, value, monkeypatch):
    """Nothing is read out of bounds; where a position is not a number, neither is the bin, and others are as before.

    Of the number of sampling points and of channels by position, each two values meet, and meet each value and dtype.
    """
    turn, of = EXTREMES.index(value), (torch.float32, torch.float64, torch.bfloat16).index(dtype)
    ratio, position_sensitive = 3 * ((turn + (of == 1)) % 2), (turn + (of > 0)) % 2 == 0
    settings = {"rois": 6, "ratio": ratio, "position_sensitive": position_sensitive, "gamma": 1.0}
    problem = make_problem(2, 3, **settings, dtype=dtype)
    usual = compute(**problem)
    problem["offset"][0, 0, 0, 0] = value
    problem["offset"][1, 1, 2, 1] = value
    for column in range(1, 5):
        problem["rois"][column + 1, column] = value
    got = results(problem)
    monkeypatch.setenv("DCNRUN_BACKEND", "reference")
    wanted = results(problem)
    assert torch.equal(got["output"][:2, :, 1], usual[:2, :, 1])
    if math.isnan(value):
        assert got["output"][0, :, 0, 0].isnan().all()
        assert got["offset"][0, :, 0, 0].isnan().all()
    else:
        assert not got["output"][0, :, 0, 0].any()
        assert not got["offset"][0, :, 0, 0].any()
    assert got["input"].isfinite().all()
    # Positions in RoIs of such numbers have no digits left, so that each order of computation has others.
    compared = slice(2 if math.isfinite(value) else None)
    for name in ("output", "offset", "mask"):
        assert torch.equal(got[name][compared].isnan(), wanted[name][compared].isnan()), name
    usual = {name: got[name][:2] for name in ("output", "offset", "mask")}
    assert_close(usual, {name: wanted[name][:2] for name in usual}, 1e-2 if dtype == torch.bfloat16 else 1e-4)


@every_backend
@pytest.mark.parametrize("where", ["corner", "offset"])
@pytest.mark.parametrize("axis", [0, 1])
def test_a_roi_without_extent_on_one_axis_and_no_number_on_the_other(backend, where, axis):
    """It has no sampling points, so none at a position that is no number."""
    problem = make_problem(rois=2, masked=True)
    problem["rois"][0, 3 + axis] = problem["rois"][0, 1 + axis]
    if where == "corner":
        problem["rois"][0, 4 - axis] = math.nan
    else:
        problem["offset"][0, axis] = math.nan
    got = results(problem)
    assert not got["output"][0].any()
    assert not got["mask"][0].any()
    assert got["output"][1].isfinite().all()
    moved = got["offset"][0, axis]  # along the other axis, in units of what is a number there or not
    assert moved.isnan().all() if where == "corner" else not moved.any()


@with_kernel
@pytest.mark.parametrize("side", [2**24, 2**24 + 3])
def test_the_kernel_stays_on_maps_whose_sides_single_precision_rounds(backend, side):
    """A row of a map whose 16 channels share their memory; what lies beside it would spoil the bins."""
    memory = torch.full((side + 64,), math.nan)
    memory[: side + 15] = torch.arange(side + 15) % 7
    problem = make_problem(1, 1, (1, side), 2, (1, 2), 1.0, 3, shifted=False, masked=False, dtype=torch.float32)
    problem |= {"input": memory.as_strided((1, 16, 1, side), (side, 1, side, 1))}
    problem |= {"rois": torch.tensor([[0.0, side - 5, 0, side + 9, 1], [0.0, side - 40, 0, side + 1, 1]])}
    operands, output = operands_of(problem), torch.zeros(2, 16, 1, 2)
    cpu.forward(operands, output)
    torch.testing.assert_close(output[:, :1], reference(**problem | {"input": problem["input"][:, :1]}))
    if side > 2**24:
        with pytest.raises(ValueError, match=r"input is 1x16777219: positions in torch.float32 .* use torch.float64"):
            deform_roi_pool(*operands[:3], (1, 2))


@with_kernel
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("operand", ["input", "mask", "grad_output"])
@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("position_sensitive", [True, False])
def test_operands_that_are_no_numbers(backend, dtype, operand, value, position_sensitive, monkeypatch):
    """They spoil what the definition lets them spoil, and no more."""
    problem = make_problem(2, 5, dtype=dtype, position_sensitive=position_sensitive)
    grad_output = random_like(compute(**problem))
    changed = grad_output if operand == "grad_output" else problem[operand]
    changed.view(-1)[:: max(changed.numel() // 7, 1)] = value
    got = results(problem, grad_output=grad_output)
    monkeypatch.setenv("DCNRUN_BACKEND", "reference")
    wanted = results(problem, grad_output=grad_output)
    assert not all(values.isfinite().all() for values in wanted.values())
    reads = compute(**problem | {"input": torch.ones_like(problem["input"]), "mask": None})[:, :1] != 0
    for name in wanted:
        good = wanted[name].isfinite()
        assert not (good & ~got[name].isfinite()).any(), name
        # Of a bin that reads nothing, the definition has slopes of zero times infinity.
        compared = reads.expand_as(good) if name in ("offset", "mask") else torch.ones_like(good)
        assert torch.equal(got[name].isfinite() & compared, good & compared), name
        values = [{name: side[name].where(good, 0)} for side in (got, wanted)]
        assert_close(*values, 1e-2 if dtype.itemsize == 2 else 1e-4)


# The same bits -----------------------------------------------------------------------------------------------------------


@with_kernel
@pytest.mark.parametrize("settings", DETERMINISTIC, ids=str)
@pytest.mark.parametrize("format", [torch.contiguous_format, torch.channels_last])
class TestSameBits:
    def problem(self, settings, format):
        problem = make_problem(3, size=(13, 11), rois=20, **settings)
        return problem | {"input": problem["input"].contiguous(memory_format=format)}

    def test_for_any_split_of_the_batch(self, backend, settings, format, threads):
        problem = self.problem(settings, format)
        grad_output = random_like(compute(**problem))
        whole = results(problem, grad_output=grad_output)
        for image in range(3):
            threads(image + 1)
            its = problem["rois"][:, 0] == image
            part = problem | {
                name: problem[name][its] for name in ("rois", "offset", "mask") if problem[name] is not None
            }
            part["input"] = problem["input"][image : image + 1].contiguous(memory_format=format)
            part["rois"] = part["rois"] * part["rois"].new_tensor([0, 1, 1, 1, 1])
            got = results(part, grad_output=grad_output[its])
            wanted = {
                name: values[its] if name != "input" else values[image : image + 1] for name, values in whole.items()
            }
            assert_same_bits(got, wanted)
