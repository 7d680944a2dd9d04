"""Pictures show what was found where it was found."""

import numpy as np
import pytest
from scipy.ndimage import maximum_filter, minimum_filter

from dcnrun.data.coco_masks import encode
from dcnrun.drawing.found import PALETTE, Canvas, edges, legend_of, overlay, painted, with_legend
from dcnrun.tasks.found import Found, FoundObjects
from tests.predict.factories import pixels

CLASSES = ["background", "cat", "dog"]


@pytest.mark.parametrize(
    ("size", "shape"), [((10, 20), (240, 480)), ((500, 300), (500, 300)), ((9000, 40), (3000, 14))]
)
def test_a_canvas_is_of_a_size_for_people(size, shape):
    canvas = Canvas.of(np.zeros((*size, 3), np.uint8))
    assert canvas.pixels.shape == (*shape, 3)
    assert canvas.scale == pytest.approx(shape[0] / size[0])


def test_classes_are_painted_but_the_background():
    picture = pixels((480, 480))
    classes = np.zeros((480, 480), np.uint8)
    classes[100:200, 50:80] = 2
    shown = np.asarray(painted(Canvas.of(picture), Found((480, 480), classes=classes), CLASSES)).astype(int)
    assert (shown[classes == 0] == picture[classes == 0]).all()
    inner = np.s_[102:198, 52:78]
    expected = picture[inner] + (PALETTE[2] - picture[inner].astype(float)) * 120 / 256
    assert np.abs(shown[inner] - expected).max() <= 1
    assert np.abs(shown[100, 50:80] - PALETTE[2]).max() <= 16


def test_objects_have_boxes_and_outlines_of_their_class():
    picture = np.full((480, 640, 3), 90, np.uint8)
    mask = np.zeros((480, 640), bool)
    mask[110:300, 220:400] = True
    objects = FoundObjects(np.array([[200.0, 100.0, 420.0, 320.0]]), np.array([0.75]), np.array([1]), [encode(mask)])
    shown = np.asarray(painted(Canvas.of(picture), Found((480, 640), objects=objects), CLASSES))
    for y, x in ((200, 200), (319, 300), (200, 419), (110, 300), (299, 300)):
        assert (shown[y, x] == PALETTE[1]).all(), (y, x)
    assert (shown[200, 199] == 0).all()
    assert (shown[350, 300] == 90).all()
    assert (shown[200, 300] != 90).any()


@pytest.mark.parametrize("width", [1, 2])
def test_edges_are_where_another_value_is_near_along_a_row_or_column(width):
    labels = np.random.default_rng(0).integers(0, 2, (12, 15)) * np.arange(15)
    footprint = np.zeros((2 * width + 1, 2 * width + 1), bool)
    footprint[width] = footprint[:, width] = True
    near = {"footprint": footprint, "mode": "nearest"}
    different = maximum_filter(labels, **near) != minimum_filter(labels, **near)
    assert (edges(labels, width) == different).all()


def test_a_legend_counts_what_is_there():
    classes = np.array([[0, 2, 2, 2]], np.uint8)
    assert legend_of(Found((1, 4), classes=classes), CLASSES) == [(2, "dog 75.0 %"), (-1, "background 25.0 %")]
    objects = FoundObjects(np.zeros((2, 4)), np.ones(2), np.array([1, 1]), None)
    assert legend_of(Found((1, 4), objects=objects), CLASSES) == [(1, "cat (2)")]


@pytest.mark.parametrize("name", ["a" * 500, "\x1b[31m\n", "$x_1$", "日本"])
def test_any_name_can_be_written(name):
    found = Found((4, 4), classes=np.ones((4, 4), np.uint8))
    assert overlay(np.zeros((4, 4, 3), np.uint8), found, ["a", name]).width == 480


def test_a_long_legend_has_a_few_rows():
    blank = Canvas.of(np.zeros((480, 480, 3), np.uint8))
    image = painted(blank, Found((480, 480), classes=np.zeros((480, 480), np.uint8)), CLASSES)
    assert with_legend(image, [((1, 2, 3), f"class {label}") for label in range(200)]).height < 600
