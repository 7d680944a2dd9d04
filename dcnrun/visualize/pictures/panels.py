"""What all pictures share: panels in rows and columns, the image under them, colours, and how they are written."""

from collections.abc import Sequence
from dataclasses import dataclass
from textwrap import wrap
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dcnrun.data.pictures import short_name
from dcnrun.offsets.grid import Grid, Pair
from dcnrun.plotting import new_figure

Picture = npt.NDArray[np.uint8]
"""(H, W, 3), the image as the network saw it."""

Extent = tuple[float, float, float, float]
"""left, right, bottom, top in image pixels, as matplotlib has it."""

OUTLINE = "#222222"
_BEYOND = "#DDDDDD"

PICTURE_DPI = 120
_WIDEST = 3.2  # inches of a panel
_WIDTH = 13.0  # inches of all panels, if there are many
_LOWEST = 0.8  # of a panel, however flat the image is: its label needs some room
_GAP = 0.12
_ROW_LABEL = 0.3
_COLUMN_TITLE = 0.36
_HEAD = 0.17  # a line of the title
_LETTER = 0.075  # of the title, about
_NARROWEST = 6.0  # of a figure: its title and legend need some room
COMPRESS_LEVEL = 3  # of PNGs: a third of the time of the usual 6, for files some percent larger


@dataclass(frozen=True)
class Panels:
    """A figure with axes in rows and columns, all of one shape, and room below and to the right of them."""

    figure: Figure
    axes: list[list[Axes]]
    top: float
    """The upper edge of the first row in inches from below."""

    def axes_in(self, left: float, bottom: float, width: float, height: float) -> Axes:
        """Axes more, at a place in inches from the figure's lower left corner."""
        whole_width, whole_height = self.figure.get_size_inches()
        share = left / whole_width, bottom / whole_height, width / whole_width, height / whole_height
        return self.figure.add_axes(share)

    def thumbnail(self, picture: Picture, left: float, top: float, width: float) -> None:
        """Draw the image beside the panels, in inches from the figure's lower left corner; nothing where there is little room."""
        height = min(width * aspect(picture), top)
        if height > width / 2:
            axes = self.axes_in(left, top - height, width, height)
            show_image(axes, picture)
            axes.axis("off")

    @property
    def size(self) -> tuple[float, float]:
        """Width and height of the figure in inches."""
        width, height = self.figure.get_size_inches()
        return float(width), float(height)


def panels(
    title: str,
    rows: Sequence[str],
    columns: Sequence[str],
    aspect: float,
    *,
    below: float = 0.0,
    beside: float = 0.0,
) -> Panels:
    """Panels whose height is `aspect` times their width, with names of rows and columns; `below` and `beside` are inches.

    Flatter ones get more room, for the names of their rows. Placed by hand: matplotlib's own layout measures all texts, which takes longer than to draw them.
    """
    width = min(_WIDEST, _WIDTH / len(columns))
    height = max(width * aspect, _LOWEST)
    column_title = _COLUMN_TITLE if any(columns) else 0.0
    whole_width = max(_ROW_LABEL + len(columns) * (width + _GAP) + beside, _NARROWEST)
    lines = [line for part in title.splitlines() for line in wrap(part, int(whole_width / _LETTER))]
    above = 0.1 + _HEAD * len(lines) + column_title
    whole_height = above + len(rows) * (height + _GAP) + below
    figure = new_figure((whole_width, whole_height), PICTURE_DPI, layout=None)
    figure.text(0.1 / whole_width, 1 - 0.08 / whole_height, "\n".join(lines), va="top", fontsize=9, parse_math=False)
    made = Panels(figure, [], whole_height - above)
    for i, row in enumerate(rows):
        bottom = whole_height - above - (i + 1) * (height + _GAP) + _GAP
        made.axes.append(
            [made.axes_in(_ROW_LABEL + j * (width + _GAP), bottom, width, height) for j in range(len(columns))]
        )
        for axes in made.axes[i]:
            axes.set(xticks=[], yticks=[])
        made.axes[i][0].set_ylabel(short_name(row), fontsize=8, parse_math=False)
    for axes, column in zip(made.axes[0], columns, strict=True):
        axes.set_title(column, fontsize=8, parse_math=False)
    return made


def show_image(axes: Axes, picture: Picture, margin: float = 0.0) -> None:
    """Draw the image and `margin` pixels around it."""
    height, width = picture.shape[:2]
    axes.set_facecolor(_BEYOND)
    axes.imshow(picture, interpolation="auto")
    axes.set_xlim(-0.5 - margin, width - 0.5 + margin)
    axes.set_ylim(height - 0.5 + margin, -0.5 - margin)


def show_map(axes: Axes, values: npt.NDArray[Any], grid: Grid, image_size: Pair, **settings: Any) -> Any:
    """Draw a map (H, W) or (H, W, 3) where its pixels lie in the image, and nothing beyond the image; grey where it ends."""
    axes.set_facecolor(_BEYOND)
    shown = axes.imshow(
        values, extent=extent(grid, (values.shape[0], values.shape[1])), interpolation="nearest", **settings
    )
    axes.set_xlim(-0.5, image_size[1] - 0.5)
    axes.set_ylim(image_size[0] - 0.5, -0.5)
    return shown


def extent(grid: Grid, size: Pair) -> Extent:
    """The edges of a map of (H, W) `size` in the image."""
    (top, left), (bottom, right) = (
        (grid.start[0] + grid.step[0] * y, grid.start[1] + grid.step[1] * x)
        for y, x in ((-0.5, -0.5), (size[0] - 0.5, size[1] - 0.5))
    )
    return left, right, bottom, top


def aspect(picture: Picture, margin: float = 0.0) -> float:
    """Height over width of the image with a margin."""
    height, width = picture.shape[:2]
    return float((height + 2 * margin) / (width + 2 * margin))


def short_layer(name: str) -> str:
    """A layer's name as titles have it."""
    return short_name(name.removeprefix("backbone."))
