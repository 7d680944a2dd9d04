"""Which convolutions of a network are under comparison, and another kind of convolution in their place."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import nn

from dcnrun.config.schema import ConvConfig, ConvKind, Where, stages_in
from dcnrun.models.conv import PlainConv2d, make_conv, own_settings
from dcnrun.models.deform_sampling import DeformSampling2d

STAGES = {"c2": "layer1", "c3": "layer2", "c4": "layer3", "c5": "layer4"}
"""The stages of torchvision's ResNets."""
_PLAIN = (nn.Conv2d, PlainConv2d)
"""What is replaced, subclasses apart: those of other libraries compute something else."""
_LISTED = 5


@dataclass(frozen=True)
class Convolution:
    """A convolution that another kind can replace."""

    name: str
    layer: nn.Conv2d
    part: Where = Where.encoder
    stage: str | None = None
    """c2 to c5, of an encoder: its output has a pixel for every 4, 8, 16 or 32 of the image."""


@dataclass(frozen=True)
class ReplacedLayer:
    """One layer that was converted, for reports."""

    name: str
    in_channels: int
    out_channels: int
    stride: int
    dilation: int


def plain_convolutions(network: nn.Module) -> dict[str, nn.Conv2d]:
    """Return the convolutions with a kernel larger than 1x1, by name, in the order of `named_modules`."""
    return {
        name: module
        for name, module in network.named_modules()
        if name and type(module) in _PLAIN and isinstance(module, nn.Conv2d) and max(module.kernel_size) > 1
    }


def resnet_convolutions(backbone: nn.Module) -> list[Convolution]:
    """Return the 3x3 convolutions of a ResNet of torchvision, in the order of the forward pass."""
    stages = {folder: stage for stage, folder in STAGES.items()}
    return [
        Convolution(name, layer, stage=stages[name.partition(".")[0]])
        for name, layer in plain_convolutions(backbone).items()
        if name.startswith(tuple(stages)) and layer.kernel_size == (3, 3)
    ]


def convert(
    network: nn.Module, conv: ConvConfig, seed: int = 0, convolutions: Sequence[Convolution] | None = None
) -> list[ReplacedLayer]:
    """Replace the convolutions that `conv.layers` selects, in place, and return which they were.

    Each new layer takes the old one's weights as its kind can (`take_weights`), so that all kinds start alike; where
    `conv.groups` changes their shape they are drawn anew from `seed` and the layer's name, the same for every kind.
    `convolutions` are those to select from, None: those of a ResNet.
    """
    found = plain_convolutions(network)
    settings = {name: getattr(conv, name) for name in own_settings(conv.kind)}
    chosen = selected_layers(resnet_convolutions(network) if convolutions is None else convolutions, conv)
    made = {}
    for name in chosen:
        with torch.random.fork_rng(devices=[]):
            # a seed from the name, so that a layer starts alike whichever others are replaced
            torch.manual_seed(seed + int.from_bytes(name.encode()[-6:], "big"))
            made[name] = replacement(name, found[name], conv.kind, conv.dilation, conv.groups, settings)
    return put_in_place(network, made)


def conversion_problems(convolutions: Sequence[Convolution], conv: ConvConfig) -> list[str]:
    """Return what would keep `convert` from working, each problem a line."""
    try:
        names = set(selected_layers(convolutions, conv))
    except ValueError as error:
        return [str(error)]
    layers = {each.name: each.layer for each in convolutions if each.name in names}
    dense = {name: layer for name, layer in layers.items() if layer.groups == 1}
    return [
        *_indivisible("conv.groups", conv.groups, "input", {name: each.in_channels for name, each in dense.items()}),
        *_indivisible("conv.groups", conv.groups, "output", {name: each.out_channels for name, each in dense.items()}),
        *_indivisible(
            "conv.offset_groups", conv.offset_groups, "input", {name: each.in_channels for name, each in layers.items()}
        ),
        *_unfit_dilations(conv.dilation, layers),
    ]


def _indivisible(key: str, groups: int, side: str, channels: dict[str, int]) -> list[str]:
    wrong = [name for name, count in channels.items() if groups >= 1 and count % groups]
    others = f" (and of {len(wrong) - 1} more layers)" if len(wrong) > 1 else ""
    return [
        f"{key}={groups} does not divide the {channels[name]} {side} channels of {name}{others}" for name in wrong[:1]
    ]


def _unfit_dilations(dilation: int | None, layers: Mapping[str, nn.Conv2d]) -> list[str]:
    for name, layer in layers.items():
        try:
            _same_size(name, layer, dilation)
        except ValueError as error:
            return [f"conv.dilation={dilation}: {error}"]
    return []


def selected_layers(convolutions: Sequence[Convolution], conv: ConvConfig) -> list[str]:
    """Return the names of the convolutions that `conv.layers` selects, in their order, which is that of the forward pass.

    A number counts those of `conv.where`, stages are those of the encoder; both leave out convolutions in several groups
    unless `conv.depthwise`. ValueError if it selects none that there is.
    """
    setting = conv.layers.replace(" ", "")
    counted = [each for each in convolutions if each.layer.groups == 1 or conv.depthwise]
    if setting.isdecimal():
        count = int(setting)
        there = [each.name for each in counted if conv.where in (Where.all, each.part)]
        if count > len(there):
            where = "network" if conv.where is Where.all else conv.where
            in_groups = len(convolutions) - len(counted)
            more = f"; {in_groups} of the network are depth-wise or grouped: conv.depthwise=true" if in_groups else ""
            raise ValueError(
                f"conv.layers={conv.layers} is more than the {where}'s {len(there)} convolutions with a kernel larger than 1x1{more}"
            )
        return there[len(there) - count :]
    if (stages := stages_in(setting)) is not None:
        return [each.name for each in counted if each.stage in stages]
    names = [each.name for each in convolutions]
    chosen = set[str]()
    for pattern in setting.split(","):
        found = matching(names, [pattern])
        if not found:
            some = ", ".join(names[-_LISTED:]) or "none"
            raise ValueError(
                f"conv.layers={conv.layers} must be a number (the last N convolutions), stages such as c4,c5 or a range such as c3-c5, or "
                f"names or patterns of convolutions with a kernel larger than 1x1; the last ones of the network are: {some}"
            )
        chosen |= set(found)
    return [name for name in names if name in chosen]


def matching(names: Iterable[str], patterns: Iterable[str]) -> list[str]:
    """Return the names that one of the patterns (with * and ?) describes, or that lie in a module that it describes."""
    wanted = [each for pattern in patterns for each in (pattern, f"{pattern}.*")]
    return [name for name in names if any(fnmatchcase(name, pattern) for pattern in wanted)]


def replacement(
    name: str, old: nn.Conv2d, kind: ConvKind, dilation: int | None, groups: int, settings: Mapping[str, Any]
) -> PlainConv2d | DeformSampling2d:
    """Make the layer that takes the place of an old one: of the same stride and output size, with its weights.

    Args:
        name: of the old layer, for messages.
        old: the convolution.
        kind: of the new one.
        dilation: of the new one; None: the old one's.
        groups: of the new one's weights, where the old one's are in one group.
        settings: what the kind has as further arguments.

    ValueError where there is no such layer.
    """
    if old.padding_mode != "zeros":
        raise ValueError(f"layer {name} has padding_mode={old.padding_mode!r}; expected 'zeros'")
    padding, dilations = _same_size(name, old, dilation)
    geometry: Any = {"stride": old.stride, "padding": padding, "dilation": dilations}
    try:
        new = make_conv(
            kind,
            old.in_channels,
            old.out_channels,
            old.kernel_size,  # type: ignore[arg-type]
            **geometry,
            groups=groups if old.groups == 1 else old.groups,
            bias=old.bias is not None,
            **settings,
        )
    except ValueError as error:
        raise ValueError(f"layer {name}: {error}") from None
    new.take_weights(old)
    return new.to(old.weight.device, old.weight.dtype).train(old.training)


def _same_size(name: str, old: nn.Conv2d, dilation: int | None) -> tuple[Any, tuple[int, ...]]:
    """Return the padding and dilation with which a layer's output keeps its size; ValueError where there is no such padding."""
    dilations = old.dilation if dilation is None else (dilation,) * 2
    if isinstance(old.padding, str) or dilations == old.dilation:
        return old.padding, dilations
    grown = [(new - was) * (k - 1) for new, was, k in zip(dilations, old.dilation, old.kernel_size, strict=True)]
    padding = tuple(sides + more // 2 for sides, more in zip(old.padding, grown, strict=True))
    if any(more % 2 for more in grown) or min(padding) < 0:
        raise ValueError(f"layer {name} has another output size with dilation={dilation}, its kernel {old.kernel_size}")
    return padding, dilations


def put_in_place(network: nn.Module, made: Mapping[str, PlainConv2d | DeformSampling2d]) -> list[ReplacedLayer]:
    """Put new layers into a network, at every place of the old ones of these names, and describe them."""
    places = {id(network.get_submodule(name)): new for name, new in made.items()}
    for parent in list(network.modules()):
        for leaf, child in list(parent.named_children()):
            if id(child) in places:
                setattr(parent, leaf, places[id(child)])
    return [
        ReplacedLayer(name, new.in_channels, new.out_channels, new.stride[0], new.dilation[0])
        for name, new in made.items()
    ]
