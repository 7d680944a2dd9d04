"""Which values of a YAML file are numbers: true and false, which Python counts among them, are none."""

import math
from typing import Any, TypeGuard


def is_number(value: Any) -> TypeGuard[int | float]:
    """Whether it is a whole number or a float."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def finite(value: Any) -> float | None:
    """A number as a float; None where it is none, or infinite."""
    try:
        number = float(value) if is_number(value) else math.nan
    except OverflowError:  # a whole number with hundreds of digits
        return None
    return number if math.isfinite(number) else None


def whole(value: Any) -> int | None:
    """A whole number as an int, 12.0 too; None for all else."""
    number = finite(value)
    return int(number) if number is not None and number.is_integer() else None
