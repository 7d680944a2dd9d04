"""Panels in rows and columns, with the image or a feature map in them."""

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
"""The image as the network saw it: (H, W, 3)."""

Extent = tuple[float, float, float, float]
"""(left, right, bottom, top) in image pixels, as in matplotlib."""

OUTLINE = "#222222"
_BEYOND = "#DDDDDD"

PICTURE_DPI = 120
_WIDEST = 3.2  # inches of a panel
_WIDTH = 13.0  # inches of all panels together, if there are many
_LOWEST = 0.8  # inches of a panel, however flat the image is: its label needs some room
_GAP = 0.12
_ROW_LABEL = 0.3
_COLUMN_TITLE = 0.36
_TITLE_LINE = 0.17
_LETTER = 0.075  # the title's, about
_NARROWEST = 6.0  # inches of a figure: its title and legend need some room
COMPRESS_LEVEL = 3  # a third of the time of the usual 6, for files some percent larger


@dataclass(frozen=True)
class Panels:
    """A figure with axes in rows and columns, all of one shape, and room below and to the right of them."""

    figure: Figure
    axes: list[list[Axes]]
    top: float
    """The upper edge of the first row in inches from below."""

    def axes_in(self, left: float, bottom: float, width: float, height: float) -> Axes:
        """Add axes at a position in inches from the figure's lower left corner."""
        whole_width, whole_height = self.size
        share = left / whole_width, bottom / whole_height, width / whole_width, height / whole_height
        return self.figure.add_axes(share)

    def thumbnail(self, picture: Picture, left: float, top: float, width: float) -> None:
        """Draw the image beside the panels, at a position in inches from the figure's lower left corner, if there is room."""
        height = min(width * aspect(picture), top)
        if height > width / 2:
            axes = self.axes_in(left, top - height, width, height)
            show_image(axes, picture)
            axes.axis("off")

    @property
    def size(self) -> tuple[float, float]:
        """The figure's width and height in inches."""
        width, height = self.figure.get_size_inches()
        return float(width), float(height)


def panels(
    title: str, rows: Sequence[str], columns: Sequence[str], aspect: float, *, below: float = 0.0, beside: float = 0.0
) -> Panels:
    """Make a figure with panels in rows and columns.

    They are placed without matplotlib's layout engines, which measure all texts: that takes longer than to draw them.

    Args:
        title: of the figure; lines are wrapped.
        rows: the rows' labels.
        columns: the columns' titles.
        aspect: a panel's height over its width; flat panels get more height, for the rows' labels.
        below: inches to leave free below the panels.
        beside: inches to leave free to the right of the panels.
    """
    width = min(_WIDEST, _WIDTH / len(columns))
    height = max(width * aspect, _LOWEST)
    column_title = _COLUMN_TITLE if any(columns) else 0.0
    whole_width = max(_ROW_LABEL + len(columns) * (width + _GAP) + beside, _NARROWEST)
    lines = [line for part in title.splitlines() for line in wrap(part, int(whole_width / _LETTER))]
    above = 0.1 + _TITLE_LINE * len(lines) + column_title
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
    """Draw the image with `margin` pixels around it."""
    height, width = picture.shape[:2]
    axes.set_facecolor(_BEYOND)
    axes.imshow(picture, interpolation="auto")
    axes.set_xlim(-0.5 - margin, width - 0.5 + margin)
    axes.set_ylim(height - 0.5 + margin, -0.5 - margin)


def show_map(axes: Axes, values: npt.NDArray[Any], grid: Grid, image_size: Pair, **settings: Any) -> Any:
    """Draw a feature map (H, W) or (H, W, 3) where its pixels lie in the image, cropped to the image; grey where it ends."""
    axes.set_facecolor(_BEYOND)
    shown = axes.imshow(
        values, extent=extent(grid, (values.shape[0], values.shape[1])), interpolation="nearest", **settings
    )
    axes.set_xlim(-0.5, image_size[1] - 0.5)
    axes.set_ylim(image_size[0] - 0.5, -0.5)
    return shown


def extent(grid: Grid, size: Pair) -> Extent:
    """Return the edges of a feature map of (H, W) `size` in the image."""
    top, bottom = (grid.start[0] + grid.step[0] * y for y in (-0.5, size[0] - 0.5))
    left, right = (grid.start[1] + grid.step[1] * x for x in (-0.5, size[1] - 0.5))
    return left, right, bottom, top


def aspect(picture: Picture, margin: float = 0.0) -> float:
    """Return height over width of the image with a margin."""
    height, width = picture.shape[:2]
    return float((height + 2 * margin) / (width + 2 * margin))


def short_layer(name: str) -> str:
    """Return a layer's name as it is shown in titles."""
    return short_name(name.removeprefix("backbone."))
