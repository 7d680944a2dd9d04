"""Networks of segmentation_models.pytorch: they compute what the library's do, and their layers are replaced as those of others."""

import sys
from itertools import pairwise

import pytest
import segmentation_models_pytorch
import timm
import torch
from timm.models import adapt_input_conv

from dcnrun.config.compose import compose
from dcnrun.errors import ConfigError, UsageError
from dcnrun.models import encoders
from dcnrun.models.outline import convolutions_of
from dcnrun.models.weights import read_weights
from dcnrun.tasks.build import build_model
from dcnrun.tasks.validate import check, model_problems

TINY = "tu-test_resnet"


def config(*overrides, encoder=TINY):
    return compose(["model=smp", f"model.encoder={encoder}", "data=shapes", *overrides])


def images(*size, seed=0):
    return torch.randn(2, *size, generator=torch.Generator().manual_seed(seed))


def library(arch, encoder, **settings):
    return segmentation_models_pytorch.create_model(arch, encoder, encoder_weights=None, classes=4, **settings)


@pytest.mark.parametrize("arch", ["unet", "deeplabv3plus"])
def test_it_is_the_librarys_network_at_its_sizes_and_pads_others(arch):
    network = build_model(config(f"model.arch={arch}", "conv=standard"), 4).network.eval()
    theirs = library(arch, TINY).eval()
    theirs.load_state_dict(network.backbone.state_dict())
    with torch.inference_mode():
        torch.testing.assert_close(network(images(3, 64, 96)), theirs(images(3, 64, 96)))
        odd = images(3, 50, 77)
        padded = torch.zeros(2, 3, 64, 96)
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
    plain = build_model(config("conv=standard", *settings, encoder=encoder), 4)
    deformable = build_model(config(*conv, *settings, encoder=encoder), 4)
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
    deformable = build_model(config("conv=modulated", *where), 4)
    dilated = build_model(config("conv=dilated", "conv.dilation=3", *where), 4)
    assert [layer.name for layer in dilated.replaced] == [layer.name for layer in deformable.replaced]
    layers = [dilated.network.backbone.get_submodule(layer.name) for layer in dilated.replaced]
    assert {(layer.dilation, layer.padding) for layer in layers} == {((3, 3), (3, 3))}
    assert dilated.network(images(3, 64, 64)).shape == (2, 4, 64, 64)


@pytest.mark.parametrize("arch", ["unet", "deeplabv3"])
def test_stages_are_by_the_strides_that_the_encoder_has_of_its_own(arch):
    """Those of a ResNet-34 hold 6, 8, 12 and 6 3x3 convolutions, dilated in place of strided or not."""
    found = convolutions_of(config(f"model.arch={arch}", encoder="resnet34").model)
    for stage, folder, count in (("c2", 1, 6), ("c3", 2, 8), ("c4", 3, 12), ("c5", 4, 6)):
        names = [each.name for each in found if each.stage == stage]
        assert len(names) == count
        assert all(name.startswith(f"encoder.layer{folder}.") for name in names)


def test_convolutions_are_in_the_order_in_which_they_run():
    """U-Net++ registers its blocks in another."""
    model = config("model.arch=unetplusplus").model
    network, order = library("unetplusplus", TINY).eval(), []
    for name, module in network.named_modules():
        module.register_forward_hook(lambda *_, name=name: order.append(name))
    network(images(3, 64, 64))
    found = [order.index(each.name) for each in convolutions_of(model)]
    assert all(one < other for one, other in pairwise(found))
    assert not any(each.name.startswith("segmentation_head") for each in convolutions_of(model))


@pytest.mark.parametrize("bands", [1, 5])
def test_published_weights_are_found_by_name_and_adapted_to_other_bands(monkeypatch, bands):
    torch.manual_seed(1)
    published = segmentation_models_pytorch.encoders.get_encoder(TINY, weights=None)
    asked = []

    def get_encoder(name, weights=None, **_):
        asked.append((name, weights))
        return published

    cfg = config("model.weights=DEFAULT", f"data.bands={list(range(bands))}")
    monkeypatch.setattr(encoders.smp().encoders, "get_encoder", get_encoder)
    weights = read_weights(cfg.model)
    monkeypatch.undo()
    network = encoders.build_network(cfg.model, bands, 4)
    weights.load_into_backbone(network.encoder, TINY)
    ((name, wanted),) = asked
    assert name == f"{TINY}.{timm.models.get_pretrained_cfg('test_resnet').tag}"
    assert wanted
    state, own = published.state_dict(), network.encoder.state_dict()
    first = next(name for name, tensor in own.items() if tensor.dim() == 4)
    for key, tensor in own.items():
        torch.testing.assert_close(tensor, adapt_input_conv(bands, state[key]) if key == first else state[key])
    assert f"adapted to {bands} band" in weights.load_into_network(network, "encoder.")


def test_files_of_a_network_an_encoder_and_timm_are_read_and_what_they_lack_is_said(tmp_path):
    torch.manual_seed(1)
    whole = library("unet", TINY)
    whole_timm = timm.create_model("test_resnet")
    for name, state in (
        ("network", whole.state_dict()),
        ("encoder", whole.encoder.state_dict()),
        ("timm", whole_timm.state_dict()),
    ):
        torch.save(state, tmp_path / f"{name}.pt")

    def loaded(name, *overrides):
        model = build_model(config("conv=standard", f"model.weights={tmp_path / f'{name}.pt'}", *overrides), 4)
        return model.network.backbone.state_dict(), model.loaded

    state, said = loaded("network")
    assert all(torch.equal(tensor, state[key]) for key, tensor in whole.state_dict().items())
    assert "before training" not in said
    state, said = loaded("network", "conv=modulated", "conv.where=decoder", "conv.layers=1")
    assert "not in it, and as before training: decoder.blocks.4.conv2.0.offset_branch.bias" in said
    state, said = loaded("encoder")
    assert all(torch.equal(tensor, state[f"encoder.{key}"]) for key, tensor in whole.encoder.state_dict().items())
    assert said.endswith("not in it, and as before training: all of decoder, segmentation_head.")
    state, said = loaded("timm")
    theirs = whole_timm.state_dict()
    assert torch.equal(state["encoder.model.conv1.weight"], theirs["conv1.weight"])
    assert torch.equal(state["encoder.model.layer4.0.conv2.weight"], theirs["layer4.0.conv2.weight"])
    assert "not used: fc.bias, fc.weight" in said
    with pytest.raises(UsageError, match=r"lacks \d+ of the \d+ tensors of tu-test_convnext"):
        build_model(config(f"model.weights={tmp_path / 'encoder.pt'}", encoder="tu-test_convnext"), 4)


@pytest.mark.parametrize(
    ("overrides", "problem"),
    [
        (["model.arch=unett"], "model.arch=unett is no architecture of segmentation_models.pytorch; did you mean unet"),
        (["model.encoder=resnet35"], "model.encoder=resnet35 is no encoder of segmentation_models.pytorch, nor tu-NAME one of timm; did you mean resnet34"),
        (["model.encoder=tu-maxvit_tiny_rw_224"], "can't be built: it can't take images of any size"),
        (["model.arch=unetplusplus", "model.encoder=mit_b0"], "model.arch=unetplusplus with model.encoder=mit_b0 can't be built: UnetPlusPlus is not support"),
        (["conv.layers=99"], "conv.layers=99 is more than the encoder's"),
        (["conv.layers=decoder.blocks.9"], "the last ones of the network are: decoder.blocks."),
        (["model.arch=pan", "data.batch_size=1"], "data.batch_size=1 must be at least 2 with model.arch=pan"),
    ],
)  # fmt: skip
def test_what_cannot_be_built_is_said_in_a_line(overrides, problem):
    (said,) = model_problems(config(*overrides))
    assert problem in said
    assert "\n" not in said


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


def test_without_the_library_a_line_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "segmentation_models_pytorch", None)
    encoders.smp.cache_clear()
    try:
        (said,) = model_problems(config())
    finally:
        monkeypatch.undo()
        encoders.smp.cache_clear()
    assert said.startswith("model=smp needs segmentation_models.pytorch and timm")
    assert said.endswith("pip install 'dcnrun[smp]'")
