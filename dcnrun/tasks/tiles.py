"""Large images in tiles that overlap: where the tiles lie, and what of them counts."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import NamedTuple, Protocol, TypeVar

import torch
from torch import Tensor

from dcnrun.data.sample import Size, round_up

ALIGNMENT = 32
"""Tiles begin at multiples of this, the largest stride of a backbone, so that their feature maps lie on the whole image's grid."""

_OutputT = TypeVar("_OutputT", contravariant=True)
_PredictionT = TypeVar("_PredictionT", covariant=True)


class Tile(NamedTuple):
    """A part of an image, in pixels."""

    top: int
    left: int
    height: int
    width: int

    @property
    def size(self) -> Size:
        """Its height and width."""
        return Size(self.height, self.width)


@dataclass(frozen=True)
class Tiling:
    """How images are cut: tiles of `side` pixels, of which neighbours share `overlap`; both multiples of ALIGNMENT."""

    side: int
    overlap: int

    def is_for(self, size: Size) -> bool:
        """Return whether an image is larger than one tile."""
        return max(size) > self.side

    def tiles(self, size: Size) -> Iterator[Tile]:
        """Yield the tiles of an image, row by row. All reach to its edges; the last ones are a bit smaller where need be."""
        for top, left in product(*(self._starts(length) for length in size)):
            yield Tile(top, left, min(self.side, size.height - top), min(self.side, size.width - left))

    def _starts(self, length: int) -> list[int]:
        last = round_up(max(length - self.side, 0), ALIGNMENT)
        return [*range(0, last, self.side - self.overlap), last]

    def weights(self, tile: Tile, size: Size) -> Tensor:
        """Return what each pixel of a tile counts, (height, width): less towards a neighbouring tile, from 1 to nearly 0 over the overlap."""
        rows = self._fade(tile.top, tile.height, size.height)
        return rows[:, None] * self._fade(tile.left, tile.width, size.width)

    def _fade(self, start: int, length: int, of: int) -> Tensor:
        weights, ramp = torch.ones(length), torch.arange(1, self.overlap + 1) / (self.overlap + 1)
        ramp = ramp[:length]
        if start > 0:
            weights[: len(ramp)] *= ramp
        if start + length < of:
            weights[length - len(ramp) :] *= ramp.flip(0)
        return weights


class Stitcher(Protocol[_OutputT, _PredictionT]):
    """Puts together what a network says of the tiles of an image."""

    def add(self, tile: Tile, output: _OutputT) -> None:
        """Add what it says of a tile; tiles come row by row."""

    def result(self) -> _PredictionT:
        """Return the prediction for the whole image, once all tiles were added."""
