"""Networks with layers whose offsets are not zero."""

import torch
import torch.nn.functional as F
from torch import nn

from dcnrun.config.schema import (
    Backbone,
    ConvConfig,
    ConvKind,
)
from dcnrun.models.backbones import ResNetBackbone, set_output_stride
from dcnrun.models.conv import DeformConv2d, ModulatedDeformConv2d
from dcnrun.models.convert import convert


def disturb(network, by=0.3):
    """Offsets and masks as after some training."""
    torch.manual_seed(1)
    for name, parameter in network.named_parameters():
        if "offset_branch" in name:
            nn.init.normal_(parameter, std=by)
    return network


def backbone(kind, layers, which=Backbone.resnet18, output_stride=8):
    torch.manual_seed(0)
    network = ResNetBackbone(which, 16)
    set_output_stride(network, output_stride)
    convert(network, ConvConfig(kind=kind, layers=layers, offset_groups=1 if kind is ConvKind.standard else 2))
    return disturb(network)


def names(captured):
    return [layer.name for layer in captured.layers]


class Small(nn.Module):
    """Two deformable layers with a plain one between them."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Conv2d(3, 4, 3, 2, 1)
        self.first = DeformConv2d(4, 4, 3, padding=1)
        self.plain = nn.Conv2d(4, 6, 3, padding=1)
        self.pointwise = nn.Conv2d(6, 8, 1)
        self.last = ModulatedDeformConv2d(8, 6, (3, 5), (1, 2), (2, 4), (2, 2), groups=2, offset_groups=4)
        disturb(self)

    def forward(self, image):
        return self.last(self.pointwise(F.relu(self.plain(self.first(self.stem(image))))))
