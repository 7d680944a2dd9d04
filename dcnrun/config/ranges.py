"""A setting as a field of a dataclass: its default, its meaning, and the range of its values."""

import math
from dataclasses import Field, dataclass, field
from typing import Any, TypeVar, cast

T = TypeVar("T")

_MOST = 2**63 - 1
AUTO = "auto"
"""What stands for a list that the data say."""


@dataclass(frozen=True)
class Range:
    """The values that a setting, or each element of a list, may have; an unset (null) one may always stay so.

    Args:
        ge: the least value.
        gt: a value that it must be above.
        le: the largest value.
        lt: a value that it must be below.
        one_of: all values that it may have; the bounds are not looked at then.
        also: a value that is allowed beside those between the bounds, such as 0 for "off".
        least_length: how many numbers a list must have at least.
        note: what the bounds mean, such as "a probability".
        auto: the word auto may stand for it, and is [] from then on: the data say what it is.
        most: beyond it a value is a slip of the hand, which no machine could hold or count; said only where one is.
    """

    ge: float | None = None
    gt: float | None = None
    le: float | None = None
    lt: float | None = None
    one_of: tuple[float | str, ...] = ()
    also: float | None = None
    least_length: int = 0
    note: str = ""
    most: int = _MOST
    auto: bool = False

    def holds(self, value: Any) -> bool:
        """Whether a value is in the range; NaN and infinity never are."""
        if value is None:
            return True
        if isinstance(value, list):
            return len(value) >= self.least_length and all(self._holds_of_one(number) for number in value)
        return self._holds_of_one(value)

    def expected(self, value: Any) -> str:
        """What a value that is not in the range should be, to follow "must be"."""
        numbers = value if isinstance(value, list) else [value]
        is_too_large = any(isinstance(number, int | float) and self.most < number < math.inf for number in numbers)
        return f"at most {self.most}" if is_too_large and self.le is None else str(self)

    def __str__(self) -> str:
        """The range as it ends a sentence that begins with "must be"."""
        words = self._bounds()
        if self.least_length:
            words = f"{self.least_length} or more numbers {words}"
        words = ", or ".join(filter(None, (words, AUTO if self.auto else "")))
        return f"{words} ({self.note})" if self.note else words

    def _holds_of_one(self, value: Any) -> bool:
        if self.one_of or value == self.also:
            return value in (*self.one_of, self.also)
        return (
            abs(value) <= self.most
            and (self.ge is None or value >= self.ge)
            and (self.gt is None or value > self.gt)
            and (self.le is None or value <= self.le)
            and (self.lt is None or value < self.lt)
        )

    def _bounds(self) -> str:
        if self.one_of:
            *first, last = map(_short, self.one_of)
            return f"{', '.join(first)} or {last}"
        also = "" if self.also is None else f"{self.also:g} or "
        if self.ge is not None and self.le is not None:
            return f"{also}from {_short(self.ge)} to {_short(self.le)}"
        bounds = (("at least", self.ge), ("above", self.gt), ("at most", self.le), ("below", self.lt))
        return also + " and ".join(f"{words} {_short(bound)}" for words, bound in bounds if bound is not None)


def setting(
    default: T,
    meaning: str,
    *,
    ge: float | None = None,
    gt: float | None = None,
    le: float | None = None,
    lt: float | None = None,
    one_of: tuple[float | str, ...] = (),
    also: float | None = None,
    least_length: int = 0,
    note: str = "",
    most: int = _MOST,
    auto: bool = False,
    is_path: bool = False,
    changes_numbers: bool = True,
) -> T:
    """Declare a setting: a dataclass field with its meaning and range, which every reader of the schema asks for.

    It returns the field, typed as its default, so that a default of another type than the setting's fails mypy.

    Args:
        default: the value where nothing sets it; a list is copied.
        meaning: what it does and in which unit, for messages, completion and the list of settings.
        ge, gt, le, lt, one_of, also, least_length, note, most, auto: as for `Range`.
        is_path: it names a file or folder.
        changes_numbers: it decides what a run computes; where it does not, up to rounding, a resumed run may change it.
    """
    allowed = Range(ge, gt, le, lt, one_of, also, least_length, note, most, auto)
    metadata = {
        "meaning": meaning,
        "range": None if allowed == Range() else allowed,
        "is_path": is_path,
        "changes_numbers": changes_numbers,
    }
    if isinstance(default, list):
        return cast(T, field(default_factory=default.copy, metadata=metadata))
    return field(default=default, metadata=metadata)


def range_of(declared: "Field[Any]") -> Range | None:
    """Return the range that `setting` was given, if any."""
    return cast("Range | None", declared.metadata["range"])


def _short(number: float | str) -> str:
    return str(number) if isinstance(number, int | str) else f"{number:g}"
