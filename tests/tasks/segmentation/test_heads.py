"""Every head on every backbone; networks of segmentation_models.pytorch compute what the library's do, and their layers are replaced as others."""

import pytest
import timm
import torch

from dcnrun.config.compose import compose
from dcnrun.config.schema import Backbone, ConvConfig, ConvKind, SegmentationModelConfig
from dcnrun.errors import ConfigError, UsageError
from dcnrun.tasks.build import build_model
from dcnrun.tasks.registry import ARCHITECTURES
from dcnrun.tasks.validate import check
from tests.models import factories as smp
from tests.models.factories import TINY, images, library
from tests.tasks.factories import config

HEADS = [head for head, entry in ARCHITECTURES.items() if entry.config is SegmentationModelConfig]


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("kind", list(ConvKind))
def test_every_combination_builds_and_scores_every_pixel(head, kind):
    """The backbone in turn, so that each meets every head and every kind."""
    turn = HEADS.index(head) + list(ConvKind).index(kind)
    backbone = (Backbone.resnet18, Backbone.resnet50)[turn % 2]
    conv = ConvConfig(kind=kind, layers="3", dilation=4 if kind is ConvKind.dilated else None)
    built = build_model(config(conv, head=head, backbone=backbone), num_classes=5)
    scores = built.network.eval()(torch.randn(2, 3, 65, 48))
    assert scores.shape == (2, 5, 65, 48)
    assert scores.isfinite().all()


@pytest.mark.parametrize(("arch", "padded_to"), [("unet", (64, 96)), ("deeplabv3plus", (64, 80))])
def test_it_is_the_librarys_network_at_its_sizes_and_pads_others(arch, padded_to):
    network = build_model(smp.config(f"model.arch={arch}", "conv=standard"), 4).network.eval()
    theirs = library(arch, TINY).eval()
    theirs.load_state_dict(network.backbone.state_dict())
    with torch.inference_mode():
        torch.testing.assert_close(network(images(3, 64, 96)), theirs(images(3, 64, 96)))
        odd = images(3, 50, 77)
        padded = torch.zeros(2, 3, *padded_to)
        padded[..., :50, :77] = odd
        torch.testing.assert_close(network(odd), theirs(padded)[..., :50, :77])


@pytest.mark.parametrize(
    ("arch", "encoder", "conv", "replaced"),
    [
        ("unet", TINY, ["conv=modulated", "conv.where=all", "conv.layers=12"], 12),
        ("unet", "tu-test_convnext", ["conv=deformable", "conv.depthwise=true", "conv.layers=c4-c5"], None),
        ("unetplusplus", TINY, ["conv=modulated", "conv.layers=decoder.blocks.*.conv2"], None),
        ("deeplabv3", TINY, ["conv=deformable", "conv.layers=2"], 2),
    ],
)
def test_a_fresh_deformable_network_equals_the_standard_one(arch, encoder, conv, replaced):
    settings = [f"model.arch={arch}", *conv[1:]]
    plain = build_model(smp.config("conv=standard", *settings, encoder=encoder), 4)
    deformable = build_model(smp.config(*conv, *settings, encoder=encoder), 4)
    assert deformable.replaced == plain.replaced
    assert len(plain.replaced) == replaced or replaced is None
    x = images(3, 64, 64)
    for network in (plain.network, deformable.network):
        torch.manual_seed(0)  # of dropout
        network.train()
    torch.manual_seed(0)
    wanted = plain.network(x)
    torch.manual_seed(0)
    torch.testing.assert_close(deformable.network(x), wanted, rtol=1e-3, atol=1e-3)


def test_the_dilated_control_dilates_the_same_places():
    where = ["conv.where=decoder", "conv.layers=3"]
    deformable = build_model(smp.config("conv=modulated", *where), 4)
    dilated = build_model(smp.config("conv=dilated", "conv.dilation=3", *where), 4)
    assert [layer.name for layer in dilated.replaced] == [layer.name for layer in deformable.replaced]
    layers = [dilated.network.backbone.get_submodule(layer.name) for layer in dilated.replaced]
    assert {(layer.dilation, layer.padding) for layer in layers} == {((3, 3), (3, 3))}
    assert dilated.network(images(3, 64, 64)).shape == (2, 4, 64, 64)


def test_files_of_a_network_an_encoder_and_timm_are_read_and_what_they_lack_is_said(tmp_path):
    torch.manual_seed(1)
    whole = library("unet", TINY)
    whole_timm = timm.create_model("test_convnext").eval()
    for name, state in (
        ("network", whole.state_dict()),
        ("encoder", whole.encoder.state_dict()),
        ("timm", whole_timm.state_dict()),
    ):
        torch.save(state, tmp_path / f"{name}.pt")

    def built(name, *overrides, encoder=TINY):
        weights = f"model.weights={tmp_path / f'{name}.pt'}"
        return build_model(smp.config("conv=standard", weights, *overrides, encoder=encoder), 4)

    def loaded(name, *overrides):
        model = built(name, *overrides)
        return model.network.backbone.state_dict(), model.loaded

    state, said = loaded("network")
    assert all(torch.equal(tensor, state[key]) for key, tensor in whole.state_dict().items())
    assert "before training" not in said
    state, said = loaded("network", "conv=modulated", "conv.where=decoder", "conv.layers=1")
    assert "not in it, and as before training: decoder.blocks.4.conv2.0.offset_branch.bias" in said
    state, said = loaded("encoder")
    assert all(torch.equal(tensor, state[f"encoder.{key}"]) for key, tensor in whole.encoder.state_dict().items())
    assert said.endswith("not in it, and as before training: all of decoder, segmentation_head.")
    model, x = built("timm", encoder="tu-test_convnext"), images(3, 64, 64)
    with torch.inference_mode():
        features = model.network.backbone.encoder.eval()(x)
        torch.testing.assert_close(features[-1], whole_timm.forward_features(x))
    assert "not used: head." in model.loaded
    with pytest.raises(UsageError, match=r"lacks \d+ of the \d+ tensors of tu-test_convnext"):
        built("encoder", encoder="tu-test_convnext")


def test_weights_of_an_encoder_that_learnt_with_strides_are_said_to_give_other_features(tmp_path):
    whole = library("deeplabv3plus", "mobilenet_v2").state_dict()
    encoder = {key.removeprefix("encoder."): tensor for key, tensor in whole.items() if key.startswith("encoder.")}

    def loaded(state, arch):
        torch.save(state, tmp_path / "weights.pt")
        overrides = [
            "conv=standard",
            "conv.depthwise=true",
            f"model.arch={arch}",
            f"model.weights={tmp_path / 'weights.pt'}",
        ]
        return build_model(smp.config(*overrides, encoder="mobilenet_v2"), 4).loaded

    assert "with model.arch=deeplabv3plus segmentation_models.pytorch also dilates" in loaded(encoder, "deeplabv3plus")
    assert "dilates" not in loaded(encoder, "unet")
    assert "dilates" not in loaded(whole, "deeplabv3plus")


@pytest.mark.parametrize(
    ("overrides", "why"),
    [
        (["model=fcn", "conv.where=decoder"], "conv.where=decoder does nothing with model=fcn"),
        (["model=smp", "conv.layers=c4", "conv.where=all"], "conv.where=all does nothing with conv.layers=c4"),
        (["model=smp", "conv.layers=decoder", "conv.depthwise=true"], "conv.depthwise=true does nothing with conv.layers=decoder"),
    ],
)  # fmt: skip
def test_settings_of_placement_that_do_nothing_are_named(overrides, why):
    with pytest.raises(ConfigError, match=why):
        check(compose([*overrides, "data=shapes", "conv=modulated"]))
