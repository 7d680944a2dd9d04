"""For networks of other libraries: convolutions that learn where to sample in the place of plain ones, and their learning rate."""

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import nn

from dcnrun.config.schema import CONV_TRAITS, ConvKind, Dilation
from dcnrun.models.conv import PlainConv2d, make_conv
from dcnrun.models.convert import ReplacedLayer
from dcnrun.models.deform_sampling import DeformSampling2d
from dcnrun.models.sampling import sampling_layers

_PLAIN = (nn.Conv2d, PlainConv2d)
"""What is replaced, subclasses apart: those of other libraries compute something else."""


def convert(
    network: nn.Module,
    kind: str = "modulated",
    layers: int | str | Sequence[str] = 3,
    *,
    dilation: int | None = None,
    offset_groups: int = 1,
    mask_start: float = 1.0,
) -> list[ReplacedLayer]:
    """Replace convolutions of any network, in place, by another kind, and return which they were.

    A new layer has the old one's weights (the same parameters), stride and output size: a deformable one computes what the
    old one did until it is trained, "dcnv3" and "dcnv4" only what it did on an even feature map. To be called before the optimizer is made, since new layers have parameters of their own.

    Args:
        network: the network, of whatever library; on whatever device.
        kind: "standard", "dilated", "deformable" (DCNv1), "modulated" (DCNv2), "dcnv3" or "dcnv4" (in as many groups as the old one).
        layers: how many, the last ones in the order of `named_modules` (which is that of the forward pass in most networks): of
            convolutions with a kernel larger than 1x1 whose weights are in one group. Or the names of layers, or patterns
            such as "layer4.*.conv2"; these find convolutions with several groups too.
        dilation: of the new layers; None: the old one's. The dilated kind needs one.
        offset_groups: groups of input channels with offsets of their own.
        mask_start: initial mask of the modulated kind: 1, or 0.5 as in the paper.

    ValueError where a kind or a layer is none, or one can't be replaced; the network is then as it was.
    """
    if kind not in list(ConvKind):
        raise ValueError(f"kind={kind!r} must be one of {', '.join(ConvKind)}")
    if CONV_TRAITS[ConvKind(kind)].dilation is Dilation.required and dilation is None:
        raise ValueError(f"kind={kind!r} needs a dilation")
    chosen = _chosen(network, layers)
    settings = {"offset_groups": offset_groups, "mask_start": mask_start}
    made = {name: _made_from(name, old, ConvKind(kind), dilation, settings) for name, old in chosen.items()}
    places = {id(old): made[name] for name, old in chosen.items()}
    for parent in list(network.modules()):
        for leaf, child in list(parent.named_children()):
            if id(child) in places:
                setattr(parent, leaf, places[id(child)])
    return [
        ReplacedLayer(name, new.in_channels, new.out_channels, new.stride[0], new.dilation[0])
        for name, new in made.items()
    ]


def offset_parameter_groups(network: nn.Module, lr: float, offset_lr_mult: float = 1.0) -> list[dict[str, Any]]:
    """Return a network's parameters as an optimizer takes them: offset branches learn at `lr` times `offset_lr_mult`.

    Their group, the second, is named "offset", the first "base". Parameters that don't learn are left out, and so is a group
    without any.
    """
    branches = [layer.offset_branch for layer in sampling_layers(network).values()]
    offsets = {id(parameter) for branch in branches for parameter in branch.parameters()}
    learning = [parameter for parameter in network.parameters() if parameter.requires_grad]
    groups: list[dict[str, Any]] = [
        {"name": "base", "params": [each for each in learning if id(each) not in offsets], "lr": lr},
        {"name": "offset", "params": [each for each in learning if id(each) in offsets], "lr": lr * offset_lr_mult},
    ]
    return [group for group in groups if group["params"]]


def _chosen(network: nn.Module, layers: int | str | Sequence[str]) -> Mapping[str, nn.Conv2d]:
    """Return the convolutions that are meant, by name, in the order of `named_modules`."""
    found = {
        name: module
        for name, module in network.named_modules()
        if name and type(module) in _PLAIN and isinstance(module, nn.Conv2d) and max(module.kernel_size) > 1
    }
    if isinstance(layers, int):
        dense = [name for name, module in found.items() if module.groups == 1]
        if not 0 <= layers <= len(dense):
            raise ValueError(
                f"layers={layers} must be from 0 to {len(dense)}, the network's convolutions with a kernel larger than 1x1 in one group"
            )
        return {name: found[name] for name in dense[len(dense) - layers :]}
    patterns = [layers] if isinstance(layers, str) else layers
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in found):
            some = ", ".join(list(found)[-5:]) or "none"
            raise ValueError(
                f"layers={pattern!r} is no convolution with a kernel larger than 1x1; the last ones of the network are: {some}"
            )
    return {name: module for name, module in found.items() if any(fnmatchcase(name, pattern) for pattern in patterns)}


def _made_from(
    name: str, old: nn.Conv2d, kind: ConvKind, dilation: int | None, settings: Mapping[str, Any]
) -> PlainConv2d | DeformSampling2d:
    """Make the layer that takes the place of an old one."""
    if old.padding_mode != "zeros":
        raise ValueError(f"layer {name} has padding_mode={old.padding_mode!r}; expected 'zeros'")
    new_dilation = old.dilation if dilation is None else (dilation,) * 2
    padding: Any = old.padding
    if not isinstance(padding, str) and new_dilation != old.dilation:
        grown = [(new - was) * (k - 1) for new, was, k in zip(new_dilation, old.dilation, old.kernel_size, strict=True)]
        padding = tuple(sides + more // 2 for sides, more in zip(padding, grown, strict=True))
        if any(more % 2 for more in grown) or min(padding) < 0:
            raise ValueError(
                f"layer {name} has another output size with dilation={dilation}, its kernel {old.kernel_size}"
            )
    geometry: Any = {"stride": old.stride, "padding": padding, "dilation": new_dilation}
    try:
        with torch.random.fork_rng(devices=[]):  # weights that are drawn and not kept
            new = make_conv(
                kind,
                old.in_channels,
                old.out_channels,
                old.kernel_size,  # type: ignore[arg-type]
                **geometry,
                groups=old.groups,
                bias=old.bias is not None,
                **settings,
            )
    except ValueError as error:
        raise ValueError(f"layer {name}: {error}") from None
    new.take_weights(old)
    return new.to(old.weight.device, old.weight.dtype).train(old.training)
