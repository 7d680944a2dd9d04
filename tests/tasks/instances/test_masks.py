"""From the cells of a box to pixels, against a definition in loops and against what the cells were made of."""

import numpy as np
import pytest
import torch
from torchvision.models.detection.roi_heads import paste_masks_in_image, project_masks_on_boxes

from dcnrun.data.coco_masks import decode
from dcnrun.tasks.instances.masks import pasted
from tests.tasks.instances.factories import ellipses

HEIGHT, WIDTH = 40, 50


def in_loops(cells, box, height, width):
    """Pixel by pixel; the probability is linear between the centres of cells, and constant beyond the outer ones."""
    (x1, y1, x2, y2), count = box, len(cells)
    inside = np.zeros((height, width), bool)
    for i in range(height):
        for j in range(width):
            if not (y1 <= i + 0.5 <= y2 and x1 <= j + 0.5 <= x2):
                continue
            places = []
            for index, low, high in ((i, y1, y2), (j, x1, x2)):
                at = min(max((index - low) / (high - low) * count - 0.5, 0), count - 1)
                before = min(int(at), count - 2)
                places.append((before, at - before))
            (y, dy), (x, dx) = places
            value = sum(
                (dy if a else 1 - dy) * (dx if b else 1 - dx) * cells[y + a, x + b] for a in (0, 1) for b in (0, 1)
            )
            inside[i, j] = value >= 0.5
    return inside


def test_pixels_are_those_of_the_definition():
    random = np.random.default_rng(0)
    corners = random.uniform(-5, 30, (12, 2))
    boxes = np.concatenate([corners, corners + random.uniform(0.01, 25, (12, 2))], axis=1)
    boxes = np.concatenate([boxes, [[3, 4, 9, 12], [0, 0, WIDTH, HEIGHT], [-40, -40, -20, -20]]])
    cells = random.random((len(boxes), 6, 6)).astype(np.float32)
    found = pasted(torch.tensor(cells)[:, None], torch.tensor(boxes), (HEIGHT, WIDTH))
    for mask, one, box in zip(decode(found, (HEIGHT, WIDTH)), cells, boxes, strict=True):
        assert np.array_equal(mask, in_loops(one, box, HEIGHT, WIDTH))
    assert pasted(torch.zeros(0, 1, 6, 6), torch.zeros(0, 4), (HEIGHT, WIDTH)) == []


def overlap(masks, others):
    return (masks & others).sum((1, 2)) / (masks | others).sum((1, 2))


@pytest.mark.parametrize("side", [6, 12, 25])
def test_what_is_learnt_from_comes_back(side):
    """A network that has learnt torchvision's targets by heart finds small objects as they are, better than by torchvision's way."""
    low = torch.tensor([[3.0, 4.0], [7.0, 9.0], [20.0, 11.0]])
    boxes = torch.cat([low, low + torch.tensor([side, 0.8 * side]).floor()], dim=1)
    masks = ellipses(boxes, HEIGHT, WIDTH)
    targets = project_masks_on_boxes(masks, boxes, torch.arange(3), 28)[:, None]
    found = decode(pasted(targets, boxes, (HEIGHT, WIDTH)), (HEIGHT, WIDTH)) > 0
    theirs = (paste_masks_in_image(targets, boxes, (HEIGHT, WIDTH))[:, 0] >= 0.5).numpy()
    masks = masks.numpy() > 0
    assert overlap(found, masks).min() > 0.97
    assert (overlap(found, masks) >= overlap(theirs, masks)).all()
