"""Effective receptive fields, beside networks whose derivatives are known."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from dcnrun.config.schema import Backbone, ConvConfig, ConvKind
from dcnrun.errors import UsageError
from dcnrun.models.backbones import ResNetBackbone
from dcnrun.models.conv import DeformConv2d
from dcnrun.models.convert import convert
from dcnrun.offsets import receptive_field, receptive_fields
from dcnrun.tasks.segmentation.heads import SegmentationNetwork


def ones(*args, **settings):
    conv = nn.Conv2d(*args, bias=False, **settings)
    nn.init.ones_(conv.weight)
    return conv


def test_a_convolution_matters_as_its_weights_say():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 1, 3, padding=2, dilation=2))
    field = receptive_field(network, torch.rand(3, 12, 14), "0", 5, 6)
    wanted = torch.zeros(12, 14)
    wanted[3:8:2, 4:9:2] = network[0].weight[0].detach().abs().sum(0)
    torch.testing.assert_close(field.share, wanted / wanted.sum())
    assert field.location == (5, 6)


def test_channels_that_cancel_in_a_sum_are_not_lost():
    network = nn.Sequential(ones(1, 16, 3, padding=1))
    with torch.no_grad():
        network[0].weight[8:] *= -1
    assert receptive_field(network, torch.rand(1, 8, 8), "0", 4, 4).share.sum().item() == pytest.approx(1)


@pytest.mark.parametrize("layer", ["1", None])
def test_several_places_in_one_run(layer):
    """Each is what it is alone, and the network runs once."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), DeformConv2d(4, 4, 3, padding=1), nn.Conv2d(4, 2, 3))
    nn.init.normal_(network[1].offset_branch.weight)
    image, places = torch.rand(3, 12, 14), [(2, 3), (9, 1), (2, 3)]
    alone = [receptive_field(network, image, layer, y, x) for y, x in places]
    runs = []
    network.register_forward_hook(lambda *_: runs.append(1))
    together = receptive_fields(network, image, layer, places)
    assert len(runs) == 1
    for found, wanted in zip(together, alone, strict=True):
        torch.testing.assert_close(found.share, wanted.share)
        assert found.location == wanted.location
    assert not torch.equal(together[0].share, together[1].share)


@pytest.mark.parametrize("dilation", [1, 2, 5])
def test_radius(dilation):
    """Of nine equal pixels, five lie up to one dilation away and the rest on the diagonals."""
    field = receptive_field(ones(1, 1, 3, padding=dilation, dilation=dilation), torch.rand(1, 20, 20), "", 9, 10)
    assert field.radius(0.1) == 0
    assert field.radius(0.5) == dilation
    assert field.radius(0.9) == pytest.approx(dilation * math.sqrt(2))


def test_radius_beside_counting():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 1, 7, padding=3), nn.Conv2d(1, 1, (3, 5), stride=2, padding=(1, 2)))
    field = receptive_field(network, torch.rand(1, 24, 24), "1", 3, 8)
    assert field.location == (6, 16)
    distances = [(math.dist((y, x), (6, 16)), field.share[y, x].item()) for y in range(24) for x in range(24)]
    for held in (0.5, 0.9):
        radius = field.radius(held)
        assert sum(share for distance, share in distances if distance <= radius + 1e-4) >= held
        assert sum(share for distance, share in distances if distance < radius - 1e-4) < held


def test_offsets_move_the_centre():
    network = nn.Sequential(nn.AvgPool2d(2), DeformConv2d(1, 1, 3, padding=1))
    nn.init.ones_(network[1].weight)
    with torch.no_grad():
        network[1].offset_branch.bias[0::2] = 3.0
        network[1].offset_branch.bias[1::2] = -1.5
    field = receptive_field(network, torch.rand(1, 40, 40), "1", 10, 10)
    assert field.location == (20.5, 20.5)
    lines = torch.arange(40.0)
    centre = (field.share.sum(1) @ lines).item(), (field.share.sum(0) @ lines).item()
    assert centre == pytest.approx((20.5 + 6, 20.5 - 3), rel=1e-5)


def test_the_class_that_wins():
    """Each class looks at another place."""
    network = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.Upsample(scale_factor=1))
    with torch.no_grad():
        network[0].weight.zero_()
        network[0].weight[0, 0, 0, 0] = network[0].weight[1, 0, 2, 2] = 1
        network[0].bias.copy_(torch.tensor([0.0, 5.0]))
    field = receptive_field(network, torch.rand(1, 8, 8), None, 3, 3)
    assert field.share.nonzero().tolist() == [[4, 4]]


@pytest.mark.parametrize("kind", list(ConvKind))
def test_backbones_in_segmentation_networks_and_alone(kind):
    torch.manual_seed(0)
    backbone = ResNetBackbone(Backbone.resnet18, 16)
    convert(backbone, ConvConfig(kind=kind, layers="3", dilation=2 if kind is ConvKind.dilated else None))
    network = SegmentationNetwork(backbone, nn.Conv2d(128, 4, 1)).train()
    image = torch.rand(3, 64, 96)
    field = receptive_field(network, image, "backbone.layer4", 1, 2)
    assert field.location == (32, 64)
    assert field.share.shape == (64, 96)
    assert 0 < field.radius(0.5) < field.radius(0.9)
    of_features = receptive_field(
        network, image, "backbone.layer2", 3, 5, forward=lambda batch: backbone.features(batch)
    )
    assert of_features.location == (24, 40)
    assert receptive_field(network, image, None, 50, 7).location == pytest.approx((50, 7))
    assert network.training
    assert all(parameter.grad is None for parameter in network.parameters())
    assert not any(module._forward_hooks for module in network.modules())


def test_a_network_that_overwrites_its_input():
    network = nn.Sequential(nn.ReLU(inplace=True), ones(1, 1, 3, padding=1))
    image = torch.rand(1, 8, 8) - 0.5
    before = image.clone()
    field = receptive_field(network, image, "1", 4, 4)
    assert torch.equal(image, before)
    assert torch.equal(field.share[3:6, 3:6] > 0, image[0, 3:6, 3:6] > 0)


def test_views_are_followed_with_gradients_too():
    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            self.last = ones(1, 1, 1)

        def forward(self, image):
            left, _ = F.avg_pool2d(image, 2).chunk(2, dim=1)
            return self.last(left.flatten(0, 1).unsqueeze(0)[:, :, 1:])

    assert receptive_field(Network(), torch.rand(2, 12, 12), "last", 2, 3).location == (6.5, 6.5)


def test_where_nothing_matters():
    network = nn.Sequential(ones(1, 1, 3), nn.ReLU())
    field = receptive_field(network, -torch.rand(1, 8, 8), "1", 2, 2)
    assert not field.share.any()
    assert math.isnan(field.radius(0.5))


class TestErrors:
    def test_no_such_layer(self):
        with pytest.raises(UsageError, match="no layer 'missing'"):
            receptive_field(ones(1, 1, 3), torch.rand(1, 8, 8), "missing", 0, 0)

    @pytest.mark.parametrize("place", [(-1, 0), (0, 6)])
    def test_outside(self, place):
        with pytest.raises(UsageError, match=r"outside the output of the network: 6 x 6 pixels"):
            receptive_field(ones(1, 1, 3), torch.rand(1, 8, 8), None, *place)

    def test_no_map(self):
        network = nn.Sequential(ones(1, 1, 3), nn.Flatten())
        with pytest.raises(UsageError, match=r"network's output is not a feature map .*name a layer"):
            receptive_field(network, torch.rand(1, 8, 8), None, 0, 0)
        with pytest.raises(UsageError, match="output of 1 is not a feature map"):
            receptive_field(network, torch.rand(1, 8, 8), "1", 0, 0)
        with pytest.raises(UsageError, match="output of 1 is not a feature map"):
            receptive_field(network, torch.rand(1, 8, 8), "1", 0, 0, forward=network[0])
