"""Networks from configs: placement, shared weights, output stride, cost. Those for boxes have tests of their own."""

import pytest
import torch
from torch import nn

from dcnrun.config.schema import (
    Architecture,
    Backbone,
    Config,
    ConvConfig,
    ConvKind,
    LoggerConfig,
    OptimConfig,
    SegmentationModelConfig,
    ShapesConfig,
    TrainerConfig,
)
from dcnrun.errors import UsageError
from dcnrun.models.backbones import ResNetBackbone, build_backbone, set_output_stride
from dcnrun.models.conv import DeformConv2d, ModulatedDeformConv2d
from dcnrun.models.convert import selected_layers
from dcnrun.tasks.build import build_model, forward_flops, parameter_count


def config(conv=None, seed=0, **model):
    return Config(
        conv=conv or ConvConfig(kind=ConvKind.standard),
        model=SegmentationModelConfig(**({"head": Architecture.deeplab, "width": 8, "head_channels": 16} | model)),
        data=ShapesConfig(),
        optim=OptimConfig(),
        trainer=TrainerConfig(),
        logger=LoggerConfig(),
        seed=seed,
    )


@pytest.mark.parametrize("head", [Architecture.deeplab, Architecture.deeplabv3, Architecture.fcn])
@pytest.mark.parametrize("backbone", [Backbone.resnet18, Backbone.resnet50])
@pytest.mark.parametrize("kind", list(ConvKind))
def test_every_combination_builds_and_scores_every_pixel(head, backbone, kind):
    conv = ConvConfig(kind=kind, layers="3", dilation=4 if kind is ConvKind.dilated else None)
    built = build_model(config(conv, head=head, backbone=backbone), num_classes=5)
    scores = built.network.eval()(torch.randn(2, 3, 65, 48))
    assert scores.shape == (2, 5, 65, 48)
    assert scores.isfinite().all()


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
    for state in states[1:]:
        for name, value in states[0].items():
            assert torch.equal(state[name], value), name
    other = build_model(config(kinds[0], seed=4), 4).network.state_dict()
    assert not torch.equal(other["backbone.conv1.weight"], states[0]["backbone.conv1.weight"])


def test_building_leaves_the_callers_random_state_alone():
    before = torch.get_rng_state()
    build_model(config(ConvConfig(kind=ConvKind.modulated, groups=2)), 4)
    assert torch.equal(torch.get_rng_state(), before)


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


@pytest.mark.parametrize("backbone", [Backbone.resnet18, Backbone.resnet50])
@pytest.mark.parametrize("output_stride", [8, 16])
def test_dilation_for_stride_keeps_what_weights_mean(backbone, output_stride):
    """The à trous algorithm: dense features at every n-th place are the strided network's features."""
    torch.manual_seed(0)
    strided = ResNetBackbone(backbone, 8).double().eval()
    dense = ResNetBackbone(backbone, 8).double().eval()
    dense.load_state_dict(strided.state_dict())
    set_output_stride(dense, output_stride)
    x = torch.randn(1, 3, 96, 80, dtype=torch.float64)
    step = 32 // output_stride
    assert dense(x).shape[-2:] == (96 // output_stride, 80 // output_stride)
    torch.testing.assert_close(dense(x)[:, :, ::step, ::step], strided(x))


def test_without_atrous_all_convolutions_are_plain():
    network = build_model(config(output_stride=8, atrous=False), 4).network
    assert {m.dilation for m in network.backbone.modules() if isinstance(m, nn.Conv2d)} == {(1, 1)}
    assert network.backbone(torch.randn(2, 3, 64, 64)).shape[-2:] == (8, 8)


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
        taps = module.kernel_size[0] * module.kernel_size[1]
        counted += 2 * pixels * module.out_channels * module.in_channels // module.groups * taps
        if isinstance(module, DeformConv2d):
            counted += 7 * pixels * module.in_channels * taps

    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(count)
    network(torch.zeros(1, 3, 64, 96))
    by_hand = counted
    assert forward_flops(built, 64, 96) == by_hand


def test_parameters_of_the_published_network():
    """ResNet-18 has 11,689,512 parameters with its classifier of 513,000 (torchvision's documentation)."""
    assert parameter_count(ResNetBackbone(Backbone.resnet18, 64)) == 11_689_512 - 513_000


def test_weights_from_a_file(tmp_path):
    source = ResNetBackbone(Backbone.resnet18, 8)
    torch.save({"state_dict": source.state_dict()}, tmp_path / "weights.pt")
    backbone = build_backbone(config(weights=str(tmp_path / "weights.pt")).model)
    assert all(torch.equal(a, b) for a, b in zip(backbone.parameters(), source.parameters(), strict=True))


def test_wrong_weights_are_explained(tmp_path):
    def load(**model):
        return build_backbone(config(**model).model)

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
        build_backbone(config(weights=str(tmp_path / "evil.pt")).model)
