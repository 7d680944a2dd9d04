"""What is recorded of each layer, and which layers follow each other."""

import torch
from torch import nn
from torch.nn.functional import pad

from dcnrun.config.schema import (
    Backbone,
    ConvKind,
)
from dcnrun.models.conv import DeformConv2d
from dcnrun.offsets import capture
from tests.offsets.recording.factories import Small, backbone, disturb, names


def test_a_layer_as_it_is():
    network, image = Small().eval(), torch.rand(3, 20, 28)
    captured = capture(network, image)
    assert captured.image_size == (20, 28)
    assert names(captured) == ["first", "plain", "last"]
    inputs = []
    with network.last.register_forward_pre_hook(lambda _, args: inputs.append(args[0])), torch.no_grad():
        output = network(image[None])
        offset, mask = network.last.offsets(inputs[0])
    layer = captured.layer("last")
    assert (layer.kernel_size, layer.stride, layer.padding, layer.dilation) == ((3, 5), (1, 2), (2, 4), (2, 2))
    assert (layer.groups, layer.offset_groups, layer.num_points, layer.deformable) == (2, 4, 15, True)
    assert layer.input_size == tuple(inputs[0].shape[2:])
    assert layer.output_size == tuple(output.shape[2:])
    height, width = layer.output_size
    for group in range(4):
        for point in range(15):
            channel = group * 15 + point
            assert torch.equal(layer.offset[group, point, 0], offset[0, 2 * channel])
            assert torch.equal(layer.offset[group, point, 1], offset[0, 2 * channel + 1])
            assert torch.equal(layer.mask[group, point], mask[0, channel])
    assert layer.offset.shape == (4, 15, 2, height, width)
    assert captured.layer("first").mask is None
    assert not layer.offset.requires_grad


def test_a_plain_layer_has_offsets_of_zero():
    plain = capture(Small(), torch.rand(3, 20, 28)).layer("plain")
    assert plain.offset.shape == (1, 9, 2, 10, 14)
    assert not plain.offset.any()
    assert plain.mask is None
    assert not plain.deformable


def test_point_weights():
    """By setting all other weights to zero."""
    network = Small()
    layer = capture(network, torch.rand(3, 20, 28)).layer("last")
    weight = network.last.weight.detach()  # (6, 4, 3, 5): rows 0 to 2 read channels 0 to 3, and 3 to 5 channels 4 to 7
    for group in range(4):
        rows, columns = slice(group // 2 * 3, group // 2 * 3 + 3), slice(group % 2 * 2, group % 2 * 2 + 2)
        wanted = weight[rows, columns].flatten(2).permute(2, 0, 1).flatten(1).norm(dim=1)
        torch.testing.assert_close(layer.point_weight[group], wanted)


def test_layers_of_basic_blocks_follow_each_other_by_the_main_path():
    captured = capture(backbone(ConvKind.modulated, "3"), torch.rand(3, 64, 64))
    assert names(captured) == ["layer4.0.conv2", "layer4.1.conv1", "layer4.1.conv2"]
    assert [layer.source for layer in captured.layers] == [None, "layer4.0.conv2", "layer4.1.conv1"]


def test_pointwise_layers_of_bottlenecks_are_passed():
    captured = capture(backbone(ConvKind.deformable, "c5", Backbone.resnet50, 32), torch.rand(3, 64, 96))
    assert names(captured) == [f"layer4.{block}.conv2" for block in range(3)]
    assert [layer.source for layer in captured.layers] == [None, *names(captured)[:-1]]
    assert captured.layers[0].stride == (2, 2)
    assert captured.layers[0].input_grid.step == (16, 16)
    assert captured.layers[0].output_grid == captured.layers[1].input_grid


def test_plain_layers_are_recorded_between_deformable_ones_alone():
    network = backbone(ConvKind.standard, "1")
    network.layer3[1].conv1 = DeformConv2d(64, 64, 3, padding=2, dilation=2)
    network.layer4[0].conv1 = DeformConv2d(64, 128, 3, padding=2, dilation=2)
    captured = capture(network, torch.rand(3, 64, 64))
    assert names(captured) == ["layer3.1.conv1", "layer3.1.conv2", "layer4.0.conv1"]
    assert [layer.source for layer in captured.layers] == [None, "layer3.1.conv1", "layer3.1.conv2"]


def test_layers_of_a_standard_run():
    asked = ["layer4.0.conv2", "layer4.1.conv2"]
    captured = capture(backbone(ConvKind.standard, "3"), torch.rand(3, 64, 64), asked)
    assert names(captured) == ["layer4.0.conv2", "layer4.1.conv1", "layer4.1.conv2"]
    assert not any(layer.deformable for layer in captured.layers)


def test_a_chain_ends_at_a_pooling():
    network = nn.Sequential(DeformConv2d(3, 4, 3), nn.MaxPool2d(2), DeformConv2d(4, 4, 3))
    assert [layer.source for layer in capture(network, torch.rand(3, 16, 16)).layers] == [None, None]


class PadsItself(nn.Conv2d):
    """As the convolutions of EfficientNets in timm and segmentation_models.pytorch do."""

    def forward(self, feature_map):
        return super().forward(pad(feature_map, (2, 1, 2, 1)))


def test_a_convolution_that_pads_its_feature_map_itself():
    network = nn.Sequential(PadsItself(3, 4, 3, stride=2), DeformConv2d(4, 4, 3))
    (layer,) = capture(network, torch.rand(3, 16, 16)).layers
    assert (layer.input_grid.start, layer.input_grid.step) == (
        (-1, -1),
        (2, 2),
    )  # the first window's middle is at 1 after 2 pixels of padding


def test_a_module_that_runs_twice():
    layer = DeformConv2d(3, 3, 3, padding=1)
    captured = capture(disturb(nn.Sequential(layer, nn.ReLU(), layer)), torch.rand(3, 8, 8))
    assert names(captured) == ["0", "0:2"]
    assert captured.layers[1].source == "0"
    assert not torch.equal(captured.layers[0].offset, captured.layers[1].offset)
