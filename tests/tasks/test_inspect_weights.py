"""Files of other projects: what `dcnrun weights inspect` says of them, and networks of ours that compute what theirs do.

Every network is built from the settings that are suggested.
"""

import re
import shlex

import pytest
import timm
import torch
import torchvision
from torch import nn
from torchvision.models._utils import IntermediateLayerGetter
from torchvision.models.detection import FasterRCNN, maskrcnn_resnet50_fpn, retinanet_resnet50_fpn
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.segmentation.deeplabv3 import DeepLabHead, DeepLabV3
from torchvision.models.segmentation.fcn import FCN, FCNHead
from torchvision.ops import FeaturePyramidNetwork, MultiScaleRoIAlign
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool

from dcnrun.config.compose import compose
from dcnrun.config.schema import Backbone
from dcnrun.errors import UsageError
from dcnrun.models.backbones import ResNetBackbone, set_output_stride
from dcnrun.models.checkpoints import translate
from dcnrun.tasks.build import build_model
from dcnrun.tasks.inspect_weights import inspect_weights
from tests.models.factories import library
from tests.models.fakes import (
    D2Conv,
    D2DeepLabStem,
    D2MaskRcnn,
    D2ResNet,
    D2RetinaNet,
    MmdetMaskRcnn,
    MmdetRetinaNet,
    MmsegASPPHead,
    MmsegFCNHead,
    MmsegNetwork,
    randomize,
)

SMALL = {"width": 8, "channels": 16, "classes": 3}
HEADS = {"hidden": 24, "mask_channels": 12, "side": 3}


def saved(path, original, container="state_dict", **meta):
    torch.save({container: original.state_dict(), "meta": meta}, path)
    return path


def built(path, classes, *more):
    """The network of the suggested settings."""
    report = inspect_weights(path)
    config = compose([*report["settings"], f"model.weights='{path}'", *more])
    model = build_model(config, classes)
    return report, model.network.eval(), model.loaded


def images():
    """RGB from 0 to 255."""
    return 255 * torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(3))


def normalised(rgb):
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    return (rgb / 255 - mean[:, None, None]) / std[:, None, None]


def assert_near(ours, theirs):
    torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4 * theirs.abs().max().item())


@pytest.mark.parametrize("kind", [MmdetMaskRcnn, D2MaskRcnn])
def test_mask_rcnn(tmp_path, kind):
    original, is_of_detectron2 = randomize(kind(**SMALL, **HEADS)), kind is D2MaskRcnn
    path = saved(tmp_path / "x.pth", original, "model" if is_of_detectron2 else "state_dict")
    report, network, loaded = built(path, 3)
    assert "conv=deformable" in report["settings"]
    assert ("model.style=caffe" in report["settings"]) == is_of_detectron2
    assert report["classes"] == 3
    assert "as before training" not in loaded

    levels, maps = original.levels(images()), network.maps(normalised(images()))
    for stage, theirs in zip(("p2", "p3", "p4", "p5"), levels, strict=True):
        assert_near(maps[stage], theirs)
    objectness, deltas = network.rpn.head(list(maps.values())[:1])
    for ours, theirs in zip((objectness[0], deltas[0]), original.proposals(levels[0]), strict=True):
        assert_near(ours, theirs)
    random = torch.Generator().manual_seed(4)
    pooled = torch.randn(5, 16, 3, 3, generator=random)
    scores, boxes = network.roi_heads.box_predictor(network.roi_heads.box_head(pooled))
    their_scores, their_boxes = original.boxes(pooled)  # background last, and no box of it
    assert_near(scores[:, 1:], their_scores[:, :-1])
    assert_near(scores[:, 0], their_scores[:, -1])
    assert_near(boxes[:, 4:], their_boxes)
    pooled = torch.randn(5, 16, 14, 14, generator=random)
    masks = network.roi_heads.mask_predictor(network.roi_heads.mask_head(pooled))
    assert_near(masks[:, 1:], original.masks(pooled))


@pytest.mark.parametrize(
    ("kind", "own"), [(MmdetRetinaNet, {"dcn": {"modulated": True, "groups": 2}}), (D2RetinaNet, {})]
)
def test_retinanet(tmp_path, kind, own):
    original = randomize(kind(**SMALL, **own))
    path = saved(tmp_path / "x.pth", original, cfg="style='pytorch'" if kind is MmdetRetinaNet else "")
    report, network, loaded = built(path, 3)
    assert {"model=retinanet", "conv=modulated", "conv.mask_start=0.5"} <= set(report["settings"])
    assert "not in it, and as before training: neck.extra_blocks.p*.bias (2)" in loaded  # they make p6 of c5, we of p5
    levels, maps = original.levels(images()), network.maps(normalised(images()))
    for stage, theirs in zip(("p3", "p4", "p5"), levels, strict=True):
        assert_near(maps[stage], theirs)

    network.anchor_generator.set_cell_anchors(torch.float32, torch.device("cpu"))
    corners = network.anchor_generator.cell_anchors[0]
    same = torch.cdist(corners[:, 2:] - corners[:, :2], original.cell_anchors(32)).argmin(1)
    assert sorted(same.tolist()) == list(range(9))
    outputs = network.head([maps["p3"]])
    for name, theirs, values in zip(
        ("cls_logits", "bbox_regression"), original.outputs(levels[0]), (3, 4), strict=True
    ):
        # (N, HW, anchors, values), as both decode them.
        per_anchor = theirs.reshape(2, 9, values, -1).permute(0, 3, 1, 2)
        assert_near(outputs[name].reshape(2, -1, 9, values), per_anchor[:, :, same])


def stages(backbone):
    """A ResNet of few channels as torchvision keeps it in other networks: its stages alone, by their names."""
    return IntermediateLayerGetter(backbone, {f"layer{nth + 1}": str(nth) for nth in range(4)})


class FewChannels(nn.Module):
    """torchvision's `BackboneWithFPN` on such a ResNet."""

    def __init__(self):
        super().__init__()
        self.body, self.out_channels = stages(ResNetBackbone(Backbone.resnet18, 8)), 16
        self.fpn = FeaturePyramidNetwork([8, 16, 32, 64], 16, LastLevelMaxPool())

    def forward(self, image):
        return self.fpn(self.body(image))


def test_torchvision_detectors_of_either_naming(tmp_path):
    own = {"box_head": TwoMLPHead(16 * 9, 24), "box_predictor": FastRCNNPredictor(24, 4)}
    pool = MultiScaleRoIAlign(["0", "1", "2", "3"], 3, 2)
    anchors = AnchorGenerator(((32,), (64,), (128,), (256,), (512,)), ((0.5, 1.0, 2.0),) * 5)
    original = randomize(FasterRCNN(FewChannels(), box_roi_pool=pool, rpn_anchor_generator=anchors, **own))
    state = original.state_dict()
    torch.save(state, tmp_path / "x.pth")
    report, network, loaded = built(tmp_path / "x.pth", 3)
    assert report["project"] == "torchvision"
    assert f"{len(state)} of its {len(state)} tensors are loaded" in loaded
    rgb = normalised(images())
    wanted = original.backbone(rgb)
    maps = network.maps(rgb)
    for ours, theirs in zip(maps.values(), wanted.values(), strict=True):
        assert_near(ours, theirs)
    for ours, theirs in zip(network.rpn.head([maps["p2"]]), original.rpn.head([wanted["0"]]), strict=True):
        assert_near(ours[0], theirs[0])
    old = {key.replace("conv.0.0.", "conv.").replace("_blocks.0.0.", "_blocks.0."): state[key] for key in state}
    assert old.keys() != state.keys()
    assert translate(old).tensors.keys() == translate(state).tensors.keys()


@pytest.mark.parametrize(
    ("head", "network", "name"), [(FCNHead(256, 3), FCN, "fcn"), (DeepLabHead(256, 3), DeepLabV3, "deeplabv3")]
)
def test_torchvision_networks_for_segmentation(tmp_path, head, network, name):
    backbone = ResNetBackbone(Backbone.resnet50, 8)
    set_output_stride(backbone, 8)
    original = randomize(network(IntermediateLayerGetter(backbone, {"layer4": "out"}), head))
    torch.save(original.state_dict(), tmp_path / "x.pth")
    report, ours, _ = built(tmp_path / "x.pth", 3)
    assert f"model={name}" in report["settings"]
    rgb = normalised(images())[:1]
    assert_near(ours(rgb), original(rgb)["out"])


@pytest.mark.parametrize(
    ("head", "own"),
    [
        (MmsegFCNHead(8, 16, 3), ["model=fcn", "model.head_design=openmmlab"]),
        (MmsegFCNHead(8, 16, 3, concat=False), ["model=fcn"]),
        (MmsegASPPHead(8, 16, 3), ["model=deeplabv3", "model.head_design=openmmlab"]),
        (MmsegASPPHead(8, 16, 3, of_c2=6), ["model=deeplabv3plus", "model.fine_channels=6"]),
    ],
)
def test_networks_of_mmsegmentation(tmp_path, head, own):
    original = randomize(MmsegNetwork(8, head))
    path = saved(tmp_path / "x.pth", original, cfg="strides=(1, 2, 1, 1), style='pytorch'")
    report, network, loaded = built(path, 3)
    assert {*own, "model.stem=deep", "model.head_channels=16"} <= set(report["settings"])
    assert report["settings"][-3:] == ["conv=dilated", "conv.dilation=1", "conv.layers='layer3.*.conv2,layer4.*.conv2'"]
    assert report["classes"] == 3
    assert "as before training" not in loaded
    unused = {line.split()[0] for line in loaded.splitlines()[1:] if line.endswith("not used")}
    assert unused == {"auxiliary_head.convs.*.conv", "auxiliary_head.convs.*.bn", "auxiliary_head.conv_seg"}
    assert_near(network(normalised(images())), original(images()))


def test_networks_of_timm(tmp_path):
    original = randomize(timm.create_model("resnet18", pretrained=False))
    torch.save({"arch": "resnet18", "state_dict": original.state_dict()}, tmp_path / "x.pth")
    report, network, _ = built(tmp_path / "x.pth", 3, "model.output_stride=32")
    assert report["settings"] == ["model.backbone=resnet18", "conv=standard"]
    rgb = normalised(images())
    assert_near(network.backbone(rgb), original.forward_features(rgb))

    original = randomize(timm.create_model("test_convnext"))
    averages = {key: value + 1 for key, value in original.state_dict().items()}
    state = {"arch": "test_convnext", "state_dict": original.state_dict(), "state_dict_ema": averages}
    torch.save(state, tmp_path / "x.pth")
    report, network, loaded = built(tmp_path / "x.pth", 3, "conv.where=all", "conv.layers=2")
    assert report["settings"] == ["model=smp", "model.encoder=tu-test_convnext", "conv=standard"]
    assert "moving averages of weights, state_dict_ema" in loaded
    assert_near(network.backbone.encoder(rgb)[-1], original.forward_features(rgb))


@pytest.mark.parametrize("encoder", ["resnet18", "tu-test_resnet"])
def test_a_network_of_segmentation_models_as_for_the_hub_and_behind_another_name(tmp_path, encoder):
    original = randomize(library("fpn", encoder))
    original.save_pretrained(tmp_path)
    torch.save(
        {"state_dict": {f"model.{key}": value for key, value in original.state_dict().items()}}, tmp_path / "x.ckpt"
    )
    settings = ["model=smp", "model.arch=fpn", f"model.encoder={encoder}", "conv=standard"]
    report, network, loaded = built(tmp_path, 4)
    assert (report["project"], report["classes"], report["settings"]) == ("segmentation_models.pytorch", 4, settings)
    assert "not used" not in loaded
    rgb = normalised(images())
    assert_near(network(rgb), original(rgb))
    (tmp_path / "config.json").unlink()  # then the names of a ResNet's and the decoder's tensors tell
    if encoder == "resnet18":
        assert inspect_weights(tmp_path / "x.ckpt")["settings"] == settings
    else:
        assert inspect_weights(tmp_path / "x.ckpt")["settings"] == []


def test_a_run_of_ours(tmp_path):
    """Whose masks may have another start, which its config says."""
    network = build_model(compose(["conv=modulated", "model.width=8", "model.backbone=resnet18"]), 4).network
    torch.save({"step": 1, "network": network.state_dict(), "classes": list("abcd")}, tmp_path / "best.pt")
    report, same, _ = built(tmp_path / "best.pt", 4)
    assert report["project"] == "dcnrun"
    assert report["settings"][-2:] == ["conv=modulated", "conv.layers='layer4.0.conv2,layer4.1.conv1,layer4.1.conv2'"]
    rgb = normalised(images())
    assert_near(same(rgb), network.eval()(rgb))


def filled(original):
    """The state dict of a network of full size that takes no memory."""
    return {
        key: torch.zeros((), dtype=tensor.dtype, device="cpu").expand(tensor.shape)
        for key, tensor in original.state_dict().items()
    }


@pytest.mark.parametrize(
    ("kind", "settings"),
    [(MmdetMaskRcnn, ["conv=deformable"]), (D2MaskRcnn, ["conv=deformable", "model.style=caffe"])],
)
def test_all_of_a_network_of_published_size_has_its_place(kind, settings):
    with torch.device("meta"):
        original = kind()
        config = compose(["model=mask_rcnn", "model.backbone=resnet50", "conv.layers=c3-c5", *settings])
        ours = build_model(config, 80).network.state_dict()
    theirs = translate(filled(original)).tensors
    assert {key: tuple(value.shape) for key, value in ours.items() if "num_batches" not in key} == {
        key: tuple(value.shape)
        for key, value in theirs.items()
        if not key.startswith("pixel_") and "num_batches" not in key
    }


@pytest.mark.filterwarnings("ignore:.*to a meta parameter")
def test_a_published_deeplab_of_detectron2_has_an_encoder_of_timm(tmp_path):
    """Whose stem has twice the channels of its first stage, as no ResNet of ours has."""
    with torch.device("meta"):
        original = nn.Module()
        original.backbone = D2ResNet(64, None, D2DeepLabStem, stem_channels=128)
        project = nn.ModuleDict({"project_conv": D2Conv(256, 48, 1)})
        original.sem_seg_head = nn.ModuleDict({"decoder": nn.ModuleDict({"res2": project})})
        torch.save({"model": filled(original)}, tmp_path / "x.pth")
        report = inspect_weights(tmp_path / "x.pth")
    assert report["project"] == "detectron2"
    assert report["settings"] == ["model=smp", "model.encoder=tu-resnet50s", "conv=standard"]
    assert "330 of its 336 tensors are loaded; not used: model.sem_seg_head.decoder.res2" in report["loaded"]
    assert "its head has no counterpart" in report["loaded"]


WIDTH = ["model.width=8", "model.backbone=resnet50"]


@pytest.mark.parametrize(
    ("build", "model"), [(maskrcnn_resnet50_fpn, "mask_rcnn"), (retinanet_resnet50_fpn, "retinanet")]
)
def test_all_of_torchvisions_networks_has_its_place_under_old_names_too(build, model):
    with torch.device("meta"):
        original = filled(build(weights=None, weights_backbone=None, num_classes=91))
        config = compose([f"model={model}", "model.backbone=resnet50", "conv=standard"])
        ours = build_model(config, 90 if model == "mask_rcnn" else 91).network.state_dict()
    old = {}
    for key, value in original.items():  # as its files from 2019 to 2021 have them
        name = re.sub(r"mask_head\.(\d)\.0\.", lambda found: f"mask_head.mask_fcn{int(found[1]) + 1}.", key)
        name = re.sub(r"(_head\.conv)\.(\d)\.0\.", lambda found: f"{found[1]}.{2 * int(found[2])}.", name)
        old[name.replace("rpn.head.conv.0.0.", "rpn.head.conv.").replace("_blocks.0.0.", "_blocks.0.")] = value
    assert old.keys() != original.keys()
    wanted = {key: value.shape for key, value in ours.items() if "num_batches" not in key}
    for names in (original, old):
        found = translate(names).tensors
        assert {key: value.shape for key, value in found.items() if "num_batches" not in key} == wanted


def test_masks_are_not_doubled_in_silence(tmp_path):
    path = saved(tmp_path / "x.pth", randomize(MmdetMaskRcnn(**SMALL, **HEADS, dcn={"modulated": True})))
    with pytest.raises(UsageError, match=r"conv2\.conv_offset\.weight are sigmoids.*conv\.mask_start=0\.5.*2 times"):
        build_model(compose(["conv=modulated", "conv.layers=c3-c5", *WIDTH, f"model.weights='{path}'"]), 3)


def test_what_the_network_lacks_is_said(tmp_path):
    path = saved(tmp_path / "x.pth", randomize(MmdetMaskRcnn(**SMALL, **HEADS, dcn={"modulated": True, "groups": 2})))
    of_file = [*WIDTH, f"model.weights='{path}'"]
    said = build_model(compose(["conv=standard", *of_file]), 3).loaded
    assert "which conv=modulated conv.layers=c3-c5 conv.offset_groups=2 conv.mask_start=0.5 takes over" in said
    assert " backbone.layer*.*.conv*.conv_offset (26)" in said.replace("state_dict.", "")
    assert "\x1b" not in said
    other = build_model(compose(["conv=deformable", "conv.layers=c3-c5", *of_file]), 3).loaded
    assert "left out: of another shape in this network" in other


def test_a_network_from_caffe_needs_its_style_and_normalisation(tmp_path):
    path = saved(tmp_path / "x.pth", randomize(D2MaskRcnn(**SMALL, **HEADS)), "model")
    of_file = [*WIDTH, f"model.weights='{path}'", "conv=standard"]
    with pytest.raises(
        UsageError, match=r"set model\.style=caffe, with model\.backbone, since with model\.style=pytorch"
    ):
        build_model(compose(of_file), 3)
    with pytest.raises(UsageError, match=r"data\.mean=\[0\.5.*needs images normalised with ImageNet's"):
        build_model(compose([*of_file, "model.style=caffe", "data.mean=[0.5,0.5,0.5]"]), 3)
    state = {key: value for key, value in torch.load(path)["model"].items() if not key.startswith("pixel_")}
    torch.save({"model": state}, path)
    assert "networks from Caffe need model.style=caffe" in build_model(compose(of_file), 3).loaded


def test_what_is_printed(tmp_path, capsys):
    names = ("car", "b\x1b[31mus", "tree")
    original = randomize(MmdetMaskRcnn(**SMALL, **HEADS, dcn={"modulated": True}))
    path = saved(tmp_path / "a b.pth", original, CLASSES=names, cfg="style='pytorch'")
    report = inspect_weights(path)
    printed = capsys.readouterr().out
    assert "\x1b[31m" not in printed
    for line in (
        "names of OpenMMLab (mmdetection, mmsegmentation or mmpretrain)",
        "backbone: resnet50, stages of 3, 4, 6, 3 blocks, 8 channels in the first",
        "strides: in the 3x3 convolutions",
        "on it: mask_rcnn",
        "classes: 3: car, b\\x1b[31mus, tree",
        "modulated layers, offset groups 1: layer*.*.conv* (13)",
        f"dcnrun train {shlex.join([*report['settings'], f'model.weights={path}'])}",
        "background first, not last",
    ):
        assert line in printed
    assert report["settings"] == [
        "model=mask_rcnn",
        "model.backbone=resnet50",
        "model.width=8",
        "model.fpn_channels=16",
        "model.roi_channels=24",
        "model.roi_size=3",
        "model.mask_channels=12",
        "conv=modulated",
        "conv.layers=c3-c5",
        "conv.mask_start=0.5",
    ]


@pytest.mark.parametrize(
    ("network", "said"),
    [
        (nn.Sequential(nn.Conv2d(3, 4, 3)), "no ResNet with stages layer1 to layer4; it holds 0.bias, 0.weight"),
        (torchvision.models.ResNet(torchvision.models.resnet.BasicBlock, [1, 1, 1, 1]), "no backbone of ours takes it"),
    ],
)
def test_files_that_no_network_takes(tmp_path, capsys, network, said):
    torch.save(network.state_dict(), tmp_path / "x.pth")
    assert inspect_weights(tmp_path / "x.pth")["settings"] == []
    assert said in capsys.readouterr().out.replace("\n", " ")


@pytest.mark.parametrize("shape", [(), (0, 2), (0, 8, 1, 1)])
def test_tensors_of_impossible_shapes_are_said_in_a_line(tmp_path, shape):
    with torch.device("meta"):
        names = {name: tensor.shape for name, tensor in MmdetMaskRcnn(**SMALL, **HEADS).state_dict().items()}
    kept = {name: torch.zeros(size) for name, size in names.items() if "layer1.0.conv" in name}
    torch.save({name: torch.zeros(shape) for name in names} | kept, tmp_path / "x.pth")
    report = inspect_weights(tmp_path / "x.pth")
    assert (report["backbone"], report["settings"], report["loaded"]) == (None, [], None)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(UsageError, match="no such file"):
        inspect_weights(tmp_path / "x")
