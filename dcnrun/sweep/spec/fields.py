"""Single keys of a section, read as what they must be; what they are not is noted in the document."""

from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Any, TypeVar

from dcnrun.config.messages import did_you_mean
from dcnrun.sweep.spec.document import Document, Where
from dcnrun.sweep.spec.numbers import finite, whole

Choice = TypeVar("Choice", bound=StrEnum)
Section = TypeVar("Section")


def read_section(
    document: Document, key: str, read: Callable[[Document, Mapping[str, Any]], Section | None]
) -> Section | None:
    """Read a section that is a mapping; None where it is missing or wrong."""
    if key not in document.data:
        return None
    section = document.data[key]
    if not isinstance(section, dict):
        document.problem((key,), f"must be a mapping, but is {section!r}.")
        return None
    return read(document, section)


def check_keys(document: Document, where: Where, section: Mapping[Any, Any], known: tuple[str, ...]) -> None:
    """Note every key of a section that is not a known one, with the nearest that is."""
    for key in section:
        if key not in known:
            hint = did_you_mean(str(key), known) or f"; there are {', '.join(known)}."
            document.problem((*where, key), f"is no key of {'.'.join(map(str, where)) or 'a sweep file'}{hint}")


def read_text(document: Document, where: Where, section: Mapping[str, Any]) -> str | None:
    """The text of a key; None where it is missing or wrong, as for all that follow."""
    key = str(where[-1])
    if key not in section:
        return None
    value = section[key]
    if not isinstance(value, str):
        document.problem(where, f"must be text, but is {value!r}: put it in quotes.")
        return None
    return value


def read_number(
    document: Document, where: Where, section: Mapping[str, Any], above: float | None = None
) -> float | None:
    """A finite number, above a limit where one is given."""
    key = str(where[-1])
    if key not in section:
        return None
    value = finite(section[key])
    if value is None or (above is not None and value <= above):
        wanted = "a number" if above is None else f"a number above {above:g}"
        document.problem(where, f"must be {wanted}, but is {section[key]!r}.")
        return None
    return value


def read_count(document: Document, where: Where, section: Mapping[str, Any]) -> int | None:
    """A whole number of at least 1."""
    key = str(where[-1])
    if key not in section:
        return None
    value = whole(section[key])
    if value is None or value < 1:
        document.problem(where, f"must be a whole number of at least 1, but is {section[key]!r}.")
        return None
    return value


def read_choice(document: Document, where: Where, section: Mapping[str, Any], choices: type[Choice]) -> Choice | None:
    """One of a few words."""
    key, names = str(where[-1]), [choice.value for choice in choices]
    if key not in section:
        return None
    if section[key] not in names:
        hint = did_you_mean(str(section[key]), names) or "."
        document.problem(where, f"is {section[key]}, but must be one of {', '.join(names)}{hint}")
        return None
    return choices(section[key])
