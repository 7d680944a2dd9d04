"""Scores that come in tiles give the classes that the whole map of scores gives."""

import pytest
import torch
from torch.nn import functional as F

from dcnrun.data.sample import Size
from dcnrun.tasks.segmentation.stitching import ScoreStitcher
from dcnrun.tasks.tiles import Tiling

SEEN = Size(150, 210)


def smooth(size, classes=4, seed=0):
    coarse = torch.randn(1, classes, 9, 12, generator=torch.Generator().manual_seed(seed))
    return F.interpolate(coarse, size, mode="bicubic")[0]


@pytest.mark.parametrize("size", [SEEN, Size(300, 420), Size(41, 333), Size(151, 209), Size(700, 90)])
@pytest.mark.parametrize("tiling", [Tiling(64, 32), Tiling(96, 0), Tiling(128, 64)])
def test_classes_are_those_of_the_whole_map(size, tiling):
    scores = smooth(SEEN)
    stitcher = ScoreStitcher(tiling, SEEN, size)
    for tile in tiling.tiles(SEEN):
        stitcher.add(tile, scores[:, tile.top : tile.top + tile.height, tile.left : tile.left + tile.width])
    whole = F.interpolate(scores[None], size, mode="bilinear", align_corners=False)[0]
    classes = stitcher.result()
    assert classes.shape == size
    wrong = classes != whole.argmax(0)
    first, second = whole.topk(2, 0).values
    assert (first - second)[wrong].abs().max() < 1e-4 if wrong.any() else True
    assert wrong.float().mean() < 1e-3


def test_tiles_that_differ_are_blended():
    """From 0 at one tile's edge to 1 at the other's: the class changes in the middle of the overlap."""
    tiling, size = Tiling(64, 32), Size(64, 96)
    stitcher = ScoreStitcher(tiling, size, size)
    for number, tile in enumerate(tiling.tiles(size)):
        scores = torch.zeros(2, *tile.size)
        scores[number] = 1
        stitcher.add(tile, scores)
    assert stitcher.result()[0].tolist() == [0] * 48 + [1] * 48


def test_no_more_rows_are_kept_than_tiles_cover():
    tiling, size = Tiling(64, 32), Size(2000, 64)
    stitcher = ScoreStitcher(tiling, size, Size(4000, 64))
    for tile in tiling.tiles(size):
        stitcher.add(tile, torch.zeros(3, *tile.size))
        assert stitcher._sums.shape[1] <= 64 + 2
