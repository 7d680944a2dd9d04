"""Predictions are in pixels of the images as the data set has them."""

import pytest
import torch
from torch import nn
from torchvision import tv_tensors

from dcnrun.config.compose import compose
from dcnrun.config.schema import DataConfig
from dcnrun.data import IGNORE, SegmentationDataset, eval_batches
from dcnrun.tasks.segmentation.task import Segmentation

SIZES = [(30, 40), (36, 24), (19, 17)]  # height, width


class Squares(SegmentationDataset):
    """Images that show their masks: a white square on black; the first row has no label."""

    classes = ("black", "white")

    def __len__(self):
        return len(SIZES)

    def __getitem__(self, index):
        mask = torch.zeros(SIZES[index], dtype=torch.uint8)
        mask[5:14, 6:15] = 1
        image = 255 * mask.expand(3, -1, -1)
        mask[0] = IGNORE
        return {"image": tv_tensors.Image(image), "mask": tv_tensors.Mask(mask), "name": self.name(index)}

    def name(self, index):
        return str(index)


class Brightness(nn.Module):
    """Says of each pixel whether it is brighter than half."""

    def forward(self, image):
        return torch.stack([torch.full_like(image[:, 0], 0.5), image[:, 0]], dim=1)


@pytest.mark.parametrize("short_side", [0, 16, 31, 100])
@pytest.mark.parametrize("together", [1, 3])
def test_images_of_any_size_are_scored_at_their_own(short_side, together):
    config = settings(eval_short_side=short_side, eval_batch_size=together)
    evaluator = Segmentation().evaluator(Squares())
    for batch in eval_batches(Squares(), config):
        evaluator.update(Segmentation().predict(Brightness(), batch), batch)
    result = evaluator.result()
    truth = result.images.confusion.sum(-1)
    assert truth.tolist() == [[(height - 1) * width - 81, 81] for height, width in SIZES]
    assert result.metrics["val/miou"] > (0.9 if short_side == 16 else 0.97)


def test_where_nothing_is_resized_the_largest_score_decides():
    network = nn.Conv2d(3, 7, 3, padding=1)
    for batch, size in zip(eval_batches(Squares(), settings(eval_batch_size=3)), SIZES, strict=True):
        (prediction,) = Segmentation().predict(network, batch)
        assert prediction.shape == size
        assert torch.equal(prediction, network(batch["image"]).argmax(1)[0])


@pytest.mark.parametrize(
    ("head", "batch_size", "devices", "least"),
    [("deeplabv3", 1, 1, 2), ("deeplabv3", 2, 2, 4), ("deeplabv3", 2, 1, None), ("deeplab", 1, 1, None)],
)
def test_a_batch_that_cannot_be_normalised(head, batch_size, devices, least):
    """torchvision's ASPP pools an image to one pixel before it normalises."""
    config = compose([f"model={head}", f"data.batch_size={batch_size}", f"trainer.devices={devices}"])
    problems = list(Segmentation().problems(config))
    if least is None:
        assert problems == []
    else:
        assert f"data.batch_size={batch_size} must be at least {least} with model=deeplabv3" in problems[0]


def settings(**values):
    return DataConfig(workers=0, mean=[0.0] * 3, std=[1.0] * 3, **values)
