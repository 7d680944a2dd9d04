"""Paint and canvas of the generated data: what is painted, where, and in which colours."""

import numpy as np
import pytest

from dcnrun.data.outlines import OBJECTS, Pose, Warp
from dcnrun.data.painting import Canvas, Paint

DISC = next(outline for outline in OBJECTS if outline.name == "disc")
SIZE = 64


def plain(red, green, blue):
    return Paint(np.array([red, green, blue], np.float32), np.zeros(3, np.float32), np.zeros((0, 4)))


def pose(y, x, radius):
    return Pose((y, x), radius, 0.0, Warp(0.0, (), 0.0))


def test_a_paint_without_texture_is_one_colour():
    paint = Paint.draw(np.random.default_rng(0), [], SIZE, texture=0.0)
    pixels = paint.at(np.arange(9.0)[:, None], np.arange(7.0)[None])
    assert pixels.shape == (3, 9, 7)
    assert (pixels == paint.colour[:, None, None]).all()


@pytest.mark.parametrize("seed", range(5))
def test_colours_are_far_from_those_in_use(seed):
    """At least as far, on average, as the nearest of as many drawn without looking at each other."""
    random = np.random.default_rng(seed)
    paints = []
    for _ in range(6):
        paints.append(Paint.draw(random, paints, SIZE, texture=0.5))
    colours = np.array([paint.colour for paint in paints])
    assert ((colours >= 0.15) & (colours <= 0.85)).all()
    distance = np.linalg.norm(colours[:, None] - colours, axis=-1)[np.triu_indices(6, 1)]
    assert distance.min() > 0.2


def test_texture_swings_about_the_colour_by_its_strength():
    random = np.random.default_rng(3)
    weak, strong = (Paint.draw(np.random.default_rng(3), [], SIZE, texture=t) for t in (0.25, 1.0))
    assert np.allclose(4 * weak.tint, strong.tint)
    y, x = random.uniform(0, SIZE, (50, 1)), random.uniform(0, SIZE, (1, 50))
    swing = np.linalg.norm(strong.at(y, x) - strong.colour[:, None, None], axis=0)
    assert 0.1 < swing.max() <= np.linalg.norm(strong.tint) + 1e-6


def test_an_outline_is_painted_where_its_pixels_have_their_centres():
    canvas = Canvas(SIZE, plain(0, 0, 0))
    canvas.add(DISC, pose(20.0, 30.0, 9.0), plain(1, 0.5, 0.25), identity=3)
    y, x = np.mgrid[:SIZE, :SIZE] + 0.5
    distance = np.hypot(y - 20, x - 30)
    assert np.array_equal(canvas.identity == 3, distance < 9)
    assert np.array_equal(canvas.image[0] == 1, distance <= 8.5)
    assert (canvas.image[:, distance >= 9.5] == 0).all()
    inside = distance <= 8.5
    assert (canvas.image[:, inside] == np.array([1, 0.5, 0.25])[:, None]).all()


def test_what_comes_later_lies_on_top_and_a_wide_edge_fades():
    canvas = Canvas(SIZE, plain(0, 0, 0))
    canvas.add(DISC, pose(32.0, 32.0, 16.0), plain(1, 1, 1), identity=1)
    canvas.add(DISC, pose(32.0, 32.0, 8.0), plain(0, 0, 0), identity=2, edge=8.0)
    y, x = np.mgrid[:SIZE, :SIZE] + 0.5
    distance = np.hypot(y - 32, x - 32)
    assert np.array_equal(canvas.identity, np.where(distance < 8, 2, np.where(distance < 16, 1, 0)))
    ring = distance < 14
    expected = np.clip(0.5 + (distance[ring] - 8) / 8, 0, 1)
    assert np.allclose(canvas.image[0][ring], expected, atol=1e-5)


def test_an_outline_beyond_the_border_is_cut():
    canvas = Canvas(SIZE, plain(0, 0, 0))
    canvas.add(DISC, pose(0.0, 0.0, 10.0), plain(1, 1, 1), identity=1)
    y, x = np.mgrid[:SIZE, :SIZE] + 0.5
    assert np.array_equal(canvas.identity == 1, np.hypot(y, x) < 10)


def test_the_picture_is_the_image_with_grain():
    canvas = Canvas(SIZE, plain(0.5, 0, 1))
    assert (canvas.develop(np.random.default_rng(0), 0.0) == np.array([128, 0, 255])[:, None, None]).all()
    grainy = canvas.develop(np.random.default_rng(0), 1.0).astype(float)
    assert grainy.dtype == float
    assert grainy[0].mean() == pytest.approx(128, abs=3)
    assert grainy[0].std() == pytest.approx(0.1 * 255, rel=0.05)
