"""Networks from configs: placement, shared weights, output stride, cost. Those for boxes have tests of their own."""

import pytest
import torch
from torch import nn

from dcnrun.config.schema import CONV_TRAITS, Backbone, ConvConfig, ConvKind
from dcnrun.models.backbones import ResNetBackbone
from dcnrun.models.conv import DeformConv2d, ModulatedDeformConv2d
from dcnrun.tasks.build import build_model, forward_flops, parameter_count
from tests.tasks.factories import config


@pytest.mark.parametrize("kind", [ConvKind.deformable, ConvKind.modulated])
@pytest.mark.parametrize("layers", ["1", "6", "c3-c5"])
def test_a_fresh_deformable_network_equals_the_standard_one(kind, layers):
    x = torch.randn(2, 3, 48, 48)
    plain = build_model(config(), 4).network
    deformable = build_model(config(ConvConfig(kind=kind, layers=layers)), 4).network
    for network in (plain, deformable):
        network.train()
    torch.testing.assert_close(deformable(x), plain(x), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("groups", [1, 2])
def test_all_kinds_start_with_the_same_shared_weights(groups):
    kinds = [
        ConvConfig(kind=kind, groups=groups, dilation=2 if kind is ConvKind.dilated else None) for kind in ConvKind
    ]
    states = [build_model(config(conv, seed=3), 4).network.state_dict() for conv in kinds]
    for conv, state in zip(kinds, states, strict=True):
        missing = states[0].keys() - state.keys()
        assert not missing or not CONV_TRAITS[conv.kind].has_kernel
        assert all(name.startswith("backbone.layer4.") for name in missing)
        for name in states[0].keys() - missing:
            assert torch.equal(state[name], states[0][name]), name
    other = build_model(config(kinds[0], seed=4), 4).network.state_dict()
    assert not torch.equal(other["backbone.conv1.weight"], states[0]["backbone.conv1.weight"])


def test_building_leaves_the_callers_random_state_alone():
    before = torch.get_rng_state()
    build_model(config(ConvConfig(kind=ConvKind.modulated, groups=2)), 4)
    assert torch.equal(torch.get_rng_state(), before)


def test_dilated_control_dilates_the_chosen_layers_only():
    built = build_model(config(ConvConfig(kind=ConvKind.dilated, layers="2", dilation=6)), 4)
    dilations = {name: m.dilation for name, m in built.network.backbone.named_modules() if isinstance(m, nn.Conv2d)}
    assert {name for name, dilation in dilations.items() if dilation == (6, 6)} == {"layer4.1.conv1", "layer4.1.conv2"}
    assert [layer.dilation for layer in built.replaced] == [6, 6]


def test_kinds_are_placed():
    built = build_model(config(ConvConfig(kind=ConvKind.modulated, layers="c5", offset_groups=2)), 4)
    kinds = {n: type(m) for n, m in built.network.backbone.named_modules() if isinstance(m, DeformConv2d)}
    assert set(kinds) == {layer.name for layer in built.replaced}
    assert set(kinds.values()) == {ModulatedDeformConv2d}


def test_flops_are_those_of_the_convolutions_and_samples():
    """Counted by hand for each convolution from the size of its output."""
    built = build_model(config(ConvConfig(kind=ConvKind.deformable)), 4)
    network = built.network.eval()
    counted = 0

    def count(module, inputs, output):
        nonlocal counted
        pixels = output.shape[2] * output.shape[3]
        sampling_points = module.kernel_size[0] * module.kernel_size[1]
        counted += 2 * pixels * module.out_channels * module.in_channels // module.groups * sampling_points
        if isinstance(module, DeformConv2d):
            counted += 7 * pixels * module.in_channels * sampling_points

    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(count)
    network(torch.zeros(1, 3, 64, 96))
    by_hand = counted
    assert forward_flops(built, 64, 96) == by_hand


def test_parameters_of_the_published_network():
    """ResNet-18 has 11,689,512 parameters with its classifier of 513,000 (torchvision's documentation)."""
    assert parameter_count(ResNetBackbone(Backbone.resnet18, 64)) == 11_689_512 - 513_000
