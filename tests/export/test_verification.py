"""Exported files on validation images: what is counted, and what is refused."""

import dataclasses
import math

import pytest
import torch
from torch import nn

from dcnrun.config.compose import compose
from dcnrun.data import build_dataset
from dcnrun.errors import DcnrunError
from dcnrun.export.verification import agreement
from tests.training.factories import TINY

CLASSES = 8


class ByBrightness(nn.Module):
    """A class of a pixel, by its value in the first band."""

    def __init__(self, shift: float = 0.0) -> None:
        super().__init__()
        self.shift = shift
        self.seen: list[torch.Size] = []

    def forward(self, image):
        self.seen.append(image.shape)
        levels = torch.linspace(-2, 2, CLASSES).reshape(1, -1, 1, 1)
        return -((image[:, :1] - levels) ** 2) + self.shift * (levels > 0) * (image.shape[-1] == 48)


@pytest.fixture(scope="module")
def config():
    return compose([*TINY, "data.val_images=7"])


def of(config, ours, theirs, limit=100, size=None, tolerance=1.0):
    return agreement(theirs, ours, config, build_dataset(config.data, "val"), limit, size, tolerance)


def test_equal_networks_agree(config):
    agreed = of(config, ByBrightness(), ByBrightness())
    assert (agreed.images, agreed.images_of_the_set, agreed.changed_labels, agreed.largest_difference) == (7, 7, 0, 0)
    assert agreed.metrics == agreed.pytorch_metrics


def test_other_labels_are_counted_and_scored(config):
    shifted = ByBrightness(0.5)
    agreed = of(config, shifted, ByBrightness())
    dataset, counts = build_dataset(config.data, "val"), []
    for batch in map(dataset.evaluation(config.data).batch_of_one, dataset):
        ours, theirs = (network(batch["image"]).argmax(1) for network in (shifted, ByBrightness()))
        counts.append((ours != theirs).float().mean())
    assert agreed.changed_labels == pytest.approx(float(sum(counts)) / 7)
    assert 0 < agreed.changed_labels < 1
    assert agreed.metrics != agreed.pytorch_metrics
    assert agreed.largest_difference == 0.5


def test_the_rule_of_8_bits(config):
    """By the score, and by labels: equal scores of other labels are chance."""
    agreed = dataclasses.replace(of(config, ByBrightness(), ByBrightness()), pytorch_metrics={"val/miou": 0.5})
    agreed = dataclasses.replace(agreed, metrics={"val/miou": 0.48}, changed_labels=0.1)
    assert agreed.lost_points("val/miou") == pytest.approx(2)
    agreed.require_quality("val/miou", 2.1)
    refused = r"the file in 8 bits scores 2 points below PyTorch \(val/miou\), and changes the labels of 10 % .* allowed are 1.9 points"
    with pytest.raises(DcnrunError, match=refused):
        agreed.require_quality("val/miou", 1.9)
    with pytest.raises(
        DcnrunError, match=r"labels of 11 % of the pixels; allowed are 3 points \(--max-drop\) and 10 %"
    ):
        dataclasses.replace(agreed, changed_labels=0.11).require_quality("val/miou", 3)
    with pytest.raises(DcnrunError):
        dataclasses.replace(agreed, metrics={"val/miou": math.nan}).require_quality("val/miou", 3)


def test_a_limit_takes_images_from_all_over_the_set(config):
    ours = ByBrightness()
    agreed = of(config, ours, ByBrightness(), limit=3, size=(32, 64))
    assert (agreed.images, agreed.images_of_the_set) == (3, 7)
    assert set(ours.seen) == {(1, 3, 32, 64)}


def test_differences_that_are_too_large(config):
    with pytest.raises(DcnrunError, match=r"On 7 validation images the file's output differs from PyTorch's by 0\.5"):
        of(config, ByBrightness(0.5), ByBrightness(), tolerance=1e-3)
