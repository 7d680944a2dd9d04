"""Checkpoints of other projects: each layer of ours computes what the original does with the same state dict."""

import pytest
import torch
from torch import nn

from dcnrun.config.schema import ConvKind, ResNetStyle
from dcnrun.models.checkpoints import (
    DeformableLayer,
    Project,
    classes_of,
    conv_settings,
    deformable_layers,
    style_of,
    translate,
)
from dcnrun.models.conv import DeformConv2d, ModulatedDeformConv2d
from tests.models.fakes import CharlesShang, D2Block, D2MaskRcnn, DeformPack, MmdetMaskRcnn, randomize


def loaded(layer, original, name="layer1.0.conv2"):
    """Give a layer of ours the tensors that its original has where a checkpoint has that layer."""
    translated = translate({f"{name}.{key}": value for key, value in original.state_dict().items()})
    layer.load_state_dict({key.removeprefix(f"{name}."): value for key, value in translated.tensors.items()})
    return layer


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("modulated", [False, True])
@pytest.mark.parametrize(("pack", "bias"), [(DeformPack, False), (CharlesShang, True)])
def test_a_layer_gives_what_the_original_gives(pack, bias, modulated, groups):
    original = randomize(pack(8, 2, modulated=modulated, groups=groups, bias=bias))
    kind, own = (ModulatedDeformConv2d, {"mask_start": 0.5}) if modulated else (DeformConv2d, {})
    layer = loaded(kind(8, 8, 3, 2, 1, bias=bias, offset_groups=groups, **own), original)
    x = torch.randn(2, 8, 9, 7, generator=torch.Generator().manual_seed(1))
    assert layer.offset_branch(x).abs().mean() > 0.5  # points that are elsewhere, some of them outside
    torch.testing.assert_close(layer(x), original(x), rtol=1e-4, atol=1e-5)
    if modulated:
        doubled = loaded(kind(8, 8, 3, 2, 1, bias=False, offset_groups=groups), pack_without_bias(original))
        torch.testing.assert_close(doubled(x), 2 * (original(x) - bias_of(original)), rtol=1e-4, atol=1e-5)


def pack_without_bias(original):
    plain = type(original)(8, 2, modulated=original.modulated, groups=original.groups)
    plain.load_state_dict({key: value for key, value in original.state_dict().items() if key != "bias"})
    return plain


def bias_of(original):
    return original.bias[:, None, None] if hasattr(original, "bias") else 0


@pytest.mark.parametrize("modulated", [False, True])
def test_a_block_of_detectron2(modulated):
    """Whose branch stands beside the layer, and whose normalisation in it."""
    original = randomize(D2Block(8, 4, 1, modulated))
    state = {f"backbone.bottom_up.res3.0.{key}": value for key, value in original.state_dict().items()}
    state |= {"backbone.bottom_up.stem.conv1.norm.weight": torch.ones(4)}
    tensors = translate(state).tensors
    kind, own = (ModulatedDeformConv2d, {"mask_start": 0.5}) if modulated else (DeformConv2d, {})
    layer, norm = kind(4, 4, 3, padding=1, bias=False, **own), nn.BatchNorm2d(4).eval()
    for module, name in ((layer, "conv2"), (norm, "bn2")):
        place = f"backbone.layer2.0.{name}."
        module.load_state_dict({key.removeprefix(place): tensors[key] for key in tensors if key.startswith(place)})
    x = torch.randn(2, 8, 6, 5, generator=torch.Generator().manual_seed(1))
    hidden = norm(layer(original.conv1(x).relu())).relu()
    wanted = original(x)
    torch.testing.assert_close((original.conv3(hidden) + original.shortcut(x)).relu(), wanted, rtol=1e-4, atol=1e-5)


def test_names_that_stay_are_those_without_a_counterpart():
    with torch.device("meta"):
        names = list(MmdetMaskRcnn(4, 8, 8, 8, 1, 2).state_dict())
    names += [
        "neck.lateral_convs.0.bn.weight",
        "roi_head.bbox_head.0.fc_cls.weight",
        "ema.neck.fpn_convs.0.conv.weight",
    ]
    found = translate({f"state_dict.{name}": torch.zeros(2, 1) for name in names})
    assert found.project is Project.openmmlab
    left = {
        key for key in found.tensors if not key.startswith("state_dict.backbone.") and found.origins[key].name == key
    }
    assert left == {f"state_dict.{name}" for name in names[-3:]}


def test_two_networks_of_a_file_stay_two():
    with torch.device("meta"):
        names = list(D2MaskRcnn(4, 8, 8, 8, 1, 2).state_dict())
    found = translate({f"{which}.{name}": torch.zeros(2) for name in names for which in ("student", "teacher")})
    assert len(found.tensors) == 2 * len(names)
    assert {"student.backbone.conv1.weight", "teacher.backbone.conv1.weight"} <= found.tensors.keys()


def test_no_tensor_is_lost_to_another_of_its_name():
    state = {"layer2.0.conv2_offset.bias": torch.zeros(1), "layer2.0.conv2.offset_branch.bias": torch.ones(1)}
    assert translate(state).tensors.keys() == state.keys()


def branch(channels, rows, side=3):
    return {"offset_branch.weight": torch.zeros(rows, channels, 3, 3), "weight": torch.zeros(4, channels, side, side)}


@pytest.mark.parametrize(
    ("channels", "rows", "kind", "groups"),
    [(4, 18, "deformable", 1), (4, 27, "modulated", 1), (128, 54, "modulated", 2), (128, 72, "deformable", 4)],
)
def test_shapes_tell_the_kind_and_its_groups(channels, rows, kind, groups):
    state = {f"a.{key}": value for key, value in branch(channels, rows).items()}
    assert deformable_layers(state) == [DeformableLayer("a", ConvKind(kind), groups)]


def test_the_settings_of_deformable_layers():
    plain = {
        f"backbone.layer{n}.{block}.conv2.weight": torch.zeros(4, 4, 3, 3) for n in (1, 2, 3, 4) for block in (0, 1)
    }
    learnt = {key.replace("weight", "offset_branch.weight"): torch.zeros(27, 4, 3, 3) for key in plain}
    of_stages = {key: value for key, value in learnt.items() if "layer1" not in key}
    assert conv_settings(plain | of_stages, "backbone.") == [
        "conv=modulated",
        "conv.layers=c3-c5",
        "conv.mask_start=0.5",
    ]
    own = conv_settings(plain | of_stages, "backbone.", masks_are_sigmoids=False)
    assert own == ["conv=modulated", "conv.layers=c3-c5"]
    some = {key: value for key, value in learnt.items() if "layer4" in key or "layer2" in key}
    assert conv_settings(plain | some, "backbone.")[1] == "conv.layers=c3,c5"
    last = {key: value for key, value in learnt.items() if "layer4.1" in key}
    assert conv_settings(plain | last, "backbone.")[1] == "conv.layers=layer4.1.conv2"
    assert conv_settings(plain, "backbone.") == []


def test_what_metadata_say():
    nothing = translate({"conv1.weight": torch.zeros(1)})
    for key in ("cfg", "config"):
        content = {"meta": {key: "backbone=dict(type='ResNet', style = 'caffe')", "CLASSES": ("a", "b")}}
        assert style_of(content, nothing) is ResNetStyle.caffe
        assert classes_of(content) == ("a", "b")
    assert classes_of({"meta": {"dataset_meta": {"classes": ["c"]}, "CLASSES": None}}) == ("c",)
    for foreign in (None, 3, {"meta": "x"}, {"meta": {"cfg": 3, "CLASSES": 3, "dataset_meta": 3}}):
        assert style_of(foreign, nothing) is None
        assert classes_of(foreign) == ()
    assert translate({"a": torch.zeros(1)}, {"meta": {"mmengine_version": "0.10"}}).project is Project.openmmlab
