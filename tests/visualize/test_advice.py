"""Each warning with and without its cause."""

from math import isnan

import pytest
import torch

from dcnrun.visualize.advice import layer_warnings
from tests.offsets.factories import SHAPE, between, hand_made, health, masked, moved, noise


def lines(layer, offset_lr_mult=1.0):
    return layer_warnings(health(layer), offset_lr_mult)


def test_healthy_offsets_need_no_words():
    offset = noise(2, 9, 2, 6, 7)
    mask = noise(2, 9, 6, 7).sigmoid() * 2
    assert lines(hand_made(offset, offset_groups=2, mask=mask)) == []


def test_says_where_offsets_never_left_0_and_what_to_turn():
    (line,) = lines(hand_made(noise(*SHAPE, scale=0.01), name="layer4.0.conv2"), offset_lr_mult=0.25)
    assert line.startswith("layer4.0.conv2: the offsets never left 0")
    assert "optim.offset_lr_mult (now 0.25)" in line
    assert lines(hand_made()) != []
    one_place = noise(*SHAPE, scale=0.01)
    one_place[..., :2, :2] += 1  # 4 of 42 places
    assert lines(hand_made(one_place)) == []


def test_says_how_many_points_are_gone():
    gone = moved(4, 50.0)
    gone[0, 0, 1] -= 50
    (line,) = lines(hand_made(gone), offset_lr_mult=2)
    assert "2 of 9 sampling points are gone from the image" in line
    assert "A lower optim.offset_lr_mult (now 2)" in line
    at_a_third_of_the_places = moved(4, 0.0)
    at_a_third_of_the_places[0, 4, :, :2] += 50
    assert lines(hand_made(at_a_third_of_the_places)) == []
    assert health(hand_made(at_a_third_of_the_places)).lost > 0


def test_says_where_groups_do_the_same():
    pattern = noise(*SHAPE)
    alike = torch.cat([pattern, pattern + noise(*SHAPE, scale=0.1, seed=1), pattern])
    (line,) = lines(hand_made(alike, offset_groups=3))
    assert "offset groups all do the same" in line
    assert "conv.offset_groups" in line
    for other in (noise(*SHAPE, seed=1), -pattern, 1.6 * pattern):
        assert lines(hand_made(torch.cat([pattern, other]), offset_groups=2)) == []


def test_says_where_masks_do_nothing():
    (line,) = lines(masked(between(0, 0.04)))
    assert "masks are all about 0 (95 % below 0.05)" in line
    (line,) = lines(masked(between(0.98, 1.02)))
    assert "masks are all about 1.00" in line
    assert lines(masked(between(0, 0.3))) == []
    assert lines(masked(between(0.9, 1.1))) == []


def test_says_where_each_point_has_a_mask_of_its_own_everywhere():
    own = torch.linspace(0.2, 1.8, 9).reshape(1, 9, 1, 1) + 0.01 * noise(1, 9, 6, 7)
    (line,) = lines(masked(own))
    assert "each sampling point's mask is about the same everywhere" in line
    assert "conv=deformable would give the same for less" in line
    varying = own.clone()
    varying[0, 4] = torch.linspace(0, 2, 42).reshape(6, 7)
    assert lines(masked(varying)) == []
    ranges = torch.quantile(varying.flatten(2), 0.95, 2) - torch.quantile(varying.flatten(2), 0.05, 2)
    assert health(masked(varying)).mask.widest_point == pytest.approx(ranges.max().item(), abs=0.05)


@pytest.mark.parametrize("wrong", [float("nan"), float("inf")])
def test_says_where_training_diverged(wrong):
    """By one offset in one of two images, whichever comes first."""
    fine, broken = (hand_made(noise(2, 9, 2, 6, 7), offset_groups=2) for _ in range(2))
    broken.offset[0, 3, 1, 2, 2] = wrong
    for layers in ((fine, broken), (broken, fine)):
        found = health(*layers)
        assert found.offset_max == pytest.approx(wrong, nan_ok=True)
        assert found.offset_quantiles[0.95] < 5
        assert isnan(found.group_similarity)
        (line,) = layer_warnings(found, 0.5)
        assert "some offsets are infinite or not numbers" in line
        assert "optim.offset_lr_mult (now 0.5)" in line


def test_a_layer_without_a_kernel_is_told_of_its_own_settings():
    """There masks stand for weights: that they are alike is no problem."""
    found = health(
        hand_made(
            noise(2, 9, 2, 6, 7)[:1].expand(2, -1, -1, -1, -1), offset_groups=2, mask=torch.full((2, 9, 6, 7), 0.1)
        )
    )
    (line,) = layer_warnings(found, 1.0, has_kernel=False)
    assert "a lower conv.groups would give the same" in line
    still = health(hand_made(mask=torch.full((1, 9, 6, 7), 0.1)))
    (line,) = layer_warnings(still, 1.0, has_kernel=False)
    assert "so it still samples the plain grid" in line
