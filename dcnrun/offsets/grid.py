"""How the pixels of a feature map lie in the image: positions are (y, x), with pixel centres at integers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

Pair = tuple[int, int]


@dataclass(frozen=True)
class Grid:
    """The positions of a feature map's pixels in the image: pixel i is centred at start + i * step, pairs being (y, x).

    The image region that a pixel is computed from is centred there if all operations on the way are symmetric. `exact` is
    False where an operation on the way is not known and the feature map is taken to span the image.
    """

    start: tuple[float, float] = (0.0, 0.0)
    step: tuple[float, float] = (1.0, 1.0)
    exact: bool = True

    @classmethod
    def spanning(cls, size: Pair, image_size: Pair) -> Grid:
        """Guess the grid of a feature map of which nothing is known: its pixels divide the image evenly."""
        return replace(cls().resized(image_size, size), exact=False)

    def to_image(self, positions: Tensor) -> Tensor:
        """Convert positions (..., 2) on the feature map to positions in the image."""
        return positions * positions.new_tensor(self.step) + positions.new_tensor(self.start)

    def to_map(self, positions: Tensor) -> Tensor:
        """Convert positions (..., 2) in the image to positions on the feature map."""
        return (positions - positions.new_tensor(self.start)) / positions.new_tensor(self.step)

    def windows(self, kernel_size: Pair, stride: Pair, padding: Pair, dilation: Pair = (1, 1)) -> Grid:
        """Return the grid after a convolution or pooling: each new pixel is at the middle of a window of this feature map."""
        middle = [(k - 1) * d / 2 - p for k, d, p in zip(kernel_size, dilation, padding, strict=True)]
        return self._scaled((middle[0], middle[1]), stride)

    def spread(self, kernel_size: Pair, stride: Pair, padding: Pair, dilation: Pair = (1, 1)) -> Grid:
        """Return the grid after a transposed convolution, which spreads each pixel of this feature map over a window."""
        middle = [(k - 1) * d / 2 - p for k, d, p in zip(kernel_size, dilation, padding, strict=True)]
        return self._scaled((-middle[0] / stride[0], -middle[1] / stride[1]), (1 / stride[0], 1 / stride[1]))

    def moved(self, y: float, x: float) -> Grid:
        """Return the grid of a feature map whose first pixel is at (y, x) of this one: negative after padding, positive after cropping."""
        return self._scaled((y, x), (1, 1))

    def thinned(self, step: Pair) -> Grid:
        """Return the grid of every `step`-th pixel, from the first on."""
        return self._scaled((0, 0), step)

    def resized(self, size: Pair, new_size: Pair, align_corners: bool = False) -> Grid:
        """Return the grid after interpolation from `size` to `new_size`; `align_corners` as in `torch.nn.functional.interpolate`."""
        if align_corners:
            ratio = [(old - 1) / (new - 1) if new > 1 else 0.0 for old, new in zip(size, new_size, strict=True)]
            return self._scaled((0, 0), (ratio[0], ratio[1]))
        return self.zoomed((size[0] / new_size[0], size[1] / new_size[1]))

    def zoomed(self, ratio: tuple[float, float]) -> Grid:
        """Return the grid after interpolation where a new pixel is as wide as `ratio` old ones and the outer corners coincide."""
        return self._scaled(((ratio[0] - 1) / 2, (ratio[1] - 1) / 2), ratio)

    def picked(self, ratio: tuple[float, float]) -> Grid:
        """Return the grid after nearest-neighbour interpolation: new pixel i is old pixel floor(i * ratio), here on average."""
        parts = [Fraction(r).limit_denominator(4096).denominator for r in ratio]
        return self._scaled(((1 / parts[0] - 1) / 2, (1 / parts[1] - 1) / 2), ratio)

    def _scaled(self, first: tuple[float, float], ratio: tuple[float, float]) -> Grid:
        """Return the grid of a feature map whose pixel i is at first + i * ratio of this one."""
        (y, x), (down, right) = self.start, self.step
        start, step = (y + first[0] * down, x + first[1] * right), (down * ratio[0], right * ratio[1])
        return Grid(start, step, self.exact)
