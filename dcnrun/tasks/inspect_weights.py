"""What a file of weights holds, and the settings with which a network here takes most of it: `dcnrun weights inspect`."""

import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import isqrt
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from dcnrun.config.compose import compose
from dcnrun.config.overrides import as_override
from dcnrun.config.schema import PUBLISHED_WIDTH, Architecture, Backbone, ResNetStem, ResNetStyle, SmpConfig
from dcnrun.config.settings import default_of, kinds_with
from dcnrun.console import console, printable
from dcnrun.errors import DcnrunError, UsageError
from dcnrun.models.backbones import BACKBONES
from dcnrun.models.checkpoints import LibraryNetwork, conv_settings, deformable_layers, stem_of
from dcnrun.models.encoders import TIMM, build_network, is_encoder, smp
from dcnrun.models.weights import FOREIGN_TO_BLOCKS, RGB, Weights, listed, read_weights_file
from dcnrun.tasks.build import build_model

_FIRST_BLOCK = "layer1.0.conv1.weight"
_LIBRARY_SCORES = "segmentation_head.0.weight"


@dataclass(frozen=True)
class _ResNet:
    """A ResNet in a file, and what stands on it, by our names."""

    prefix: str
    """What is before the names of its tensors."""
    tensors: Mapping[str, Tensor]

    @property
    def depths(self) -> list[int]:
        """The blocks of each stage."""
        blocks = {stage: set[str]() for stage in "1234"}
        for name in self.tensors:
            if found := re.match(r"layer([1-4])\.(\d+)\.", name.removeprefix(self.prefix)):
                blocks[found[1]].add(found[2])
        return [len(found) for found in blocks.values()]

    @property
    def backbone(self) -> Backbone | None:
        """The ResNet of ours with these blocks and as many channels in its stem as in its first stage; None where there is none."""
        return self._with_our_blocks if self._stem_channels == self.width else None

    @property
    def encoder(self) -> str | None:
        """The encoder of timm that is this ResNet with twice the channels in its stem, as detectron2's DeepLab has; None where there is none."""
        is_wide = self._stem_channels == 2 * self.width == 2 * PUBLISHED_WIDTH
        is_deep = stem_of(self.tensors) is ResNetStem.deep
        blocks = self._with_our_blocks if is_wide and is_deep else None
        return f"{TIMM}{blocks}s" if blocks in (Backbone.resnet50, Backbone.resnet101) else None

    @property
    def _with_our_blocks(self) -> Backbone | None:
        if not self._has_our_blocks():
            return None
        has_third = f"{self.prefix}layer1.0.conv3.weight" in self.tensors
        for backbone, (block, depths) in BACKBONES.items():
            if depths == self.depths and has_third == (block.expansion > 1):
                return backbone
        return None

    def _has_our_blocks(self) -> bool:
        """Return whether its blocks have layers of ours alone.

        Others have attention in their blocks, or pool in their shortcuts.
        """
        names = [name.removeprefix(self.prefix) for name in self.tensors if name.startswith(f"{self.prefix}layer")]
        pooled = self.tensors.get(f"{self.prefix}layer2.0.downsample.1.weight")
        return not any(map(FOREIGN_TO_BLOCKS.match, names)) and (pooled is None or pooled.dim() == 1)

    @property
    def width(self) -> int:
        """The channels of its first stage."""
        return len(self.tensors[self.prefix + _FIRST_BLOCK])

    @property
    def _stem_channels(self) -> int:
        return self.tensors[self.prefix + _FIRST_BLOCK].shape[1]

    def beside(self, name: str, dimensions: int = 4) -> tuple[int, ...] | None:
        """Return the shape of a tensor beside the backbone, by its name in our networks; None where there is none such."""
        tensor = self.tensors.get(self.prefix.removesuffix("backbone.") + name)
        if tensor is None or not self.prefix.endswith("backbone.") or tensor.dim() != dimensions or 0 in tensor.shape:
            return None
        return tuple(tensor.shape)


def inspect_weights(file: Path) -> dict[str, Any]:
    """Print what a file of weights is, which settings take it, and what of it they take; return it."""
    weights = read_weights_file(file)
    network = _resnet(weights.tensors)
    library = _library(weights, network)
    if library:
        settings, classes = [*_library_settings(library)], _library_classes(weights.tensors)
    else:
        settings, classes = ([*_settings(network, weights)], _classes(network)) if network else ([], None)
    loaded = _tried(settings, file, classes or 1) if settings else None
    translated = weights.translation.project if weights.translation else None
    project = translated or (library.project if library else None)
    report = {
        "file": weights.source,
        "project": project.value if project else "dcnrun" if weights.translation is None else None,
        "tensors": len(weights.tensors),
        "numbers": sum(tensor.numel() for tensor in weights.tensors.values()),
        "backbone": library.encoder if library else network.backbone if network else None,
        "style": weights.style,
        "deformable": [layer._asdict() for layer in deformable_layers(weights.tensors)],
        "classes": classes,
        "class_names": list(weights.classes),
        "settings": settings,
        "loaded": loaded,
    }
    for line in _lines(report, weights, network, library):
        console.print(line, markup=False, soft_wrap=True)
    return report


def _resnet(tensors: Mapping[str, Tensor]) -> _ResNet | None:
    """Return the ResNet of a file, the one with the shortest prefix where there are several."""
    prefixes = [
        name.removesuffix(_FIRST_BLOCK)
        for name, tensor in tensors.items()
        if f".{name}".endswith(f".{_FIRST_BLOCK}") and tensor.dim() == 4 and len(tensor)
    ]
    return _ResNet(min(prefixes, key=len), tensors) if prefixes else None


class _Head(NamedTuple):
    """What makes the scores of classes in one of our networks."""

    architecture: Architecture
    scores: str
    """Its weights, by our names."""
    dimensions: int
    beside: str | None = None
    """Weights that networks with such scores have in this architecture alone."""
    rows_per_class: int = 1
    other_rows: int = 0
    """Those of the background."""
    settings: tuple[str, ...] = ()
    """Those that make the architecture one with such a head."""


_BOXES = "roi_heads.box_predictor.cls_score.weight"
_MASKS = "roi_heads.mask_predictor.mask_fcn_logits.weight"
_ON_C4 = ("model.fpn=false", "model.output_stride=16")
_OPENMMLAB = ("model.head_design=openmmlab",)
_HEADS = (
    _Head(Architecture.mask_rcnn, _BOXES, 2, beside=_MASKS, other_rows=1),
    _Head(Architecture.faster_rcnn, _BOXES, 2, other_rows=1),
    _Head(Architecture.retinanet, "head.classification_head.cls_logits.weight", 4, rows_per_class=9),
    _Head(
        Architecture.faster_rcnn,
        "rpn.head.cls_logits.weight",
        4,
        beside="neck.inner_blocks.0.0.weight",
        rows_per_class=0,
    ),
    _Head(Architecture.faster_rcnn, "rpn.head.cls_logits.weight", 4, rows_per_class=0, settings=_ON_C4),
    _Head(Architecture.deeplabv3, "head.4.weight", 4, beside="head.0.convs.0.0.weight"),
    _Head(Architecture.deeplabv3, "head.2.weight", 4, beside="head.0.convs.0.0.weight", settings=_OPENMMLAB),
    _Head(Architecture.deeplabv3plus, "head.scores.1.weight", 4, beside="head.pyramid.convs.0.0.weight"),
    _Head(Architecture.fcn, "head.scores.1.weight", 4, beside="head.merged.0.weight", settings=_OPENMMLAB),
    _Head(Architecture.fcn, "head.4.weight", 4),
    _Head(Architecture.deeplab, "head.3.weight", 4),
)


def _head(network: _ResNet) -> _Head | None:
    """Return which of our networks has what stands on the backbone; None where none has."""
    for head in _HEADS:
        if network.beside(head.scores, head.dimensions) and (head.beside is None or network.beside(head.beside)):
            return head
    return None


def _classes(network: _ResNet) -> int | None:
    """Return how many classes the network tells apart, background left out; None without a head of ours."""
    head = _head(network)
    shape = network.beside(head.scores, head.dimensions) if head else None
    return shape[0] // head.rows_per_class - head.other_rows if head and shape and head.rows_per_class else None


def _settings(network: _ResNet, weights: Weights) -> Iterator[str]:
    """Yield the settings of a network of ours that takes most of a file's; none where there is no such backbone."""
    if network.backbone is None:
        return
    head = _head(network)
    if head is not None:
        yield f"model={head.architecture}"
    yield f"model.backbone={network.backbone}"
    if network.width != PUBLISHED_WIDTH:
        yield f"model.width={network.width}"
    if weights.style is ResNetStyle.caffe:
        yield f"model.style={weights.style}"
    if stem_of(network.tensors) is ResNetStem.deep:
        yield f"model.stem={ResNetStem.deep}"
    config = compose([f"model={head.architecture}"] if head else [])
    if weights.output_stride not in (None, default_of(config, "model.output_stride")):
        yield f"model.output_stride={weights.output_stride}"
    if head is not None:
        yield from head.settings
        yield from (f"{key}={value}" for key, value in _widths(network, head) if value != default_of(config, key))
    are_sigmoids = weights.translation is not None
    yield from (
        conv_settings(network.tensors, network.prefix, are_sigmoids) or weights.undilated_settings or ["conv=standard"]
    )


def _widths(network: _ResNet, head: _Head) -> Iterator[tuple[str, int]]:
    """Yield the settings that say how wide what stands on the backbone is."""
    if pyramid := network.beside("neck.inner_blocks.0.0.weight"):
        yield "model.fpn_channels", pyramid[0]
        if hidden := network.beside("roi_heads.box_head.fc6.weight", 2):
            yield "model.roi_channels", hidden[0]
            yield "model.roi_size", isqrt(hidden[1] // pyramid[0])
    if mask := network.beside("roi_heads.mask_predictor.conv5_mask.weight"):
        yield "model.mask_channels", mask[0]
    if head.architecture in kinds_with("model.head_channels") and (scores := network.beside(head.scores)):
        yield "model.head_channels", scores[1]
    if fine := network.beside("head.fine.0.weight"):
        yield "model.fine_channels", fine[0]


def _library(weights: Weights, network: _ResNet | None) -> LibraryNetwork | None:
    """Return which network of segmentation_models.pytorch or timm a file is of; None where it is of none, or a ResNet of ours takes it."""
    root, said = _library_root(weights.tensors), weights.library
    if root is None and network and network.backbone:
        return None
    if said is None and network and network.encoder:
        said = LibraryNetwork(network.encoder, None)
    try:
        architectures = list(smp().MODEL_ARCHITECTURES_MAPPING)
        if said and is_encoder(said.encoder) and (said.arch or architectures[0]) in architectures:
            return said
    except UsageError:  # not installed
        return None
    if root is None or network is None or network.backbone is None:
        return None
    timms = TIMM if network.prefix.endswith("encoder.model.") else ""
    encoder = f"{timms}{network.backbone}"
    there = {key.removeprefix(root) for key in weights.tensors if key.startswith(root)}
    return next((LibraryNetwork(encoder, arch) for arch in architectures if _has_names(arch, encoder, there)), None)


def _has_names(arch: str, encoder: str, names: set[str]) -> bool:
    """Return whether the library's network with its usual settings has tensors of these names in its decoder."""
    try:
        with torch.device("meta"):
            network = build_network(SmpConfig(arch=arch, encoder=encoder), RGB, 1)
    except ValueError:
        return False
    wanted = {key for key in network.state_dict() if key.startswith("decoder.")}
    return wanted == {key for key in names if key.startswith("decoder.") and ".offset_branch." not in key}


def _library_root(tensors: Mapping[str, Tensor]) -> str | None:
    """Return what stands before the names of a network of segmentation_models.pytorch; None where there is none."""
    roots = [name.removesuffix(_LIBRARY_SCORES) for name in tensors if name.endswith(_LIBRARY_SCORES)]
    return min(roots, key=len, default=None)


def _library_classes(tensors: Mapping[str, Tensor]) -> int | None:
    """Return how many classes a network of segmentation_models.pytorch tells apart."""
    root = _library_root(tensors)
    scores = tensors[f"{root}{_LIBRARY_SCORES}"] if root is not None else None
    return len(scores) if scores is not None and scores.dim() else None


def _library_settings(library: LibraryNetwork) -> Iterator[str]:
    """Yield the settings of a network of ours that takes a library's."""
    yield f"model={Architecture.smp}"
    if library.arch:
        yield as_override("model.arch", library.arch)
    yield as_override("model.encoder", library.encoder)
    yield "conv=standard"


def _tried(settings: list[str], file: Path, classes: int) -> str | None:
    """Load the file into the network of these settings and return what became of its tensors, or why it can't be loaded."""
    try:
        config = compose(settings)
        config.model.weights = str(file)
        return build_model(config, max(classes, 1)).loaded
    except (DcnrunError, ValueError) as error:  # networks of libraries that can't be built
        return str(error)


def _lines(
    report: Mapping[str, Any], weights: Weights, network: _ResNet | None, library: LibraryNetwork | None
) -> Iterator[str]:
    whose = f"names of {report['project']}" if report["project"] else "names of no project that is known here"
    yield f"{printable(weights.source)}: {report['tensors']} tensors of {report['numbers'] / 1e6:.1f} M numbers, {whose}"
    if library:
        yield (
            f"  {printable(library.arch)} on {printable(library.encoder)}"
            if library.arch
            else f"  a network that {printable(library.encoder)} is the encoder of, also in detectors"
        )
        if report["classes"]:
            yield f"  classes: {report['classes']}"
        yield from _command(report)
        return
    if network is None:
        yield f"  no ResNet with stages layer1 to layer4; it holds {listed(weights.tensors)}"
        return
    depths = ", ".join(map(str, network.depths))
    yield f"  backbone: {network.backbone or 'a ResNet that is none of ours'}, stages of {depths} blocks, {network.width} channels in the first"
    yield f"  strides: {_STRIDES[weights.style]}"
    head = _head(network)
    yield f"  on it: {head.architecture if head else 'no head that has a counterpart here'}"
    if report["classes"]:
        names = f": {printable(', '.join(weights.classes[:20]))}" if weights.classes else ""
        yield f"  classes: {report['classes']}{names}"
    kinds: dict[tuple[str, int], list[str]] = {}
    for layer in deformable_layers(weights.tensors):
        kinds.setdefault((layer.kind.value, layer.offset_groups), []).append(layer.name.removeprefix(network.prefix))
    for (kind, groups), layers in kinds.items():
        yield f"  {kind} layers, offset groups {groups}: {listed(layers)}"
    if not kinds:
        yield "  no deformable layers"
    if report["settings"]:
        yield from _command(report)
    else:
        yield f"  no backbone of ours takes it: model.backbone is one of {', '.join(Backbone)}"


def _command(report: Mapping[str, Any]) -> Iterator[str]:
    """Yield the command that takes a file, and what of it is loaded so."""
    words = [*report["settings"], as_override("model.weights", report["file"])]
    yield f"  dcnrun train {printable(shlex.join(words))}"
    yield str(report["loaded"])


_STRIDES = {
    None: "in the 3x3 convolutions, or in the 1x1 before them (model.style=caffe): the file does not say",
    ResNetStyle.pytorch: "in the 3x3 convolutions",
    ResNetStyle.caffe: "in the 1x1 convolutions before the 3x3, which see BGR from 0 to 255",
}
