"""Checkpoints of other projects: names, what shapes and metadata say, and what is left as it is."""

import pytest
import torch

from dcnrun.config.schema import ConvKind, ResNetStyle
from dcnrun.models.checkpoint_layouts import Project
from dcnrun.models.checkpoints import (
    DeformableLayer,
    classes_of,
    conv_settings,
    deformable_layers,
    notes_on,
    output_stride_of,
    style_of,
    translate,
)
from tests.models.fakes import D2MaskRcnn, MmdetMaskRcnn


def test_names_that_stay_are_those_without_a_counterpart():
    with torch.device("meta"):
        names = list(MmdetMaskRcnn(4, 8, 8, 8, 1, 2).state_dict())
    names += [
        "neck.lateral_convs.0.bn.weight",
        "roi_head.bbox_head.1.fc_cls.weight",
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


def test_what_a_config_says_of_strides_and_of_what_no_network_here_computes():
    def said(text, *names):
        content = {"meta": {"cfg": text}}
        translation = translate({name: torch.zeros(1) for name in names}, content)
        return output_stride_of(content), " ".join(notes_on(content, translation))

    assert said("strides=(1, 2, 1, 1), style='pytorch'") == (8, "")
    assert said("backbone=dict(strides=(\n    1,\n    2,\n    2,\n    1,\n))")[0] == 16
    assert said("anchors=dict(strides=[4, 8, 16, 32])") == (None, "")
    assert "dilated 1, 2, 4 times as far (multi_grid)" in said("backbone=dict(multi_grid=(1, 2, 4))")[1]
    head = "decode_head=dict(type='FCNHead', {}), auxiliary_head=dict(dilation=3, align_corners=True)"
    assert "head are dilated by 6" in said(head.format("dilation=6"))[1]
    assert "align_corners=True" in said(head.format("align_corners=True"))[1]
    assert said(head.format("dilations=(1, 12, 24, 36), align_corners=False"))[1] == ""
    assert "a cascade of 3 heads" in said("", *(f"roi_head.bbox_head.{nth}.fc_cls.weight" for nth in range(3)))[1]
    assert said("", "roi_head.bbox_head.fc_cls.weight")[1] == ""
