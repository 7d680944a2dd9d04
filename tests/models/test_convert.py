"""Which layers of a backbone are replaced. What replaces them has the conformance suite of its kind."""

import pytest
import torch
from torch import nn

from dcnrun.config.schema import Backbone, ConvConfig, ConvKind, Where
from dcnrun.models.backbones import ResNetBackbone
from dcnrun.models.convert import Convolution, conversion_problems, convert, resnet_convolutions, selected_layers


def selected(backbone, layers):
    return selected_layers(resnet_convolutions(backbone), ConvConfig(kind=ConvKind.modulated, layers=layers))


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
        (Backbone.resnet18, "layer4.1.conv2, layer2.*.conv1", ["layer2.0.conv1", "layer2.1.conv1", "layer4.1.conv2"]),
        (Backbone.resnet18, "layer4.1", ["layer4.1.conv1", "layer4.1.conv2"]),
    ],
)
def test_last_layers(backbone, layers, wanted):
    with torch.device("meta"):
        assert selected(ResNetBackbone(backbone, 64), layers) == wanted


def test_stages_of_dcnv2():
    """c3 to c5 of ResNet-50 hold 4 + 6 + 3 3x3 convolutions."""
    with torch.device("meta"):
        backbone = ResNetBackbone(Backbone.resnet50, 64)
    assert len(selected(backbone, "c3,c4,c5")) == 13
    assert selected(backbone, "c3-c5") == selected(backbone, "c3, c4, c5")
    assert selected(backbone, "c5") == selected(backbone, "3")
    for wrong in ("c6", "c5-c3", "last", "-1", "c3;c4"):
        with pytest.raises(ValueError, match="must be a number"):
            selected(backbone, wrong)
    with pytest.raises(ValueError, match="more than the encoder's 16"):
        selected(backbone, "17")


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
    assert conversion_problems(resnet_convolutions(backbone), conv) == [
        "conv.groups=3 does not divide the 64 input channels of layer4.1.conv1 (and of 1 more layers)",
        "conv.groups=3 does not divide the 64 output channels of layer4.1.conv1 (and of 1 more layers)",
        "conv.offset_groups=5 does not divide the 64 input channels of layer4.1.conv1 (and of 1 more layers)",
    ]
    assert (
        conversion_problems(resnet_convolutions(backbone), ConvConfig(kind=ConvKind.deformable, layers="2", groups=4))
        == []
    )
    (problem,) = conversion_problems([], ConvConfig(kind=ConvKind.deformable, layers="1"))
    assert problem == "conv.layers=1 is more than the encoder's 0 convolutions with a kernel larger than 1x1"


def test_what_counts_depends_on_part_and_groups_and_names_find_all():
    dense, depthwise = nn.Conv2d(4, 4, 3), nn.Conv2d(4, 4, 3, groups=4)
    layers = [
        Convolution("encoder.0", dense, stage="c4"),
        Convolution("encoder.1", depthwise, stage="c4"),
        Convolution("decoder.0", dense, Where.decoder),
        Convolution("decoder.1", depthwise, Where.decoder),
    ]

    def of(layers_setting, **conv):
        return selected_layers(layers, ConvConfig(kind=ConvKind.modulated, layers=layers_setting, **conv))

    assert of("1") == ["encoder.0"]
    assert of("2", depthwise=True) == ["encoder.0", "encoder.1"]
    assert of("1", where=Where.decoder) == ["decoder.0"]
    assert of("2", where=Where.all) == ["encoder.0", "decoder.0"]
    assert of("3", where=Where.all, depthwise=True) == ["encoder.1", "decoder.0", "decoder.1"]
    assert of("c4") == ["encoder.0"]
    assert of("c4", depthwise=True) == ["encoder.0", "encoder.1"]
    assert of("decoder") == ["decoder.0", "decoder.1"]
    with pytest.raises(ValueError, match=r"decoder's 1 convolutions.*; 2 of the network are depth-wise or grouped"):
        of("2", where=Where.decoder)


def test_a_dilation_that_no_padding_makes_up_for_is_a_problem():
    even = [Convolution("down", nn.Conv2d(4, 4, 2, stride=2))]
    (problem,) = conversion_problems(even, ConvConfig(kind=ConvKind.dilated, layers="1", dilation=2))
    assert problem.startswith("conv.dilation=2: layer down has another output size")
    assert conversion_problems(even, ConvConfig(kind=ConvKind.dilated, layers="1", dilation=3)) == []
