"""Colours and textures of the generated data; one distribution for background, objects and distractors alike."""

from dataclasses import dataclass
from math import ceil, floor, log, pi

import numpy as np
from numpy.typing import NDArray

from dcnrun.data.outlines import Array, Outline, Pose

_DARKEST, _BRIGHTEST = 0.15, 0.85
_DISTINCT = 0.3
_COLOUR_TRIES = 16
_TEXTURE_WAVES = 3
_SHORTEST_WAVE, _LONGEST_WAVE = 1 / 32, 1 / 5
_TEXTURE_SWING, _NOISE = 0.45, 0.1


@dataclass(frozen=True)
class Paint:
    """A colour with a texture of a few plane waves across it."""

    colour: Array
    tint: Array
    """(3,), what is added to the colour where the texture is highest."""
    waves: NDArray[np.float64]
    """A row for each wave: frequency along y and x (radians per pixel), phase, weight."""

    @classmethod
    def draw(cls, random: np.random.Generator, used: list["Paint"], size: int, texture: float) -> "Paint":
        """A paint whose colour stands out from those `used`; `size` is the image's side, `texture` from 0 to 1."""
        colours = random.uniform(_DARKEST, _BRIGHTEST, (_COLOUR_TRIES, 3))
        colour = colours[0]
        if used:
            difference = colours[:, None] - np.array([paint.colour for paint in used])
            distance = np.sqrt((difference**2).sum(axis=2).min(axis=1))
            # the first that is distinct, or the most distinct of all
            colour = colours[np.argmax(np.minimum(distance, _DISTINCT))]
        tint = random.standard_normal(3)
        tint *= _TEXTURE_SWING * texture / np.linalg.norm(tint)
        wavelength = size * np.exp(random.uniform(log(_SHORTEST_WAVE), log(_LONGEST_WAVE), _TEXTURE_WAVES))
        course, phase = random.uniform(0, 2 * pi, (2, _TEXTURE_WAVES))
        weight = random.dirichlet(np.ones(_TEXTURE_WAVES))
        waves = np.stack(
            [np.sin(course) * 2 * pi / wavelength, np.cos(course) * 2 * pi / wavelength, phase, weight], axis=1
        )
        return cls(colour.astype(np.float32), tint.astype(np.float32), waves)

    def at(self, y: Array, x: Array) -> Array:
        """RGB (3, H, W) from 0 to 1 at the rows y (H, 1) and columns x (1, W)."""
        texture = np.zeros((y.shape[0], x.shape[1]), np.float32)
        for along_y, along_x, phase, weight in self.waves.tolist():
            texture += weight * np.sin(along_y * y + (along_x * x + phase))
        rgb: Array = self.colour[:, None, None] + self.tint[:, None, None] * texture
        return rgb


class Canvas:
    """An image being painted, and which object is visible at each pixel."""

    def __init__(self, size: int, background: Paint) -> None:
        self.size = size
        self.centres: Array = np.arange(size, dtype=np.float32) + 0.5
        self.image = background.at(self.centres[:, None], self.centres[None, :])
        self.identity = np.zeros((size, size), np.uint8)

    def add(self, outline: Outline, pose: Pose, paint: Paint, *, identity: int = 0, edge: float = 1.0) -> None:
        """Paint an outline over what is there, with an edge that fades over `edge` pixels."""
        reach = pose.reach(outline) + edge / 2
        rows, columns = (
            slice(max(floor(centre - reach), 0), min(ceil(centre + reach), self.size)) for centre in pose.centre
        )
        y, x = self.centres[rows, None], self.centres[None, columns]
        level = pose.radius * outline.level(*pose.canonical(y, x))
        patch = self.image[:, rows, columns]
        patch += np.clip(0.5 - level / edge, 0, 1) * (paint.at(y, x) - patch)
        self.identity[rows, columns][level < 0] = identity

    def develop(self, random: np.random.Generator, texture: float) -> NDArray[np.uint8]:
        """The picture as uint8 (3, H, W), with the grain of a camera."""
        grain = random.standard_normal((self.size, self.size), np.float32) * (_NOISE * texture)
        return np.clip((self.image + grain) * 255 + 0.5, 0, 255).astype(np.uint8)
