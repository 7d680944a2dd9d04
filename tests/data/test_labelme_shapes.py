"""Boxes and masks of labelme's shapes, against pycocotools and against pixels counted one by one."""

import base64
import re

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from dcnrun.config.schema import Rectangles
from dcnrun.data.coco_masks import decode
from dcnrun.data.labelme_shapes import joined, read_part
from tests.data.factories import drawn, drawn_mask

SIZE = HEIGHT, WIDTH = 30, 40


def part(shape, rectangles=Rectangles.masks):
    return read_part(shape, SIZE, rectangles)


def pixels(found):
    return decode([found.mask], SIZE)[0]


@pytest.mark.filterwarnings("ignore::DeprecationWarning:pycocotools")
@pytest.mark.parametrize("seed", range(5))
def test_polygons_are_those_of_pycocotools(seed):
    points = np.random.default_rng(seed).uniform(0, (WIDTH, HEIGHT), (7, 2))
    found = part(drawn("cat", points.tolist()))
    expected = coco_mask.decode(coco_mask.frPyObjects([points.flatten().tolist()], HEIGHT, WIDTH))[..., 0]
    assert np.array_equal(pixels(found), expected)
    assert found.box == (*points.min(0), *points.max(0))


@pytest.mark.parametrize("points", [[[4, 15], [20, 3]], [[20, 15], [4, 3]], [[4, 3], [20, 3], [20, 15], [4, 15]]])
def test_rectangles_by_corners_in_any_order(points):
    found = part(drawn("cat", points, "rectangle"))
    expected = np.zeros(SIZE)
    expected[3:15, 4:20] = 1
    assert found.box == (4, 3, 20, 15)
    assert np.array_equal(pixels(found), expected)
    assert part(drawn("cat", points, "rectangle"), Rectangles.boxes) == (found.box, None)


@pytest.mark.parametrize(("x", "y", "edge"), [(15.5, 12.25, (20.0, 9.0)), (2, 28, (2, 20)), (20, 15, (20.2, 15))])
def test_circles_are_the_pixels_whose_middle_is_inside(x, y, edge):
    found = part(drawn("cat", [[x, y], list(edge)], "circle"))
    radius = np.hypot(edge[0] - x, edge[1] - y)
    expected = [[np.hypot(c + 0.5 - x, r + 0.5 - y) <= radius for c in range(WIDTH)] for r in range(HEIGHT)]
    assert np.array_equal(pixels(found), expected)
    bounds = np.array([x - radius, y - radius, x + radius, y + radius])
    assert found.box == pytest.approx(tuple(np.clip(bounds, 0, (WIDTH, HEIGHT, WIDTH, HEIGHT))))


@pytest.mark.parametrize(("x", "y"), [(5, 6), (0, 0), (-2, -3), (36, 25), (5.7, 6.2)])
def test_masks_lie_between_their_corners(x, y):
    inside = np.random.default_rng(0).random((9, 7)) < 0.5
    inside[0, 0] = inside[-1, -1] = True
    found = part(drawn_mask("cat", inside, x, y))
    expected = np.zeros((HEIGHT + 40, WIDTH + 40))
    top, left = int(y) + 20, int(x) + 20
    expected[top : top + 9, left : left + 7] = inside
    assert np.array_equal(pixels(found), expected[20 : 20 + HEIGHT, 20 : 20 + WIDTH])
    assert found.box == (int(x), int(y), int(x) + 7, int(y) + 9)


def test_the_box_of_a_mask_is_that_of_its_pixels():
    inside = np.zeros((9, 7))
    inside[2:4, 3:6] = 255
    assert part(drawn_mask("cat", inside, 10, 5)).box == (13, 7, 16, 9)


def test_a_mask_whose_corners_are_its_ends():
    shape = drawn_mask("cat", np.ones((9, 7)), 10, 5)
    shape["points"] = [[10, 5], [17, 14]]
    assert part(shape).box == (10, 5, 17, 14)


def test_parts_make_up_an_object():
    shapes = [drawn("cat", [[2, 2], [8, 8]], "rectangle"), drawn("cat", [[6, 6], [12, 10]], "rectangle")]
    item = joined("it", 3, [part(shape) for shape in shapes])
    expected = np.zeros(SIZE)
    expected[2:8, 2:8] = expected[6:10, 6:12] = 1
    assert np.array_equal(pixels(item), expected)
    assert (item.label, item.box, item.area) == (3, (2, 2, 12, 10), expected.sum())
    bare = joined("it", 3, [part(shapes[0]), part(shapes[1], Rectangles.boxes)])
    assert (bare.box, bare.mask, bare.area) == (item.box, None, None)


def test_without_the_size_of_the_image_there_are_boxes():
    shapes = [drawn("cat", [[2, 2], [8, 8], [2, 8]]), drawn("cat", [[5, 5], [8, 9]], "circle")]
    shapes.append(drawn_mask("cat", np.ones((3, 3)), 1, 1))
    found = [read_part(shape, None, Rectangles.masks) for shape in shapes]
    assert [(item.box, item.mask) for item in found] == [
        ((2, 2, 8, 8), None),
        ((0, 0, 10, 10), None),
        ((1, 1, 4, 4), None),
    ]


TEXT = base64.b64encode(b"no picture").decode()


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        (drawn("cat", [[1, 1], [2, 2]]), "it is a polygon of 2 points; expected three or more"),
        (drawn("cat", [[1, 1]], "rectangle"), "it is a rectangle of 1 points; expected two corners, or four"),
        (drawn("cat", [[1, 1]], "circle"), "it is a circle of 1 points; expected its centre and one on its edge"),
        (drawn("cat", [[1, 1]], "mask"), "it is a mask of 1 points; expected two corners"),
        (drawn("cat", [[1, 1]], "cuboid"), "its shape_type is 'cuboid'; expected polygon, rectangle, circle or mask"),
        (drawn("cat", [[1, 1]], ["polygon"]), "its shape_type is ['polygon']"),
        (drawn("cat", [[1, 1], [2, float("nan")], [3, 3]]), "its points are not a list of pairs of finite numbers"),
        (drawn("cat", [[1, 1], [2], [3, 3]]), "its points are not a list of pairs"),
        (drawn("cat", [[1, 1], [2, True], [3, 3]]), "its points are not a list of pairs"),
        (drawn("cat", None), "its points are not a list of pairs"),
        (drawn("cat", [[1, 1], [900, 1], [3, 3]]), "a polygon reaches far beyond the image"),
        (drawn("cat", [[1, 1], [3, 3]], "mask"), "its mask can't be read"),
        (drawn("cat", [[1, 1], [3, 3]], "mask", mask="?"), "its mask can't be read"),
        (drawn("cat", [[1, 1], [3, 3]], "mask", mask=TEXT), "its mask can't be read"),
        (drawn_mask("cat", np.zeros((3, 3)), 1, 1), "its mask has no pixel"),
        (
            drawn_mask("cat", np.ones((3, 3)), 1, 1) | {"points": [[1, 1], [9, 9]]},
            "its mask is a picture of 3x3 in mode L; expected a grey one of 9x9, from corner to corner",
        ),
    ],
)
def test_what_can_not_be_used(shape, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        part(shape)


def test_an_image_that_claims_to_be_huge():
    with pytest.raises(ValueError, match=r"its image is listed as 1000000x1000000, more than 178,956,970 pixels"):
        read_part(drawn("cat", [[1, 1], [2, 2]], "circle"), (10**6, 10**6), Rectangles.masks)
