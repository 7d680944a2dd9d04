"""Objects, and which of them a filter looks at, against loops over pixels."""

from collections import deque
from itertools import product

import numpy as np
import pytest
import torch

from dcnrun.data import IGNORE
from dcnrun.offsets.grid import Grid
from dcnrun.offsets.objects import (
    BACKGROUND_OWNER,
    NO_OWNER,
    Objects,
    SizeClass,
    Thresholds,
    objects_of_boxes,
    objects_of_mask,
)

NOT_CROWD = torch.zeros(1, dtype=torch.bool)


def random_objects(seed, size=(40, 50), count=6):
    random = torch.Generator().manual_seed(seed)
    corners = torch.rand(count, 4, generator=random) * torch.tensor([size[1], size[0], size[1], size[0]])
    boxes = torch.cat([torch.minimum(corners[:, :2], corners[:, 2:]), torch.maximum(corners[:, :2], corners[:, 2:])], 1)
    area = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    unknown = torch.rand(size, generator=random) < 0.1
    return Objects(size, boxes, area, ("thing",) * count, unknown)


def owner_by_hand(objects, y, x):
    """Of a position with pixel centres at integers."""
    height, width = objects.size
    if not (-0.5 <= y < height - 0.5 and -0.5 <= x < width - 0.5):
        return NO_OWNER
    holding = [
        (float(objects.area[i]), i)
        for i, (left, top, right, bottom) in enumerate(objects.boxes.tolist())
        if left <= x + 0.5 < right and top <= y + 0.5 < bottom
    ]
    if holding:
        return min(holding)[1]
    return NO_OWNER if objects.unknown[int(np.floor(y + 0.5)), int(np.floor(x + 0.5))] else BACKGROUND_OWNER


@pytest.mark.parametrize(
    ("grid", "size"),
    [
        (Grid(), (40, 50)),
        (Grid((1.5, 1.5), (4.0, 4.0)), (10, 12)),
        (Grid((-3.0, -2.0), (2.5, 5.0)), (19, 12)),  # begins and ends outside the image
    ],
)
def test_owners_are_the_smallest_objects_that_hold_the_centre(grid, size):
    for seed in range(3):
        objects = random_objects(seed)
        owners = objects.owners(grid, size)
        assert owners.shape == size
        for i, j in product(*map(range, size)):
            y, x = grid.start[0] + i * grid.step[0], grid.start[1] + j * grid.step[1]
            assert owners[i, j] == owner_by_hand(objects, y, x), (i, j)


def test_a_box_of_one_pixel_holds_that_pixel_alone():
    """Half-open boxes and grids with whole centres are half a pixel apart: here half of the mistakes are made."""
    objects = objects_of_boxes(torch.tensor([[2.0, 1.0, 3.0, 2.0]]), torch.ones(1), ["a"], NOT_CROWD, (4, 5))
    owners = objects.owners(Grid(), (4, 5))
    assert (owners == 0).nonzero().tolist() == [[1, 2]]


def test_coco_s_sizes():
    area = torch.tensor([1.0, 1023.9, 1024.0, 9215.0, 9216.0, 1e6])
    assert [list(SizeClass)[i].value for i in Thresholds().classify(area)] == [
        *("small", "small", "medium", "medium", "large", "large")
    ]
    assert Thresholds(medium=4, large=5).classify(torch.tensor([3.9, 4.0, 5.0])).tolist() == [0, 1, 2]
    assert "small < 1024 <= medium < 9216 <= large" in str(Thresholds())


def test_crowds_are_neither_objects_nor_background():
    boxes = torch.tensor([[0.0, 0.0, 2.0, 2.0], [1.0, 1.0, 4.0, 3.0]])
    objects = objects_of_boxes(boxes, torch.tensor([4.0, 6.0]), ["a", "b"], torch.tensor([False, True]), (4, 5))
    assert (objects.boxes.tolist(), objects.area.tolist(), objects.classes) == ([[0, 0, 2, 2]], [4], ("a",))
    owners = objects.owners(Grid(), (4, 5))
    assert owners.tolist() == [
        [0, 0, -1, -1, -1],
        [0, 0, -2, -2, -1],
        [-1, -2, -2, -2, -1],
        [-1, -1, -1, -1, -1],
    ]


def pieces_by_hand(mask, label):
    """Pixels of each connected piece, by walking from pixel to pixel."""
    left = {tuple(pixel) for pixel in np.argwhere(mask == label).tolist()}
    while left:
        piece, waiting = set(), deque([left.pop()])
        while waiting:
            y, x = waiting.popleft()
            piece.add((y, x))
            around = {(y + dy, x + dx) for dy, dx in product((-1, 0, 1), repeat=2)} & left
            left -= around
            waiting.extend(around)
        yield piece


def test_objects_of_a_mask_are_its_connected_pieces():
    mask = np.random.default_rng(0).choice(np.array([0, 0, 0, 1, 2, 255]), (20, 24))
    objects = objects_of_mask(torch.from_numpy(mask), ("background", "cat", "dog"), IGNORE)
    expected = set()
    for label, name in ((1, "cat"), (2, "dog")):
        for piece in pieces_by_hand(mask, label):
            ys, xs = zip(*piece, strict=True)
            expected.add((name, len(piece), min(xs), min(ys), max(xs) + 1, max(ys) + 1))
    found = [
        (name, area, *box)
        for name, area, box in zip(objects.classes, objects.area.tolist(), objects.boxes.tolist(), strict=True)
    ]
    assert len(found) == len(expected) > 10
    assert set(found) == expected
    assert (objects.unknown.numpy() == (mask == 255)).all()


def test_without_a_background_every_class_is_something():
    mask = torch.tensor([[0, 0, 1], [0, 0, 1]])
    assert objects_of_mask(mask, ("road", "sky"), IGNORE).classes == ("road", "sky")
    assert objects_of_mask(mask, ("Background", "sky"), IGNORE).classes == ("sky",)
    nothing = objects_of_mask(torch.zeros(2, 3, dtype=torch.int64), ("background", "sky"), IGNORE)
    assert (nothing.boxes.shape, nothing.area.shape) == ((0, 4), (0,))
    assert (nothing.owners(Grid(), (2, 3)) == BACKGROUND_OWNER).all()
