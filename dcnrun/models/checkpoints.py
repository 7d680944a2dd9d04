"""Checkpoints of other projects: whose they are, and their tensors by the names and in the layout of our networks.

Names and layouts are those of the modules that the projects build; none of their code is needed or run. Offsets need no other
order anywhere: mmcv, detectron2 and DCNv2 (CharlesShang) call the first two thirds of what their branches predict o1 and o2, or
offset_x and offset_y, but join them again before their kernels read y and x in turn, as ours do.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from math import prod
from typing import Any, NamedTuple

import torch
from torch import Tensor

from dcnrun.config.overrides import as_override
from dcnrun.config.schema import ConvKind, ResNetStyle, stages_in
from dcnrun.models.convert import STAGES
from dcnrun.models.torch_files import is_plain


class Project(StrEnum):
    """Whose names the tensors of a file have."""

    openmmlab = "OpenMMLab (mmdetection, mmsegmentation or mmpretrain)"
    detectron2 = "detectron2"
    torchvision = "torchvision"


# Layouts ------------------------------------------------------------------------------------------------------------------


class Change(NamedTuple):
    """How a tensor of theirs becomes one of ours, beyond its name."""

    said: str
    apply: Callable[[Tensor], Tensor]


def _size_within_ratio(rows: Tensor) -> Tensor:
    """Order the rows of nine anchors, three ratios for each of three sizes, as three sizes for each ratio."""
    by_size = rows.reshape(3, 3, len(rows) // 9, *rows.shape[1:])
    return by_size.transpose(0, 1).reshape(rows.shape)


def _zeros_before(count: int) -> Callable[[Tensor], Tensor]:
    return lambda rows: torch.cat([rows.new_zeros(count, *rows.shape[1:]), rows])


_BACKGROUND_FIRST = Change("background first, not last", lambda rows: torch.cat([rows[-1:], rows[:-1]]))
_BACKGROUND_BOX = Change("zeros for a box of the background", _zeros_before(4))
_BACKGROUND_MASK = Change("zeros for a mask of the background", _zeros_before(1))
_ANCHORS = Change("anchors by ratio, then size", _size_within_ratio)


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

_OFFSET_BRANCHES = (
    Rename(r"(.+)\.conv_offset(?:_mask)?" + _LEAF, r"\1.offset_branch.\2"),  # mmcv; DCNv2
    Rename(r"(.+\.conv\d)_offset" + _LEAF, r"\1.offset_branch.\2"),  # detectron2; mmdetection before 2.0
)
"""Names of offset branches, in whichever project."""


def _detectron2(finest: int) -> tuple[Rename, ...]:
    """Return the names of detectron2; `finest` is the stage of the pyramid's finest level: 2, or 3 of RetinaNet."""
    body = r"(?:backbone\.)?(?:bottom_up\.)?"
    stages = [
        rename
        for stage in range(2, 6)
        for block, ours in [(rf"{body}res{stage}\.(\d+)\.", rf"backbone.layer{stage - 1}.\1.")]
        for rename in (
            Rename(rf"{block}shortcut\.weight", rf"{ours}downsample.0.weight"),
            Rename(rf"{block}shortcut\.norm\.(\w+)", rf"{ours}downsample.1.\2"),
            Rename(rf"{block}conv(\d)\.norm\.(\w+)", rf"{ours}bn\2.\3"),
            Rename(rf"{block}(conv\d.*)", rf"{ours}\2"),
        )
    ]
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
        Rename(rf"{body}stem\.conv1\.weight", "backbone.conv1.weight"),
        Rename(rf"{body}stem\.conv1\.norm\.(\w+)", r"backbone.bn1.\1"),
        *stages,
        *levels,
        Rename(r"proposal_generator\.rpn_head\.conv" + _LEAF, r"rpn.head.conv.0.0.\1"),
        Rename(r"proposal_generator\.rpn_head\.objectness_logits" + _LEAF, r"rpn.head.cls_logits.\1"),
        Rename(r"proposal_generator\.rpn_head\.anchor_deltas" + _LEAF, r"rpn.head.bbox_pred.\1"),
        Rename(r"roi_heads\.box_head\.fc1" + _LEAF, r"roi_heads.box_head.fc6.\1"),
        Rename(r"roi_heads\.box_head\.fc2" + _LEAF, r"roi_heads.box_head.fc7.\1"),
        Rename(r"(roi_heads\.box_predictor\.cls_score)" + _LEAF, r"\1.\2", _BACKGROUND_FIRST),
        Rename(r"(roi_heads\.box_predictor\.bbox_pred)" + _LEAF, r"\1.\2", _BACKGROUND_BOX),
        *mask_layers,
        Rename(r"roi_heads\.mask_head\.deconv" + _LEAF, r"roi_heads.mask_predictor.conv5_mask.\1"),
        Rename(
            r"roi_heads\.mask_head\.predictor" + _LEAF,
            r"roi_heads.mask_predictor.mask_fcn_logits.\1",
            _BACKGROUND_MASK,
        ),
        *subnets,
        Rename(r"head\.cls_score" + _LEAF, r"head.classification_head.cls_logits.\1", _ANCHORS),
        Rename(r"head\.bbox_pred" + _LEAF, r"head.regression_head.bbox_reg.\1", _ANCHORS),
    )


_OPENMMLAB = (
    Rename(r"neck\.lateral_convs\.(\d)\.conv" + _LEAF, r"neck.inner_blocks.\1.0.\2"),
    Rename(r"neck\.fpn_convs\.(\d)\.conv" + _LEAF, r"neck.layer_blocks.\1.0.\2"),
    Rename(r"rpn_head\.rpn_conv" + _LEAF, r"rpn.head.conv.0.0.\1"),
    Rename(r"rpn_head\.rpn_cls" + _LEAF, r"rpn.head.cls_logits.\1"),
    Rename(r"rpn_head\.rpn_reg" + _LEAF, r"rpn.head.bbox_pred.\1"),
    Rename(r"roi_head\.bbox_head\.shared_fcs\.0" + _LEAF, r"roi_heads.box_head.fc6.\1"),
    Rename(r"roi_head\.bbox_head\.shared_fcs\.1" + _LEAF, r"roi_heads.box_head.fc7.\1"),
    Rename(r"roi_head\.bbox_head\.fc_cls" + _LEAF, r"roi_heads.box_predictor.cls_score.\1", _BACKGROUND_FIRST),
    Rename(r"roi_head\.bbox_head\.fc_reg" + _LEAF, r"roi_heads.box_predictor.bbox_pred.\1", _BACKGROUND_BOX),
    Rename(r"roi_head\.mask_head\.convs\.(\d)\.conv" + _LEAF, r"roi_heads.mask_head.\1.0.\2"),
    Rename(r"roi_head\.mask_head\.upsample" + _LEAF, r"roi_heads.mask_predictor.conv5_mask.\1"),
    Rename(
        r"roi_head\.mask_head\.conv_logits" + _LEAF,
        r"roi_heads.mask_predictor.mask_fcn_logits.\1",
        _BACKGROUND_MASK,
    ),
    Rename(r"bbox_head\.cls_convs\.(\d)\.conv" + _LEAF, r"head.classification_head.conv.\1.0.\2"),
    Rename(r"bbox_head\.reg_convs\.(\d)\.conv" + _LEAF, r"head.regression_head.conv.\1.0.\2"),
    Rename(r"bbox_head\.retina_cls" + _LEAF, r"head.classification_head.cls_logits.\1"),
    Rename(r"bbox_head\.retina_reg" + _LEAF, r"head.regression_head.bbox_reg.\1"),
)
"""Names of mmdetection from version 2 on; the decode heads of mmsegmentation have no counterpart here."""

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

_LAYOUTS = (
    Layout(Project.detectron2, _ROOT + r"backbone\.fpn_lateral2\.weight", _detectron2(2)),
    Layout(Project.detectron2, _ROOT + r"backbone\.fpn_lateral3\.weight", _detectron2(3)),
    Layout(Project.detectron2, _ROOT + r"(?:backbone\.)?(?:bottom_up\.)?stem\.conv1\.norm\.weight", _detectron2(2)),
    Layout(
        Project.openmmlab,
        _ROOT + r"(?:neck\.lateral_convs|rpn_head|roi_head|bbox_head|decode_head)\..+",
        _OPENMMLAB,
    ),
    Layout(Project.torchvision, _ROOT + r"(?:backbone\.body\.conv1|classifier\.4)\.weight", _TORCHVISION),
)


# Translation --------------------------------------------------------------------------------------------------------------


class Origin(NamedTuple):
    """What a tensor is called in its file, and how it was changed."""

    name: str
    change: Change | None = None


@dataclass(frozen=True)
class Translation:
    """The tensors of a file by our names."""

    project: Project | None
    """Whose names they had; None where they are ours, or nobody's."""
    tensors: Mapping[str, Tensor]
    origins: Mapping[str, Origin]
    """What each of these was in the file."""


def translate(tensors: Mapping[str, Tensor], content: Any = None) -> Translation:
    """Give the tensors of a checkpoint our names and layouts, behind whatever prefix; what has no counterpart keeps its own.

    `content` is all that the file holds.
    """
    layout, roots = _layout_of(tensors)
    origins: dict[str, Origin] = {}
    for name in tensors:
        ours, change = _translated(name, layout, roots) if layout else (name, None)
        for rename in _OFFSET_BRANCHES:
            if found := re.fullmatch(rename.theirs, ours):
                ours = found.expand(rename.ours)
        if ours in origins or (ours != name and ours in tensors):
            ours, change = name, None  # two tensors of one name: neither is lost
        origins[ours] = Origin(name, change)
    renamed = {ours: _changed(tensors[origin.name], origin.change) for ours, origin in origins.items()}
    return Translation(layout.project if layout else _project_of(content), renamed, origins)


def _project_of(content: Any) -> Project | None:
    """Return who wrote a checkpoint without names of its own, as of a backbone alone, by its metadata."""
    meta = _meta(content)
    return Project.openmmlab if any(key in meta for key in ("mmengine_version", "mmcv_version")) else None


def _layout_of(names: Iterable[str]) -> tuple[Layout | None, list[str]]:
    """Return whose names these are, and what stands before them: of several networks, several; the longest first."""
    for layout in _LAYOUTS:
        pattern = re.compile(layout.telltale)
        roots = {found["root"] for found in map(pattern.fullmatch, names) if found}
        if roots:
            return layout, sorted(roots, key=len, reverse=True)
    return None, []


def _translated(name: str, layout: Layout, roots: Iterable[str]) -> tuple[str, Change | None]:
    root = next((root for root in roots if name.startswith(root)), None)
    if root is None:
        return name, None
    for theirs, ours, change in layout.renames:
        if found := re.fullmatch(theirs, name.removeprefix(root)):
            return root + found.expand(ours), change
    return name, None


def _changed(tensor: Tensor, change: Change | None) -> Tensor:
    """Return a tensor in our layout; one that can't be changed stays as it is, and fits nowhere."""
    if change is None or not is_plain(tensor) or not tensor.dim():
        return tensor
    if change is _ANCHORS and len(tensor) % 9:
        return tensor
    return change.apply(tensor)


# What else a file says ----------------------------------------------------------------------------------------------------


def _meta(content: Any) -> Mapping[str, Any]:
    """Return the metadata that OpenMMLab's checkpoints have beside their tensors; none of others."""
    meta = content.get("meta") if isinstance(content, dict) else None
    return meta if isinstance(meta, dict) else {}


def style_of(content: Any, translation: Translation) -> ResNetStyle | None:
    """Return where a checkpoint's ResNet strides, as far as the file says.

    OpenMMLab keeps the text of its config; in detectron2 a normalisation of images by 1 comes with Caffe's networks.
    """
    for text in (_meta(content).get("cfg"), _meta(content).get("config")):
        if isinstance(text, str) and (found := re.search(r"style\s*=\s*['\"](caffe|pytorch)['\"]", text)):
            return ResNetStyle(found[1])
    if translation.project is Project.detectron2:
        for name, tensor in translation.tensors.items():
            if name.endswith("pixel_std") and is_plain(tensor):
                return ResNetStyle.caffe if bool((tensor == 1).all()) else ResNetStyle.pytorch
    return ResNetStyle.pytorch if translation.project is Project.torchvision else None


def classes_of(content: Any) -> tuple[str, ...]:
    """Return the names of the classes that a checkpoint lists, in ours or in OpenMMLab's metadata; none where it lists none."""
    for place in (content, _meta(content).get("dataset_meta"), _meta(content)):
        for key in ("classes", "CLASSES"):
            names = place.get(key) if isinstance(place, dict) else None
            if isinstance(names, list | tuple) and names:
                return tuple(map(str, names))
    return ()


class DeformableLayer(NamedTuple):
    """A convolution of a file that has an offset branch."""

    name: str
    kind: ConvKind
    offset_groups: int


def deformable_layers(tensors: Mapping[str, Tensor]) -> list[DeformableLayer]:
    """Return the deformable convolutions of a file, by our names, as the shapes of their offset branches tell."""
    found = []
    for key, branch in tensors.items():
        name = key.removesuffix(".offset_branch.weight")
        weight = tensors.get(f"{name}.weight")
        if name == key or weight is None or weight.dim() != 4 or branch.dim() != 4:
            continue
        points = prod(weight.shape[2:])
        for kind, channels in ((ConvKind.deformable, 2), (ConvKind.modulated, 3)):
            groups, rest = divmod(len(branch), channels * points)
            if groups and not rest and not branch.shape[1] % groups:
                found.append(DeformableLayer(name, kind, groups))
                break
    return found


def conv_settings(tensors: Mapping[str, Tensor], backbone: str, masks_are_sigmoids: bool = True) -> list[str]:
    """Return the settings with which a network has the deformable layers of a file's ResNet; none where it has none.

    Args:
        tensors: by our names.
        backbone: what the names of the backbone's tensors begin with.
        masks_are_sigmoids: as those of other projects.
    """
    layers = [layer for layer in deformable_layers(tensors) if layer.name.startswith(backbone)]
    if not layers:
        return []
    names = {layer.name for layer in layers}
    stages = []
    for stage, folder in STAGES.items():
        there = [
            key.removesuffix(".weight")
            for key, tensor in tensors.items()
            if key.startswith(f"{backbone}{folder}.")
            and re.search(r"\.conv\d\.weight$", key)
            and tensor.shape[2:] == (3, 3)
        ]
        if there and names.issuperset(there):
            stages.append(stage)
            names -= set(there)
    if names:
        where = ",".join(sorted(layer.name.removeprefix(backbone) for layer in layers))
    else:
        where = stages[0] if len(stages) == 1 else f"{stages[0]}-{stages[-1]}"
        if stages_in(where) != stages:
            where = ",".join(stages)
    settings = [f"conv={layers[0].kind}", as_override("conv.layers", where)]
    if layers[0].offset_groups > 1:
        settings.append(f"conv.offset_groups={layers[0].offset_groups}")
    if layers[0].kind is ConvKind.modulated and masks_are_sigmoids:
        settings.append("conv.mask_start=0.5")
    return settings
