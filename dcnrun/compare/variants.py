"""Variants of a comparison: the settings that identify them, what makes them comparable, and their names."""

import hashlib
import json
import re
from collections.abc import Sequence
from typing import Any

from dcnrun.config.inactive import DILATION, Settings, inactive_settings, traits_of
from dcnrun.config.schema import Architecture, Dilation
from dcnrun.config.settings import as_typed
from dcnrun.tasks.registry import ARCHITECTURES

_OF_THE_RUN = frozenset({"seed", "name", "runs_dir", "data.download", "data.allow_overlap", "trainer.pictures"})
_OF_SPEED_ONLY = frozenset({"data.workers", "data.cache"})
_LONGEST_SLUG = 80


def identity(settings: Settings) -> dict[str, Any]:
    """Return the settings that runs of one variant share: without seed, names, loggers and inactive settings."""
    ignored = _OF_THE_RUN | inactive_settings(settings).keys()
    return {key: value for key, value in settings.items() if key not in ignored and not key.startswith("logger.")}


def task(settings: Settings) -> dict[str, Any]:
    """Return what must be equal for results to be comparable: data, steps, what ends a run earlier, metric, and what is found
    in an image."""
    ends_by = ["trainer.patience", *(["trainer.eval_every"] if settings["trainer.patience"] is not None else [])]
    return {
        "what is found": ARCHITECTURES[Architecture(settings["model.head"])].task.finds,
        **{
            key: value
            for key, value in identity(settings).items()
            if key in ("trainer.steps", "trainer.metric", *ends_by)
            or (key.startswith("data.") and key not in _OF_SPEED_ONLY)
        },
    }


def digest(value: Any) -> str:
    """Return a short hash of anything that JSON can hold."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:8]


def difference_of_tasks(names: Sequence[str], all_settings: Sequence[Settings]) -> list[str]:
    """Return why variants can't be compared: each key of the task that differs from the first's, with both values."""
    first = task(all_settings[0])
    found: dict[str, str] = {}
    for name, settings in zip(names, all_settings, strict=True):
        other = task(settings)
        for key in sorted(first.keys() | other.keys()):
            own, its = as_typed(first.get(key)), as_typed(other.get(key))
            if own != its:
                found.setdefault(key, f"{key} is {own} for {names[0]} but {its} for {name}")
    if "trainer.patience" in found:  # where one has none, how often it validates does not matter
        found.pop("trainer.eval_every", None)
    return list(found.values())


def variant_names(all_settings: Sequence[Settings]) -> list[str]:
    """Return short, distinct names: the kind, the dilation of a control, and the settings that differ.

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
    """Return distinct file names of letters, digits, `.`, `_` and `-`."""
    plain = [re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.") for name in names]
    return [
        slug if len(slug) <= _LONGEST_SLUG and plain.count(slug) == 1 else f"{slug[:_LONGEST_SLUG]}-{digest(name)}"
        for slug, name in zip(plain, names, strict=True)
    ]


def _is_compared(key: str, settings: Settings) -> bool:
    """Whether a setting may stand in a name; the ones that `_kind` prints already may not."""
    return key != "conv.kind" and (key != DILATION or traits_of(settings).learns_offsets)


def _kind(settings: Settings) -> str:
    """Return the kind, with its dilation where that identifies it, such as `dilated 4`."""
    kind, dilation, traits = settings["conv.kind"], settings[DILATION], traits_of(settings)
    if traits.learns_offsets or dilation is None:
        return str(kind)
    return f"{kind} {dilation}" if traits.dilation is Dilation.required else f"{kind} dilation={dilation}"


def _short(key: str) -> str:
    """Return the last part of a key; `data.seed` stays whole, since `seed` is the run's."""
    return key if key == "data.seed" else key.rpartition(".")[2]
