"""Images with masks as the network sees them: normalised, in step with their masks, and padded so that nothing counts."""

import pytest
import torch
from torchvision import tv_tensors

from dcnrun.config.schema import DataConfig
from dcnrun.data import IGNORE, SegmentationDataset

MEAN, STD = [0.2, 0.4, 0.6], [0.5, 0.25, 0.1]


def config(**settings):
    return DataConfig(**({"flip": 0.0, "mean": MEAN, "std": STD} | settings))


def sample(height=20, width=30, name="painted"):
    """An image whose red is ten times its mask."""
    mask = (torch.arange(height * width) % 24).reshape(height, width).to(torch.uint8)
    image = torch.stack([10 * mask, torch.zeros_like(mask), torch.full_like(mask, 255)])
    return {"image": tv_tensors.Image(image), "mask": tv_tensors.Mask(mask), "name": name}


def batch_of(preparation, *samples, seed=0):
    return preparation.batch([(each, seed) for each in samples], list(range(len(samples))))


def red(image):
    """The red of a normalised image, from 0 to 255."""
    return (image[0] * STD[0] + MEAN[0]) * 255


def test_an_image_is_normalised_and_its_mask_is_not():
    original = sample()
    batch = SegmentationDataset.evaluation(config()).batch_of_one(original, index=7)
    shares = original["image"] / 255
    expected = torch.stack([(share - mean) / std for share, mean, std in zip(shares, MEAN, STD, strict=True)])
    torch.testing.assert_close(batch["image"][0], expected.as_subclass(torch.Tensor))
    assert torch.equal(batch["mask"][0], original["mask"].long())
    assert type(batch["image"]) is type(batch["mask"]) is torch.Tensor
    assert (batch["index"], batch["name"], batch["sizes"]) == ([7], ["painted"], [(20, 30)])


def test_images_of_other_sizes_are_padded_by_the_mean_colour_which_is_ignored():
    batch = batch_of(SegmentationDataset.evaluation(config()), sample(20, 30), sample(25, 12))
    assert batch["image"].shape == (2, 3, 25, 30)
    assert batch["sizes"] == [(20, 30), (25, 12)]
    for image, mask, (height, width) in zip(batch["image"], batch["mask"], batch["sizes"], strict=True):
        outside = torch.ones(25, 30, dtype=torch.bool)
        outside[:height, :width] = False
        assert (image[:, outside] == 0).all()
        assert (mask[outside] == IGNORE).all()
        assert (mask[~outside] != IGNORE).all()


def test_the_truth_is_the_mask_as_it_was_whatever_size_is_evaluated():
    originals = [sample(20, 30), sample(40, 20)]
    batch = batch_of(SegmentationDataset.evaluation(config(eval_short_side=16)), *originals)
    assert batch["sizes"] == [(16, 24), (32, 16)]
    for truth, original in zip(batch["truth"], originals, strict=True):
        assert truth.dtype == torch.uint8
        assert torch.equal(truth, original["mask"])
    assert len({truth.untyped_storage().data_ptr() for truth in batch["truth"]}) == 1


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(
    "settings", [{"flip": 0.5, "vertical_flip": 0.5}, {"crop_size": 16}, {"crop_size": 48}], ids=str
)
def test_what_moves_an_image_moves_its_mask_and_what_a_crop_adds_is_ignored(settings, seed):
    original = sample()
    batch = batch_of(SegmentationDataset.training(config(**settings)), original, seed=seed)
    image, mask = batch["image"][0], batch["mask"][0]
    labelled = mask != IGNORE
    torch.testing.assert_close(red(image)[labelled], 10.0 * mask[labelled], atol=0.01, rtol=0)
    assert labelled.sum() == {16: 16 * 16}.get(settings.get("crop_size"), original["mask"].numel())
    assert batch["truth"] == []


def test_an_image_of_which_nothing_is_known_has_a_mask_that_does_not_count():
    unknown = SegmentationDataset.unlabelled(sample()["image"], "photo")
    batch = SegmentationDataset.evaluation(config()).batch_of_one(unknown)
    assert (batch["mask"] == IGNORE).all()
    assert (batch["truth"][0] == IGNORE).all()
    assert batch["truth"][0].shape == (20, 30)
    assert batch["name"] == ["photo"]
