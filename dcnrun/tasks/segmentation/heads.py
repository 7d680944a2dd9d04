"""Networks for segmentation: a backbone with a head that gives class scores of every pixel, or a network of a library."""

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.segmentation.deeplabv3 import ASPP
from torchvision.ops import Conv2dNormActivation

from dcnrun.config.schema import DeepLabV3PlusConfig, HeadDesign, SegmentationModelConfig, SmpConfig
from dcnrun.models.backbones import StagedBackbone
from dcnrun.models.encoders import build_network
from dcnrun.models.weights import Weights

_DROPOUT = 0.1


class SegmentationNetwork(nn.Module):
    """Scores of the head, brought back to the image's size by bilinear interpolation."""

    def __init__(self, backbone: StagedBackbone, head: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head

    def forward(self, image: Tensor) -> Tensor:
        """(N, 3, H, W) normalised image to (N, classes, H, W) logits."""
        return _resized(self.head(self.backbone(image)).float(), image)


class DeepLabV3Plus(nn.Module):
    """DeepLabv3+ (Chen et al. 2018): what the pyramid finds in c5 is refined at the resolution of c2.

    Its layers are those of mmsegmentation's `DepthwiseSeparableASPPHead`.
    """

    def __init__(self, model: DeepLabV3PlusConfig, backbone: StagedBackbone, num_classes: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = _DeepLabV3PlusHead(model, backbone.channels, num_classes)

    def forward(self, image: Tensor) -> Tensor:
        """(N, 3, H, W) normalised image to (N, classes, H, W) logits."""
        features = self.backbone.features(image)
        return _resized(self.head(features["c5"], features["c2"]).float(), image)


def _resized(scores: Tensor, like: Tensor) -> Tensor:
    """Bring a map to the height and width of another by bilinear interpolation."""
    return F.interpolate(scores, like.shape[-2:], mode="bilinear", align_corners=False)


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

    Its rates are the paper's for the output stride. In mmsegmentation's design the 3x3 layer stands in the place of the pyramid's
    own last layer, which is 1x1.
    """
    channels = model.head_channels
    if model.head_design is HeadDesign.openmmlab:
        return nn.Sequential(_pyramid(model, in_channels), nn.Dropout(_DROPOUT), nn.Conv2d(channels, num_classes, 1))
    return nn.Sequential(
        ASPP(in_channels, _rates(model), channels),
        nn.Conv2d(channels, channels, 3, padding=1, bias=False),
        nn.BatchNorm2d(channels),
        nn.ReLU(),
        nn.Conv2d(channels, num_classes, 1),
    )


def fcn(model: SegmentationModelConfig, in_channels: int, num_classes: int) -> nn.Module:
    """Return the FCN head (Long et al. 2015) as torchvision has it, 3x3 hidden layer, dropout, 1x1 scores, or as mmsegmentation does."""
    if model.head_design is HeadDesign.openmmlab:
        return _ConcatenatingFcn(in_channels, model.head_channels, num_classes)
    return nn.Sequential(
        nn.Conv2d(in_channels, model.head_channels, 3, padding=1, bias=False),
        nn.BatchNorm2d(model.head_channels),
        nn.ReLU(),
        nn.Dropout(_DROPOUT),
        nn.Conv2d(model.head_channels, num_classes, 1),
    )


class _ConcatenatingFcn(nn.Module):
    """mmsegmentation's `FCNHead`: two 3x3 layers, and one that sees their output beside their input, then 1x1 scores."""

    def __init__(self, in_channels: int, channels: int, num_classes: int) -> None:
        super().__init__()
        self.hidden = nn.Sequential(
            Conv2dNormActivation(in_channels, channels), Conv2dNormActivation(channels, channels)
        )
        self.merged = Conv2dNormActivation(in_channels + channels, channels)
        self.scores = nn.Sequential(nn.Dropout(_DROPOUT), nn.Conv2d(channels, num_classes, 1))

    def forward(self, features: Tensor) -> Tensor:
        """(N, C, H, W) to (N, classes, H, W)."""
        merged = self.merged(torch.cat([features, self.hidden(features)], dim=1))
        scores: Tensor = self.scores(merged)
        return scores


class _DeepLabV3PlusHead(nn.Module):
    """The pyramid on c5, in depth-wise separable layers, refined beside c2 by two such layers of 3x3, then 1x1 scores."""

    def __init__(self, model: DeepLabV3PlusConfig, channels: Mapping[str, int], num_classes: int) -> None:
        super().__init__()
        hidden, fine = model.head_channels, model.fine_channels
        self.pyramid = _pyramid(model, channels["c5"])
        for nth, rate in enumerate(_rates(model), start=1):
            self.pyramid.convs[nth] = _separable(channels["c5"], hidden, rate)
        self.fine = Conv2dNormActivation(channels["c2"], fine, kernel_size=1)
        self.refined = nn.Sequential(_separable(hidden + fine, hidden), _separable(hidden, hidden))
        self.scores = nn.Sequential(nn.Dropout(_DROPOUT), nn.Conv2d(hidden, num_classes, 1))

    def forward(self, c5: Tensor, c2: Tensor) -> Tensor:
        """Both stages' features to (N, classes, H, W) at the size of c2."""
        fine = self.fine(c2)
        scores: Tensor = self.scores(self.refined(torch.cat([_resized(self.pyramid(c5), fine), fine], dim=1)))
        return scores


def _rates(model: SegmentationModelConfig) -> tuple[int, int, int]:
    """Return the dilations of Chen et al. 2017 for the output stride."""
    return (12, 24, 36) if model.output_stride == 8 else (6, 12, 18)


def _pyramid(model: SegmentationModelConfig, in_channels: int) -> ASPP:
    """Return atrous spatial pyramid pooling as mmsegmentation has it: torchvision's, whose last layer is 3x3 and drops nothing."""
    pyramid = ASPP(in_channels, _rates(model), model.head_channels)
    pyramid.project = Conv2dNormActivation(len(pyramid.convs) * model.head_channels, model.head_channels)
    return pyramid


def _separable(in_channels: int, out_channels: int, dilation: int = 1) -> nn.Sequential:
    """Return a 3x3 layer in each channel alone, then a 1x1 layer across them."""
    return nn.Sequential(
        Conv2dNormActivation(in_channels, in_channels, dilation=dilation, groups=in_channels),
        Conv2dNormActivation(in_channels, out_channels, kernel_size=1),
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
