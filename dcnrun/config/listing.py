"""Every setting with its type, value and meaning, as `dcnrun config --list` shows it."""

from pathlib import Path
from typing import Any

from dcnrun.config.groups import GROUPS, choices
from dcnrun.config.overrides import as_typed
from dcnrun.config.schema import KINDS, Config
from dcnrun.config.settings import Setting, all_settings, kinds_with, schemas_of, settings


def list_settings(config: Config, config_dir: Path | None = None) -> dict[str, Any]:
    """The choices of each group, and every setting: with its value in this config, or its default where it has none."""
    here = {setting.key for setting in settings(schemas_of(config))}
    return {
        "groups": {group: choices(group, config_dir) for group in GROUPS},
        "settings": [
            {
                "key": setting.key,
                "type": setting.allowed,
                "value": _value(setting, config) if setting.key in here else setting.default,
                "meaning": setting.meaning,
                "only_with": _only_with(setting),
            }
            for setting in all_settings().values()
        ],
    }


def as_text(listing: dict[str, Any]) -> str:
    """The same for people to read."""
    lines = ["Groups, chosen with group=choice"]
    lines += [f"  {f'{group}=':<14}{', '.join(names)}" for group, names in listing["groups"].items()]
    lines += ["", "Settings, set with key=value"]
    for entry in listing["settings"]:
        only_with = f", with {' or '.join(entry['only_with'])} only" if entry["only_with"] else ""
        override = f"{entry['key']}={as_typed(entry['value'])}"
        lines.append(f"  {override:<40}  {entry['meaning']}")
        lines.append(f"{'':44}({entry['type']}{only_with})")
    return "\n".join(lines)


def _value(setting: Setting, config: Config) -> Any:
    value: Any = config
    for name in setting.key.split("."):
        value = getattr(value, name)
    return value


def _only_with(setting: Setting) -> list[str]:
    section = setting.key.split(".")[0]
    kinds = kinds_with(setting.key)
    return (
        [] if section not in KINDS or len(kinds) == len(KINDS[section].schemas) else [f"{section}={k}" for k in kinds]
    )
