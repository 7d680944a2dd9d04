"""Networks for segmentation: a backbone with a head that gives class scores of every pixel, or a network of a library."""

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.segmentation.deeplabv3 import ASPP

from dcnrun.config.schema import SegmentationModelConfig, SmpConfig
from dcnrun.models.backbones import StagedBackbone
from dcnrun.models.encoders import build_network
from dcnrun.models.weights import Weights


class SegmentationNetwork(nn.Module):
    """Scores of the head, brought back to the image's size by bilinear interpolation."""

    def __init__(self, backbone: StagedBackbone, head: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head

    def forward(self, image: Tensor) -> Tensor:
        """(N, 3, H, W) normalised image to (N, classes, H, W) logits."""
        scores = self.head(self.backbone(image))
        return F.interpolate(scores.float(), image.shape[-2:], mode="bilinear", align_corners=False)


def deeplab(model: SegmentationModelConfig, in_channels: int, num_classes: int) -> nn.Module:
    """Return the DeepLab head of the DCN papers: hidden layer (fc6), ReLU, 1x1 scores of the last feature map.

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


def deeplabv3(model: SegmentationModelConfig, in_channels: int, num_classes: int) -> nn.Module:
    """Return the DeepLabv3 head (Chen et al. 2017): torchvision's atrous spatial pyramid pooling, a 3x3 layer, 1x1 scores.

    Its rates are the paper's for the output stride.
    """
    rates = (12, 24, 36) if model.output_stride == 8 else (6, 12, 18)
    channels = model.head_channels
    return nn.Sequential(
        ASPP(in_channels, rates, channels),
        nn.Conv2d(channels, channels, 3, padding=1, bias=False),
        nn.BatchNorm2d(channels),
        nn.ReLU(),
        nn.Conv2d(channels, num_classes, 1),
    )


def fcn(model: SegmentationModelConfig, in_channels: int, num_classes: int) -> nn.Module:
    """Return the FCN head (Long et al. 2015) as torchvision has it: 3x3 hidden layer, dropout, 1x1 scores."""
    return nn.Sequential(
        nn.Conv2d(in_channels, model.head_channels, 3, padding=1, bias=False),
        nn.BatchNorm2d(model.head_channels),
        nn.ReLU(),
        nn.Dropout(0.1),
        nn.Conv2d(model.head_channels, num_classes, 1),
    )


class SmpNetwork(nn.Module):
    """An architecture of segmentation_models.pytorch on one of its encoders, for images of any size.

    `backbone` is the library's network as a whole, with `encoder`, `decoder` and `segmentation_head`: what is in it can be
    replaced.
    """

    def __init__(self, model: SmpConfig, num_classes: int, bands: int, weights: Weights | None) -> None:
        super().__init__()
        network: Any = build_network(model, bands, num_classes)
        if weights:
            weights.load_into_backbone(network.encoder, model.encoder, "model.encoder")
        self.backbone = network
        self.stride: int = network.encoder.output_stride

    def forward(self, image: Tensor) -> Tensor:
        """(N, bands, H, W) normalised image to (N, classes, H, W) logits.

        Zeros at the right and below bring it to the sides that the library takes, multiples of its last feature map's stride.
        """
        height, width = image.shape[-2:]
        scores: Tensor = self.backbone(F.pad(image, (0, -width % self.stride, 0, -height % self.stride)))
        return scores[..., :height, :width].float()
