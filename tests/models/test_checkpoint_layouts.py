"""Names and layouts of other projects: each layer of ours computes what the original does with the same state dict."""

import pytest
import torch
import torchvision
from torch import nn
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.rpn import RPNHead

from dcnrun.config.schema import Backbone, ResNetStem
from dcnrun.models.backbones import ResNetBackbone
from dcnrun.models.checkpoint_layouts import Project
from dcnrun.models.checkpoints import translate
from dcnrun.models.conv import DeformConv2d, ModulatedDeformConv2d
from tests.models.fakes import (
    CharlesShang,
    D2Block,
    D2DeepLabStem,
    DeformPack,
    MmdetBBoxHead,
    TransformersResNet,
    randomize,
)


def loaded(layer, original, name="layer1.0.conv2"):
    """Give a layer of ours the tensors that its original has where a checkpoint has that layer."""
    translated = translate({f"{name}.{key}": value for key, value in original.state_dict().items()})
    return filled(layer, translated.tensors, name)


def filled(module, tensors, name):
    """Give a module of ours its tensors of a file, by its name."""
    module.load_state_dict({key: tensors[f"{name}.{key}"] for key in module.state_dict()})
    return module.eval()


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


@pytest.mark.parametrize(
    ("modulated", "theirs", "ours"),
    [
        (False, "backbone.bottom_up.res3", "layer2"),
        (True, "backbone.bottom_up.res3", "layer2"),
        (None, "roi_heads.res5", "layer4"),
    ],
)
def test_a_block_of_detectron2(modulated, theirs, ours):
    """Whose branch stands beside the layer, and whose normalisation in it; of networks on c4 the last stage is in the head."""
    original = randomize(D2Block(8, 4, 1, modulated))
    state = {f"{theirs}.0.{key}": value for key, value in original.state_dict().items()}
    state |= {"backbone.bottom_up.stem.conv1.norm.weight": torch.ones(4)}
    tensors = translate(state).tensors
    kind, own = (ModulatedDeformConv2d, {"mask_start": 0.5}) if modulated else (DeformConv2d, {})
    layer = (
        nn.Conv2d(4, 4, 3, padding=1, bias=False) if modulated is None else kind(4, 4, 3, padding=1, bias=False, **own)
    )
    norm = nn.BatchNorm2d(4).eval()
    for module, name in ((layer, "conv2"), (norm, "bn2")):
        filled(module, tensors, f"backbone.{ours}.0.{name}")
    x = torch.randn(2, 8, 6, 5, generator=torch.Generator().manual_seed(1))
    hidden = norm(layer(original.conv1(x).relu())).relu()
    wanted = original(x)
    torch.testing.assert_close((original.conv3(hidden) + original.shortcut(x)).relu(), wanted, rtol=1e-4, atol=1e-5)


def test_the_stem_of_detectron2s_deeplab():
    original = randomize(D2DeepLabStem(8))
    tensors = translate({f"backbone.stem.{key}": value for key, value in original.state_dict().items()}).tensors
    ours = ResNetBackbone(Backbone.resnet18, 8, stem=ResNetStem.deep)
    convolutions, norm = filled(ours.conv1, tensors, "backbone.conv1"), filled(ours.bn1, tensors, "backbone.bn1")
    x = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(norm(convolutions(x)).relu(), original(x))


def test_a_cascade_gives_its_first_head_whose_box_is_that_of_all_classes():
    """With each project's names, and without a box for each class."""
    original = randomize(MmdetBBoxHead(4, 6, 3, 5))
    original.fc_reg = randomize(nn.Linear(6, 4))
    of_detectron2 = {"shared_fcs.0": "box_head.{}.fc1", "shared_fcs.1": "box_head.{}.fc2"}
    of_detectron2 |= {"fc_cls": "box_predictor.{}.cls_score", "fc_reg": "box_predictor.{}.bbox_pred"}
    of_mmdet, of_d2 = {}, {"backbone.fpn_lateral2.weight": torch.zeros(1)}
    for key, value in original.state_dict().items():
        layer, _, leaf = key.rpartition(".")
        for nth in range(3):
            of_mmdet[f"roi_head.bbox_head.{nth}.{key}"] = value + nth
            of_d2[f"roi_heads.{of_detectron2[layer].format(nth)}.{leaf}"] = value + nth
    pooled = torch.randn(2, 4, 3, 3, generator=torch.Generator().manual_seed(1))
    wanted_scores, wanted_box = original(pooled)
    for state in (of_mmdet, of_d2):
        tensors = translate(state).tensors
        head = filled(TwoMLPHead(36, 6), tensors, "roi_heads.box_head")
        scores, boxes = filled(FastRCNNPredictor(6, 6), tensors, "roi_heads.box_predictor")(head(pooled))
        torch.testing.assert_close(scores.roll(-1, 1), wanted_scores)
        torch.testing.assert_close(boxes.reshape(2, 6, 4)[:, 1:], wanted_box[:, None].expand(-1, 5, -1))


def test_proposals_of_detectron2_on_c4_are_those_of_the_same_anchors():
    """It has the ratios of a size one after another, we the sizes of a ratio."""
    original = randomize(
        nn.ModuleDict({"conv": nn.Conv2d(4, 4, 3, padding=1), "objectness_logits": nn.Conv2d(4, 15, 1)})
    )
    original["anchor_deltas"] = randomize(nn.Conv2d(4, 60, 1))
    state = {f"proposal_generator.rpn_head.{key}": value for key, value in original.state_dict().items()}
    tensors = translate(state | {"roi_heads.res5.0.conv1.weight": torch.zeros(1)}).tensors
    ours = filled(RPNHead(4, 15), tensors, "rpn.head")
    x = torch.randn(2, 4, 5, 6, generator=torch.Generator().manual_seed(1))
    (scores,), (deltas,) = ours([x])
    hidden = original["conv"](x).relu()
    theirs = [[size / ratio**0.5, size * ratio**0.5] for size in (32, 64, 128, 256, 512) for ratio in (0.5, 1, 2)]
    corners = AnchorGenerator(((32, 64, 128, 256, 512),), ((0.5, 1.0, 2.0),)).cell_anchors[0]
    same = torch.cdist(corners[:, 2:] - corners[:, :2], torch.tensor(theirs)).argmin(1)
    assert sorted(same.tolist()) == list(range(15))
    torch.testing.assert_close(scores, original["objectness_logits"](hidden)[:, same])
    wanted = original["anchor_deltas"](hidden).reshape(2, 15, 4, 5, 6)[:, same]
    torch.testing.assert_close(deltas, wanted.reshape(2, 60, 5, 6))


@pytest.mark.parametrize(
    ("backbone", "depths", "narrow"),
    [(Backbone.resnet18, [2, 2, 2, 2], False), (Backbone.resnet50, [3, 4, 6, 3], True)],
)
def test_a_resnet_of_transformers(backbone, depths, narrow):
    original = randomize(TransformersResNet(8, depths, narrow)).eval()
    found = translate({f"resnet.{key}": value for key, value in original.state_dict().items()})
    assert found.project is Project.transformers
    ours = filled(ResNetBackbone(backbone, 8), found.tensors, "resnet")
    x = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    for got, wanted in zip(ours.features(x).values(), original(x), strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-5)


def test_a_resnet_whose_children_stand_in_a_row():
    """As fastai and Lightly cut torchvision's, without its head."""
    whole = randomize(torchvision.models.resnet18()).eval()
    body = nn.Sequential(*list(whole.children())[:-2])
    found = translate({f"backbone.{key}": value for key, value in body.state_dict().items()})
    assert found.project is Project.sequential
    ours = filled(ResNetBackbone(Backbone.resnet18, 64), found.tensors, "backbone")
    x = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(ours(x), body(x), rtol=1e-4, atol=1e-5)
