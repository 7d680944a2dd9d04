"""Messages about a wrong setting: one line, with what to do, and what a misspelt name was probably meant to be."""

from collections.abc import Iterable, Sequence
from difflib import SequenceMatcher

from omegaconf import errors

from dcnrun.config.groups import GROUPS
from dcnrun.config.schema import SYNONYMS
from dcnrun.config.settings import all_settings, kinds_with

_CLOSE_ENOUGH = 0.6
_BEHIND_THE_BEST = 0.15


def unknown_key(key: str) -> str:
    """Say that a key is no setting, with the nearest right ones or the kinds of its section that do have it."""
    kinds = kinds_with(key)
    if kinds:
        section = key.split(".")[0]
        return f"{key} is a setting of {section}={' or '.join(kinds)} only: {choose(section, kinds[0])}."
    meant = SYNONYMS.get(key.rpartition(".")[2]) or nearest(key, [*all_settings(), *GROUPS])
    return f"there is no setting {key}{_question(meant) or ' (`dcnrun config --list` shows all).'}"


def one_value(key: str, values: Sequence[str]) -> str:
    """Say how several values, given where one is wanted, are written."""
    if key in all_settings() and all_settings()[key].is_list:
        return f"for one list, write '{key}=[{','.join(values)}]'"
    return "`dcnrun compare` takes several and runs each"


def choose(section: str, kind: str) -> str:
    """Say how to get the settings of a kind of data set or model."""
    return f"choose {section}={kind}, or begin your own file with `defaults: [{kind}, _self_]`"


def is_unknown_key(error: errors.OmegaConfBaseException) -> bool:
    """Whether an error is about a key that there is not, rather than about a value."""
    return isinstance(error, errors.ConfigKeyError | errors.ConfigAttributeError)


def explain(error: errors.OmegaConfBaseException) -> str:
    """Say what OmegaConf found: an unknown key, a value of the wrong type or a missing one."""
    key = (error.full_key or "").split("[")[0]
    if is_unknown_key(error) and key:
        return unknown_key(key)
    setting = all_settings().get(key)
    if isinstance(error, errors.ValidationError) and setting is not None:
        return f"{key} is {setting.allowed} ({setting.meaning})."
    if isinstance(error, errors.MissingMandatoryValue) and setting is not None:
        return f"{key} is not set; it is {setting.allowed} ({setting.meaning})."
    first_line = str(error).splitlines()[0]
    return f"{key}: {first_line}." if key else f"{first_line}."


def nearest(word: str, names: Iterable[str]) -> list[str]:
    """Return the names most like `word`, best first, at most three.

    The last parts are compared, so `lr` and `trainer.lr` both find `optim.lr`; a word without a dot is compared with
    whole names too, so that `optimlr` finds it as well.
    """
    ranked = sorted(names, key=lambda name: (-_likeness(word, name), -_ratio(word, name), name))[:3]
    lowest = max([_CLOSE_ENOUGH, *(_likeness(word, name) - _BEHIND_THE_BEST for name in ranked[:1])])
    return [name for name in ranked if _likeness(word, name) >= lowest]


def did_you_mean(word: str, names: Iterable[str]) -> str:
    """Return the end of a message, `; did you mean optim.lr?`, or nothing where no name is near."""
    return _question(nearest(word, names))


def _question(names: Sequence[str]) -> str:
    return f"; did you mean {' or '.join(names)}?" if names else ""


def _likeness(word: str, name: str) -> float:
    last_part = _ratio(word.rpartition(".")[2], name.rpartition(".")[2])
    return last_part if "." in word else max(last_part, _ratio(word, name))


def _ratio(one: str, other: str) -> float:
    return SequenceMatcher(None, one.lower(), other.lower()).ratio()
