"""Which layers of a backbone are replaced. What replaces them has the conformance suite of its kind."""

import pytest
import torch
from torch import nn

from dcnrun.config.schema import Backbone, ConvConfig, ConvKind
from dcnrun.models.backbones import ResNetBackbone
from dcnrun.models.convert import conversion_problems, convert, selected_layers


@pytest.mark.parametrize(
    ("backbone", "layers", "wanted"),
    [
        # DCNv1 Table 1: res5c; res5b,c; res5a-c; and the last three blocks of res4
        (Backbone.resnet101, "1", ["layer4.2.conv2"]),
        (Backbone.resnet101, "2", ["layer4.1.conv2", "layer4.2.conv2"]),
        (Backbone.resnet101, "3", ["layer4.0.conv2", "layer4.1.conv2", "layer4.2.conv2"]),
        (
            Backbone.resnet101,
            "6",
            [f"layer3.{i}.conv2" for i in (20, 21, 22)] + [f"layer4.{i}.conv2" for i in range(3)],
        ),
        (Backbone.resnet18, "3", ["layer4.0.conv2", "layer4.1.conv1", "layer4.1.conv2"]),
        (Backbone.resnet18, "0", []),
    ],
)
def test_last_layers(backbone, layers, wanted):
    with torch.device("meta"):
        assert selected_layers(ResNetBackbone(backbone, 64), layers) == wanted


def test_stages_of_dcnv2():
    """c3 to c5 of ResNet-50 hold 4 + 6 + 3 3x3 convolutions."""
    with torch.device("meta"):
        backbone = ResNetBackbone(Backbone.resnet50, 64)
    assert len(selected_layers(backbone, "c3,c4,c5")) == 13
    assert selected_layers(backbone, "c3-c5") == selected_layers(backbone, "c3, c4, c5")
    assert selected_layers(backbone, "c5") == selected_layers(backbone, "3")
    for wrong in ("c6", "c5-c3", "last", "-1", "c3;c4"):
        with pytest.raises(ValueError, match="must be a number"):
            selected_layers(backbone, wrong)
    with pytest.raises(ValueError, match="more than the backbone's 16"):
        selected_layers(backbone, "17")


def test_what_was_replaced_is_reported_and_the_rest_stays():
    backbone = ResNetBackbone(Backbone.resnet18, 8)
    before = dict(backbone.named_modules())
    replaced = convert(backbone, ConvConfig(kind=ConvKind.dilated, layers="4", dilation=3))
    named = [(layer.name, layer.in_channels, layer.out_channels, layer.stride, layer.dilation) for layer in replaced]
    assert named == [
        ("layer4.0.conv1", 32, 64, 2, 3),
        ("layer4.0.conv2", 64, 64, 1, 3),
        ("layer4.1.conv1", 64, 64, 1, 3),
        ("layer4.1.conv2", 64, 64, 1, 3),
    ]
    changed = {name for name, module in backbone.named_modules() if module is not before.get(name)}
    assert changed == {layer.name for layer in replaced}
    assert all(backbone.get_submodule(name).weight is before[name].weight for name in changed)


def test_groups_that_do_not_divide_are_named():
    with torch.device("meta"):
        backbone = ResNetBackbone(Backbone.resnet18, 8)
    conv = ConvConfig(kind=ConvKind.deformable, layers="2", groups=3, offset_groups=5)
    assert conversion_problems(backbone, conv) == [
        "conv.groups=3 does not divide the 64 input channels of layer4.1.conv1 (and of 1 more layers)",
        "conv.groups=3 does not divide the 64 output channels of layer4.1.conv1 (and of 1 more layers)",
        "conv.offset_groups=5 does not divide the 64 input channels of layer4.1.conv1 (and of 1 more layers)",
    ]
    assert conversion_problems(backbone, ConvConfig(kind=ConvKind.deformable, layers="2", groups=4)) == []
    (problem,) = conversion_problems(nn.Module(), ConvConfig(kind=ConvKind.deformable, layers="1"))
    assert problem == "conv.layers=1 is more than the backbone's 0 3x3 convolutions"
