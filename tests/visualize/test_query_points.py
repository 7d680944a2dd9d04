"""Query points: those asked for, or one on an object of each size and one on background."""

import pytest
import torch

from dcnrun.errors import UsageError
from dcnrun.offsets.grid import Grid
from dcnrun.offsets.objects import Objects
from dcnrun.visualize.query_points import QueryPoint, query_points
from tests.offsets.factories import hand_made


def objects(boxes, areas, classes, size=(48, 56), unknown=False):
    return Objects(
        size,
        torch.tensor(boxes).float().reshape(-1, 4),
        torch.tensor(areas).float(),
        classes,
        torch.full(size, unknown),
    )


def test_automatic_places_are_on_an_object_of_each_size_and_on_background():
    boxes = [(0, 0, 8, 8), (20, 20, 28, 28), (10, 10, 46, 46)]
    found = query_points("a", objects(boxes, [64, 64, 36 * 36], ("dot", "dot", "disc")), ())
    assert [place.label.rpartition(" at ")[0] for place in found] == ["small dot", "medium disc", "background"]
    small, _, background = found
    assert (small.y, small.x, small.box) == (24, 24, (20, 20, 28, 28))  # nearer to the middle than the other
    assert all(not (x1 <= background.x < x2 and y1 <= background.y < y2) for x1, y1, x2, y2 in boxes)


def test_an_object_that_a_smaller_one_covers_in_the_middle_is_not_chosen():
    boxes = [(0, 0, 40, 40), (16, 16, 24, 24), (30, 2, 56, 46)]
    found = query_points("a", objects(boxes, [1600, 64, 1144], ("covered", "dot", "free")), ())
    assert [place.label.split()[1] for place in found] == ["dot", "free", "at"]


def test_places_where_nothing_is_known():
    found = query_points("a", objects([], [], (), unknown=True), ())
    assert [(place.y, place.x) for place in found] == [(24, 28), (12, 14), (12, 42), (36, 14), (36, 42)]


def test_a_place_comes_once_however_small_the_image():
    for size, expected in (((1, 1), [(0, 0)]), ((1, 8), [(0, 4), (0, 2), (0, 6)])):
        found = query_points("a", objects([], [], (), size=size, unknown=True), ())
        assert [(place.y, place.x) for place in found] == expected
    assert len(query_points("a", objects([], [], ()), [(4, 5), (1, 2), (4, 5)])) == 2


def test_places_asked_for():
    (place,) = query_points("a", objects([], [], ()), [(47, 0)])
    assert (place.y, place.x) == (47, 0)
    with pytest.raises(UsageError, match=r"--at 48,0 is outside of a, which the network sees as 48 x 56"):
        query_points("a", objects([], [], ()), [(48, 0)])


def test_the_pixel_of_a_place_half_way_is_the_lower_right_one():
    layer = hand_made(grid=Grid((0.0, 0.0), (2.0, 2.0)))
    assert [QueryPoint(at, at, "").output_pixel(layer) for at in (1, 3, 5)] == [(1, 1), (2, 2), (3, 3)]
    assert QueryPoint(99, 0, "").output_pixel(layer) == (5, 0)
