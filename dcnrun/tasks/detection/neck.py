"""What stands between a backbone and a detector: maps of equal channels, and how many input pixels theirs are apart."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.image_list import ImageList
from torchvision.ops import Conv2dNormActivation, FeaturePyramidNetwork
from torchvision.ops.feature_pyramid_network import ExtraFPNBlock, LastLevelMaxPool, LastLevelP6P7

from dcnrun.models.backbones import StagedBackbone


class Pyramid(FeaturePyramidNetwork):  # type: ignore[misc]
    """Feature pyramid (Lin et al. 2017): p2 on stage c2 and so on, and coarser levels on top.

    `channels` and `strides` (input pixels per pixel) are those of each level, the finest first. Where the backbone's last
    stages are dilated instead of strided, levels share a stride; they still differ in what they are made of.
    """

    def __init__(
        self,
        backbone: StagedBackbone,
        stages: list[str],
        channels: int,
        norm: bool,
        top: ExtraFPNBlock,
        on_top: list[str],
    ) -> None:
        norm_layer = group_norm if norm else None
        super().__init__([backbone.channels[stage] for stage in stages], channels, top, norm_layer)
        self.stages = {stage: stage.replace("c", "p") for stage in stages}
        self.strides = {level: backbone.strides[stage] for stage, level in self.stages.items()}
        for nth, level in enumerate(on_top, start=1):
            self.strides[level] = backbone.strides["c5"] * 2**nth
        self.channels = dict.fromkeys(self.strides, channels)

    def forward(self, features: dict[str, Tensor]) -> dict[str, Tensor]:
        """The backbone's features to each level's (N, channels, H / stride, W / stride), rounded up."""
        levels: dict[str, Tensor] = super().forward({level: features[stage] for stage, level in self.stages.items()})
        return levels


def faster_rcnn_pyramid(backbone: StagedBackbone, channels: int, norm: bool) -> Pyramid:
    """Levels p2 to p5, and p6 for proposals alone: every second pixel of p5 (Lin et al. 2017)."""
    return Pyramid(backbone, ["c2", "c3", "c4", "c5"], channels, norm, LastLevelMaxPool(), ["pool"])


def retinanet_pyramid(backbone: StagedBackbone, channels: int, norm: bool) -> Pyramid:
    """Levels p3 to p5, and p6 and p7 by strided convolutions of p5, as torchvision has it."""
    return Pyramid(backbone, ["c3", "c4", "c5"], channels, norm, _P6P7(channels, channels), ["p6", "p7"])


class _P6P7(LastLevelP6P7):  # type: ignore[misc]
    """torchvision's, in fp32 under autocast too.

    Where p6 is a single pixel, as of an image of 64, PyTorch 2.14 leaves most of the gradient of p7's kernel unwritten on
    CPUs in bf16: whatever lay in that memory, often no number.
    """

    def forward(self, p: list[Tensor], c: list[Tensor], names: list[str]) -> tuple[list[Tensor], list[str]]:
        levels: tuple[list[Tensor], list[str]]
        device = p[-1].device.type
        if device != "meta" and torch.is_autocast_enabled(device):
            with torch.autocast(device, enabled=False):
                levels = super().forward([*p[:-1], p[-1].float()], [c[-1].float()], names)
        else:
            levels = super().forward(p, c, names)
        return levels


class DilatedC5(nn.Module):
    """The maps of DCNv1's Faster R-CNN (Dai et al. 2017, section 4.1): c4, and c5 at the same stride in fewer channels."""

    def __init__(self, backbone: StagedBackbone, channels: int) -> None:
        super().__init__()
        self.strides = {stage: backbone.strides[stage] for stage in ("c4", "c5")}
        self.channels = {"c4": backbone.channels["c4"], "c5": channels}
        self.reduce = Conv2dNormActivation(backbone.channels["c5"], channels, kernel_size=1, norm_layer=None)

    def forward(self, features: dict[str, Tensor]) -> dict[str, Tensor]:
        """The backbone's features to `c4` as it is and `c5` (N, channels, H / stride, W / stride), rounded up."""
        return {"c4": features["c4"], "c5": self.reduce(features["c5"])}


def group_norm(channels: int) -> nn.GroupNorm:
    """Group normalisation (Wu and He 2018) with 8 channels in a group, as 32 groups of 256 have, or all where 8 don't fit."""
    return nn.GroupNorm(channels // 8 if channels % 8 == 0 else 1, channels)


class Anchors(AnchorGenerator):  # type: ignore[misc]
    """torchvision's anchors, at given strides: `sizes` per level, each in every one of the `ratios` (height / width).

    Its own generator divides the image's size by the map's, which is wrong wherever a map was rounded up, and makes the
    anchors in the features' precision.
    """

    def __init__(self, sizes: Sequence[Sequence[float]], ratios: Sequence[float], strides: Sequence[int]) -> None:
        super().__init__(tuple(map(tuple, sizes)), (tuple(ratios),) * len(sizes))
        self.strides = [[stride, stride] for stride in strides]

    def forward(self, image_list: ImageList, feature_maps: list[Tensor]) -> list[Tensor]:
        """For each image the anchors (m, 4) of all maps, as x0, y0, x1, y1 in input pixels."""
        self.set_cell_anchors(torch.float32, feature_maps[0].device)
        anchors = torch.cat(self.grid_anchors([list(each.shape[-2:]) for each in feature_maps], self.strides))
        return [anchors] * len(image_list.image_sizes)
