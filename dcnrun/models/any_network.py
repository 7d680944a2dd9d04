"""For networks of other libraries: convolutions that learn where to sample in the place of plain ones, and their learning rate."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from dcnrun.config.schema import CONV_TRAITS, ConvKind, Dilation
from dcnrun.models.convert import ReplacedLayer, matching, plain_convolutions, put_in_place, replacement
from dcnrun.models.sampling import sampling_layers


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
            such as "layer4.*.conv2", of layers or of modules that hold them; these find convolutions with several groups too.
        dilation: of the new layers; None: the old one's. The dilated kind needs one.
        offset_groups: groups of input channels with offsets of their own.
        mask_start: initial mask of the modulated kind: 1, or 0.5 as in the paper.

    ValueError where a kind or a layer is none, or one can't be replaced; the network is then as it was.
    """
    if kind not in list(ConvKind):
        raise ValueError(f"kind={kind!r} must be one of {', '.join(ConvKind)}")
    if CONV_TRAITS[ConvKind(kind)].dilation is Dilation.required and dilation is None:
        raise ValueError(f"kind={kind!r} needs a dilation")
    settings = {"offset_groups": offset_groups, "mask_start": mask_start}
    with torch.random.fork_rng(devices=[]):  # weights that are drawn and not kept
        made = {
            name: replacement(name, old, ConvKind(kind), dilation, old.groups, settings)
            for name, old in _chosen(network, layers).items()
        }
    return put_in_place(network, made)


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
    found = plain_convolutions(network)
    if isinstance(layers, int):
        dense = [name for name, module in found.items() if module.groups == 1]
        if not 0 <= layers <= len(dense):
            raise ValueError(
                f"layers={layers} must be from 0 to {len(dense)}, the network's convolutions with a kernel larger than 1x1 in one group"
            )
        return {name: found[name] for name in dense[len(dense) - layers :]}
    patterns = [layers] if isinstance(layers, str) else layers
    for pattern in patterns:
        if not matching(found, [pattern]):
            some = ", ".join(list(found)[-5:]) or "none"
            raise ValueError(
                f"layers={pattern!r} is no convolution with a kernel larger than 1x1; the last ones of the network are: {some}"
            )
    return {name: found[name] for name in matching(found, patterns)}
