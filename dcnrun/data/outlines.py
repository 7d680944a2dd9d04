"""The geometry of the generated data: canonical outlines, and how one is placed, turned and warped in an image.

An outline is an implicit function of canonical coordinates (y, x): its level is negative inside, positive outside and
changes at most as fast as the distance to the outline. Every outline encloses the area of the unit disc, so a radius
means the same extent for each. Image coordinates are continuous: pixel (i, j) has its centre at (i + 0.5, j + 0.5).
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import asin, cos, hypot, pi, radians, sin, sqrt
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating]
Level = Callable[[Array, Array], Array]


class Outline(NamedTuple):
    """A canonical shape around the origin."""

    name: str
    level: Level
    reach: float
    """Nothing of the shape is farther than this from the origin."""


def _outline(name: str, level: Level, area: float, reach: float) -> Outline:
    """The outline scaled from `area` to the area of the unit disc."""
    scale = sqrt(pi / area)
    return Outline(name, lambda y, x: scale * level(y / scale, x / scale), scale * reach)


def _disc(y: Array, x: Array) -> Array:
    return np.hypot(y, x) - 1


def _rectangle(top: float, left: float, bottom: float, right: float) -> Level:
    centre_y, centre_x = (top + bottom) / 2, (left + right) / 2
    half_height, half_width = (bottom - top) / 2, (right - left) / 2
    return lambda y, x: np.maximum(abs(y - centre_y) - half_height, abs(x - centre_x) - half_width)


def _triangle(y: Array, x: Array) -> Array:
    """Equilateral, pointing down; its sides are at distance 1."""
    return np.maximum(-y, abs(x) * (sqrt(3) / 2) + y / 2) - 1


def _union(first: Level, second: Level) -> Level:
    return lambda y, x: np.minimum(first(y, x), second(y, x))


def _star(points: int, waist: float) -> Level:
    """Tips at distance 1, inner corners at distance `waist`."""
    sector = pi / points
    # Folded into the sector between a tip (on the axis) and an inner corner, the star is one straight edge.
    edge_y, edge_x = waist * sin(sector), waist * cos(sector) - 1
    length = hypot(edge_y, edge_x)
    normal_y, normal_x = -edge_x / length, edge_y / length

    def level(y: Array, x: Array) -> Array:
        distance = np.hypot(y, x)
        angle = abs((np.arctan2(x, y) + sector) % (2 * sector) - sector)
        level: Array = distance * (normal_y * np.sin(angle) + normal_x * np.cos(angle)) - normal_x
        return level

    return level


def _ring(hole: float) -> Level:
    """Outer radius 1, inner radius `hole`."""
    middle, half_width = (1 + hole) / 2, (1 - hole) / 2
    return lambda y, x: abs(np.hypot(y, x) - middle) - half_width


def _horseshoe(hole: float, gap: float) -> Level:
    """A ring with a gap of width 2 * `gap` to the right."""
    ring = _ring(hole)
    return lambda y, x: np.maximum(ring(y, x), np.minimum(x, gap - abs(y)))


def _half_strip(radius: float, gap: float) -> float:
    """Area of the part of a disc with 0 < x and abs(y) < gap."""
    return gap * sqrt(radius**2 - gap**2) + radius**2 * asin(gap / radius)


_WAIST, _HOLE, _GAP, _ARM, _BAR, _STROKE = 0.45, 0.55, 0.3, 1 / 3, 0.3, 1 / 8

OBJECTS = (
    _outline("disc", _disc, pi, 1),
    _outline("square", _rectangle(-1, -1, 1, 1), 4, sqrt(2)),
    _outline("triangle", _triangle, 3 * sqrt(3), 2),
    _outline("star", _star(5, _WAIST), 5 * _WAIST * sin(pi / 5), 1),
    _outline(
        "cross",
        _union(_rectangle(-1, -_ARM, 1, _ARM), _rectangle(-_ARM, -1, _ARM, 1)),
        8 * _ARM - 4 * _ARM**2,
        hypot(1, _ARM),
    ),
    _outline("ring", _ring(_HOLE), pi * (1 - _HOLE**2), 1),
    _outline(
        "horseshoe", _horseshoe(_HOLE, _GAP), pi * (1 - _HOLE**2) - _half_strip(1, _GAP) + _half_strip(_HOLE, _GAP), 1
    ),
)
"""The classes. Some differ in one spot only, such as ring and horseshoe: it takes a view of the whole object to distinguish them."""

DISTRACTORS = (
    _outline("stroke", _rectangle(-_STROKE, -1, _STROKE, 1), 4 * _STROKE, hypot(1, _STROKE)),
    _outline(
        "corner",
        _union(_rectangle(0.7, -0.8, 0.7 + 2 * _BAR, 1), _rectangle(-0.5, -0.8, 1.3, -0.8 + 2 * _BAR)),
        4 * _BAR * (1.8 - _BAR),
        hypot(1.3, 1),
    ),
    _outline(
        "tee",
        _union(_rectangle(-0.9, -1, -0.9 + 2 * _BAR, 1), _rectangle(-0.9, -_BAR, 1.1, _BAR)),
        2 * _BAR * (2 + 2 - 2 * _BAR),
        hypot(0.9, 1),
    ),
)
"""Background that looks like objects: parts of the classes' outlines, put together to none of them."""

HAZE = _outline("haze", _disc, pi, 1)
"""The distractor without an outline: it is painted with an edge as wide as itself."""


class Wave(NamedTuple):
    """One transverse wave of a warp, in units of the object's radius: it pushes along its crests."""

    amplitude: float
    frequency: tuple[float, float]
    """(y, x), radians per radius."""
    phase: float


_WAVES = 2
_FREQUENCIES = (1.25, 2.5)
_FLOW_STEPS = 3
_CIRCLE = np.linspace(0, 2 * pi, 16, endpoint=False, dtype=np.float32)


@dataclass(frozen=True)
class Warp:
    """A smooth deformation of canonical coordinates that keeps the centre and, nearly, every area.

    It is the flow along a field of a few waves, so it never tears or folds: a ring stays a ring, and no outline gains
    a corner. The field has no divergence, and its rotation is taken out: how large an object is and how it is turned
    stays, nearly, as its pose says. `strength` is the root mean square of the field on the unit circle, so about that of the
    displacement of the outline, as a share of the radius.
    """

    strength: float
    waves: tuple[Wave, ...]
    spin: float
    """Radians of rotation by the waves, which the field takes back."""

    @classmethod
    def draw(cls, random: np.random.Generator, strength: float) -> "Warp":
        """A warp of that strength; what is drawn does not depend on the strength."""
        courses, phases = random.uniform(0, 2 * pi, (2, _WAVES)).tolist()
        frequencies = random.uniform(*_FREQUENCIES, _WAVES).tolist()
        waves = [
            Wave(1.0, (frequency * sin(course), frequency * cos(course)), phase)
            for course, frequency, phase in zip(courses, frequencies, phases, strict=True)
        ]
        y, x = np.sin(_CIRCLE), np.cos(_CIRCLE)
        dy, dx = cls(1.0, tuple(waves), 0.0).velocity(y, x)
        spin = float((dy * x - dx * y).mean())
        scale = strength / sqrt(float((dy**2 + dx**2).mean()) - spin**2)
        return cls(strength, tuple(wave._replace(amplitude=scale) for wave in waves), scale * spin)

    def velocity(self, y: Array, x: Array) -> tuple[Array, Array]:
        """The field (dy, dx) at canonical coordinates (y, x)."""
        dy, dx = -self.spin * x, self.spin * y
        for amplitude, (frequency_y, frequency_x), phase in self.waves:
            swing = np.sin(frequency_y * y + frequency_x * x + phase) - sin(phase)
            length = hypot(frequency_y, frequency_x)
            dy += amplitude * frequency_x / length * swing
            dx -= amplitude * frequency_y / length * swing
        return dy, dx

    def move(self, y: Array, x: Array) -> tuple[Array, Array]:
        """Where the flow takes the canonical coordinates (y, x)."""
        if self.strength == 0:
            return y, x
        for _ in range(_FLOW_STEPS):
            dy, dx = self.velocity(y, x)
            y, x = y + dy / _FLOW_STEPS, x + dx / _FLOW_STEPS
        return y, x

    @property
    def reach(self) -> float:
        """No point is moved nearer to the centre by more than this."""
        return sum((1 + abs(sin(wave.phase))) * wave.amplitude for wave in self.waves)


@dataclass(frozen=True)
class Pose:
    """Where an outline is in an image, how large, how turned and how warped."""

    centre: tuple[float, float]
    """(y, x), pixels."""
    radius: float
    """Pixels; the radius of the disc of the same area."""
    rotation: float
    """Degrees, from the x axis towards the y axis: clockwise as seen."""
    warp: Warp

    def canonical(self, y: Array, x: Array) -> tuple[Array, Array]:
        """Canonical coordinates of the image coordinates (y, x), which broadcast."""
        down, right = (y - self.centre[0]) / self.radius, (x - self.centre[1]) / self.radius
        cosine, sine = cos(radians(self.rotation)), sin(radians(self.rotation))
        turned_y, turned_x = cosine * down - sine * right, sine * down + cosine * right
        return self.warp.move(turned_y, turned_x)

    def reach(self, outline: Outline) -> float:
        """Nothing of the outline in this pose is farther than this from the centre, in pixels."""
        return self.radius * (outline.reach + self.warp.reach)
