"""Put a kind of convolution into a backbone's layers."""

import re
from dataclasses import dataclass

import torch
from torch import nn

from dcnrun.config.schema import ConvConfig
from dcnrun.models.conv import make_conv, own_settings

STAGES = {"c2": "layer1", "c3": "layer2", "c4": "layer3", "c5": "layer4"}


@dataclass(frozen=True)
class ReplacedLayer:
    """One layer that was converted, for reports."""

    name: str
    in_channels: int
    out_channels: int
    stride: int
    dilation: int


def convert(backbone: nn.Module, conv: ConvConfig, seed: int = 0) -> list[ReplacedLayer]:
    """Replace the 3x3 convolutions that `conv.layers` selects, in place, and return which they were.

    Each new layer takes the old one's weights as its kind can (`take_weights`), so that all kinds start alike; where
    `conv.groups` changes their shape they are drawn anew from `seed` and the layer's name, the same for every kind.
    """
    return [_replace(backbone, name, conv, seed) for name in selected_layers(backbone, conv.layers)]


def conversion_problems(backbone: nn.Module, conv: ConvConfig) -> list[str]:
    """Return what would keep `convert` from working, each problem a line."""
    try:
        names = selected_layers(backbone, conv.layers)
    except ValueError as error:
        return [str(error)]
    inputs = {name: _convolution(backbone, name).in_channels for name in names}
    outputs = {name: _convolution(backbone, name).out_channels for name in names}
    return [
        *_indivisible("conv.groups", conv.groups, "input", inputs),
        *_indivisible("conv.groups", conv.groups, "output", outputs),
        *_indivisible("conv.offset_groups", conv.offset_groups, "input", inputs),
    ]


def _indivisible(key: str, groups: int, side: str, channels: dict[str, int]) -> list[str]:
    wrong = [name for name, count in channels.items() if groups >= 1 and count % groups]
    others = f" (and of {len(wrong) - 1} more layers)" if len(wrong) > 1 else ""
    return [
        f"{key}={groups} does not divide the {channels[name]} {side} channels of {name}{others}" for name in wrong[:1]
    ]


def selected_layers(backbone: nn.Module, layers: str) -> list[str]:
    """Return the names of the 3x3 convolutions that a `conv.layers` setting selects, in the order of the forward pass.

    ValueError if the setting is neither a number, nor stages (c3,c4,c5), nor a range of stages (c3-c5).
    """
    candidates = [
        name
        for name, module in backbone.named_modules()
        if isinstance(module, nn.Conv2d) and module.kernel_size == (3, 3) and name.startswith(tuple(STAGES.values()))
    ]
    setting = layers.replace(" ", "")
    if setting.isdecimal():
        count = int(setting)
        if count > len(candidates):
            raise ValueError(f"conv.layers={layers} is more than the backbone's {len(candidates)} 3x3 convolutions")
        return candidates[len(candidates) - count :]
    stages = _stages(setting)
    if stages is None:
        raise ValueError(
            f"conv.layers={layers} must be a number (the last N 3x3 convolutions), stages such as c4,c5 or a range such as c3-c5"
        )
    folders = tuple(f"{STAGES[stage]}." for stage in stages)
    return [name for name in candidates if name.startswith(folders)]


def _stages(setting: str) -> list[str] | None:
    names = list(STAGES)
    if match := re.fullmatch(r"(c[2-5])-(c[2-5])", setting):
        first, last = names.index(match[1]), names.index(match[2])
        return names[first : last + 1] or None
    chosen = setting.split(",")
    return chosen if all(stage in names for stage in chosen) else None


def _convolution(backbone: nn.Module, name: str) -> nn.Conv2d:
    layer = backbone.get_submodule(name)
    assert isinstance(layer, nn.Conv2d)
    return layer


def _replace(backbone: nn.Module, name: str, conv: ConvConfig, seed: int) -> ReplacedLayer:
    old = _convolution(backbone, name)
    dilation = old.dilation if conv.dilation is None else (conv.dilation, conv.dilation)
    with torch.random.fork_rng(devices=[]):
        # a seed from the name, so that a layer starts alike whichever others are replaced
        torch.manual_seed(seed + int.from_bytes(name.encode()[-6:], "big"))
        new = make_conv(
            conv.kind,
            old.in_channels,
            old.out_channels,
            (3, 3),
            stride=(old.stride[0], old.stride[1]),
            padding=dilation,  # type: ignore[arg-type]
            dilation=dilation,  # type: ignore[arg-type]
            groups=conv.groups,
            bias=old.bias is not None,
            **{name: getattr(conv, name) for name in own_settings(conv.kind)},
        )
        new.take_weights(old)
    new = new.to(old.weight.device)
    parent, _, leaf = name.rpartition(".")
    setattr(backbone.get_submodule(parent), leaf, new)
    return ReplacedLayer(name, old.in_channels, old.out_channels, old.stride[0], dilation[0])
