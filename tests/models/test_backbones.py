"""ResNets: the features of their stages, and what is frozen."""

import pytest
import torch
from torch import nn
from torchvision.ops import FrozenBatchNorm2d

from dcnrun.config.schema import Backbone, ConvConfig, ConvKind, ModelConfig
from dcnrun.models.backbones import (
    ResNetBackbone,
    build_backbone,
    freeze,
    freezing_problems,
    set_output_stride,
)
from dcnrun.models.convert import convert, selected_layers

LEARNING_BELOW = {
    0: {"conv1", "bn1", "layer1", "layer2", "layer3", "layer4"},
    1: {"layer1", "layer2", "layer3", "layer4"},
    2: {"layer2", "layer3", "layer4"},
    4: {"layer4"},
    5: set(),
}


def parts(names):
    return {name.split(".")[0] for name in names}


@pytest.mark.parametrize("backbone", [Backbone.resnet18, Backbone.resnet50])
@pytest.mark.parametrize("output_stride", [8, 16, 32])
def test_features_are_as_announced(backbone, output_stride):
    network = ResNetBackbone(backbone, 8)
    set_output_stride(network, output_stride)
    image = torch.randn(1, 3, 72, 96)
    features = network.eval().features(image)
    assert list(features) == ["c2", "c3", "c4", "c5"]
    for stage, feature in features.items():
        stride = network.strides[stage]
        assert feature.shape == (1, network.channels[stage], -(-72 // stride), -(-96 // stride))
    assert network.strides["c5"] == output_stride
    assert torch.equal(network(image), features["c5"])


def test_features_are_the_stages_outputs():
    network = ResNetBackbone(Backbone.resnet18, 8).eval()
    seen = []
    for layer in (network.layer1, network.layer2, network.layer3, network.layer4):
        layer.register_forward_hook(lambda module, inputs, output: seen.append(output))
    features = network.features(torch.randn(1, 3, 64, 64))
    assert all(torch.equal(a, b) for a, b in zip(features.values(), seen, strict=True))


@pytest.mark.parametrize("stages", list(LEARNING_BELOW))
@pytest.mark.parametrize("norm", [False, True])
def test_frozen_parts_stay_as_they_are_and_the_others_learn(stages, norm):
    network = build_backbone(ModelConfig(width=8, frozen_stages=stages, frozen_norm=norm)).train()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    learning = [parameter for parameter in network.parameters() if parameter.requires_grad]
    if learning:
        features = network(torch.randn(2, 3, 64, 64))
        (features - 1).square().sum().backward()
        torch.optim.SGD(learning, lr=0.1).step()
    changed = {name for name, tensor in network.state_dict().items() if not torch.equal(tensor, before[name])}
    wanted = LEARNING_BELOW[stages]
    assert parts(changed) == (wanted - {"bn1"} if norm else wanted)
    running = {name for name in changed if "running" in name}
    assert parts(running) == (set() if norm else wanted - {"conv1"})


@pytest.mark.parametrize(("stages", "norm"), [(0, True), (3, False)])
def test_frozen_normalisation_computes_with_published_statistics(tmp_path, stages, norm):
    """Weights are loaded first, then frozen: in evaluation nothing differs."""
    source = ResNetBackbone(Backbone.resnet18, 8).train()
    for module in source.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias)
    image = torch.randn(2, 3, 64, 64)
    source(image)  # moves the statistics
    torch.save(source.state_dict(), tmp_path / "weights.pt")
    weights = str(tmp_path / "weights.pt")
    model = ModelConfig(width=8, output_stride=32, weights=weights, frozen_stages=stages, frozen_norm=norm)
    frozen = build_backbone(model)
    assert any(isinstance(module, FrozenBatchNorm2d) for module in frozen.modules())
    torch.testing.assert_close(frozen.eval()(image), source.eval()(image), rtol=1e-4, atol=1e-5)


def test_a_replaced_layer_of_a_later_stage_learns_all_of_itself():
    network = ResNetBackbone(Backbone.resnet18, 8)
    freeze(network, 4, norm=True)
    replaced = convert(network, ConvConfig(kind=ConvKind.deformable, layers="3"))
    for layer in replaced:
        assert all(parameter.requires_grad for parameter in network.get_submodule(layer.name).parameters())


def test_layers_under_comparison_must_not_be_frozen():
    with torch.device("meta"):
        network = ResNetBackbone(Backbone.resnet18, 8)
    last, last_six = selected_layers(network, "3"), selected_layers(network, "6")
    for stages in range(5):
        assert freezing_problems(ModelConfig(frozen_stages=stages), last) == []
    assert freezing_problems(ModelConfig(frozen_stages=5), []) == []
    (problem,) = freezing_problems(ModelConfig(frozen_stages=5), last)
    assert "model.frozen_stages=5 keeps 3 of the layers" in problem
    assert "layer4.0.conv2 for one" in problem
    assert "keeps 2 of" in freezing_problems(ModelConfig(frozen_stages=4), last_six)[0]
