"""The DeepLabv3 head (Chen et al. 2017): atrous spatial pyramid pooling, from torchvision."""

from torch import nn
from torchvision.models.segmentation.deeplabv3 import ASPP

from dcnrun.config.schema import SegmentationModelConfig


def build_head(model: SegmentationModelConfig, in_channels: int, num_classes: int) -> nn.Module:
    """ASPP with the paper's rates for the output stride, a 3x3 layer, 1x1 scores."""
    rates = (12, 24, 36) if model.output_stride == 8 else (6, 12, 18)
    channels = model.head_channels
    return nn.Sequential(
        ASPP(in_channels, rates, channels),
        nn.Conv2d(channels, channels, 3, padding=1, bias=False),
        nn.BatchNorm2d(channels),
        nn.ReLU(),
        nn.Conv2d(channels, num_classes, 1),
    )
