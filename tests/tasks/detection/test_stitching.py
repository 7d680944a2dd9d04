"""Objects that several tiles see count once, and those that a tile cuts as a whole."""

import torch

from dcnrun.data.sample import Size
from dcnrun.tasks.detection.stitching import DetectionStitcher
from dcnrun.tasks.tiles import Tile, Tiling

TILING, SEEN = Tiling(64, 32), Size(64, 160)


def stitched(objects, size=SEEN, scores=None, threshold=0.5):
    """What a perfect detector finds: in each tile the objects (xyxy and class), cut at its edges, if a part of it is inside."""
    stitcher = DetectionStitcher(threshold, SEEN, size)
    for tile in TILING.tiles(SEEN):
        found = []
        for number, (x1, y1, x2, y2, label) in enumerate(objects):
            left, right = (min(max(x - tile.left, 0), tile.width) for x in (x1, x2))
            if right - left > 2:
                found.append((left, y1, right, y2, label, scores[number] if scores else 0.9))
        values = torch.tensor(found).reshape(-1, 6)
        stitcher.add(
            tile,
            {
                "boxes": values[:, :4],
                "labels": values[:, 4].long(),
                "scores": values[:, 5],
                "masks": values[:, :1, None, None],
            },
        )
    return stitcher.result()


def rows(found):
    return sorted([*box, label] for box, label in zip(found["boxes"].tolist(), found["labels"].tolist(), strict=True))


def test_objects_smaller_than_the_overlap_are_found_once_and_whole():
    objects = [[2, 3, 20, 21, 0], [30, 5, 58, 30, 1], [40, 30, 70, 50, 0], [60, 5, 66, 12, 2], [130, 2, 158, 60, 1]]
    found = stitched(objects)
    assert rows(found) == objects
    assert len(found["masks"]) == len(found["scores"]) == 5
    assert rows(stitched([])) == []


def test_boxes_come_to_the_size_of_the_image():
    assert rows(stitched([[40, 30, 70, 50, 0]], Size(128, 80))) == [[20, 60, 35, 100, 0]]


def test_neighbours_of_one_class_and_objects_of_two_are_kept():
    objects = [[10, 10, 30, 30, 0], [10, 10, 30, 30, 1], [30, 10, 50, 30, 0], [34, 12, 44, 28, 2]]
    assert rows(stitched(objects)) == sorted(objects)


def test_an_object_at_the_edge_of_the_image_is_not_cut():
    objects = [[0, 0, 20, 64, 0], [0, 10, 10, 20, 0]]
    assert rows(stitched(objects)) == sorted(objects)


def test_boxes_of_the_last_class_are_compared_as_exactly_in_a_large_image_as_in_a_small_one():
    side = 100_000
    stitcher = DetectionStitcher(0.5, Size(side, side), Size(side, side))
    overlapping, far = [[10.3, 10, 20.3, 20], [13.7, 10, 23.7, 20]], [[side - 10, side - 10, side, side]]  # IoU 0.493
    objects = torch.tensor(overlapping + far)
    labels, scores = torch.tensor([79, 79, 0]), torch.tensor([0.9, 0.8, 0.7])
    stitcher.add(Tile(0, 0, side, side), {"boxes": objects, "labels": labels, "scores": scores})
    assert len(stitcher.result()["boxes"]) == 3
