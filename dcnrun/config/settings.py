"""What the schema says about each setting, for messages, completion and the list of settings."""

from collections.abc import Iterator, Mapping
from dataclasses import MISSING as NO_DEFAULT
from dataclasses import Field, dataclass, fields
from enum import Enum
from functools import cache
from itertools import product
from types import NoneType
from typing import Any, get_args, get_origin, get_type_hints

from dcnrun.config.groups import SECTIONS
from dcnrun.config.ranges import Range, range_of
from dcnrun.config.schema import KINDS, Config


@dataclass(frozen=True)
class Setting:
    """One setting: `optim.lr`, its type, default, meaning and range."""

    key: str
    type: Any
    default: Any
    meaning: str
    range: Range | None = None

    @property
    def allowed(self) -> str:
        """What may stand after `=`, in words."""
        plain = _without_null(self.type)
        words = _in_words(plain) + (f", {self.range}" if self.range else "")
        if plain is self.type:
            return words
        return f"{words}, or null" if self.range else f"{words} or null"

    @property
    def values(self) -> list[str]:
        """Every value, where there are only a few: those of an enum, true and false."""
        plain = _without_null(self.type)
        null = ["null"] if plain is not self.type else []
        if plain is bool:
            return ["true", "false", *null]
        if isinstance(plain, type) and issubclass(plain, Enum):
            return [member.name for member in plain] + null
        return []


def settings(schemas: Mapping[str, type]) -> list[Setting]:
    """Every setting of a run in the order of the schema, with these schemas of the sections that are of several kinds."""
    return list(_settings_of(Config, "", schemas))


def schemas_of(config: Config) -> dict[str, type]:
    """The schemas of a config's sections that are of several kinds."""
    return {section: type(getattr(config, section)) for section in KINDS}


@cache
def all_settings() -> dict[str, Setting]:
    """Every setting there is by its key, those of all kinds of data sets and models together."""
    found: dict[str, Setting] = {}
    for schemas in product(*(kinds.schemas.values() for kinds in KINDS.values())):
        for setting in settings(dict(zip(KINDS, schemas, strict=True))):
            found.setdefault(setting.key, setting)
    in_order = (*SECTIONS, *(field.name for field in fields(Config)))
    return dict(sorted(found.items(), key=lambda item: in_order.index(item[0].split(".")[0])))


def known_keys() -> list[str]:
    """Keys of every setting, such as `optim.lr`."""
    return list(all_settings())


def section_meaning(section: str) -> str:
    """What a section of the config is for, such as `optim`."""
    return str(get_type_hints(Config)[section].__doc__)


def kinds_with(key: str) -> list[str]:
    """The kinds of a section (data sets, models) that have this setting of it; none where a section has no kinds."""
    section, _, name = key.partition(".")
    schemas = KINDS[section].schemas if section in KINDS else {}
    return [str(kind) for kind, schema in schemas.items() if any(field.name == name for field in fields(schema))]


def _settings_of(schema: type, prefix: str, schemas: Mapping[str, type]) -> Iterator[Setting]:
    types = get_type_hints(schema)
    for field in fields(schema):
        key = prefix + field.name
        if not prefix and field.name in SECTIONS:
            yield from _settings_of(schemas.get(field.name, types[field.name]), f"{key}.", schemas)
        else:
            yield Setting(key, types[field.name], _default(field), field.metadata["meaning"], range_of(field))


def _default(field: "Field[Any]") -> Any:
    return field.default if field.default_factory is NO_DEFAULT else field.default_factory()


def _without_null(annotation: Any) -> Any:
    """The type T of an Optional[T]; any other type as it is."""
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
