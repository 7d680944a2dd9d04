"""The geometry of the generated data, against polygons, circles and numerical integration."""

from math import pi

import numpy as np
import pytest
from matplotlib.path import Path as Polygon
from scipy import ndimage

from dcnrun.data.outlines import DISTRACTORS, HAZE, OBJECTS, Pose, Warp

ALL = {outline.name: outline for outline in (*OBJECTS, *DISTRACTORS, HAZE)}
every_outline = pytest.mark.parametrize("outline", ALL.values(), ids=ALL.keys())

STEP = 0.01
AXIS = np.arange(-3, 3, STEP) + STEP / 2
Y, X = np.meshgrid(AXIS, AXIS, indexing="ij")


def polygon(degrees, distances):
    """Corners (x, y) at angles from the y axis, scaled to the area of the unit disc."""
    angle = np.radians(degrees)
    corners = np.stack([distances * np.sin(angle), distances * np.cos(angle)], axis=1)
    x, y = corners.T
    area = abs(np.sum(x * np.roll(y, -1) - y * np.roll(x, -1))) / 2
    return Polygon(corners * np.sqrt(pi / area))


POLYGONS = {
    "square": polygon([45, 135, 225, 315], np.ones(4)),
    "triangle": polygon([60, 180, 300], np.ones(3)),
    "star": polygon(np.arange(0, 360, 36), np.tile([1, 0.45], 5)),
}
CROSS = [(-1, -3), (1, -3), (1, -1), (3, -1), (3, 1), (1, 1), (1, 3), (-1, 3), (-1, 1), (-3, 1), (-3, -1), (-1, -1)]


@pytest.mark.parametrize("name", POLYGONS)
def test_polygons_are_where_they_should_be(name):
    inside = POLYGONS[name].contains_points(np.stack([X.ravel(), Y.ravel()], axis=1)).reshape(X.shape)
    upside_down = inside[::-1]
    found = ALL[name].level(Y, X) < 0
    # the triangle's orientation is a convention; a difference of a few points is the grid's
    assert min((inside != found).sum(), (upside_down != found).sum()) < 50


def test_the_cross_is_where_it_should_be():
    cross = Polygon(np.array(CROSS) * np.sqrt(pi / 20))
    inside = cross.contains_points(np.stack([X.ravel(), Y.ravel()], axis=1)).reshape(X.shape)
    assert (inside != (ALL["cross"].level(Y, X) < 0)).sum() < 50


@every_outline
def test_every_outline_has_the_area_of_the_unit_disc(outline):
    # a grid at an angle, so that no straight side runs along it
    inside = outline.level(0.96 * Y - 0.28 * X, 0.28 * Y + 0.96 * X) < 0
    assert inside.sum() * STEP**2 == pytest.approx(pi, rel=0.002)


@every_outline
def test_nothing_is_beyond_the_reach_and_something_near_it(outline):
    inside = outline.level(Y, X) < 0
    assert np.hypot(Y, X)[inside].max() == pytest.approx(outline.reach, abs=2 * STEP)


@every_outline
def test_levels_change_no_faster_than_the_distance(outline):
    random = np.random.default_rng(0)
    first, second = random.uniform(-2, 2, (2, 2, 10_000))
    difference = abs(outline.level(*first) - outline.level(*second))
    assert (difference <= np.hypot(*(first - second)) * (1 + 1e-9)).all()


def test_only_the_horseshoe_lets_out_of_its_hole():
    for outline in OBJECTS:
        _, regions = ndimage.label(outline.level(Y, X) >= 0)
        assert regions == (2 if outline.name == "ring" else 1), outline.name


class TestWarp:
    STRENGTHS = (0.15, 0.3, 0.6)

    def warps(self, strength, count=60):
        return [Warp.draw(np.random.default_rng(seed), strength) for seed in range(count)]

    def test_none_moves_nothing(self):
        y, x = Warp.draw(np.random.default_rng(0), 0.0).move(Y, X)
        assert np.array_equal(y, Y)
        assert np.array_equal(x, X)

    @pytest.mark.parametrize("strength", STRENGTHS)
    def test_moves_the_unit_circle_by_its_strength(self, strength):
        angle = np.linspace(0, 2 * pi, 200)
        y, x = np.sin(angle), np.cos(angle)
        moved = []
        for warp in self.warps(strength):
            new_y, new_x = warp.move(y, x)
            moved.append(np.sqrt(np.mean((new_y - y) ** 2 + (new_x - x) ** 2)))
        assert np.mean(moved) == pytest.approx(strength, rel=0.03)
        assert moved == pytest.approx([strength] * len(moved), rel=0.2)

    @pytest.mark.parametrize("strength", STRENGTHS)
    def test_hardly_turns_the_circle(self, strength):
        angle = np.linspace(0, 2 * pi, 200, endpoint=False)
        y, x = np.sin(angle), np.cos(angle)
        for warp in self.warps(strength):
            new_y, new_x = warp.move(y, x)
            turn = np.degrees(np.arctan2(np.sum(new_y * x - new_x * y), np.sum(new_y * y + new_x * x)))
            assert abs(turn) < 25 * strength**2  # of second order: a field with rotation turns in proportion

    def test_keeps_the_centre(self):
        for warp in self.warps(0.6):
            y, x = warp.move(np.zeros(1), np.zeros(1))
            assert abs(y) < 1e-6
            assert abs(x) < 1e-6

    @pytest.mark.parametrize("strength", STRENGTHS)
    def test_never_folds(self, strength):
        step = 0.05
        grid = np.arange(-2.5, 2.5, step)
        y, x = np.meshgrid(grid, grid, indexing="ij")
        for warp in self.warps(strength):
            new_y, new_x = warp.move(y, x)
            (yy, yx), (xy, xx) = np.gradient(new_y, step), np.gradient(new_x, step)
            assert (yy * xx - yx * xy).min() > 0

    def test_keeps_areas(self):
        level = ALL["disc"].level
        areas = [(level(*warp.move(Y, X)) < 0).sum() * STEP**2 / pi for warp in self.warps(0.3, 20)]
        assert areas == pytest.approx([1] * 20, abs=0.06)

    def test_keeps_the_topology_of_every_class(self):
        step = 0.03
        grid = np.arange(-4, 4, step)
        y, x = np.meshgrid(grid, grid, indexing="ij")
        for seed, outline in enumerate(OBJECTS):
            for warp in self.warps(0.6, 4 + seed)[-4:]:
                inside = outline.level(*warp.move(y, x)) < 0
                assert ndimage.label(inside, np.ones((3, 3)))[1] == 1, outline.name
                assert ndimage.label(~inside)[1] == (2 if outline.name == "ring" else 1), outline.name

    def test_the_same_draw_at_another_strength_is_the_same_warp_scaled(self):
        weak, strong = (Warp.draw(np.random.default_rng(5), strength) for strength in (0.1, 0.4))
        for one, other in zip(weak.velocity(Y, X), strong.velocity(Y, X), strict=True):
            np.testing.assert_allclose(4 * one, other, rtol=1e-5, atol=1e-8)

    @pytest.mark.parametrize("strength", STRENGTHS)
    def test_nothing_comes_from_beyond_the_reach(self, strength):
        random = np.random.default_rng(0)
        for warp in self.warps(strength):
            y, x = random.uniform(-6, 6, (2, 5000))
            assert (np.hypot(*warp.move(y, x)) >= np.hypot(y, x) - warp.reach - 1e-6).all()


class TestPose:
    def test_places_scales_and_turns(self):
        pose = Pose(centre=(10, 20), radius=4, rotation=90, warp=Warp.draw(np.random.default_rng(0), 0.0))
        # turned by 90 degrees from x to y, what was at the right is below
        y, x = pose.canonical(np.array([14.0]), np.array([20.0]))
        assert (y[0], x[0]) == pytest.approx((0, 1))
        y, x = pose.canonical(np.array([10.0]), np.array([22.0]))
        assert (y[0], x[0]) == pytest.approx((-0.5, 0))

    @pytest.mark.parametrize("strength", [0.0, 0.3, 0.6])
    def test_reaches_no_farther_than_it_says(self, strength):
        rows, columns = np.arange(200)[:, None] + 0.5, np.arange(200)[None] + 0.5
        for seed in range(10):
            pose = Pose((100, 100), 20, 35.0, Warp.draw(np.random.default_rng(seed), strength))
            for outline in OBJECTS:
                inside = outline.level(*pose.canonical(rows, columns)) < 0
                assert np.hypot(rows - 100, columns - 100)[inside].max() <= pose.reach(outline)
