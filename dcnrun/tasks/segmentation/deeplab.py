"""The DeepLab head of the DCN papers: a hidden layer and a classifier on the last feature map."""

from torch import nn

from dcnrun.config.schema import SegmentationModelConfig


def build_head(model: SegmentationModelConfig, in_channels: int, num_classes: int) -> nn.Module:
    """Hidden layer (fc6), ReLU, 1x1 scores.

    With `head_kernel=1` as in the released code of Dai et al. 2017 (there with 1024 channels); with 3 and
    `head_dilation=12` it is the large field of view of Chen et al. 2015.
    """
    dilation = model.head_dilation if model.head_kernel == 3 else 1
    padding = dilation * (model.head_kernel - 1) // 2
    return nn.Sequential(
        nn.Conv2d(in_channels, model.head_channels, model.head_kernel, padding=padding, dilation=dilation, bias=False),
        nn.BatchNorm2d(model.head_channels),
        nn.ReLU(inplace=True),
        nn.Conv2d(model.head_channels, num_classes, 1),
    )
