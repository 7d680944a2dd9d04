"""Augmentation and normalisation: image and mask in step, padding told apart, values exact."""

import numpy as np
import pytest
import torch
from torch.nn.functional import max_pool2d
from torchvision import tv_tensors
from torchvision.transforms.v2.functional import elastic, rotate

from dcnrun.config.schema import DataConfig
from dcnrun.data import IGNORE
from dcnrun.data.mask_batches import evaluation_transform, training_transform
from dcnrun.data.transforms import ShortSide, augmentation, displacement


def config(**settings):
    return DataConfig(**settings)


def coded_sample(height=40, width=56):
    """An image whose colour is its label, in blocks."""
    blocks = torch.randint(0, 5, (height // 8, width // 8), dtype=torch.uint8)
    mask = blocks.repeat_interleave(8, 0).repeat_interleave(8, 1)
    return {
        "image": tv_tensors.Image((mask * 50).expand(3, -1, -1).clone()),
        "mask": tv_tensors.Mask(mask),
        "name": "coded",
    }


def bytes_of(image, settings):
    """Back from normalised values to 0 to 255."""
    mean, std = torch.tensor(settings.mean)[:, None, None], torch.tensor(settings.std)[:, None, None]
    return (image * std + mean) * 255


def test_evaluation_only_normalises():
    settings = config(crop_size=16, scale_min=0.5, scale_max=2.0, flip=1.0, color_jitter=1.0)
    sample = coded_sample()
    image, mask, truth = evaluation_transform(settings)(sample)
    mean, std = torch.tensor(settings.mean), torch.tensor(settings.std)
    expected = (sample["image"].as_subclass(torch.Tensor) / 255 - mean[:, None, None]) / std[:, None, None]
    torch.testing.assert_close(image, expected)
    assert torch.equal(mask, sample["mask"].long())
    assert torch.equal(truth, sample["mask"])
    assert type(image) is type(mask) is type(truth) is torch.Tensor
    assert image.dtype == torch.float32


def test_ignored_pixels_stay_ignored():
    sample = coded_sample()
    sample["mask"][:3] = IGNORE
    for transform in (evaluation_transform(config()), training_transform(config())):
        assert (transform(sample).mask[:3] == IGNORE).all()


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("crop", [0, 24, 50, 80])
def test_image_and_mask_move_together(seed, crop):
    torch.manual_seed(seed)
    settings = config(crop_size=crop, flip=0.5, vertical_flip=0.5)
    image, mask, _ = training_transform(settings)(coded_sample())
    pixels = bytes_of(image, settings).round()
    inside = mask != IGNORE
    assert inside.any()
    assert (pixels[:, inside] == 50 * mask[inside]).all()
    if crop:
        assert mask.shape == (crop, crop)
        assert image.shape == (3, crop, crop)
    if crop == 80:  # larger than the image both ways: all of it is there
        assert inside.sum() == 40 * 56


@pytest.mark.parametrize("seed", range(8))
def test_they_resize_together(seed):
    torch.manual_seed(seed)
    settings = config(scale_min=0.5, scale_max=2.0)
    image, mask, _ = training_transform(settings)(coded_sample())
    assert image.shape[1:] == mask.shape
    pixels = bytes_of(image, settings)[0]
    # away from the borders of the blocks, where colours mix
    assert ((pixels - 50 * mask).abs() < 2).float().mean() > 0.5
    assert mask.max() < 5, "labels are never mixed"


@pytest.mark.parametrize("side", [32, 43, 64, 90, 200])
def test_a_pixel_of_a_resized_mask_is_the_one_at_its_centre(side):
    row = torch.arange(64, dtype=torch.uint8)
    columns, rows = row.expand(64, 64), row[:, None].expand(64, 64)
    image = tv_tensors.Image(torch.zeros(3, 64, 64, dtype=torch.uint8))
    masks = tv_tensors.Mask(torch.stack([columns, rows]))
    _, of_objects, of_pixels = ShortSide([side], 0)(image, masks, tv_tensors.Mask(columns))
    centres = [int((place + 0.5) * 64 / side) for place in range(side)]
    assert of_pixels.tolist() == [centres] * side
    assert of_objects.tolist() == [[centres] * side, [[centre] * side for centre in centres]]
    assert of_pixels.dtype == of_objects.dtype == torch.uint8
    _, no_object = ShortSide([side], 0)(image, tv_tensors.Mask(masks[:0]))
    assert no_object.shape == (0, side, side)


def test_the_truth_stays_as_it_was():
    sample = coded_sample()
    _, mask, truth = evaluation_transform(config(eval_short_side=20))(sample)
    assert mask.shape == (20, 28)
    assert torch.equal(truth, sample["mask"])


def test_sizes_span_the_range_of_scales():
    transform = training_transform(config(scale_min=0.5, scale_max=1.5))
    sample = coded_sample()
    heights = []
    for seed in range(60):
        torch.manual_seed(seed)
        image = transform(sample).image
        heights.append(image.shape[1])
        assert image.shape[2] == pytest.approx(image.shape[1] * 56 / 40, abs=1.3)
    assert 20 <= min(heights) < 24
    assert 56 < max(heights) <= 60


def test_padding_is_the_mean_colour():
    settings = config(crop_size=64, flip=0.0)
    image, mask, _ = training_transform(settings)(coded_sample())
    outside = image[:, mask == IGNORE]
    assert outside.numel() > 0
    # the mean colour of 8 bits is at most half a step from the mean
    assert (outside.abs() <= 0.5 / 255 / torch.tensor(settings.std)[:, None] + 1e-6).all()


@pytest.mark.parametrize(("setting", "dimension"), [("flip", -1), ("vertical_flip", -2)])
def test_flips(setting, dimension):
    sample = coded_sample()
    plain, turned = (
        training_transform(config(**{"flip": 0.0, setting: probability}))(sample) for probability in (0.0, 1.0)
    )
    assert torch.equal(plain.image.flip(dimension), turned.image)
    assert torch.equal(plain.mask.flip(dimension), turned.mask)


def test_quarter_turns_are_those_of_numpy():
    sample = coded_sample()
    transform = training_transform(config(flip=0.0, quarter_turns=True))
    plain = training_transform(config(flip=0.0))(sample)
    seen = set()
    for seed in range(16):
        torch.manual_seed(seed)
        image, mask, _ = transform(sample)
        (turns,) = (n for n in range(4) if np.array_equal(np.rot90(plain.mask, n), mask))
        assert np.array_equal(np.rot90(plain.image, turns, (1, 2)), image)
        seen.add(turns)
    assert seen == {0, 1, 2, 3}


NOWHERE = torch.zeros(2, 3, 3)


@pytest.mark.parametrize("degrees", [-130.0, -20.0, 7.5, 45.0, 90.0])
def test_a_mask_turns_to_the_left_about_the_centre(degrees):
    """A disc and a square against their own turned outlines, to half a pixel, and torchvision's rotation."""
    height, width, radius, half = 80, 100, 9, 8
    y, x = (torch.arange(side) - (side - 1) / 2 for side in (height, width))
    x, y = x.expand(height, width), y[:, None].expand(height, width)
    angle = torch.deg2rad(torch.tensor(degrees))
    disc = ((x - 15) ** 2 + (y + 10) ** 2).sqrt() - radius
    square = torch.maximum((x + 12).abs(), (y - 5).abs()) - half
    masks = tv_tensors.Mask((torch.stack([disc, square]) <= 0).to(torch.uint8))
    moved = elastic(masks, displacement(height, width, degrees, NOWHERE), fill=0)
    # y points down: to the left, a point (x, y) comes to (x cos + y sin, y cos - x sin)
    disc_x, disc_y = 15 * angle.cos() - 10 * angle.sin(), -10 * angle.cos() - 15 * angle.sin()
    turned_disc = ((x - disc_x) ** 2 + (y - disc_y) ** 2).sqrt() - radius
    square_x, square_y = -12 * angle.cos() + 5 * angle.sin(), 5 * angle.cos() + 12 * angle.sin()
    along = (x - square_x) * angle.cos() - (y - square_y) * angle.sin()
    across = (x - square_x) * angle.sin() + (y - square_y) * angle.cos()
    turned_square = torch.maximum(along.abs(), across.abs()) - half
    for mask, outside in zip(moved, (turned_disc, turned_square), strict=True):
        assert (mask[outside < -0.75] == 1).all()
        assert (mask[outside > 0.75] == 0).all()
        assert mask.sum() > 200
    assert (moved != rotate(masks, degrees)).float().mean() < 0.002  # ties


def test_points_are_displaced_by_what_was_drawn():
    points = torch.arange(18.0).view(2, 3, 3)
    field = displacement(41, 61, 0.0, points)[0]
    in_pixels = field * torch.tensor([61, 41]) / 2
    at_points = in_pixels[[0, 20, 40]][:, [0, 30, 60]]
    torch.testing.assert_close(at_points.permute(2, 0, 1), points, atol=1e-4, rtol=0)


def test_an_even_displacement_shifts_whole_pixels():
    mask = tv_tensors.Mask(torch.randint(0, 5, (40, 56), dtype=torch.uint8))
    points = torch.tensor([3.0, -2.0])[:, None, None].expand(2, 3, 3)
    moved = elastic(mask, displacement(40, 56, 0.0, points), fill=IGNORE)
    assert torch.equal(moved[2:, :-3], mask[:-2, 3:])
    assert (moved[:2] == IGNORE).all()
    assert (moved[:, -3:] == IGNORE).all()


@pytest.mark.parametrize("deep", [False, True])
@pytest.mark.parametrize(
    "warp", [{"random_rotation": 45.0}, {"elastic": 4.0}, {"random_rotation": 45.0, "elastic": 4.0}]
)
def test_rotation_and_deformation_move_image_and_mask_together_and_ignore_what_is_beyond(warp, deep):
    sample = coded_sample(64, 96)
    if deep:
        sample["image"] = tv_tensors.Image(sample["image"].float() / 255)
    settings = config(flip=0.0, **warp)
    beyond = 0
    for seed in range(4):
        torch.manual_seed(seed)
        image, mask, truth = training_transform(settings)(sample)
        assert image.shape[1:] == mask.shape == (64, 96)
        assert torch.equal(truth, sample["mask"])
        assert set(mask.unique().tolist()) <= {0, 1, 2, 3, 4, IGNORE}, "labels are never mixed"
        outside = mask == IGNORE
        # away from the borders of the blocks, where colours mix
        near = (bytes_of(image, settings) - 50 * mask).abs() < 1
        assert near[:, ~outside].float().mean() > 0.5
        far = -max_pool2d(-outside[None].float(), 3, 1, 1)[0] > 0
        assert (image[:, far].abs() <= 0.5 / 255 / torch.tensor(settings.std)[:, None] + 1e-5).all()
        beyond += int(far.sum())
    assert beyond > 20


def test_what_is_off_draws_nothing():
    """Runs from before these settings see what they saw."""
    (only,) = augmentation(config(), mask_padding=IGNORE)
    assert type(only).__name__ == "RandomHorizontalFlip"
    sample = coded_sample()
    torch.manual_seed(0)
    training_transform(config())(sample)
    after = torch.rand(1)
    torch.manual_seed(0)
    torch.rand(1)  # whether to flip
    assert torch.equal(after, torch.rand(1))


def test_colours_jitter_without_moving_labels():
    torch.manual_seed(0)
    sample = coded_sample()
    plain = training_transform(config(flip=0.0))(sample)
    jittered = training_transform(config(flip=0.0, color_jitter=0.5))(sample)
    assert torch.equal(plain.mask, jittered.mask)
    assert (plain.image - jittered.image).abs().max() > 0.1


def test_leaves_the_sample_as_it_was():
    sample = coded_sample()
    before = sample["image"].clone(), sample["mask"].clone()
    training_transform(config(crop_size=24, color_jitter=0.5, scale_max=1.5))(sample)
    assert torch.equal(sample["image"], before[0])
    assert torch.equal(sample["mask"], before[1])
