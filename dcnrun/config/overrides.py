"""Overrides as they are typed: `key=value`, and `key=value,value` where several runs are wanted."""

import math
import re
from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from hydra.core.override_parser import types
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType, Quote, QuotedString, RangeSweep
from hydra.errors import HydraException

from dcnrun.config.groups import GROUPS, SECTIONS
from dcnrun.config.settings import as_typed
from dcnrun.errors import ConfigError

_LAYERS = "conv.layers"
_STAGE = re.compile(r"c\d")
_MOST_VALUES = 1000
_TEXT = re.compile(r"""'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*"|[^\s,'"(){}\[\]][^,'"(){}\[\]]*""")
"""What is quoted among the values of an override, or a word, perhaps with spaces in it."""


@dataclass(frozen=True)
class Parsed:
    """A parsed override."""

    text: str
    """As it was typed."""
    key: str
    """A setting (`optim.lr`), a section (`optim`) or a group (`conv`)."""
    values: list[str]
    """Ready to be overrides again, each as f"{key}={value}"."""
    elements: list[Any]
    """The same values as Python objects."""

    @property
    def is_group(self) -> bool:
        """Whether it chooses from a group (`conv=dilated`) and doesn't set values (`conv={dilation: 2}`)."""
        sets_values = self.key in SECTIONS and any(isinstance(element, dict) for element in self.elements)
        return self.key in GROUPS and not sets_values


def parse(override: str) -> Parsed:
    """Take an override apart; ConfigError where it is not `key=value` or asks for what dcnrun doesn't do."""
    parsed = _parse_with_hydra(override)
    _refuse_other_than_change(parsed)
    elements = _elements(parsed)
    if parsed.key_or_group == _LAYERS:
        elements = _join_stages(elements)
    return Parsed(
        text=override,
        key=parsed.key_or_group,
        values=[types.Transformer.str(element) for element in elements],
        elements=[_unquoted(element) for element in elements],
    )


def split_choices(override: str) -> tuple[str, list[str]]:
    """Split an override of a comparison: `conv=standard,dilated` gives `("conv", ["standard", "dilated"])`."""
    parsed = parse(override)
    return parsed.key, parsed.values


def as_override(key: str, value: Any) -> str:
    """Write a setting as `key=value`; a text that would be read as something else is quoted, in a list too."""
    plain = f"{key}={as_typed(value)}"
    with suppress(ConfigError):
        if parse(plain).elements == [value]:
            return plain
    return f"{key}={_with_quotes(value)}"


def _with_quotes(value: Any) -> str:
    if isinstance(value, list):
        return f"[{','.join(map(_with_quotes, value))}]"
    return str(QuotedString(value, Quote.single).with_quotes()) if isinstance(value, str) else as_typed(value)


def _parse_with_hydra(override: str) -> Override:
    if "=" not in override and not override.startswith("~"):
        raise ConfigError([f"{override}: an override is written key=value."])
    try:
        (parsed,) = OverridesParser.create().parse_overrides([_with_words_quoted(override)])
    except HydraException:
        raise ConfigError(
            [f"{override}: can't be read as key=value. Quote a value with special characters: \"key='a, b'\"."]
        ) from None
    if not parsed.key_or_group:
        raise ConfigError([f"{override}: the key before = is missing."])
    return parsed


def _with_words_quoted(override: str) -> str:
    """Quote the words among the values that Hydra would not read: with `~`, or letters that ASCII lacks, in them."""
    key, equals, values = override.partition("=")
    return (
        key
        + equals
        + _TEXT.sub(lambda found: _with_quotes(found[0].rstrip()) if _is_odd(found[0]) else found[0], values)
    )


def _is_odd(text: str) -> bool:
    return text[0] not in "'\"" and "\\" not in text and ("~" in text or not text.isascii())


def _refuse_other_than_change(parsed: Override) -> None:
    """Nothing outside the schema gets in, so there is nothing to add, delete or move."""
    override, key = parsed.input_line, parsed.key_or_group
    if re.match(r"hydra\b", key):
        raise ConfigError([f"{override}: settings of Hydra itself can't be changed."])
    if parsed.package is not None:
        raise ConfigError([f"{override}: a choice can't be put elsewhere with @; write {key}=... ."])
    if parsed.type is OverrideType.DEL:
        raise ConfigError([f"{override}: a setting can't be deleted; set it to null where that is allowed."])
    if parsed.type is not OverrideType.CHANGE:
        raise ConfigError([f"{override}: a setting can't be added; to change one, leave out the +."])


def _elements(parsed: Override) -> list[Any]:
    """Return the values as Hydra's parser gives them, quotes kept: '3' is a text, 3 a number."""
    sweep = parsed._value
    if not isinstance(sweep, types.Sweep | types.Glob):
        return [sweep]
    if isinstance(sweep, types.ChoiceSweep) and not sweep.shuffle:
        return sweep.list
    if isinstance(sweep, RangeSweep) and not sweep.shuffle:
        return _numbers(parsed, sweep)
    raise ConfigError([f"{parsed.input_line}: give the values one by one (a,b,c), or numbers as range(0,3)."])


def _numbers(parsed: Override, sweep: RangeSweep) -> list[int] | list[float]:
    """Return numbers from start up to, and without, stop: in decimals, so that 0.1 and 0.1 and 0.1 make 0.3."""
    start, stop, step = (Decimal(str(number)) for number in (sweep.start, sweep.stop, sweep.step))
    if not (start.is_finite() and stop.is_finite() and step.is_finite()) or step == 0:
        raise ConfigError([f"{parsed.input_line}: a range is start, stop and, if wanted, a step other than 0."])
    count = math.ceil((stop - start) / step)
    if not 0 < count <= _MOST_VALUES:
        raise ConfigError(
            [f"{parsed.input_line}: a range of {max(count, 0)} values; there must be 1 to {_MOST_VALUES}."]
        )
    numbers = [start + i * step for i in range(count)]
    whole = all(isinstance(number, int) for number in (sweep.start, sweep.stop, sweep.step))
    return [int(number) for number in numbers] if whole else [float(number) for number in numbers]


def _join_stages(elements: list[Any]) -> list[Any]:
    """Join stages, which are one setting and not several runs: `c3,c4,c5` and `[c3,c4,c5]` are the text "c3,c4,c5"."""
    if len(elements) > 1 and all(_STAGE.fullmatch(str(element)) for element in elements):
        elements = [elements]
    return [",".join(map(str, _unquoted(e))) if isinstance(e, list) else e for e in elements]


def _unquoted(element: Any) -> Any:
    if isinstance(element, QuotedString):
        return element.text
    if isinstance(element, list):
        return [_unquoted(item) for item in element]
    if isinstance(element, dict):
        return {_unquoted(key): _unquoted(value) for key, value in element.items()}
    return element
