"""What follows from the form of operands, which is everything but the values in them: made once for each form, and remembered.

Kernels are called with the same few forms again and again. To check the operands, to cut up the work and to describe the tensors anew
would take the host longer than to launch a kernel.
"""

import functools
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

from torch import Tensor

Form = tuple[Hashable, ...]

MOST_FORMS = 1024
_made: dict[Form, dict[object, Any]] = {}


class Formed:
    """The arguments of an operator, a tuple with room for what was made of their form."""

    _made_of_form: dict[object, Any] | None = None

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
    def made_of_form(self) -> dict[object, Any]:
        """What was made of this form, by the functions that made it; it is looked up once."""
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


Operands = TypeVar("Operands", bound=Formed)
Made = TypeVar("Made")


def once_a_form(make: Callable[[Operands], Made]) -> Callable[[Operands], Made]:
    """Decorate a function of the form alone: what it returned for one is returned for all that are alike."""

    @functools.wraps(make)
    def remembered(operands: Operands) -> Made:
        made = operands.made_of_form
        if make not in made:
            made[make] = make(operands)
        result: Made = made[make]
        return result

    return remembered
