"""Scores of classes in tiles, blended to the classes of an image of any size in the memory of one row of tiles."""

from math import floor

import torch
from torch import Tensor
from torch.nn import functional as F

from dcnrun.data.sample import Size
from dcnrun.tasks.tiles import Tile, Tiling

_ROWS_AT_ONCE = 256


class ScoreStitcher:
    """Adds up weighted scores for the rows that tiles still cover, and settles the classes of those that none will."""

    def __init__(self, tiling: Tiling, seen: Size, size: Size) -> None:
        """`seen` is the size in which the network sees the image, `size` that of the image itself, which the classes get."""
        self._tiling = tiling
        self._seen = seen
        self._classes = torch.empty(size, dtype=torch.uint8)
        self._settled = 0  # rows of the classes
        self._top = 0  # the row of the scores that the sums begin with
        self._sums = torch.empty(0, 0, seen.width)
        self._weights = torch.empty(0, seen.width)

    def add(self, tile: Tile, scores: Tensor) -> None:
        """Add the scores (C, h, w) of a tile."""
        scores = scores.float()
        self._settle(tile.top)
        self._grow(tile.top + tile.height - self._top - self._weights.shape[0], scores)
        weights = self._tiling.weights(tile, self._seen).to(scores)
        rows = slice(tile.top - self._top, tile.top - self._top + tile.height)
        columns = slice(tile.left, tile.left + tile.width)
        self._sums[:, rows, columns] += weights * scores
        self._weights[rows, columns] += weights

    def result(self) -> Tensor:
        """Return the class of every pixel, uint8 (H, W)."""
        self._settle(self._seen.height)
        return self._classes

    def _grow(self, rows: int, like: Tensor) -> None:
        if rows > 0:
            more = like.new_zeros(1 + len(like), rows, self._seen.width)
            self._sums = torch.cat([self._sums, more[1:]], 1) if self._sums.shape[1] else more[1:]
            self._weights = torch.cat([self._weights, more[0]]) if len(self._weights) else more[0]

    def _settle(self, whole: int) -> None:
        """Settle all classes that follow from the rows of scores before `whole`, and drop what no further class needs."""
        height, width = self._classes.shape
        if whole <= self._top:
            return
        ratio = self._seen.height / height
        while self._settled < height:
            end = min(self._settled + _ROWS_AT_ONCE, height)
            if whole < self._seen.height:  # only rows of which those above and below in the scores are whole
                end = min(end, floor((whole - 1) / ratio - 0.5) + 1)
            if end <= self._settled:
                break
            # where F.interpolate takes rows from: it sees the same two rows, whatever part of the image it is given
            source = ((torch.arange(self._settled, end) + 0.5) * ratio - 0.5).clamp(0, self._seen.height - 1)
            above = source.floor().long()
            scores = self._rows(above, source - above)
            if scores.shape[2] != width:
                scores = F.interpolate(scores[None], (scores.shape[1], width), mode="bilinear", align_corners=False)[0]
            self._classes[self._settled : end] = scores.argmax(0).to(torch.uint8).cpu()
            self._settled = end
        following = max(0.0, (self._settled + 0.5) * ratio - 0.5)
        done = min(floor(following), whole) - self._top
        self._sums, self._weights = self._sums[:, done:], self._weights[done:]
        self._top += done

    def _rows(self, above: Tensor, share: Tensor) -> Tensor:
        """Return scores (C, n, w) between each row `above` and the one below it, by the share of the latter."""
        first = above.to(self._sums.device) - self._top
        mean = self._sums[:, first] / self._weights[first]
        if not share.any():
            return mean
        second = (first + 1).clamp(max=self._weights.shape[0] - 1)
        below = self._sums[:, second] / self._weights[second]
        return torch.lerp(mean, below, share.to(mean)[:, None])
