"""What processes found in their shares of a data set, together."""

from collections.abc import Mapping
from typing import Any, TypeVar

from torch import distributed

Result = TypeVar("Result")


def gathered(own: Mapping[int, Result]) -> list[Result]:
    """The results of all processes by an image's place in the data set, in that order; one image twice counts once.

    Collective over processes, the same on each.
    """
    together: dict[int, Result] = {}
    for results in _of_each_process(own):
        together = {**results, **together}
    return [together[place] for place in sorted(together)]


def _of_each_process(own: Mapping[int, Result]) -> list[Mapping[int, Result]]:
    if not (distributed.is_available() and distributed.is_initialized()):
        return [own]
    each: list[Any] = [None] * distributed.get_world_size()
    distributed.all_gather_object(each, own)
    return each
