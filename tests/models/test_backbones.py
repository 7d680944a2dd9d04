"""ResNets: the features of their stages, what is frozen, strides traded for dilation, and weights that are loaded; other encoders."""

from math import ceil

import pytest
import torch
import torchvision
from torch import nn
from torchvision.ops import FrozenBatchNorm2d

from dcnrun.config.schema import Backbone, ConvConfig, ConvKind, FasterRcnnConfig, ResNetModelConfig, ResNetStyle
from dcnrun.errors import UsageError
from dcnrun.models.backbones import (
    BACKBONES,
    EncoderBackbone,
    ResNetBackbone,
    build_backbone,
    freeze,
    freezing_problems,
    set_output_stride,
)
from dcnrun.models.convert import convert, resnet_convolutions, selected_layers


def test_every_backbone_has_a_row_and_published_weights():
    assert set(BACKBONES) == set(Backbone)
    for backbone in Backbone:
        assert "DEFAULT" in torchvision.models.get_model_weights(backbone.value).__members__


LEARNING_BELOW = {
    0: {"conv1", "bn1", "layer1", "layer2", "layer3", "layer4"},
    1: {"layer1", "layer2", "layer3", "layer4"},
    2: {"layer2", "layer3", "layer4"},
    4: {"layer4"},
    5: set(),
}


def parts(names):
    return {name.split(".")[0] for name in names}


@pytest.mark.parametrize("backbone", Backbone)
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
    network = build_backbone(ResNetModelConfig(width=8, frozen_stages=stages, frozen_norm=norm)).train()
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
    model = ResNetModelConfig(width=8, output_stride=32, weights=weights, frozen_stages=stages, frozen_norm=norm)
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
    last, last_six = (
        selected_layers(resnet_convolutions(network), ConvConfig(kind=ConvKind.standard, layers=layers))
        for layers in ("3", "6")
    )
    for stages in range(5):
        assert freezing_problems(ResNetModelConfig(frozen_stages=stages), last) == []
    assert freezing_problems(ResNetModelConfig(frozen_stages=5), []) == []
    (problem,) = freezing_problems(ResNetModelConfig(frozen_stages=5), last)
    assert "model.frozen_stages=5 keeps 3 of the layers" in problem
    assert "layer4.0.conv2 for one" in problem
    assert "keeps 2 of" in freezing_problems(ResNetModelConfig(frozen_stages=4), last_six)[0]


# Strides and dilation.


@pytest.mark.parametrize(
    ("backbone", "style"),
    [(Backbone.resnet18, "pytorch"), (Backbone.resnet50, "pytorch"), (Backbone.resnet50, "caffe")],
)
@pytest.mark.parametrize("output_stride", [8, 16])
def test_dilation_for_stride_keeps_what_weights_mean(backbone, style, output_stride):
    """The à trous algorithm: dense features at every n-th pixel are the strided network's features."""
    torch.manual_seed(0)
    strided = ResNetBackbone(backbone, 8, style=ResNetStyle(style)).double().eval()
    dense = ResNetBackbone(backbone, 8, style=ResNetStyle(style)).double().eval()
    dense.load_state_dict(strided.state_dict())
    set_output_stride(dense, output_stride)
    x = torch.randn(1, 3, 96, 80, dtype=torch.float64)
    step = 32 // output_stride
    assert dense(x).shape[-2:] == (96 // output_stride, 80 // output_stride)
    torch.testing.assert_close(dense(x)[:, :, ::step, ::step], strided(x))


def test_without_atrous_all_convolutions_are_plain():
    network = build_backbone(ResNetModelConfig(width=8, output_stride=8, atrous=False))
    assert {m.dilation for m in network.modules() if isinstance(m, nn.Conv2d)} == {(1, 1)}
    assert network(torch.randn(2, 3, 64, 64)).shape[-2:] == (8, 8)


def test_width_64_is_torchvisions_network():
    from torchvision.models import resnet18

    torch.manual_seed(0)
    theirs = resnet18()
    torch.manual_seed(0)
    ours = ResNetBackbone(Backbone.resnet18, 64)
    state = {name: value for name, value in theirs.state_dict().items() if not name.startswith("fc.")}
    assert ours.state_dict().keys() == state.keys()
    ours.load_state_dict(state)
    features = {}
    theirs.layer4.register_forward_hook(lambda *args: features.update(out=args[2]))
    x = torch.randn(1, 3, 64, 64)
    theirs.eval()(x)
    torch.testing.assert_close(ours.eval()(x), features["out"])


def test_weights_from_a_file(tmp_path):
    source = ResNetBackbone(Backbone.resnet18, 8)
    torch.save({"state_dict": source.state_dict()}, tmp_path / "weights.pt")
    backbone = build_backbone(ResNetModelConfig(width=8, weights=str(tmp_path / "weights.pt")))
    assert all(torch.equal(a, b) for a, b in zip(backbone.parameters(), source.parameters(), strict=True))


def test_wrong_weights_are_explained(tmp_path):
    def load(**model):
        return build_backbone(ResNetModelConfig(**({"width": 8} | model)))

    with pytest.raises(UsageError, match="no such file"):
        load(weights=str(tmp_path / "none.pt"))
    (tmp_path / "text.pt").write_text("not weights")
    with pytest.raises(UsageError, match=r"text\.pt can't be read"):
        load(weights=str(tmp_path / "text.pt"))
    torch.save(ResNetBackbone(Backbone.resnet18, 16).state_dict(), tmp_path / "wide.pt")
    with pytest.raises(UsageError, match=r"has shape .*, but resnet18 needs"):
        load(weights=str(tmp_path / "wide.pt"))
    torch.save({"fc.weight": torch.zeros(1)}, tmp_path / "other.pt")
    with pytest.raises(UsageError, match="it is not a state dict of this backbone"):
        load(weights=str(tmp_path / "other.pt"))
    with pytest.raises(UsageError, match="IMAGENET1K_V1"):
        load(weights="IMAGENET", width=64)


class Evil:
    def __reduce__(self):
        return (exec, ("raise SystemExit('evaluated')",))


def test_weights_are_never_unpickled_into_code(tmp_path):
    torch.save({"conv1.weight": Evil()}, tmp_path / "evil.pt")
    with pytest.raises(UsageError, match="can't be read"):
        build_backbone(ResNetModelConfig(width=8, weights=str(tmp_path / "evil.pt")))


# Encoders of other libraries.

FAMILIES = [
    *("vgg11_bn", "densenet121", "inceptionv4", "xception", "dpn68", "mit_b0", "mobileone_s0", "mobilenet_v2", "se_resnet50"),
    *("tu-swin_tiny_patch4_window7_224", "tu-hrnet_w18_small", "tu-regnety_002", "tu-mobilenetv3_small_050", "tu-pvt_v2_b0"),
    *("tu-efficientvit_b0", "tu-mobilevit_xxs", "tu-edgenext_xx_small", "tu-fastvit_t8", "tu-ghostnet_050", "tu-res2net50_14w_8s"),
    *("tu-resnest14d", "tu-poolformer_s12", "tu-repvgg_a0", "tu-davit_tiny", "tu-nextvit_small", "tu-dla34", "tu-tresnet_m"),
]  # fmt: skip


@pytest.mark.parametrize(
    "name", ["resnet18", "tu-test_convnext", "tu-test_efficientnet", *(pytest.param(name, marks=pytest.mark.slow) for name in FAMILIES)]
)  # fmt: skip
def test_stages_of_an_encoder_are_as_they_are_described(name):
    backbone = EncoderBackbone(name).eval()
    x = torch.randn(1, 3, 50, 77)
    with torch.inference_mode():
        features = backbone.features(x)
        assert torch.equal(backbone(x), features["c5"])
    assert list(features) == ["c2", "c3", "c4", "c5"]
    for (stage, found), stride in zip(features.items(), (4, 8, 16, 32), strict=True):
        assert backbone.strides[stage] == stride
        assert found.shape == (1, backbone.channels[stage], ceil(50 / stride), ceil(77 / stride))


def test_timms_resnet_is_torchvisions_with_the_same_weights():
    torch.manual_seed(0)
    timms, torchvisions = EncoderBackbone("tu-resnet50").eval(), ResNetBackbone(Backbone.resnet50, 64).eval()
    names = {f"model.{name}": tensor for name, tensor in torchvisions.state_dict().items()}
    timms.encoder.load_state_dict(names)
    assert (timms.channels, timms.strides) == (torchvisions.channels, torchvisions.strides)
    x = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        torch.testing.assert_close(timms.features(x), torchvisions.features(x))


@pytest.mark.parametrize("name", ["tu-test_resnet", "tu-test_efficientnet"])  # the second has timm's own normalisation
def test_frozen_normalisation_of_an_encoder_keeps_its_statistics_and_scales(name):
    torch.manual_seed(0)
    frozen = build_backbone(FasterRcnnConfig(encoder=name, frozen_norm=True)).train()
    torch.manual_seed(0)
    free = build_backbone(FasterRcnnConfig(encoder=name))
    norms = [name for name, module in free.named_modules() if isinstance(module, nn.BatchNorm2d)]
    scales = {f"{norm}.{leaf}" for norm in norms for leaf in ("weight", "bias")}
    assert {name for name, _ in frozen.named_parameters()} == {name for name, _ in free.named_parameters()} - scales
    before = {name: tensor.clone() for name, tensor in frozen.state_dict().items()}
    x = torch.randn(2, 3, 64, 64)
    features = frozen.features(x)
    assert all(torch.equal(tensor, before[name]) for name, tensor in frozen.state_dict().items())
    torch.testing.assert_close(features, free.eval().features(x))
