"""What is wrong with the values of settings: outside their ranges, at odds with each other, or without effect.

Every problem is one line, `key=value must be ...`. What depends on data, networks or the machine is not looked at here
(`dcnrun.tasks.validate` checks all of it).
"""

from collections.abc import Iterable, Iterator
from dataclasses import fields, is_dataclass
from typing import Any

from dcnrun.config.inactive import MAY_BE_INACTIVE, inactive_settings, settings_of
from dcnrun.config.ranges import range_of
from dcnrun.config.schema import CONV_TRAITS, Config, Dilation
from dcnrun.config.settings import as_typed, default_of


def config_problems(config: Config) -> list[str]:
    """Return every problem of a config that its settings alone show, a line each."""
    out_of_range = range_problems(config)
    return [*out_of_range.values(), *without_consequences(out_of_range, _conflicts(config))]


def range_problems(section: Any, prefix: str = "") -> dict[str, str]:
    """Return the problem of each setting whose value is outside its range, by key.

    `section` is a config, or a section of it with its name and a dot as the `prefix` of its keys.
    """
    found: dict[str, str] = {}
    for declared in fields(section):
        key, value = prefix + declared.name, getattr(section, declared.name)
        if is_dataclass(value):
            found |= range_problems(value, f"{key}.")
        elif (allowed := range_of(declared)) is not None and not allowed.holds(value):
            found[key] = must_be(key, value, allowed.expected(value))
    return found


def must_be(key: str, value: Any, expected: str) -> str:
    """Say that a setting has a wrong value, and what is expected of it."""
    return f"{key}={as_typed(value)} must be {expected}"


def without_consequences(out_of_range: Iterable[str], problems: Iterable[str]) -> list[str]:
    """Leave out problems that name a setting whose value is out of range, and so one of its own already."""
    keys = [f"{key}=" for key in out_of_range]
    return [problem for problem in problems if not any(key in problem for key in keys)]


def _conflicts(config: Config) -> Iterator[str]:
    """Say which settings don't go together, and which are set and inactive.

    Layers may always be chosen, also where the convolution in them is plain.
    """
    conv, optim = config.conv, config.optim
    match CONV_TRAITS[conv.kind].dilation:
        case Dilation.required if conv.dilation is None:
            yield f"conv.dilation=null: conv={conv.kind} needs a dilation, e.g. conv.dilation=4"
        case Dilation.none if conv.dilation is not None:
            tuned = " or ".join(kind for kind, traits in CONV_TRAITS.items() if traits.dilation is Dilation.required)
            yield f"conv.dilation={conv.dilation} does nothing with conv={conv.kind}: use conv={tuned}"
    if config.trainer.epochs is None and optim.warmup_steps >= config.trainer.steps:  # else the data set decides
        yield f"optim.warmup_steps={optim.warmup_steps} must be less than trainer.steps={config.trainer.steps}"
    settings = settings_of(config)
    for key, why in inactive_settings(settings).items():
        if key not in MAY_BE_INACTIVE and settings[key] != (default := default_of(config, key)):
            yield f"{key}={as_typed(settings[key])} does nothing with {why}: leave it out, or at {as_typed(default)}"
