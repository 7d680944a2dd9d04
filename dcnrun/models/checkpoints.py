"""Checkpoints of other projects: whose they are, and their tensors by the names and in the layout of our networks."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any, NamedTuple

import torch
from torch import Tensor

from dcnrun.config.overrides import as_override
from dcnrun.config.schema import ConvKind, ResNetStem, ResNetStyle, stages_in
from dcnrun.models.checkpoint_layouts import (
    BACKGROUND_BOX,
    LAYOUTS,
    OFFSET_BRANCHES,
    ONE_BOX,
    Change,
    Layout,
    Project,
)
from dcnrun.models.convert import STAGES
from dcnrun.models.encoders import TIMM
from dcnrun.models.torch_files import is_plain

_FIRST_BLOCK = "layer1.0.conv1.weight"
_NTH_BOX_HEAD = r"(?:roi_head\.bbox_head|roi_heads\.box_predictor)\.(\d+)\."


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
        for rename in OFFSET_BRANCHES:
            if found := re.fullmatch(rename.theirs, ours):
                ours = found.expand(rename.ours)
        if ours in origins or (ours != name and ours in tensors):
            ours, change = name, None  # two tensors of one name: neither is lost
        origins[ours] = Origin(name, change)
    renamed = {ours: _changed(tensors[origin.name], origin.change) for ours, origin in origins.items()}
    _repeat_boxes(renamed, origins)
    return Translation(layout.project if layout else _project_of(content), renamed, origins)


def _repeat_boxes(tensors: dict[str, Tensor], origins: dict[str, Origin]) -> None:
    """Let heads that move the box of a region alike for all classes, as those of cascades, have a box for each, in place."""
    for name, rows in tensors.items():
        head, predictor, _ = name.rpartition("bbox_pred.")
        scores = tensors.get(f"{head}cls_score.weight")
        if not predictor or origins[name].change is not BACKGROUND_BOX or rows.shape[:1] != (8,):
            continue
        if scores is not None and scores.dim() and len(scores) > 2:
            boxes = rows[4:].repeat(len(scores) - 1, *(1,) * (rows.dim() - 1))
            tensors[name] = torch.cat([rows[:4], boxes])
            origins[name] = Origin(origins[name].name, ONE_BOX)


def _project_of(content: Any) -> Project | None:
    """Return who wrote a checkpoint without names of its own, as of a backbone alone, by its metadata."""
    meta = _meta(content)
    return Project.openmmlab if any(key in meta for key in ("mmengine_version", "mmcv_version")) else None


def _layout_of(names: Iterable[str]) -> tuple[Layout | None, list[str]]:
    """Return whose names these are, and what stands before them: of several networks, several; the longest first."""
    for layout in LAYOUTS:
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
    return change.apply(tensor)


# What else a file says ----------------------------------------------------------------------------------------------------


def _meta(content: Any) -> Mapping[str, Any]:
    """Return the metadata that OpenMMLab's checkpoints have beside their tensors; none of others."""
    meta = content.get("meta") if isinstance(content, dict) else None
    return meta if isinstance(meta, dict) else {}


def _config_of(content: Any) -> str:
    """Return the text of the config that OpenMMLab's checkpoints have; of others an empty one."""
    texts = (_meta(content).get(key) for key in ("cfg", "config"))
    return next((text for text in texts if isinstance(text, str)), "")


def output_stride_of(content: Any) -> int | None:
    """Return the output stride of a checkpoint's ResNet, as the text of its config says it; None where there is none such."""
    found = re.search(r"strides\s*=\s*\(\s*1,\s*2,\s*([12]),\s*([12]),?\s*\)", _config_of(content))
    return 8 * int(found[1]) * int(found[2]) if found else None


def undilated_settings(content: Any, translation: Translation) -> list[str]:
    """Return the settings with which a ResNet leaves those convolutions without dilation that mmsegmentation does; none for others.

    It trades stride for dilation in the first convolution of a basic block alone (of ResNet-18 and 34), we in both.
    """
    names = [origin.name for origin in translation.origins.values()]
    has_basic_blocks = any(name.endswith(_FIRST_BLOCK) for name in names) and not any(
        name.endswith("layer1.0.conv3.weight") for name in names
    )
    stride = output_stride_of(content) or 8
    if not has_basic_blocks or stride == 32 or not any("decode_head." in name for name in names):
        return []
    stages = ["layer3", "layer4"] if stride == 8 else ["layer4"]
    layers = as_override("conv.layers", ",".join(f"{stage}.*.conv2" for stage in stages))
    return ["conv=dilated", "conv.dilation=1", layers]


def stem_of(tensors: Mapping[str, Tensor]) -> ResNetStem | None:
    """Return what the ResNet of a file begins with, by our names; None where it has no ResNet."""
    beside = [name.removesuffix(_FIRST_BLOCK) for name in tensors if name.endswith(_FIRST_BLOCK)]
    for prefix in sorted(beside, key=len):
        for stem, first in ((ResNetStem.deep, "conv1.0.weight"), (ResNetStem.plain, "conv1.weight")):
            if prefix + first in tensors:
                return stem
    return None


def notes_on(content: Any, translation: Translation) -> tuple[str, ...]:
    """Return what a checkpoint's network computes that none of ours does, each in a sentence without its end."""
    names = [origin.name for origin in translation.origins.values()]
    notes = []
    box_heads = {found[1] for name in names if (found := re.search(_NTH_BOX_HEAD, name))}
    if box_heads:
        notes.append(
            f"it is a cascade of {len(box_heads)} heads, of which a network here has the first, and what refines its boxes has no counterpart"
        )
    if any(re.search(r"sem_seg_head\.(?:aspp|decoder)\.", name) for name in names):
        notes.append(
            "its head has no counterpart, and the blocks of its c5 may be dilated unalike (multi_grid), which its file does not say"
        )
    if any(re.search(r"roi_heads\.res5\.|roi_head\.shared_head\.layer4\.", name) for name in names):
        notes.append("its c5 was computed of each region, and is of the whole map here; its head has no counterpart")
    if found := re.search(r"multi_grid\s*=\s*[(\[]([\d\s,]+)[)\]]", _config_of(content)):
        rates = ", ".join(re.findall(r"\d+", found[1]))
        notes.append(
            f"the blocks of its c5 are dilated {rates} times as far (multi_grid), ours alike: its features differ"
        )
    if averages := {found[1] for name in names if (found := re.match(r"(state_dict_ema|model_ema)\.", name))}:
        notes.append(
            f"it also holds moving averages of weights, {min(averages)}, which a file with these alone would give"
        )
    if settings := undilated_settings(content, translation):
        notes.append(f"the second convolutions of its blocks are not dilated, as here with {' '.join(settings)}")
    head = re.search(r"decode_head\s*=\s*dict\((.*?)(?:auxiliary_head|$)", _config_of(content), re.DOTALL)
    of_head = head[1] if head else ""
    if found := re.search(r"\bdilation\s*=\s*(\d+)", of_head):
        notes.append(f"the layers of its head are dilated by {found[1]}, ours are not: its scores differ")
    if re.search(r"align_corners\s*=\s*True", of_head):
        notes.append("it resizes with align_corners=True, networks here without: its scores differ at the borders")
    return tuple(notes)


def style_of(content: Any, translation: Translation) -> ResNetStyle | None:
    """Return where a checkpoint's ResNet strides, as far as the file says.

    OpenMMLab keeps the text of its config; in detectron2 a normalisation of images by 1 comes with Caffe's networks.
    """
    if found := re.search(r"style\s*=\s*['\"](caffe|pytorch)['\"]", _config_of(content)):
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


class LibraryNetwork(NamedTuple):
    """Which network of segmentation_models.pytorch or timm a file says that it is of."""

    encoder: str
    """As `model.encoder` has it."""
    arch: str | None
    """As `model.arch` has it; None of timm's."""

    @property
    def project(self) -> Project:
        """Whose it is."""
        return Project.smp if self.arch else Project.timm


def library_network(content: Any, description: Mapping[str, Any]) -> LibraryNetwork | None:
    """Return which library's network a checkpoint is of, as timm's training script or the description beside it says.

    `description` is that of `config.json`, which both libraries write beside what they save for the hub.
    """
    match description:
        case {"_model_class": str(arch), "encoder_name": str(encoder)}:
            return LibraryNetwork(encoder, arch.lower())
        case {"architecture": str(name)}:
            return LibraryNetwork(f"{TIMM}{name}", None)
    match content:
        case {"arch": str(name)}:
            return LibraryNetwork(f"{TIMM}{name}", None)
    return None


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
