"""What the schema says about each setting, for messages, completion and the list of settings."""

from collections.abc import Iterator
from dataclasses import MISSING as NO_DEFAULT
from dataclasses import Field, dataclass, fields
from enum import Enum
from functools import cache
from types import NoneType
from typing import Any, get_args, get_origin, get_type_hints

from dcnrun.config.groups import SECTIONS
from dcnrun.config.schema import DATA_SCHEMAS, Config, DataConfig, Source


@dataclass(frozen=True)
class Setting:
    """One setting: `optim.lr`, its type, default and meaning."""

    key: str
    type: Any
    default: Any
    meaning: str

    @property
    def allowed(self) -> str:
        """What may stand after `=`, in words."""
        return _in_words(self.type)

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


def settings(data_schema: type[DataConfig]) -> list[Setting]:
    """Every setting of a run on one kind of data set, in the order of the schema."""
    return list(_settings_of(Config, "", data_schema))


@cache
def all_settings() -> dict[str, Setting]:
    """Every setting there is by its key, those of all kinds of data sets together."""
    found: dict[str, Setting] = {}
    for schema in DATA_SCHEMAS.values():
        for setting in settings(schema):
            found.setdefault(setting.key, setting)
    in_order = (*SECTIONS, *(field.name for field in fields(Config)))
    return dict(sorted(found.items(), key=lambda item: in_order.index(item[0].split(".")[0])))


def known_keys() -> list[str]:
    """Keys of every setting, such as `optim.lr`."""
    return list(all_settings())


def section_meaning(section: str) -> str:
    """What a section of the config is for, such as `optim`."""
    return str(get_type_hints(Config)[section].__doc__)


def sources_with(key: str) -> list[Source]:
    """The kinds of data sets that have this setting."""
    return [source for source, schema in DATA_SCHEMAS.items() if any(s.key == key for s in settings(schema))]


def _settings_of(schema: type, prefix: str, data_schema: type[DataConfig]) -> Iterator[Setting]:
    types = get_type_hints(schema)
    for field in fields(schema):
        key = prefix + field.name
        if not prefix and field.name in SECTIONS:
            section = data_schema if field.name == "data" else types[field.name]
            yield from _settings_of(section, f"{key}.", data_schema)
        else:
            yield Setting(key, types[field.name], _default(field), field.metadata["meaning"])


def _default(field: "Field[Any]") -> Any:
    return field.default if field.default_factory is NO_DEFAULT else field.default_factory()


def _without_null(annotation: Any) -> Any:
    """The type T of an Optional[T]; any other type as it is."""
    members = get_args(annotation)
    return next(t for t in members if t is not NoneType) if NoneType in members else annotation


def _in_words(annotation: Any) -> str:
    plain = _without_null(annotation)
    if plain is not annotation:
        return f"{_in_words(plain)} or null"
    if get_origin(annotation) is list:
        return f"a list of {'numbers, such as [0.5,1]' if get_args(annotation) == (float,) else 'names, such as [a,b]'}"
    if issubclass(annotation, Enum):
        return f"one of {', '.join(member.name for member in annotation)}"
    return {bool: "true or false", int: "a whole number", float: "a number", str: "text"}[annotation]
