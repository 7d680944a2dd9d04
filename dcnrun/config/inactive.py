"""Settings as a flat mapping, and which of them are inactive: change nothing in a run beside the others."""

import dataclasses
from collections.abc import Iterator, Mapping
from enum import Enum
from typing import Any

from dcnrun.config.schema import (
    CONV_TRAITS,
    Architecture,
    Config,
    ConvKind,
    ConvTraits,
    Loss,
    Optimizer,
    RoiPool,
    Schedule,
    stages_in,
)

Settings = Mapping[str, Any]
"""A config as `{"conv.kind": "dilated", "conv.dilation": 4, ...}`, enums by their plain names."""

DILATION = "conv.dilation"
LAYERS = "conv.layers"
MAY_BE_INACTIVE = {LAYERS, "data.val"}
"""What may be set and do nothing: layers are chosen for plain convolutions too, and data sets name images to validate on."""
_OF_RESNETS = (
    "model.backbone",
    "model.width",
    "model.style",
    "model.stem",
    "model.output_stride",
    "model.atrous",
    "model.frozen_stages",
)
_ROI_POOLS = ("model.roi_pool", "model.mask_roi_pool")
# Each in the order of the kinds, once.
_OF_KINDS = tuple(dict.fromkeys(key for traits in CONV_TRAITS.values() for key in traits.settings))


def settings_of(config: Config) -> dict[str, Any]:
    """Return the settings of a config, flat."""
    return dict(_flatten(dataclasses.asdict(config), ""))


def traits_of(settings: Settings) -> ConvTraits:
    """Return the traits of the kind of convolution in these settings."""
    return CONV_TRAITS[ConvKind(settings["conv.kind"])]


def has_offset_branches(settings: Settings) -> bool:
    """Whether convolutions of a network with these settings learn offsets."""
    return traits_of(settings).learns_offsets and not _replaces_nothing(settings)


def has_roi_offset_branch(settings: Settings) -> bool:
    """Whether a network with these settings learns where to pool regions."""
    return any(settings.get(key, RoiPool.align.value) != RoiPool.align.value for key in _ROI_POOLS)


def inactive_settings(settings: Settings) -> dict[str, str]:
    """Return the settings that change nothing beside the others, each with what makes it so.

    Where `optim.optimizer` is adamw, that of `optim.momentum` is "optim.optimizer=adamw".
    """
    return {key: why for key, why in _inactive(settings) if key in settings}


def _inactive(settings: Settings) -> Iterator[tuple[str, str]]:
    kind, traits = settings["conv.kind"], traits_of(settings)
    used, why = ((), f"{LAYERS}=0") if _replaces_nothing(settings) else (traits.settings, f"conv={kind}")
    yield from ((key, why) for key in _OF_KINDS if key not in used)
    if not traits.learns_offsets and settings[DILATION] is None and settings["conv.groups"] == 1:
        yield LAYERS, f"conv={kind} and conv.groups=1"

    if not has_roi_offset_branch(settings):
        why = " and ".join(f"{key}=align" for key in _ROI_POOLS if key in settings) or "model.roi_pool=align"
        yield from ((key, why) for key in ("optim.roi_offset_lr_mult", "model.roi_gamma"))
    head, encoder = settings["model.head"], settings.get("model.encoder")
    layers = str(settings[LAYERS]).strip()
    if encoder is None:
        yield "conv.depthwise", f"model={head}"
    elif not layers.isdecimal() and not stages_in(layers):
        yield "conv.depthwise", f"{LAYERS}={layers}"
    if head != Architecture.smp.value:
        yield "conv.where", f"model={head}"
        if encoder is not None:
            yield from ((key, f"model.encoder={encoder}") for key in _OF_RESNETS)
    elif not layers.isdecimal():
        yield "conv.where", f"{LAYERS}={layers}"
    if head != Architecture.deeplab.value:
        yield from ((key, f"model={head}") for key in ("model.head_kernel", "model.head_dilation"))
    elif settings["model.head_kernel"] == 1:
        yield "model.head_dilation", "model.head_kernel=1"
    if head not in (Architecture.deeplabv3.value, Architecture.fcn.value):
        yield "model.head_design", f"model={head}"
    if settings["model.weights"] is None:
        yield "model.weights_of", "model.weights=null"

    loss = str(settings.get("model.loss"))
    if Loss.focal.value not in loss:
        yield "model.focal_gamma", f"model.loss={loss}"
        if Loss.cross_entropy.value not in loss:
            yield "model.class_weights", f"model.loss={loss}"

    if settings.get("data.val_share"):
        yield "data.val", f"data.val_share={settings['data.val_share']:g}"
    else:
        yield from ((key, "data.val_share=0") for key in ("data.split_seed", "data.split_by"))

    optimizer, schedule = settings["optim.optimizer"], settings["optim.schedule"]
    if optimizer != Optimizer.sgd.value:
        yield "optim.momentum", f"optim.optimizer={optimizer}"
    if schedule != Schedule.poly.value:
        yield "optim.poly_power", f"optim.schedule={schedule}"
    if schedule != Schedule.step.value:
        yield from ((key, f"optim.schedule={schedule}") for key in ("optim.step_at", "optim.step_gamma"))


def _replaces_nothing(settings: Settings) -> bool:
    return str(settings[LAYERS]).strip() == "0"


def _flatten(tree: Mapping[str, Any], prefix: str) -> list[tuple[str, Any]]:
    leaves: list[tuple[str, Any]] = []
    for name, value in tree.items():
        if isinstance(value, dict):
            leaves += _flatten(value, f"{prefix}{name}.")
        else:
            leaves.append((prefix + name, value.value if isinstance(value, Enum) else value))
    return leaves
