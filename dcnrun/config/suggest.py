"""What a misspelt name was probably meant to be."""

from collections.abc import Iterable
from difflib import SequenceMatcher

_CLOSE_ENOUGH = 0.6
_BEHIND_THE_BEST = 0.15


def nearest(word: str, names: Iterable[str]) -> list[str]:
    """The names most like `word`, best first, at most three.

    The last parts are compared, so `lr` and `trainer.lr` both find `optim.lr`; a word without a dot is compared with
    whole names too, so that `optimlr` finds it as well.
    """
    ranked = sorted(names, key=lambda name: (-_likeness(word, name), -_ratio(word, name), name))[:3]
    lowest = max([_CLOSE_ENOUGH, *(_likeness(word, name) - _BEHIND_THE_BEST for name in ranked[:1])])
    return [name for name in ranked if _likeness(word, name) >= lowest]


def did_you_mean(word: str, names: Iterable[str]) -> str:
    """The end of a message: `; did you mean optim.lr?`, or nothing where no name is near."""
    found = nearest(word, names)
    return f"; did you mean {' or '.join(found)}?" if found else ""


def _likeness(word: str, name: str) -> float:
    last_part = _ratio(word.rpartition(".")[2], name.rpartition(".")[2])
    return last_part if "." in word else max(last_part, _ratio(word, name))


def _ratio(one: str, other: str) -> float:
    return SequenceMatcher(None, one, other).ratio()
