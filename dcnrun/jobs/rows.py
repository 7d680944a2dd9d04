"""Reads a row of the ledger, whoever wrote it: a database may be shared, edited by hand, or damaged.

A row says what a machine runs and where, so that it is believed only where it is of the kind that agents write.
"""

import json
import math
from collections.abc import Mapping
from typing import Any, NoReturn

Row = Mapping[str, Any]


class DamagedRow(Exception):
    """What of a row is not as agents write it, in words."""


def read_row(row: Row) -> dict[str, Any]:
    """Return the checked values of a job's row by column, whose JSON comes as text; DamagedRow says what is wrong first."""
    return {
        "number": _integer(row, "number"),
        "overrides": _overrides(row),
        "parameters": _parameters(row),
        "folder": _folder(row),
        "state": _text(row, "state"),
        "attempts": _integer(row, "attempts"),
        "owner": _text_or_none(row, "owner"),
        "history": _history(row),
        "reason": _text_or_none(row, "reason"),
        "band": None if row["band"] is None else _integer(row, "band"),
        **{moment: None if row[moment] is None else _number(row, moment) for moment in ("started", "ended", "beat")},
    }


def is_plain_name(name: Any) -> bool:
    """Whether a text names a file in a folder and can't lead out of it."""
    return isinstance(name, str) and name.isprintable() and "/" not in name and name not in ("", ".", "..")


def _integer(row: Row, column: str) -> int:
    value = row[column]
    return value if type(value) is int else _refuse(column, value, "an integer")


def _number(row: Row, column: str) -> float:
    value: float = row[column]
    return value if _is_finite(value) else _refuse(column, value, "a number")


def _text(row: Row, column: str) -> str:
    value = row[column]
    return value if isinstance(value, str) else _refuse(column, value, "a text")


def _text_or_none(row: Row, column: str) -> str | None:
    return None if row[column] is None else _text(row, column)


def _folder(row: Row) -> str:
    name: str = row["folder"]
    return name if is_plain_name(name) else _refuse("folder", name, "the name of a folder in the sweep's own")


def _overrides(row: Row) -> tuple[str, ...]:
    """Read overrides, which become words of a command: none of them may be an option."""
    words = _json(row, "overrides")
    if not isinstance(words, list) or not all(isinstance(word, str) and not word.startswith("-") for word in words):
        _refuse("overrides", words, "a list of key=value")
    return tuple(words)


def _parameters(row: Row) -> dict[str, Any]:
    parameters = _json(row, "parameters")
    return parameters if isinstance(parameters, dict) else _refuse("parameters", parameters, "values by name")


def _history(row: Row) -> tuple[tuple[int, float], ...]:
    reports = _json(row, "history")
    if not isinstance(reports, list) or not all(map(_is_report, reports)):
        _refuse("history", reports, "a list of steps with a number each")
    return tuple((int(step), float(value)) for step, value in reports)


def _is_report(report: Any) -> bool:
    return isinstance(report, list) and len(report) == 2 and type(report[0]) is int and _is_finite(report[1])


def _is_finite(value: Any) -> bool:
    try:
        return type(value) in (int, float) and math.isfinite(value)
    except OverflowError:  # an integer with hundreds of digits
        return False


def _json(row: Row, column: str) -> Any:
    try:
        return json.loads(row[column])
    except (TypeError, ValueError, RecursionError):
        _refuse(column, row[column], "JSON")


def _refuse(column: str, value: Any, wanted: str) -> NoReturn:
    shown = ascii(value)
    raise DamagedRow(f"{column} is {shown if len(shown) <= 60 else shown[:57] + '...'}, and not {wanted}")
