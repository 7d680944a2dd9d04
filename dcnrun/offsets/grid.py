"""How the pixels of a feature map lie in the image: positions are (y, x), with pixel centres at whole numbers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

Pair = tuple[int, int]


@dataclass(frozen=True)
class Grid:
    """Pixel i of a map is centred at start + i * step in the image, pairs being (y, x).

    What a pixel of a map is made of spreads around its centre: alike to all sides, as far as the operations are the same
    to all sides. `exact` is False where an operation on the way is not known and the map is taken to span the image.
    """

    start: tuple[float, float] = (0.0, 0.0)
    step: tuple[float, float] = (1.0, 1.0)
    exact: bool = True

    @classmethod
    def spanning(cls, size: Pair, image_size: Pair) -> Grid:
        """The guess for a map of which nothing is known: its pixels divide the image evenly."""
        return replace(cls().resized(image_size, size), exact=False)

    def to_image(self, positions: Tensor) -> Tensor:
        """Positions (..., 2) on the map to positions in the image."""
        return positions * positions.new_tensor(self.step) + positions.new_tensor(self.start)

    def to_map(self, positions: Tensor) -> Tensor:
        """Positions (..., 2) in the image to positions on the map."""
        return (positions - positions.new_tensor(self.start)) / positions.new_tensor(self.step)

    def windows(self, kernel_size: Pair, stride: Pair, padding: Pair, dilation: Pair = (1, 1)) -> Grid:
        """The map whose pixels are made of windows of this one, as by a convolution or pooling: their middles."""
        middle = [(k - 1) * d / 2 - p for k, d, p in zip(kernel_size, dilation, padding, strict=True)]
        return self._scaled((middle[0], middle[1]), stride)

    def spread(self, kernel_size: Pair, stride: Pair, padding: Pair, dilation: Pair = (1, 1)) -> Grid:
        """The map that a transposed convolution makes: each pixel of this one is spread over a window of it."""
        middle = [(k - 1) * d / 2 - p for k, d, p in zip(kernel_size, dilation, padding, strict=True)]
        return self._scaled((-middle[0] / stride[0], -middle[1] / stride[1]), (1 / stride[0], 1 / stride[1]))

    def moved(self, y: float, x: float) -> Grid:
        """The map whose first pixel is at (y, x) of this one: negative after padding, positive after cutting."""
        return self._scaled((y, x), (1, 1))

    def thinned(self, step: Pair) -> Grid:
        """The map of every `step`-th pixel of this one, from the first on."""
        return self._scaled((0, 0), step)

    def resized(self, size: Pair, new_size: Pair, align_corners: bool = False) -> Grid:
        """This map of `size` interpolated to `new_size`; `align_corners` as in `torch.nn.functional.interpolate`."""
        if align_corners:
            ratio = [(old - 1) / (new - 1) if new > 1 else 0.0 for old, new in zip(size, new_size, strict=True)]
            return self._scaled((0, 0), (ratio[0], ratio[1]))
        return self.zoomed((size[0] / new_size[0], size[1] / new_size[1]))

    def zoomed(self, ratio: tuple[float, float]) -> Grid:
        """This map interpolated so that a new pixel is as wide as `ratio` of its own, both with their corner at the same place."""
        return self._scaled(((ratio[0] - 1) / 2, (ratio[1] - 1) / 2), ratio)

    def picked(self, ratio: tuple[float, float]) -> Grid:
        """This map after nearest-neighbour interpolation: new pixel i is the map's pixel floor(i * ratio), here on average."""
        parts = [Fraction(r).limit_denominator(4096).denominator for r in ratio]
        return self._scaled(((1 / parts[0] - 1) / 2, (1 / parts[1] - 1) / 2), ratio)

    def _scaled(self, first: tuple[float, float], ratio: tuple[float, float]) -> Grid:
        """The map whose pixel i is at first + i * ratio of this one."""
        start, step = self.start, self.step
        return Grid(
            (start[0] + first[0] * step[0], start[1] + first[1] * step[1]),
            (step[0] * ratio[0], step[1] * ratio[1]),
            self.exact,
        )
