"""What several runs found differently is found, counted and shown."""

import numpy as np
import pytest
import torch
from torchvision.ops import box_iou

from dcnrun.drawing.side_by_side import difference, matched, run_colour, sheet
from dcnrun.plotting import VERMILION
from dcnrun.tasks.found import Found, FoundObjects
from tests.predict.factories import pixels

CLASSES = ["background", "cat", "dog"]


def objects(*rows):
    """Objects of rows x1, y1, x2, y2 and class, the surest first."""
    values = np.array(rows, float).reshape(-1, 5)
    return FoundObjects(values[:, :4], np.linspace(0.9, 0.5, len(rows)), values[:, 4].astype(int), None)


def test_pixels_differ_unless_all_runs_have_one_class():
    first, second, third = (np.zeros((3, 4), np.uint8) for _ in range(3))
    second[0], third[0], third[1, 0] = 2, 2, 1
    differs = difference([Found((3, 4), classes=each) for each in (first, second, third)])
    assert differs.pixels.sum() == 5
    assert differs.share == pytest.approx(5 / 12)
    assert difference([Found((3, 4), classes=first)] * 2).share == 0


def test_objects_differ_that_another_run_has_not():
    first = objects([0, 0, 10, 10, 1], [20, 20, 30, 30, 1], [50, 50, 60, 60, 2])
    second = objects([1, 0, 11, 10, 1], [20, 20, 30, 30, 2])
    differs = difference([Found((99, 99), objects=each) for each in (first, second)])
    assert [each.tolist() for each in differs.objects] == [[False, True, True], [False, True]]
    assert differs.share == 3 / 5
    none = difference([Found((9, 9), objects=objects())] * 2)
    assert none.share == 0


def test_an_object_is_taken_once():
    twice = objects([0, 0, 10, 10, 1], [0, 1, 10, 11, 1])
    assert matched(twice, objects([0, 0, 10, 10, 1])).tolist() == [True, False]


@pytest.mark.parametrize("seed", range(3))
def test_single_boxes_match_by_their_overlap(seed):
    random = np.random.default_rng(seed)
    corners = random.integers(0, 12, (40, 2, 2))
    corners = np.concatenate([corners, corners + random.integers(1, 20, corners.shape)], 2).astype(float)
    for first, second in corners:
        expected = box_iou(torch.from_numpy(first[None]), torch.from_numpy(second[None])).item() >= 0.5
        assert matched(objects([*first, 1]), objects([*second, 1])).tolist() == [expected]


def test_a_sheet_marks_what_differs():
    picture, classes = pixels((500, 500)), np.zeros((500, 500), np.uint8)
    other = classes.copy()
    other[100:200, 300:400] = 1
    found = [Found((500, 500), classes=each) for each in (classes, other)]
    shown = np.asarray(sheet(picture, ["one", "two"], found, difference(found), CLASSES))
    colour = [int(VERMILION[start : start + 2], 16) for start in (1, 3, 5)]
    assert (shown == colour).all(-1).sum() == 100 * 100
    first, second = objects([50, 50, 90, 90, 1]), objects([50, 50, 90, 90, 1], [200, 200, 300, 280, 2])
    found = [Found((500, 500), objects=each) for each in (first, second)]
    shown = np.asarray(sheet(picture, ["one", "two"], found, difference(found), CLASSES))
    assert (shown == run_colour(1)).all(-1).sum() > 2 * (100 + 80)
    assert not (shown == run_colour(0)).all(-1)[:-100, -500:].sum() > 600  # but in the legend
