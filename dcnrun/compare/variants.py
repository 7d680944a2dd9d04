"""What a variant of a comparison is: settings that matter, what tells it from the others, and its name."""

import dataclasses
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any

from dcnrun.config.overrides import as_typed
from dcnrun.config.schema import MODEL_SCHEMAS, Config, ConvKind, DetectionModelConfig, Head, RoiPool

Settings = Mapping[str, Any]
"""A config as `{"conv.kind": "dilated", "conv.dilation": 4, ...}`, enums by their plain names."""

DILATION = "conv.dilation"
LAYERS = "conv.layers"
MASK_START = "conv.mask_start"
ROI_POOL = "model.roi_pool"
OF_OFFSETS = frozenset({"conv.offset_groups", "optim.offset_lr_mult", "optim.offset_bias_lr_mult"})
OF_ROI_OFFSETS = frozenset({"optim.roi_offset_lr_mult", "model.roi_gamma"})

_OF_THE_RUN = frozenset({"seed", "name", "runs_dir", "data.download"})
_OF_SPEED_ONLY = frozenset({"data.workers", "data.eval_batch_size", "data.cache"})
_WITHOUT_OFFSETS = (ConvKind.standard.value, ConvKind.dilated.value)
_LONGEST_SLUG = 80


def settings_of(config: Config) -> dict[str, Any]:
    """The settings of a config, flat."""
    return dict(_flatten(dataclasses.asdict(config), ""))


def identity(settings: Settings) -> dict[str, Any]:
    """The settings that runs of one variant have in common: without seed, names, loggers and what has no effect."""
    ignored = _OF_THE_RUN | without_effect(settings)
    return {key: value for key, value in settings.items() if key not in ignored and not key.startswith("logger.")}


def task(settings: Settings) -> dict[str, Any]:
    """What must be equal for results to be comparable: the data, the steps, the metric, and what is found in an image."""
    return {
        "what is found": "boxes" if _finds_boxes(settings) else "masks",
        **{
            key: value
            for key, value in identity(settings).items()
            if key in ("trainer.steps", "trainer.metric") or (key.startswith("data.") and key not in _OF_SPEED_ONLY)
        },
    }


def without_effect(settings: Settings) -> frozenset[str]:
    """Settings that change nothing for this kind of convolution and of RoI pooling."""
    learns_regions = settings.get(ROI_POOL, RoiPool.align.value) != RoiPool.align.value
    return _without_effect_on_conv(settings) | (frozenset() if learns_regions else OF_ROI_OFFSETS & settings.keys())


def _without_effect_on_conv(settings: Settings) -> frozenset[str]:
    kind = ConvKind(settings["conv.kind"])
    if kind is ConvKind.modulated:
        return frozenset()
    if kind is ConvKind.deformable:
        return frozenset({MASK_START})
    unchanged = settings[DILATION] is None and settings["conv.groups"] == 1
    return OF_OFFSETS | {MASK_START} | ({LAYERS} if unchanged else set())


def digest(value: Any) -> str:
    """A short hash of anything that JSON can hold."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:8]


def difference_of_tasks(names: Sequence[str], all_settings: Sequence[Settings]) -> list[str]:
    """Why variants can't be compared: each key of the task in which one differs from the first, with both values."""
    first = task(all_settings[0])
    found: dict[str, str] = {}
    for name, settings in zip(names, all_settings, strict=True):
        other = task(settings)
        for key in sorted(first.keys() | other.keys()):
            own, its = as_typed(first.get(key)), as_typed(other.get(key))
            if own != its:
                found.setdefault(key, f"{key} is {own} for {names[0]} but {its} for {name}")
    return list(found.values())


def variant_names(all_settings: Sequence[Settings]) -> list[str]:
    """Short names that tell variants apart: the kind, the dilation of a control, and the settings that differ.

    A setting is compared among the variants that it has an effect on; `optim.lr` is shortened to `lr`, and what is not set
    (null) is not said.
    """
    compared = [
        {key: as_typed(value) for key, value in identity(settings).items() if _is_compared(key, settings)}
        for settings in all_settings
    ]
    telling = {key for key in set().union(*compared) if len({own[key] for own in compared if key in own}) > 1}
    return [
        " ".join(
            [
                _kind(settings),
                *(f"{_short(key)}={value}" for key, value in own.items() if key in telling and value != "null"),
            ]
        )
        for settings, own in zip(all_settings, compared, strict=True)
    ]


def slugs(names: Sequence[str]) -> list[str]:
    """File names of variants: distinct, of letters, digits, `.`, `_` and `-`."""
    plain = [re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.") for name in names]
    return [
        slug if len(slug) <= _LONGEST_SLUG and plain.count(slug) == 1 else f"{slug[:_LONGEST_SLUG]}-{digest(name)}"
        for slug, name in zip(plain, names, strict=True)
    ]


def _finds_boxes(settings: Settings) -> bool:
    return issubclass(MODEL_SCHEMAS[Head(settings["model.head"])], DetectionModelConfig)


def _flatten(tree: Mapping[str, Any], prefix: str) -> list[tuple[str, Any]]:
    leaves: list[tuple[str, Any]] = []
    for name, value in tree.items():
        if isinstance(value, dict):
            leaves += _flatten(value, f"{prefix}{name}.")
        else:
            leaves.append((prefix + name, value.value if isinstance(value, Enum) else value))
    return leaves


def _is_compared(key: str, settings: Settings) -> bool:
    """What `_kind` says already is not compared."""
    return key != "conv.kind" and not (key == DILATION and settings["conv.kind"] in _WITHOUT_OFFSETS)


def _kind(settings: Settings) -> str:
    """`dilated 4`; without offsets, the dilation is what a convolution is."""
    kind, dilation = settings["conv.kind"], settings[DILATION]
    if kind not in _WITHOUT_OFFSETS or dilation is None:
        return str(kind)
    return f"{kind} {dilation}" if kind == ConvKind.dilated.value else f"{kind} dilation={dilation}"


def _short(key: str) -> str:
    """The last part; `data.seed` stays whole, since `seed` is the run's."""
    return key if key == "data.seed" else key.rpartition(".")[2]
