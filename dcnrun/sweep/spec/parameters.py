"""Reads the `parameters` of a sweep file: the distribution of each, nested ones by their dotted names."""

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from dcnrun.config.messages import did_you_mean
from dcnrun.sweep.spec import distributions as dist
from dcnrun.sweep.spec.distributions import Distribution
from dcnrun.sweep.spec.document import Document, Key, Where
from dcnrun.sweep.spec.fields import finite, is_number
from dcnrun.sweep.spec.sweep_file import Parameter

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
_RANGE = ("min", "max")
OF_EXPONENTS = ("log_uniform", "q_log_uniform", "inv_log_uniform")
"""Deprecated: their min and max are natural logarithms."""
_DECADE = 10
_LARGEST_EXPONENT_MEANT = 20  # e to the power of it is half a billion, which no setting needs
_DEFAULTS = {"q": 1, "mu": 0.0, "sigma": 1.0, "a": 1.0, "b": 1.0}


class _Malformed(Exception):
    """A problem of one parameter, at a key of it or as a whole."""

    def __init__(self, message: str, *key: Key) -> None:
        self.message, self.key = message, key
        super().__init__(message)


def read_parameters(document: Document) -> dict[Where, Parameter]:
    """Return every parameter by its path in the file; problems are noted in the document."""
    found: dict[Where, Parameter] = {}
    section = document.data["parameters"]
    if isinstance(section, dict) and section:
        _read_level(document, ("parameters",), "", section, found)
    else:
        document.problem(("parameters",), "must map the name of every setting that is varied to what it may be.")
    return found


def _read_level(
    document: Document, where: Where, prefix: str, level: Mapping[Any, Any], found: dict[Where, Parameter]
) -> None:
    for key, spec in level.items():
        here = (*where, key)
        name = f"{prefix}{key}"
        if not isinstance(key, str) or not _NAME.fullmatch(key):
            document.problem(here, "a name has letters, digits, _, - and dots only, and begins with a letter or _.")
        elif isinstance(spec, dict) and "parameters" in spec:
            _read_nested(document, here, name, spec, found)
        elif name in (parameter.name for parameter in found.values()):
            document.problem(here, f"{name} is there twice, once as a nested parameter: leave one out.")
        else:
            try:
                found[here] = Parameter(name, _distribution(spec))
            except _Malformed as error:
                document.problem((*here, *error.key), error.message)
            else:
                _note_readings(document, here, name, spec, found[here].distribution)


def _read_nested(
    document: Document, where: Where, name: str, spec: Mapping[str, Any], found: dict[Where, Parameter]
) -> None:
    for other in spec.keys() - {"parameters"}:
        document.problem((*where, other), "can't stand beside `parameters`, which nests more names.")
    if isinstance(spec["parameters"], dict) and spec["parameters"]:
        _read_level(document, (*where, "parameters"), f"{name}.", spec["parameters"], found)
    else:
        document.problem((*where, "parameters"), "must map names to what each may be.")


def _note_readings(
    document: Document, where: Where, name: str, spec: Mapping[str, Any], distribution: Distribution
) -> None:
    """Note what W&B read otherwise than it looks, or don't read at all."""
    at, kind = f"{document.path}:{document.line(where)}: {name}", spec.get("distribution")
    if is_ambiguous(spec):
        whole = next(key for key in _RANGE if type(spec[key]) is int)
        document.mended.append(
            f"{at}: one of min and max is an integer, the other is not, which W&B's client refuses as ambiguous; taken as "
            f"uniform. Write {whole}: {float(spec[whole])}."
        )
    if kind in OF_EXPONENTS and isinstance(distribution, dist.LogUniform | dist.InvLogUniform):
        drawn = f"from {distribution.min:g} to {distribution.max:g}"
        document.mended.append(f"{at}: {kind} takes exponents of e: it is drawn {drawn}. {kind}_values takes values.")
    if any(_is_null_in_words(value) for value in [*spec.get("values", ()), spec.get("value")]):
        document.mended.append(
            f"{at}: the text None is null to `dcnrun train` under an agent of W&B, and here. Write null."
        )


def is_ambiguous(spec: Mapping[str, Any]) -> bool:
    """Whether one end of a range is an integer and the other is not, and no distribution is named: W&B's client refuses it."""
    ends = {type(spec.get(key)) for key in _RANGE}
    return "distribution" not in spec and ends == {int, float}


def with_values_for_exponents(section: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the parameters whose deprecated distribution has ends that are clearly values, and what it would search."""
    for name, spec in specs(section):
        kind = spec.get("distribution")
        if kind not in OF_EXPONENTS:
            continue
        low, high = float(spec["min"]), float(spec["max"])
        if not (0 < low < 1 and high >= _DECADE * low) and not (low > 0 and high > _LARGEST_EXPONENT_MEANT):
            continue
        read = _KINDS[kind].read(_Values(spec))
        assert isinstance(read, dist.LogUniform | dist.InvLogUniform)
        yield (
            name,
            (
                f"{kind} takes exponents of e, so that it would search {read.min:g} to {read.max:g}. For values from {low:g} to "
                f"{high:g} write distribution: {kind}_values; for that range, the same with min: {read.min:g} and max: {read.max:g}."
            ),
        )


def specs(section: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield every parameter of a file that was read, by its dotted name, with its keys."""
    for key, spec in section.items():
        if "parameters" in spec:
            yield from specs(spec["parameters"], f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", spec


def _distribution(spec: Any) -> Distribution:
    if not isinstance(spec, dict):
        raise _Malformed("must be a mapping, such as `value: 0.1`, `values: [1, 2]` or `min: 0.1` and `max: 0.9`.")
    for key, value in spec.items():
        if key not in _ALL_KEYS:
            nested = ": nested names stand under `parameters`, or are written with a dot."
            raise _Malformed(
                f"is no key of a parameter{nested if isinstance(value, dict) else _near(key, _ALL_KEYS)}", key
            )
    name = spec["distribution"] if "distribution" in spec else _inferred(spec)
    if name not in list(_KINDS):
        raise _Malformed(f"{name} is no distribution{_near(name, _KINDS)}", "distribution")
    _require_keys(name, spec)
    return _KINDS[name].read(_Values(spec))


def _inferred(spec: Mapping[str, Any]) -> str:
    """Infer the distribution where none is named: integer ends make int_uniform, all other numbers uniform."""
    match sorted(spec):
        case ["value"]:
            return "constant"
        case ["values"]:
            return "categorical"
        case ["probabilities", "values"]:
            return "categorical_w_probabilities"
        case ["max", "min"]:
            return "int_uniform" if all(type(spec[key]) is int for key in _RANGE) else "uniform"
    given = ", ".join(spec) or "nothing"
    raise _Malformed(f"{given} alone says not how to draw: add `distribution`, or give value, values, or min and max.")


def _require_keys(name: str, spec: Mapping[str, Any]) -> None:
    given, keys = spec.keys() - {"distribution"}, _KINDS[name].keys
    for key in sorted(given - {*keys}):
        fitting = [other for other, kind in _KINDS.items() if given <= {*kind.keys}]
        hint = f"; did you mean distribution: {' or '.join(fitting)}?" if fitting else "."
        raise _Malformed(f"distribution {name} takes {', '.join(keys)} and no {key}{hint}", key)
    missing = [key for key in keys if key not in spec and key not in _DEFAULTS]
    if missing:
        raise _Malformed(f"distribution {name} needs {' and '.join(missing)}.")


class _Values:
    """The keys of one parameter, read as what they must be."""

    def __init__(self, spec: Mapping[str, Any]) -> None:
        self.spec = spec

    def number(self, key: str, least: float = -math.inf) -> float:
        """Return a finite number above `least`."""
        value = finite(self.spec.get(key, _DEFAULTS.get(key)))
        if value is None:
            raise _Malformed(f"must be a number, but is {self.spec[key]!r}.", key)
        if value <= least:
            raise _Malformed(f"must be above {least:g}, but is {value:g}.", key)
        return value

    def range(self, least: float = -math.inf) -> tuple[float, float]:
        """Return both ends, the smaller first."""
        low, high = self.number("min", least), self.number("max", least)
        if low >= high:
            raise _Malformed(f"min {low:g} must be less than max {high:g}.", "min")
        return low, high

    def exponents(self) -> tuple[float, float]:
        """Return e to the power of both ends."""
        low, high = self.range()
        try:
            return math.exp(low), math.exp(high)
        except OverflowError:
            raise _Malformed(f"is an exponent of e, and e to the power of {high:g} is no number.", "max") from None

    def steps(self) -> tuple[float, float, float]:
        """Return both ends and the step, each an int where it has no fraction: a setting such as conv.groups must be."""
        low, high = self.range()
        return _int_if_integral(low), _int_if_integral(high), self.q()

    def q(self) -> float:
        """Return the step, an int where it has no fraction."""
        return _int_if_integral(self.number("q", 0))

    def integer_range(self) -> tuple[int, int]:
        """Return both ends as integers."""
        for key in _RANGE:
            if type(self.spec[key]) is not int:
                raise _Malformed(f"must be an integer, but is {self.spec[key]!r}.", key)
        self.range()
        return self.spec["min"], self.spec["max"]

    def values(self) -> tuple[Any, ...]:
        """Return a choice's values: text, numbers, true, false, null, and lists or mappings of them."""
        values = self.spec["values"]
        if not isinstance(values, list) or not values:
            raise _Malformed("must be a list of at least one value.", "values")
        return tuple(_plain(value, "values", i) for i, value in enumerate(values))

    def probabilities(self) -> tuple[float, ...]:
        """Return a probability for each value."""
        given = self.spec["probabilities"]
        if not isinstance(given, list) or not all(is_number(share) and share >= 0 for share in given):
            raise _Malformed("must be a list of numbers of at least 0, one for each of `values`.", "probabilities")
        if len(given) != len(self.values()):
            raise _Malformed(f"{len(given)} probabilities for {len(self.values())} values.", "probabilities")
        if not math.isclose(sum(given), 1, rel_tol=1e-5):
            raise _Malformed(f"must sum to 1, but sum to {sum(given):g}.", "probabilities")
        return tuple(map(float, given))

    def value(self) -> Any:
        """Return the value of a constant."""
        return _plain(self.spec["value"], "value")

    def bell(self) -> tuple[float, float]:
        """Return mean and standard deviation."""
        return self.number("mu"), self.number("sigma", 0)

    def shape(self) -> tuple[float, float]:
        """Return the two parameters of beta."""
        return self.number("a", 0), self.number("b", 0)


def _inverse_of_exponents(values: _Values) -> dist.InvLogUniform:
    """Read a distribution whose exponents are those of 1 / x."""
    low, high = values.exponents()
    return dist.InvLogUniform(1 / high, 1 / low)


class _Kind(NamedTuple):
    """A distribution: the keys that it takes besides `distribution`, and how they are read."""

    keys: tuple[str, ...]
    read: Callable[[_Values], Distribution]


_ODDS, _BELL, _SHAPE = ("values", "probabilities"), ("mu", "sigma"), ("a", "b")
_KINDS = {
    "constant": _Kind(("value",), lambda v: dist.Constant(v.value())),
    "categorical": _Kind(("values",), lambda v: dist.Categorical(v.values())),
    "categorical_w_probabilities": _Kind(_ODDS, lambda v: dist.Categorical(v.values(), v.probabilities())),
    "int_uniform": _Kind(_RANGE, lambda v: dist.IntUniform(*v.integer_range())),
    "uniform": _Kind(_RANGE, lambda v: dist.Uniform(*v.range())),
    "q_uniform": _Kind((*_RANGE, "q"), lambda v: dist.Uniform(*v.steps())),
    "log_uniform_values": _Kind(_RANGE, lambda v: dist.LogUniform(*v.range(0))),
    "q_log_uniform_values": _Kind((*_RANGE, "q"), lambda v: dist.LogUniform(*v.range(0), v.q())),
    "inv_log_uniform_values": _Kind(_RANGE, lambda v: dist.InvLogUniform(*v.range(0))),
    "log_uniform": _Kind(_RANGE, lambda v: dist.LogUniform(*v.exponents())),
    "q_log_uniform": _Kind((*_RANGE, "q"), lambda v: dist.LogUniform(*v.exponents(), v.q())),
    "inv_log_uniform": _Kind(_RANGE, _inverse_of_exponents),
    "normal": _Kind(_BELL, lambda v: dist.Normal(*v.bell())),
    "q_normal": _Kind((*_BELL, "q"), lambda v: dist.Normal(*v.bell(), v.q())),
    "log_normal": _Kind(_BELL, lambda v: dist.LogNormal(*v.bell())),
    "q_log_normal": _Kind((*_BELL, "q"), lambda v: dist.LogNormal(*v.bell(), v.q())),
    "beta": _Kind(_SHAPE, lambda v: dist.Beta(*v.shape())),
    "q_beta": _Kind((*_SHAPE, "q"), lambda v: dist.Beta(*v.shape(), v.q())),
}
_ALL_KEYS = sorted({key for kind in _KINDS.values() for key in kind.keys} | {"distribution", "parameters"})


def _int_if_integral(number: float) -> float:
    return int(number) if number.is_integer() else number


def _plain(value: Any, *key: Key) -> Any:
    """Return a value that JSON has too."""
    if not _is_plain(value):
        raise _Malformed(f"{value} is no value that JSON has: put it in quotes.", *key)
    return None if _is_null_in_words(value) else value


def _is_null_in_words(value: Any) -> bool:
    """Whether a value is a text that reaches `dcnrun train` as null from an agent of W&B, which writes values without quotes."""
    return isinstance(value, str) and (value == "None" or value.lower() == "null")


def _is_plain(value: Any) -> bool:
    match value:
        case dict():
            return all(isinstance(key, str) and _is_plain(inner) for key, inner in value.items())
        case list():
            return all(map(_is_plain, value))
        case float():
            return math.isfinite(value)
        case _:
            return value is None or isinstance(value, str | int)


def _near(word: Any, names: Iterable[str]) -> str:
    names = list(names)
    return did_you_mean(str(word), names) or f"; there are {', '.join(names)}."
