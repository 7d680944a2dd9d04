"""What a file of weights holds, and the settings with which a network here takes most of it: `dcnrun weights inspect`."""

import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import isqrt
from pathlib import Path
from typing import Any

from torch import Tensor

from dcnrun.config.compose import compose
from dcnrun.config.overrides import as_override
from dcnrun.config.schema import PUBLISHED_WIDTH, Architecture, Backbone, ResNetStyle
from dcnrun.config.settings import default_of
from dcnrun.console import console, printable
from dcnrun.errors import UsageError
from dcnrun.models.backbones import BACKBONES
from dcnrun.models.checkpoints import conv_settings, deformable_layers
from dcnrun.models.weights import Weights, listed, read_weights_file
from dcnrun.tasks.build import build_model

_FIRST_BLOCK = "layer1.0.conv1.weight"
_TWO_CLASSES = 2  # of a file that says nothing of classes


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
        """The ResNet of ours with these blocks; None where there is none."""
        has_third = f"{self.prefix}layer1.0.conv3.weight" in self.tensors
        for backbone, (block, depths) in BACKBONES.items():
            if depths == self.depths and has_third == (block.expansion > 1):
                return backbone
        return None

    @property
    def width(self) -> int:
        """The channels of its first stage."""
        return len(self.tensors[self.prefix + _FIRST_BLOCK])

    def beside(self, name: str) -> tuple[int, ...] | None:
        """Return the shape of a tensor beside the backbone, by its name in our networks; None where there is none."""
        tensor = self.tensors.get(self.prefix.removesuffix("backbone.") + name)
        return None if tensor is None or not self.prefix.endswith("backbone.") else tuple(tensor.shape)


def inspect_weights(file: Path) -> dict[str, Any]:
    """Print what a file of weights is, which settings take it, and what of it they take; return it."""
    weights = read_weights_file(file)
    network = _resnet(weights.tensors)
    settings = [*_settings(network, weights)] if network else []
    loaded = _tried(settings, file, network) if settings else None
    project = weights.translation.project if weights.translation else None
    report = {
        "file": weights.source,
        "project": project.value if project else "dcnrun" if weights.translation is None else None,
        "tensors": len(weights.tensors),
        "numbers": sum(tensor.numel() for tensor in weights.tensors.values()),
        "backbone": network.backbone if network else None,
        "style": weights.style,
        "deformable": [layer._asdict() for layer in deformable_layers(weights.tensors)],
        "classes": _classes(network) if network else None,
        "class_names": list(weights.classes),
        "settings": settings,
        "loaded": loaded,
    }
    for line in _lines(report, weights, network):
        console.print(line, markup=False, soft_wrap=True)
    return report


def _resnet(tensors: Mapping[str, Tensor]) -> _ResNet | None:
    """Return the ResNet of a file, the one with the shortest prefix where there are several."""
    prefixes = [name.removesuffix(_FIRST_BLOCK) for name in tensors if f".{name}".endswith(f".{_FIRST_BLOCK}")]
    return _ResNet(min(prefixes, key=len), tensors) if prefixes else None


def _architecture(network: _ResNet) -> Architecture | None:
    """Return which of our networks has what stands on the backbone; None where none has."""
    for name, architecture in (
        ("roi_heads.mask_predictor.mask_fcn_logits.weight", Architecture.mask_rcnn),
        ("roi_heads.box_predictor.cls_score.weight", Architecture.faster_rcnn),
        ("head.classification_head.cls_logits.weight", Architecture.retinanet),
        ("head.0.convs.0.0.weight", Architecture.deeplabv3),
        ("head.4.weight", Architecture.fcn),
        ("head.3.weight", Architecture.deeplab),
    ):
        if network.beside(name):
            return architecture
    return None


def _classes(network: _ResNet) -> int | None:
    """Return how many classes the network tells apart, background left out; None without a head of ours."""
    match _architecture(network):
        case None:
            return None
        case Architecture.mask_rcnn | Architecture.faster_rcnn:
            name, beside, per_class = "roi_heads.box_predictor.cls_score.weight", 1, 1
        case Architecture.retinanet:
            name, beside, per_class = "head.classification_head.cls_logits.weight", 0, 9
        case Architecture.deeplab:
            name, beside, per_class = "head.3.weight", 0, 1
        case _:
            name, beside, per_class = "head.4.weight", 0, 1
    shape = network.beside(name)
    return shape[0] // per_class - beside if shape else None


def _settings(network: _ResNet, weights: Weights) -> Iterator[str]:
    """Yield the settings of a network of ours that takes most of a file's; none where there is no such backbone."""
    if network.backbone is None:
        return
    architecture = _architecture(network)
    if architecture is not None:
        yield f"model={architecture}"
    yield f"model.backbone={network.backbone}"
    if network.width != PUBLISHED_WIDTH:
        yield f"model.width={network.width}"
    if weights.style is ResNetStyle.caffe:
        yield f"model.style={weights.style}"
    if architecture is not None:
        config = compose([f"model={architecture}"])
        yield from (
            f"{key}={value}" for key, value in _widths(network, architecture) if value != default_of(config, key)
        )
    yield from conv_settings(network.tensors, network.prefix, masks_are_sigmoids=weights.translation is not None)


def _widths(network: _ResNet, architecture: Architecture) -> Iterator[tuple[str, int]]:
    """Yield the settings that say how wide what stands on the backbone is."""
    if pyramid := network.beside("neck.inner_blocks.0.0.weight"):
        yield "model.fpn_channels", pyramid[0]
        if hidden := network.beside("roi_heads.box_head.fc6.weight"):
            yield "model.roi_channels", hidden[0]
            yield "model.roi_size", isqrt(hidden[1] // pyramid[0])
    if mask := network.beside("roi_heads.mask_predictor.conv5_mask.weight"):
        yield "model.mask_channels", mask[0]
    hidden_layer = "head.1.weight" if architecture is Architecture.deeplabv3 else "head.0.weight"
    if hidden := network.beside(hidden_layer):
        yield "model.head_channels", hidden[0]


def _tried(settings: list[str], file: Path, network: _ResNet | None) -> str | None:
    """Load the file into the network of these settings and return what became of its tensors, or why it can't be loaded."""
    config = compose(settings)
    config.model.weights = str(file)
    try:
        return build_model(config, (network and _classes(network)) or _TWO_CLASSES).loaded
    except UsageError as error:
        return str(error)


def _lines(report: Mapping[str, Any], weights: Weights, network: _ResNet | None) -> Iterator[str]:
    whose = f"names of {report['project']}" if report["project"] else "names of no project that is known here"
    yield f"{printable(weights.source)}: {report['tensors']} tensors of {report['numbers'] / 1e6:.1f} M numbers, {whose}"
    if network is None:
        yield f"  no ResNet with stages layer1 to layer4; it holds {listed(weights.tensors)}"
        return
    depths = ", ".join(map(str, network.depths))
    yield f"  backbone: {network.backbone or 'a ResNet that is none of ours'}, stages of {depths} blocks, {network.width} channels in the first"
    yield f"  strides: {_STRIDES[weights.style]}"
    architecture = _architecture(network)
    yield f"  on it: {architecture or 'no head that has a counterpart here'}"
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
        words = [*report["settings"], as_override("model.weights", report["file"])]
        yield f"  dcnrun train {printable(shlex.join(words))}"
        yield str(report["loaded"])
    else:
        yield f"  no backbone of ours takes it: model.backbone is one of {', '.join(Backbone)}"


_STRIDES = {
    None: "in the 3x3 convolutions, or in the 1x1 before them (model.style=caffe): the file does not say",
    ResNetStyle.pytorch: "in the 3x3 convolutions",
    ResNetStyle.caffe: "in the 1x1 convolutions before the 3x3, which see BGR from 0 to 255",
}
