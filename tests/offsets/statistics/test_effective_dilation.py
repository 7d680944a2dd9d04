"""Effective dilation against loops over pairs of points, and its statistics against one list of all filters."""

from itertools import product
from math import hypot

import numpy as np
import pytest
import torch

from dcnrun.offsets.objects import Objects, SizeClass, Thresholds
from dcnrun.offsets.statistics.effective_dilation import DilationStatistics, effective_dilation, plain_dilation
from tests.offsets.factories import hand_made, noise


def positions(layer, group, y, x):
    """Where each point of one filter is, from the definition."""
    (kh, kw), (sy, sx), (py, px), (dy, dx) = layer.kernel_size, layer.stride, layer.padding, layer.dilation
    return {
        (a, b): (
            y * sy - py + a * dy + layer.offset[group, a * kw + b, 0, y, x].item(),
            x * sx - px + b * dx + layer.offset[group, a * kw + b, 1, y, x].item(),
        )
        for a, b in product(range(kh), range(kw))
    }


def by_hand(layer, y, x):
    distances = []
    for group in range(layer.offset_groups):
        at = positions(layer, group, y, x)
        for (a, b), here in at.items():
            for there in (at.get((a + 1, b)), at.get((a, b + 1))):
                if there is not None:
                    distances.append(hypot(here[0] - there[0], here[1] - there[1]))
    return sum(distances) / len(distances)


@pytest.mark.parametrize("dilation", [1, 2, 4, 12])
@pytest.mark.parametrize("offset_groups", [1, 3])
def test_without_offsets_it_is_the_dilation_exactly(dilation, offset_groups):
    both = (dilation, dilation)
    layer = hand_made(dilation=both, padding=both, stride=(2, 1), offset_groups=offset_groups, input_size=(31, 33))
    assert layer.offset.dtype == torch.float32
    assert (effective_dilation(layer) == dilation).all()
    assert plain_dilation(layer) == dilation


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"offset_groups": 2, "dilation": (2, 2), "padding": (2, 2)},
        {"kernel_size": (2, 3), "dilation": (3, 1), "padding": (2, 1), "stride": (2, 1)},
        {"kernel_size": (1, 4), "padding": (0, 0)},
    ],
)
def test_is_the_mean_over_neighbours_and_groups(settings):
    layer = hand_made(**settings)
    layer = hand_made(noise(*layer.offset.shape, scale=2), **settings)
    found = effective_dilation(layer)
    assert found.shape == layer.output_size
    for y, x in product(*map(range, layer.output_size)):
        assert found[y, x].item() == pytest.approx(by_hand(layer, y, x), rel=1e-6)


def test_kernels_that_are_not_square_give_the_mean_over_pairs():
    """2x3 dilated by (5, 2): three pairs down, four to the right."""
    layer = hand_made(kernel_size=(2, 3), dilation=(5, 2), padding=(5, 2))
    assert (effective_dilation(layer) == (3 * 5 + 4 * 2) / 7).all()


def test_moving_the_whole_filter_changes_nothing_and_spreading_it_does():
    points = torch.tensor([(a, b) for a in (-1.0, 0.0, 1.0) for b in (-1.0, 0.0, 1.0)])
    moved = torch.full((1, 9, 2, 6, 7), 2.5)
    spread = (0.5 * points).reshape(1, 9, 2, 1, 1).expand(1, 9, 2, 6, 7)
    assert (effective_dilation(hand_made(moved)) == 1).all()
    assert (effective_dilation(hand_made(spread)) == 1.5).all()


def test_a_single_point_has_no_neighbours():
    assert effective_dilation(hand_made(kernel_size=(1, 1), padding=(0, 0))).isnan().all()


def objects(*boxes, size=(6, 7), unknown=None):
    corners = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    area = (corners[:, 2] - corners[:, 0]) * (corners[:, 3] - corners[:, 1])
    nowhere = torch.zeros(size, dtype=torch.bool)
    return Objects(size, corners, area, ("thing",) * len(boxes), nowhere if unknown is None else unknown)


def test_statistics_are_those_of_all_filters_of_a_size():
    """Three images; a small object lies on a large one, and the filters on it are its own."""
    thresholds = Thresholds(medium=5, large=10)
    images = [objects((0, 0, 4, 4), (1, 1, 3, 3)), objects(), objects((2, 1, 5, 3))]
    fields = [hand_made(noise(1, 9, 2, 6, 7, seed=seed)) for seed in range(3)]
    statistics = DilationStatistics(1.0, thresholds)
    values = {size: [] for size in SizeClass}
    per_object = {}
    for number, (layer, truth) in enumerate(zip(fields, images, strict=True)):
        statistics.add(layer, truth)
        for y, x in product(range(6), range(7)):
            holding = [
                (area.item(), box)
                for box, area in zip(truth.boxes.tolist(), truth.area, strict=True)
                if box[0] <= x + 0.5 < box[2] and box[1] <= y + 0.5 < box[3]
            ]
            size = SizeClass.background
            if holding:
                area = min(holding)[0]
                size = SizeClass.small if area < 5 else SizeClass.medium if area < 10 else SizeClass.large
                per_object.setdefault((number, area), []).append(by_hand(layer, y, x))
            values[size].append(by_hand(layer, y, x))
    assert [len(values[size]) for size in SizeClass] == [4, 6, 12, 104]
    for size, expected in values.items():
        spread = statistics.spread(size)
        assert spread.count == len(expected)
        assert spread.mean == pytest.approx(np.mean(expected))
        assert spread.std == pytest.approx(np.std(expected))
    found = statistics.per_object()
    assert {
        (image, area): dilation for image, area, dilation in zip(found.image, found.area, found.dilation, strict=True)
    } == {key: pytest.approx(np.mean(expected)) for key, expected in per_object.items()}


@pytest.mark.parametrize("dilation", [1, 2, 4, 12])
def test_statistics_without_offsets_are_exact(dilation):
    both = (dilation, dilation)
    layer = hand_made(dilation=both, padding=both)
    statistics = DilationStatistics(plain_dilation(layer), Thresholds(medium=4, large=16))
    for _ in range(7):
        statistics.add(layer, objects((0, 0, 1, 1), (2, 2, 5, 5)))
    for size in (SizeClass.small, SizeClass.medium, SizeClass.background):
        assert (statistics.spread(size).mean, statistics.spread(size).std) == (dilation, 0)
    assert np.isnan(statistics.spread(SizeClass.large).mean)
    assert statistics.spread(SizeClass.large).count == 0
    assert (statistics.per_object().dilation == dilation).all()
    assert np.isnan(statistics.per_object().correlation().value)


def test_filters_of_which_nothing_is_known_are_left_out():
    statistics = DilationStatistics(1.0, Thresholds())
    unknown = torch.zeros(6, 7, dtype=torch.bool)
    unknown[2] = True
    statistics.add(hand_made(), objects(unknown=unknown))
    assert statistics.spread(SizeClass.background).count == 5 * 7


def test_no_objects_have_no_correlation():
    found = DilationStatistics(1.0, Thresholds()).per_object()
    assert len(found.image) == len(found.area) == len(found.dilation) == 0
    assert np.isnan(found.correlation().value)
    assert found.correlation().objects == found.correlation().images == 0


def test_larger_objects_with_wider_filters_correlate():
    """The field of each image is as wide as its object is large; there are as many images as an interval needs."""
    statistics = DilationStatistics(1.0, Thresholds())
    points = torch.tensor([(a, b) for a in (-1.0, 0.0, 1.0) for b in (-1.0, 0.0, 1.0)]).reshape(1, 9, 2, 1, 1)
    for side in 2 * (1, 2, 3, 4, 5):
        layer = hand_made((side * points).expand(1, 9, 2, 6, 7))
        statistics.add(layer, objects((0, 0, side, side)))
    correlation = statistics.per_object().correlation()
    assert (correlation.value, correlation.interval.low, correlation.interval.high) == pytest.approx((1, 1, 1))
    assert (correlation.objects, correlation.images) == (10, 10)
