"""Shell completion of overrides."""

import re
from collections.abc import Mapping
from pathlib import Path

from dcnrun.config.groups import EXPERIMENT, GROUPS, SECTIONS, choices
from dcnrun.config.settings import all_settings, section_meaning

_PLAIN_WORD = re.compile(r"[\w./-]+")


def offers(incomplete: str, environment: Mapping[str, str], config_dir: Path | None = None) -> list[tuple[str, str]]:
    """Return what may follow on the line, each with its meaning, in the form that the shell expects.

    Bash splits words at `=` and replaces only what stands behind it, other shells take the override whole.
    `incomplete` is the word to replace; `environment` holds bash's words.
    """
    typed = _typed_override(incomplete, environment)
    already_there = len(typed) - len(incomplete)
    return [(override[already_there:], meaning) for override, meaning in complete(typed, config_dir)]


def complete(typed: str, config_dir: Path | None = None) -> list[tuple[str, str]]:
    """Return beginnings of overrides, or whole ones, that start with `typed`, each with its meaning."""
    key, equals, value = typed.partition("=")
    if equals:
        before = value.rpartition(",")[0] + "," if "," in value else ""
        whole = [f"{key}={before}{choice}" for choice in _values(key, config_dir)]
        return [(override, _meaning(key)) for override in whole if override.startswith(typed)]
    beginnings = [beginning for beginning in _beginnings(typed) if beginning.startswith(typed)]
    if len(beginnings) == 1 and beginnings[0].endswith("="):
        # Bash puts a space after the only offer; a second one keeps the cursor at the `=`, and says what may follow.
        key = beginnings[0].removesuffix("=")
        beginnings += [f"{key}={value}" for value in _values(key, config_dir) or ["..."]]
    return [(beginning, _meaning(beginning.partition("=")[0])) for beginning in beginnings]


def _typed_override(incomplete: str, environment: Mapping[str, str]) -> str:
    """Return the override up to the cursor, joined again where bash has split it at `=`."""
    if "COMP_WORDS" not in environment:
        return incomplete
    words = environment["COMP_WORDS"].split("\n")[: int(environment["COMP_CWORD"]) + 1]
    match words:
        case [*_, key, "="]:
            return f"{key}="
        case [*_, key, "=", value] if value:
            return f"{key}={incomplete}"
        case _:
            return incomplete


def _beginnings(typed: str) -> list[str]:
    """Return groups and sections first; the settings of a section once its dot is typed."""
    settings = [f"{key}=" for key in all_settings()]
    if "." in typed:
        return settings
    return [f"{group}=" for group in GROUPS] + [f"{s}." for s in SECTIONS] + [s for s in settings if "." not in s]


def _values(key: str, config_dir: Path | None) -> list[str]:
    if key in GROUPS:
        return choices(key, config_dir)
    setting = all_settings().get(key)
    if setting is None or setting.values:
        return setting.values if setting else []
    default = "null" if setting.default is None else str(setting.default)
    return [default] if _PLAIN_WORD.fullmatch(default) else []


def _meaning(name: str) -> str:
    """Return the meaning of a setting, a group or the beginning of a section's settings (`optim.`)."""
    setting = all_settings().get(name)
    if setting:
        return setting.meaning
    return "Settings that go together." if name == EXPERIMENT else section_meaning(name.removesuffix("."))
