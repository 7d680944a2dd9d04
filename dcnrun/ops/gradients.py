"""The gradients that a backward pass is asked for: a list with None where one is not wanted."""

from collections.abc import Sequence

from torch import Tensor


def write_zeros(grads: Sequence[Tensor | None]) -> None:
    """Set those that are wanted to zero."""
    for grad in grads:
        if grad is not None:
            grad.zero_()


def write(grads: Sequence[Tensor | None], computed: Sequence[Tensor | None]) -> None:
    """Copy what was computed to those that are wanted."""
    for grad, values in zip(grads, computed, strict=True):
        if grad is not None and values is not None:
            grad.copy_(values)
