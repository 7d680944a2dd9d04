"""The names that tensors have in the networks of other projects, and ours: tables, one for each kind of network.

Names and layouts are those of the modules that the projects build; none of their code is needed or run. Offsets need no other
order anywhere: mmcv, detectron2 and DCNv2 (CharlesShang) call the first two thirds of what their branches predict o1 and o2, or
offset_x and offset_y, but join them again before their kernels read y and x in turn, as ours do.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

import torch
from torch import Tensor


class Project(StrEnum):
    """Whose names the tensors of a file have."""

    openmmlab = "OpenMMLab (mmdetection, mmsegmentation or mmpretrain)"
    detectron2 = "detectron2"
    torchvision = "torchvision"
    smp = "segmentation_models.pytorch"
    timm = "timm"
    transformers = "Hugging Face's transformers"
    sequential = "torch.nn.Sequential (fastai, Lightly and others)"


class Change(NamedTuple):
    """How a tensor of theirs becomes one of ours, beyond its name."""

    said: str
    apply: Callable[[Tensor], Tensor]


def _anchors(sizes: int) -> Change:
    """Order the rows of anchors, three ratios for each of these sizes, as sizes for each ratio."""

    def reordered(rows: Tensor) -> Tensor:
        if len(rows) % (3 * sizes):
            return rows
        by_size = rows.reshape(sizes, 3, len(rows) // (3 * sizes), *rows.shape[1:])
        return by_size.transpose(0, 1).reshape(rows.shape)

    return Change("anchors by ratio, then size", reordered)


def _first_fifth_last(weight: Tensor) -> Tensor:
    """Put the first fifth of a convolution's input channels last."""
    channels = weight.shape[1] // 5 if weight.dim() == 4 else 0
    return torch.cat([weight[:, channels:], weight[:, :channels]], dim=1) if channels else weight


def _zeros_before(count: int) -> Callable[[Tensor], Tensor]:
    return lambda rows: torch.cat([rows.new_zeros(count, *rows.shape[1:]), rows])


_BACKGROUND_FIRST = Change("background first, not last", lambda rows: torch.cat([rows[-1:], rows[:-1]]))
BACKGROUND_BOX = Change("zeros for a box of the background", _zeros_before(4))
_BACKGROUND_MASK = Change("zeros for a mask of the background", _zeros_before(1))
ONE_BOX = Change("zeros for a box of the background, that of an object repeated for each class", _zeros_before(4))
_POOLED_LAST = Change("pooled features last, not first", _first_fifth_last)


class Rename(NamedTuple):
    """A pattern of names in a project, and our name for what it finds."""

    theirs: str
    ours: str
    change: Change | None = None


@dataclass(frozen=True)
class Layout:
    """The names of one project's networks."""

    project: Project
    telltale: str
    """A pattern of names that only its networks have; what is before `root` ends is a container's."""
    renames: tuple[Rename, ...] = ()


_LEAF = r"\.(weight|bias)"
_ROOT = r"(?P<root>(?:.*?\.)??)"

OFFSET_BRANCHES = (
    Rename(r"(.+)\.conv_offset(?:_mask)?" + _LEAF, r"\1.offset_branch.\2"),  # mmcv; DCNv2
    Rename(r"(.+\.conv\d)_offset" + _LEAF, r"\1.offset_branch.\2"),  # detectron2; mmdetection before 2.0
)
"""Names of offset branches, in whichever project."""

_DEEP_STEM = (("conv1.0", "conv1.1"), ("conv1.3", "conv1.4"), ("conv1.6", "bn1"))
"""Our names of a deep stem's three convolutions, each with its normalisation."""

_DETECTRON2_BODY_NAMES = r"(?:backbone\.)?(?:bottom_up\.)?"


def _detectron2_body(c5: str = _DETECTRON2_BODY_NAMES + "res5") -> tuple[Rename, ...]:
    """Return the names of detectron2's ResNet, whose last stage is called `c5`."""
    body = _DETECTRON2_BODY_NAMES
    stages = [*((rf"{body}res{stage}", stage) for stage in (2, 3, 4)), (c5, 5)]
    blocks = [(rf"{name}\.(\d+)\.", rf"backbone.layer{stage - 1}.\1.") for name, stage in stages]
    return (
        Rename(rf"{body}stem\.conv1\.weight", "backbone.conv1.weight"),
        Rename(rf"{body}stem\.conv1\.norm\.(\w+)", r"backbone.bn1.\1"),
        *(
            rename
            for block, ours in blocks
            for rename in (
                Rename(rf"{block}shortcut\.weight", rf"{ours}downsample.0.weight"),
                Rename(rf"{block}shortcut\.norm\.(\w+)", rf"{ours}downsample.1.\2"),
                Rename(rf"{block}conv(\d)\.norm\.(\w+)", rf"{ours}bn\2.\3"),
                Rename(rf"{block}(conv\d.*)", rf"{ours}\2"),
            )
        ),
    )


def _detectron2_proposals(anchors: Change | None = None) -> tuple[Rename, ...]:
    """Return the names of what proposes regions in detectron2, and how the rows of its anchors change."""
    head = r"proposal_generator\.rpn_head\."
    return (
        Rename(head + "conv" + _LEAF, r"rpn.head.conv.0.0.\1"),
        Rename(head + "objectness_logits" + _LEAF, r"rpn.head.cls_logits.\1", anchors),
        Rename(head + "anchor_deltas" + _LEAF, r"rpn.head.bbox_pred.\1", anchors),
    )


_DETECTRON2_C4 = (
    *_detectron2_body(r"roi_heads\.res5"),
    *_detectron2_proposals(_anchors(sizes=5)),
)
"""Names of networks that compute c5 of regions: all but what makes scores and boxes of its mean, of which there is none here."""


def _detectron2(finest: int) -> tuple[Rename, ...]:
    """Return the names of detectron2; `finest` is the stage of the pyramid's finest level: 2, or 3 of RetinaNet."""
    levels = [
        Rename(rf"backbone\.fpn_{theirs}{stage}" + _LEAF, rf"neck.{ours}.{stage - finest}.0.\1")
        for stage in range(finest, 6)
        for theirs, ours in (("lateral", "inner_blocks"), ("output", "layer_blocks"))
    ]
    subnets = [
        Rename(rf"head\.{theirs}_subnet\.{2 * nth}" + _LEAF, rf"head.{ours}_head.conv.{nth}.0.\1")
        for nth in range(4)
        for theirs, ours in (("cls", "classification"), ("bbox", "regression"))
    ]
    mask_layers = [
        Rename(rf"roi_heads\.mask_head\.mask_fcn{nth + 1}" + _LEAF, rf"roi_heads.mask_head.{nth}.0.\1")
        for nth in range(4)
    ]
    return (
        *_detectron2_body(),
        *levels,
        *_detectron2_proposals(),
        Rename(r"roi_heads\.box_head\.(?:0\.)?fc1" + _LEAF, r"roi_heads.box_head.fc6.\1"),
        Rename(r"roi_heads\.box_head\.(?:0\.)?fc2" + _LEAF, r"roi_heads.box_head.fc7.\1"),
        Rename(
            r"roi_heads\.box_predictor\.(?:0\.)?cls_score" + _LEAF,
            r"roi_heads.box_predictor.cls_score.\1",
            _BACKGROUND_FIRST,
        ),
        Rename(
            r"roi_heads\.box_predictor\.(?:0\.)?bbox_pred" + _LEAF,
            r"roi_heads.box_predictor.bbox_pred.\1",
            BACKGROUND_BOX,
        ),
        *mask_layers,
        Rename(r"roi_heads\.mask_head\.deconv" + _LEAF, r"roi_heads.mask_predictor.conv5_mask.\1"),
        Rename(
            r"roi_heads\.mask_head\.predictor" + _LEAF,
            r"roi_heads.mask_predictor.mask_fcn_logits.\1",
            _BACKGROUND_MASK,
        ),
        *subnets,
        Rename(r"head\.cls_score" + _LEAF, r"head.classification_head.cls_logits.\1", _anchors(sizes=3)),
        Rename(r"head\.bbox_pred" + _LEAF, r"head.regression_head.bbox_reg.\1", _anchors(sizes=3)),
    )


_DETECTRON2_DEEPLAB = (
    *(
        rename
        for nth, (conv, norm) in enumerate(_DEEP_STEM, start=1)
        for rename in (
            Rename(rf"{_DETECTRON2_BODY_NAMES}stem\.conv{nth}\.weight", f"backbone.{conv}.weight"),
            Rename(rf"{_DETECTRON2_BODY_NAMES}stem\.conv{nth}\.norm\.(\w+)", rf"backbone.{norm}.\1"),
        )
    ),
    *_detectron2_body(),
)
"""Names of the ResNet of its DeepLab, whose head computes what none of ours does."""

_OPENMMLAB_BODY = (
    *(
        rename
        for nth, (conv, norm) in enumerate(_DEEP_STEM)
        for rename in (
            Rename(rf"((?:backbone\.)?)stem\.(?:{3 * nth}|{nth}\.conv)\.weight", rf"\1{conv}.weight"),
            Rename(rf"((?:backbone\.)?)stem\.(?:{3 * nth + 1}|{nth}\.bn)\.(\w+)", rf"\1{norm}.\2"),
        )
    ),
    Rename(r"rpn_head\.rpn_conv" + _LEAF, r"rpn.head.conv.0.0.\1"),
    Rename(r"rpn_head\.rpn_cls" + _LEAF, r"rpn.head.cls_logits.\1"),
    Rename(r"rpn_head\.rpn_reg" + _LEAF, r"rpn.head.bbox_pred.\1"),
)
"""Names of deep stems, of mmdetection and mmsegmentation or of mmpretrain, and of proposals."""

_OPENMMLAB = (
    *_OPENMMLAB_BODY,
    Rename(r"neck\.lateral_convs\.(\d)\.conv" + _LEAF, r"neck.inner_blocks.\1.0.\2"),
    Rename(r"neck\.fpn_convs\.(\d)\.conv" + _LEAF, r"neck.layer_blocks.\1.0.\2"),
    Rename(r"roi_head\.bbox_head\.(?:0\.)?shared_fcs\.0" + _LEAF, r"roi_heads.box_head.fc6.\1"),
    Rename(r"roi_head\.bbox_head\.(?:0\.)?shared_fcs\.1" + _LEAF, r"roi_heads.box_head.fc7.\1"),
    Rename(r"roi_head\.bbox_head\.(?:0\.)?fc_cls" + _LEAF, r"roi_heads.box_predictor.cls_score.\1", _BACKGROUND_FIRST),
    Rename(r"roi_head\.bbox_head\.(?:0\.)?fc_reg" + _LEAF, r"roi_heads.box_predictor.bbox_pred.\1", BACKGROUND_BOX),
    Rename(r"roi_head\.mask_head\.(?:0\.)?convs\.(\d)\.conv" + _LEAF, r"roi_heads.mask_head.\1.0.\2"),
    Rename(r"roi_head\.mask_head\.(?:0\.)?upsample" + _LEAF, r"roi_heads.mask_predictor.conv5_mask.\1"),
    Rename(
        r"roi_head\.mask_head\.(?:0\.)?conv_logits" + _LEAF,
        r"roi_heads.mask_predictor.mask_fcn_logits.\1",
        _BACKGROUND_MASK,
    ),
    Rename(r"bbox_head\.cls_convs\.(\d)\.conv" + _LEAF, r"head.classification_head.conv.\1.0.\2"),
    Rename(r"bbox_head\.reg_convs\.(\d)\.conv" + _LEAF, r"head.regression_head.conv.\1.0.\2"),
    Rename(r"bbox_head\.retina_cls" + _LEAF, r"head.classification_head.cls_logits.\1"),
    Rename(r"bbox_head\.retina_reg" + _LEAF, r"head.regression_head.bbox_reg.\1"),
)
"""Names of mmdetection from version 2 on, the first heads of its cascades among them."""
_OPENMMLAB_C4 = (
    *_OPENMMLAB_BODY,
    Rename(r"roi_head\.shared_head\.(layer4\..+)", r"backbone.\1"),
)
"""Names of networks that compute c5 of regions, as detectron2's."""


def _layer(theirs: str, convolution: str, norm: str, change: Change | None = None) -> tuple[Rename, Rename]:
    """Return the names of mmcv's layer of a convolution and its normalisation, and those of ours."""
    return (
        Rename(theirs + r"\.conv\.weight", convolution + ".weight", change),
        Rename(theirs + r"\.bn\.(?P<leaf>\w+)", norm + r".\g<leaf>"),
    )


def _decode_head(scores: str, *layers: tuple[Rename, Rename]) -> tuple[Rename, ...]:
    """Return the names of a network of mmsegmentation with a head of these layers; `scores` is our name of its last."""
    last = Rename(r"decode_head\.conv_seg" + _LEAF, rf"{scores}.\1")
    return *_OPENMMLAB_BODY, last, *(rename for layer in layers for rename in layer)


def _pyramid(ours: str) -> tuple[tuple[Rename, Rename], ...]:
    """Return the names of mmsegmentation's atrous spatial pyramid pooling, and those of ours."""
    return (
        _layer(r"decode_head\.aspp_modules\.(\d)", rf"{ours}.convs.\1.0", rf"{ours}.convs.\1.1"),
        _layer(r"decode_head\.image_pool\.1", f"{ours}.convs.4.1", f"{ours}.convs.4.2"),
        _layer(r"decode_head\.bottleneck", f"{ours}.project.0", f"{ours}.project.1", _POOLED_LAST),
    )


_FCN = _decode_head("head.4", _layer(r"decode_head\.convs\.0", "head.0", "head.1"))
_FCN_CONCATENATING = _decode_head(
    "head.scores.1",
    _layer(r"decode_head\.convs\.(\d)", r"head.hidden.\1.0", r"head.hidden.\1.1"),
    _layer(r"decode_head\.conv_cat", "head.merged.0", "head.merged.1"),
)
_DEEPLABV3 = _decode_head("head.2", *_pyramid("head.0"))
_DEEPLABV3PLUS = _decode_head(
    "head.scores.1",
    *_pyramid("head.pyramid"),
    *(
        _layer(rf"decode_head\.{theirs}\.(\d)\.{part}_conv", rf"{ours}.\1.{nth}.0", rf"{ours}.\1.{nth}.1")
        for theirs, ours in (("aspp_modules", "head.pyramid.convs"), ("sep_bottleneck", "head.refined"))
        for nth, part in enumerate(("depthwise", "pointwise"))
    ),
    _layer(r"decode_head\.c1_bottleneck", "head.fine.0", "head.fine.1"),
)
"""Names of mmsegmentation's networks; their auxiliary heads, which only help to train, have no counterpart here."""

_TORCHVISION = (
    Rename(r"backbone\.body\.(.+)", r"backbone.\1"),
    Rename(r"backbone\.fpn\.((?:inner|layer)_blocks\.\d)" + _LEAF, r"neck.\1.0.\2"),  # as published files have it
    Rename(r"backbone\.fpn\.(.+)", r"neck.\1"),
    Rename(r"rpn\.head\.conv" + _LEAF, r"rpn.head.conv.0.0.\1"),
    *(
        Rename(rf"roi_heads\.mask_head\.mask_fcn{nth + 1}" + _LEAF, rf"roi_heads.mask_head.{nth}.0.\1")
        for nth in range(4)
    ),
    *(
        Rename(rf"(head\.(?:classification|regression)_head\.conv)\.{2 * nth}" + _LEAF, rf"\1.{nth}.0.\2")
        for nth in range(4)
    ),
    Rename(r"classifier\.(.+)", r"head.\1"),
)

_TRANSFORMERS = (
    Rename(r"embedder\.embedder\.convolution\.weight", "conv1.weight"),
    Rename(r"embedder\.embedder\.normalization\.(\w+)", r"bn1.\1"),
    *(
        rename
        for stage in range(4)
        for theirs, convolution, norm in (
            ("shortcut", "downsample.0", "downsample.1"),
            *((rf"layer\.{nth}", f"conv{nth + 1}", f"bn{nth + 1}") for nth in range(3)),
        )
        for rename in (
            Rename(
                rf"encoder\.stages\.{stage}\.layers\.(\d+)\.{theirs}\.convolution\.weight",
                rf"layer{stage + 1}.\1.{convolution}.weight",
            ),
            Rename(
                rf"encoder\.stages\.{stage}\.layers\.(\d+)\.{theirs}\.normalization\.(\w+)",
                rf"layer{stage + 1}.\1.{norm}.\2",
            ),
        )
    ),
)
_SEQUENTIAL = tuple(
    Rename(rf"{place}\.(.+)", rf"{ours}.\1")
    for place, ours in ((0, "conv1"), (1, "bn1"), (4, "layer1"), (5, "layer2"), (6, "layer3"), (7, "layer4"))
)
"""Names of a ResNet that is made of torchvision's children in a row."""

LAYOUTS = (
    Layout(Project.detectron2, _ROOT + _DETECTRON2_BODY_NAMES + r"stem\.conv3\.norm\.weight", _DETECTRON2_DEEPLAB),
    Layout(Project.detectron2, _ROOT + r"roi_heads\.res5\.0\.conv1\.weight", _DETECTRON2_C4),
    Layout(Project.detectron2, _ROOT + r"backbone\.fpn_lateral2\.weight", _detectron2(2)),
    Layout(Project.detectron2, _ROOT + r"backbone\.fpn_lateral3\.weight", _detectron2(3)),
    Layout(Project.detectron2, _ROOT + r"(?:backbone\.)?(?:bottom_up\.)?stem\.conv1\.norm\.weight", _detectron2(2)),
    Layout(Project.openmmlab, _ROOT + r"roi_head\.shared_head\.layer4\.0\.conv1\.weight", _OPENMMLAB_C4),
    Layout(Project.openmmlab, _ROOT + r"decode_head\.c1_bottleneck\.conv\.weight", _DEEPLABV3PLUS),
    Layout(Project.openmmlab, _ROOT + r"decode_head\.aspp_modules\.0\.conv\.weight", _DEEPLABV3),
    Layout(Project.openmmlab, _ROOT + r"decode_head\.conv_cat\.conv\.weight", _FCN_CONCATENATING),
    Layout(Project.openmmlab, _ROOT + r"decode_head\.convs\.0\.conv\.weight", _FCN),
    Layout(
        Project.openmmlab,
        _ROOT + r"(?:neck\.lateral_convs|rpn_head|roi_head|bbox_head|decode_head)\..+",
        _OPENMMLAB,
    ),
    Layout(Project.openmmlab, _ROOT + r"(?:backbone\.)?stem\.(?:7|2\.bn)\.weight", _OPENMMLAB_BODY),
    Layout(Project.torchvision, _ROOT + r"(?:backbone\.body\.conv1|classifier\.4)\.weight", _TORCHVISION),
    Layout(Project.transformers, _ROOT + r"embedder\.embedder\.convolution\.weight", _TRANSFORMERS),
    Layout(Project.sequential, _ROOT + r"4\.0\.conv1\.weight", _SEQUENTIAL),
)
"""The first whose telltale a file has is its."""
