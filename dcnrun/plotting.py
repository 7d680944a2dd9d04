"""The one style of all figures: colours that any colour vision tells apart, figures without a screen, PNG files."""

import warnings
from pathlib import Path
from typing import Literal

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from dcnrun.runs import replacing

# Okabe and Ito's colours.
BLUE = "#0072B2"
ORANGE = "#E69F00"
GREEN = "#009E73"
PINK = "#CC79A7"
SKY_BLUE = "#56B4E9"
VERMILION = "#D55E00"
YELLOW = "#F0E442"
BLACK = "#000000"
GREY = "#888888"

COLOURS = (BLUE, ORANGE, GREEN, PINK, SKY_BLUE, VERMILION, BLACK)
"""The order in which series of a chart take their colours: yellow is hard to see on white."""

TITLE_SIZE = 10
LABEL_SIZE = 9
SMALL_SIZE = 7

DPI = 150


def new_figure(
    size: tuple[float, float], dpi: int = DPI, layout: Literal["constrained"] | None = "constrained"
) -> Figure:
    """A figure of (width, height) inches that is drawn without a screen, and without `pyplot`, which would keep it alive."""
    figure = Figure(figsize=size, dpi=dpi, layout=layout)
    FigureCanvasAgg(figure)
    return figure


def save_png(figure: Figure, path: Path, compress_level: int = 6) -> Path:
    """Write a figure beside `path` and rename it; RunError where that can't be done."""
    with replacing(path) as beside, warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")  # a letter that the font has not is drawn as a square
        figure.savefig(beside, format="png", pil_kwargs={"compress_level": compress_level})
    return path


def plain_text(text: str) -> str:
    """Text in which a $ does not begin a formula."""
    return text.replace("$", r"\$")


def remove_box(axes: Axes) -> None:
    """Leave only the axis lines on the left and below."""
    axes.spines[["top", "right"]].set_visible(False)


def tidy(axes: Axes, title: str) -> None:
    """Put the title on the left, draw a faint grid and remove the box."""
    axes.set_title(plain_text(title), fontsize=TITLE_SIZE, loc="left")
    axes.grid(alpha=0.25)
    remove_box(axes)
