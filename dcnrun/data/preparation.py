"""What each kind of label brings to a batch: how a sample is transformed, and how several become one batch."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, NamedTuple, Protocol, TypeVar

import torch
from torch import Tensor
from torch.nn.functional import pad

from dcnrun.data.sample import SampleT

PreparedT = TypeVar("PreparedT")
BatchT = TypeVar("BatchT")
_PreparedT = TypeVar("_PreparedT", contravariant=True)
_BatchT = TypeVar("_BatchT", covariant=True)


class Size(NamedTuple):
    """Of an image, in pixels."""

    height: int
    width: int


class Collate(Protocol[_PreparedT, _BatchT]):
    """Several samples become one batch."""

    def __call__(self, prepared: Sequence[_PreparedT], index: list[int], name: list[str]) -> _BatchT:
        """The batch of prepared samples, with their places in the data set and their names."""


@dataclass(frozen=True)
class Preparation(Generic[SampleT, PreparedT, BatchT]):
    """From samples to a batch. Both functions run in workers, so they can be pickled."""

    transform: Callable[[SampleT], PreparedT]
    """Its randomness is that of torch's CPU generator alone."""
    collate: Collate[PreparedT, BatchT]


def padded(tensor: Tensor, height: int, width: int, value: int) -> Tensor:
    """The tensor (..., h, w) as (..., height, width), padded on the right and below."""
    return pad(tensor, (0, width - tensor.shape[-1], 0, height - tensor.shape[-2]), value=value)


def in_one_block(tensors: list[Tensor]) -> list[Tensor]:
    """The same tensors as parts of one block of memory: each block that a worker hands over costs a file descriptor."""
    return list(torch.split(torch.cat(tensors), [len(tensor) for tensor in tensors]))
