"""Reads single keys of a section as what they must be; a value of another kind is noted as a problem of the document."""

import math
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Any, TypeGuard, TypeVar

from dcnrun.config.messages import did_you_mean
from dcnrun.sweep.spec.document import Document, Where

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
    """Read the text of a key; None where it is missing or wrong."""
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
    """Read a finite number, above a limit where one is given; None where it is missing or wrong."""
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
    """Read an integer of at least 1, also one that is written 12.0; None where it is missing or wrong."""
    key = str(where[-1])
    if key not in section:
        return None
    number = finite(section[key])
    if number is None or number < 1 or not number.is_integer():
        document.problem(where, f"must be an integer of at least 1, but is {section[key]!r}.")
        return None
    return int(number)


def read_choice(document: Document, where: Where, section: Mapping[str, Any], choices: type[Choice]) -> Choice | None:
    """Read one of a few words; None where it is missing or wrong."""
    key, names = str(where[-1]), [choice.value for choice in choices]
    if key not in section:
        return None
    if section[key] not in names:
        hint = did_you_mean(str(section[key]), names) or "."
        document.problem(where, f"is {section[key]}, but must be one of {', '.join(names)}{hint}")
        return None
    return choices(section[key])


def is_number(value: Any) -> TypeGuard[int | float]:
    """Whether a value of a YAML file is a number: true and false, which Python counts among them, are none."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def finite(value: Any) -> float | None:
    """Return a number as a float; None where the value is none, or infinite."""
    try:
        number = float(value) if is_number(value) else math.nan
    except OverflowError:  # an integer with hundreds of digits
        return None
    return number if math.isfinite(number) else None
