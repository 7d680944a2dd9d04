"""The health of hand-made layers: numbers against loops over points."""

from dataclasses import replace
from itertools import product
from math import hypot

import pytest
import torch

from dcnrun.offsets.statistics.health import HARDLY_MOVES, MASK_BINS, QUANTILES, Histogram
from tests.offsets.factories import SHAPE, between, hand_made, health, masked, noise


def points_of(layer):
    """(group, point, length, whether it reads only padding, whether it does so without offsets) of every point."""
    (kh, kw), (sy, sx), (py, px), (dy, dx) = layer.kernel_size, layer.stride, layer.padding, layer.dilation

    def only_padding(y, x):
        pixels = product((int(y // 1), int(y // 1) + 1), (int(x // 1), int(x // 1) + 1))
        weights = [(j, i, (1 - abs(y - j)) * (1 - abs(x - i))) for j, i in pixels]
        return not any(w > 0 and 0 <= j < layer.input_size[0] and 0 <= i < layer.input_size[1] for j, i, w in weights)

    for group, a, b, j, i in product(*map(range, (layer.offset_groups, kh, kw, *layer.output_size))):
        y, x = j * sy - py + a * dy, i * sx - px + b * dx
        moved = layer.offset[group, a * kw + b, :, j, i].tolist()
        yield group, a * kw + b, hypot(*moved), only_padding(y + moved[0], x + moved[1]), only_padding(y, x)


@pytest.mark.parametrize(
    "settings", [{}, {"offset_groups": 2, "dilation": (2, 1), "padding": (2, 2), "stride": (2, 1)}]
)
def test_numbers_are_those_of_all_taps(settings):
    shape = hand_made(**settings).offset.shape
    layers = [hand_made(noise(*shape, scale=scale, seed=scale), **settings) for scale in (1, 3)]
    found = health(*layers)
    points = [point for layer in layers for point in points_of(layer)]
    lengths = torch.tensor([length for _, _, length, _, _ in points])
    on_map = [point for point in points if not point[4]]
    assert found.outside == pytest.approx(sum(outside for *_, outside, _ in points) / len(points))
    assert found.plain_outside == pytest.approx(sum(plain for *_, plain in points) / len(points))
    assert found.plain_outside > 0
    assert found.lost == pytest.approx(sum(outside for *_, outside, _ in on_map) / len(on_map))
    assert found.lost > 0
    assert found.still == pytest.approx((lengths < HARDLY_MOVES).float().mean().item())
    assert found.offset_max == pytest.approx(lengths.max().item())
    for share in QUANTILES:
        true = torch.quantile(lengths, share).item()
        assert found.offset_quantiles[share] == pytest.approx(true, rel=0.05, abs=0.01)
    assert found.num_points == 9 * layers[0].offset_groups


def test_tiny_offsets_lose_no_point_though_they_bring_some_in():
    """Points right beside the map come in by any movement towards it: a net count would hide points that are lost."""
    found = health(hand_made(noise(*SHAPE, scale=1e-3)))
    assert found.outside < found.plain_outside
    assert found.lost == 0


def test_a_point_that_is_never_on_the_map_can_t_be_lost():
    """Without padding to speak of, dilation past the map: the corner points read zeros from the start."""
    layer = hand_made(dilation=(6, 7), padding=(6, 7))
    found = health(replace(layer, offset=noise(*layer.offset.shape, scale=0.5)))
    assert found.lost_points == 0


def test_similarity_of_groups():
    a, b = noise(*SHAPE), noise(*SHAPE, seed=1)
    assert health(hand_made(torch.cat([a, a]), offset_groups=2)).group_similarity == pytest.approx(1)
    assert health(hand_made(torch.cat([a, -a]), offset_groups=2)).group_similarity == pytest.approx(-1)
    assert health(hand_made(torch.cat([a, 2 * a]), offset_groups=2)).group_similarity == pytest.approx(0.8)
    pairs = [(a, b), (a, -b), (b, -b)]
    expected = sum(float(2 * (p * q).sum() / (p * p + q * q).sum()) for p, q in pairs) / 3
    layer = hand_made(torch.cat([a, b, -b]), offset_groups=3)
    assert health(layer).group_similarity == pytest.approx(expected, abs=1e-6)
    assert health(layer, layer).group_similarity == pytest.approx(expected, abs=1e-6)
    assert health(hand_made(a)).group_similarity is None
    assert health(hand_made(offset_groups=2)).group_similarity is None


def test_masks_in_numbers():
    mask = between(0, 1.999)
    found = health(masked(mask)).mask
    for share, value in found.quantiles.items():
        assert value == pytest.approx(torch.quantile(mask, share).item(), abs=0.01)
    assert found.histogram == pytest.approx((torch.histc(mask, MASK_BINS, 0, 2) / mask.numel()).tolist(), abs=0.01)
    assert sum(found.histogram) == pytest.approx(1)
    assert health(hand_made()).mask is None


SHARES = (0.05, 0.5, 0.95)


def test_quantiles_are_right_to_a_bin_whatever_the_batches():
    values = torch.rand(10_000, generator=torch.Generator().manual_seed(0)) ** 3
    histogram = Histogram(torch.linspace(0.01, 0.9, 90))
    for part in values.split(777):
        histogram.add(part.reshape(-1, 1))
    for share, found in histogram.quantiles(SHARES).items():
        true = torch.quantile(values, share, interpolation="lower").item()
        assert true - 0.01 - 1e-6 <= found <= true


def test_ends_and_nothing():
    histogram = Histogram(torch.tensor([1.0, 2.0]))
    assert all(value != value for value in histogram.quantiles(SHARES).values())
    histogram.add(torch.tensor([0.0, 0.5, float("inf"), float("nan")]))
    assert histogram.quantiles((0.25, 0.5, 0.75, 1.0)) == {0.25: 0, 0.5: 0, 0.75: 2, 1.0: 2}


def test_a_value_on_an_edge_is_in_the_bin_above_it():
    """As decimals are in float32, too, where 0.9 is a little less than 0.9."""
    fine, coarse = (torch.linspace(0, 2, edges, dtype=torch.float64) for edges in (2001, 21))
    for place, value in enumerate(i / 10 for i in range(20)):
        histogram = Histogram(fine)
        histogram.add(torch.tensor([value]))
        assert histogram.shares_between(coarse[:-1]).index(1.0) == place
        assert histogram.quantiles((0.5,))[0.5] == pytest.approx(value)


def test_shares_of_coarser_bins():
    histogram = Histogram(torch.linspace(0, 2, 21))
    histogram.add(torch.tensor([0.0, 0.31, 0.5, 0.99, 1.0, 1.9, 2.0, 7.0]))
    assert histogram.shares_between(torch.tensor([0.0, 0.5, 1.0, 1.5])) == pytest.approx([0.25, 0.25, 0.125, 0.375])
