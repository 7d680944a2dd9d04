"""The schema as a list of settings, for messages, completion and `dcnrun config --list`."""

from collections.abc import Iterator, Mapping
from dataclasses import MISSING as NO_DEFAULT
from dataclasses import Field, dataclass, fields
from enum import Enum
from functools import cache
from itertools import product
from operator import attrgetter
from pathlib import Path
from types import NoneType
from typing import Any, get_args, get_origin, get_type_hints

from dcnrun.config.groups import GROUPS, SECTIONS, choices
from dcnrun.config.ranges import AUTO, Range
from dcnrun.config.schema import KINDS, Config


@dataclass(frozen=True)
class Setting:
    """One setting: `optim.lr`, its type, default, meaning and range."""

    key: str
    type: Any
    default: Any
    meaning: str
    range: Range | None = None
    is_path: bool = False
    changes_numbers: bool = True

    @property
    def allowed(self) -> str:
        """The values that may stand after `=`, in words."""
        plain = _without_null(self.type)
        words = _in_words(plain) + (f", {self.range}" if self.range else "")
        if plain is self.type:
            return words
        return f"{words}, or null" if self.range else f"{words} or null"

    @property
    def is_list(self) -> bool:
        """Whether its value is a list."""
        return get_origin(_without_null(self.type)) is list

    @property
    def may_be_auto(self) -> bool:
        """Whether the word auto may stand for its value."""
        return self.range is not None and self.range.auto

    @property
    def values(self) -> list[str]:
        """Every value, where there are few: those of an enum, true and false."""
        plain = _without_null(self.type)
        null = ["null"] if plain is not self.type else []
        if self.may_be_auto:
            return [AUTO, *null]
        if plain is bool:
            return ["true", "false", *null]
        if isinstance(plain, type) and issubclass(plain, Enum):
            return [member.name for member in plain] + null
        return []


def settings(schemas: Mapping[str, type]) -> list[Setting]:
    """Return every setting in the order of the schema, with these schemas of the sections that have several kinds."""
    return list(_settings_of(Config, "", schemas))


def schemas_of(config: Config) -> dict[str, type]:
    """Return the schemas of a config's sections that have several kinds."""
    return {section: type(getattr(config, section)) for section in KINDS}


def default_of(config: Config, key: str) -> Any:
    """Return the default of a setting of this config: kinds of data sets and models have other ones of some."""
    section, _, name = key.rpartition(".")
    of_section = fields(getattr(config, section) if section else config)
    return next(_default(field) for field in of_section if field.name == name)


@cache
def all_settings() -> dict[str, Setting]:
    """Return every setting by its key, those of all kinds of data sets and models together."""
    found: dict[str, Setting] = {}
    for schemas in product(*(kinds.schemas.values() for kinds in KINDS.values())):
        for setting in settings(dict(zip(KINDS, schemas, strict=True))):
            found.setdefault(setting.key, setting)
    in_order = (*SECTIONS, *(field.name for field in fields(Config)))
    return dict(sorted(found.items(), key=lambda item: in_order.index(item[0].split(".")[0])))


def section_meaning(section: str) -> str:
    """Return what a section of the config, such as `optim`, is for."""
    return str(get_type_hints(Config)[section].__doc__)


def kinds_with(key: str) -> list[str]:
    """Return the kinds of a section (data sets, models) that have this setting; none where it has no kinds."""
    section, _, name = key.partition(".")
    schemas = KINDS[section].schemas if section in KINDS else {}
    return [str(kind) for kind, schema in schemas.items() if any(field.name == name for field in fields(schema))]


def as_typed(value: Any) -> str:
    """Write a value as people type it where nothing must be quoted."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return f"[{','.join(map(as_typed, value))}]"
    return value.name if isinstance(value, Enum) else str(value)


def list_settings(config: Config, config_dir: Path | None = None) -> dict[str, Any]:
    """Return the choices of each group, and every setting with its value in this config, or its default."""
    here = {setting.key for setting in settings(schemas_of(config))}
    return {
        "groups": {group: choices(group, config_dir) for group in GROUPS},
        "settings": [
            {
                "key": setting.key,
                "type": setting.allowed,
                "value": attrgetter(setting.key)(config) if setting.key in here else setting.default,
                "meaning": setting.meaning,
                "only_with": _only_with(setting),
            }
            for setting in all_settings().values()
        ],
    }


def listing_as_text(listing: dict[str, Any]) -> str:
    """Format a listing for people."""
    lines = ["Groups, chosen with group=choice"]
    lines += [f"  {f'{group}=':<14}{', '.join(names)}" for group, names in listing["groups"].items()]
    lines += ["", "Settings, set with key=value"]
    for entry in listing["settings"]:
        only_with = f", with {' or '.join(entry['only_with'])} only" if entry["only_with"] else ""
        override = f"{entry['key']}={as_typed(entry['value'])}"
        lines.append(f"  {override:<40}  {entry['meaning']}")
        lines.append(f"{'':44}({entry['type']}{only_with})")
    return "\n".join(lines)


def _settings_of(schema: type, prefix: str, schemas: Mapping[str, type]) -> Iterator[Setting]:
    types = get_type_hints(schema)
    for field in fields(schema):
        key = prefix + field.name
        if not prefix and field.name in SECTIONS:
            yield from _settings_of(schemas.get(field.name, types[field.name]), f"{key}.", schemas)
        else:
            facts = {name: field.metadata[name] for name in ("meaning", "range", "is_path", "changes_numbers")}
            yield Setting(key, types[field.name], _default(field), **facts)


def _default(field: Field[Any]) -> Any:
    return field.default if field.default_factory is NO_DEFAULT else field.default_factory()


def _without_null(annotation: Any) -> Any:
    """Return the type T of an Optional[T]; any other type as it is."""
    members = get_args(annotation)
    return next(t for t in members if t is not NoneType) if NoneType in members else annotation


_LISTS = {float: "numbers, such as [0.5,1]", int: "integers, such as [32,64]", str: "names, such as [a,b]"}


def _in_words(annotation: Any) -> str:
    if get_origin(annotation) is list:
        (element,) = get_args(annotation)
        return f"a list of {_LISTS[element]}"
    if issubclass(annotation, Enum):
        return f"one of {', '.join(member.name for member in annotation)}"
    return {bool: "true or false", int: "an integer", float: "a number", str: "text"}[annotation]


def _only_with(setting: Setting) -> list[str]:
    section, kinds = setting.key.split(".")[0], kinds_with(setting.key)
    has_some = section in KINDS and len(kinds) < len(KINDS[section].schemas)
    return [f"{section}={kind}" for kind in kinds] if has_some else []
