"""What follows from the form of operands, which is everything but the values in them: made once for each form, and remembered.

Kernels are called with the same few forms again and again. To check the operands, to cut up the work and to describe the tensors anew
would take the host longer than to launch a kernel.
"""

import functools
from collections.abc import Callable, Hashable, Sequence
from operator import itemgetter
from typing import Any, Self, TypeVar

from torch import Tensor

Form = tuple[Hashable, ...]
Made = dict[object, Any]  # by the functions that made it

MOST_FORMS = 1024
_made: dict[Form, Made] = {}


class Formed:
    """The arguments of an operator, a tuple with room for what was made of their form."""

    _made_of_form: Made | None = None

    @property
    def form(self) -> Form:
        """Everything but the values in the tensors."""
        arguments: Any = self
        return tuple(
            [
                (argument.shape, argument.stride(), argument.dtype, argument.device)
                if isinstance(argument, Tensor)
                else tuple(argument)
                if isinstance(argument, list)
                else argument
                for argument in arguments
            ]
        )

    @property
    def made_of_form(self) -> Made:
        """What was made of this form; it is looked up once."""
        made = self._made_of_form
        if made is None:
            form = self.form
            made = _made.get(form)
            if made is None:
                if len(_made) >= MOST_FORMS:
                    _made.clear()
                made = _made[form] = {}
            self._made_of_form = made
        return made

    def knowing(self, made: Made | None) -> Self:
        """Return the same arguments, with what was made of their form if that is known."""
        self._made_of_form = made
        return self


class SeenCalls:
    """Calls of an operator that were seen, by all but the values in their tensors.

    Args:
        alike: makes of tensors a function that tells of others whether they have the same form.
        tensors: which arguments are tensors, or None; the first two are never None.
        settings: which arguments are not, at least two.
    """

    def __init__(
        self, alike: Callable[[Sequence[Tensor]], Callable[..., bool]], tensors: Sequence[int], settings: Sequence[int]
    ) -> None:
        self._alike = alike
        self._tensors, self._settings_of = tensors, itemgetter(*settings)
        # By their key: what takes the tensors out of arguments, and the calls.
        self._seen: dict[Form, tuple[itemgetter[Any], list[tuple[Callable[..., bool], Made]]]] = {}

    def find(self, arguments: Sequence[Any]) -> Made | None:
        """Return what was made of the form of such a call; None for one that was not seen."""
        try:
            present, seen = self._seen[self._key(arguments)]
        except (KeyError, TypeError, AttributeError):  # it is new, or one of wrong types
            return None
        tensors = present(arguments)
        for alike, made in seen:
            if alike(*tensors):
                return made
        return None

    def add(self, arguments: Sequence[Any]) -> Made:
        """Remember a call, and return where to keep what is made of its form."""
        made: Made = {}
        present = itemgetter(*(i for i in self._tensors if arguments[i] is not None))
        tensors = present(arguments)
        try:
            key = self._key(arguments)
            hash(key)
            alike = self._alike(tensors)
        except (TypeError, AttributeError):  # of wrong types, which whoever computes it finds
            return made
        if len(self._seen) >= MOST_FORMS:
            self._seen.clear()
        if alike(*tensors):  # else it would be remembered anew each time, and never found
            self._seen.setdefault(key, (present, []))[1].append((alike, made))
        return made

    def _key(self, arguments: Sequence[Any]) -> Form:
        """What few calls have in common: settings, two shapes, and which arguments are absent."""
        return *self._settings_of(arguments), arguments[0].shape, arguments[1].shape, *map(type, arguments)


Operands = TypeVar("Operands", bound=Formed)
Result = TypeVar("Result")


def once_a_form(make: Callable[[Operands], Result]) -> Callable[[Operands], Result]:
    """Decorate a function of the form alone: what it returned for one is returned for all that are alike."""

    @functools.wraps(make)
    def remembered(operands: Operands) -> Result:
        made = operands.made_of_form
        if make not in made:
            made[make] = make(operands)
        result: Result = made[make]
        return result

    return remembered
