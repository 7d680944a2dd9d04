"""Tiles cover every pixel of an image, on the grid of its feature maps."""

from itertools import pairwise

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dcnrun.data.sample import Size
from dcnrun.tasks.tiles import ALIGNMENT, Tiling

TILINGS = st.tuples(st.integers(1, 4), st.integers(0, 2)).map(lambda n: Tiling(32 * 2 * n[0], 32 * min(n[1], n[0])))


@settings(deadline=None, max_examples=30)
@given(TILINGS, st.integers(1, 400), st.integers(1, 400))
def test_tiles_overlap_as_asked_and_reach_to_the_edges(tiling, height, width):
    size = Size(height, width)
    covered, weighed = torch.zeros(size), torch.zeros(size)
    tiles = list(tiling.tiles(size))
    for tile in tiles:
        rows, columns = slice(tile.top, tile.top + tile.height), slice(tile.left, tile.left + tile.width)
        assert tile.top % ALIGNMENT == tile.left % ALIGNMENT == 0
        assert rows.stop <= height
        assert columns.stop <= width
        for length, side in zip(tile.size, size, strict=True):
            assert min(side, tiling.side) - ALIGNMENT < length <= tiling.side
        covered[rows, columns] += 1
        weights = tiling.weights(tile, size)
        assert 0 < weights.min() <= weights.max() <= 1
        weighed[rows, columns] += weights
    assert (covered > 0).all()
    assert (weighed > 0).all()
    assert tiles == sorted(tiles, key=lambda tile: (tile.top, tile.left))
    assert tiling.is_for(size) == (len(tiles) > 1)
    for first, second in pairwise(tiles):
        if first.top == second.top:
            assert first.left + first.width - second.left >= tiling.overlap


def test_weights_fade_towards_neighbours_alone():
    tiling, size = Tiling(64, 32), Size(64, 128)
    first, second, third = (tiling.weights(tile, size)[0] for tile in tiling.tiles(size))
    assert (first[:32] == 1).all()
    assert (first[32:] + second[:32]).allclose(torch.ones(32))
    assert (second[32:] + third[:32]).allclose(torch.ones(32))
    assert (third[32:] == 1).all()
