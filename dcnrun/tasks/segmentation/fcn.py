"""The FCN head (Long et al. 2015) as torchvision has it: a 3x3 hidden layer and a classifier."""

from torch import nn

from dcnrun.config.schema import SegmentationModelConfig


def build_head(model: SegmentationModelConfig, in_channels: int, num_classes: int) -> nn.Module:
    """3x3 hidden layer, dropout, 1x1 scores."""
    return nn.Sequential(
        nn.Conv2d(in_channels, model.head_channels, 3, padding=1, bias=False),
        nn.BatchNorm2d(model.head_channels),
        nn.ReLU(),
        nn.Dropout(0.1),
        nn.Conv2d(model.head_channels, num_classes, 1),
    )
