"""What the figures of a sweep have in common: colours that any colour vision tells apart, and texts as they are."""

import re
import textwrap
from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes

# Okabe and Ito's colours, without the yellow that is hard to see on white.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
BEST = "#D55E00"
TRIAL = "#0072B2"
BLACK = "#000000"
GREY = "#888888"
_LIGHTEST = 0.88
_LINE_OF_NAME = 18


def plain(text: str) -> str:
    """Text in which a $ does not begin a formula."""
    return text.replace("$", r"\$")


def shortened(value: Any, longest: int) -> str:
    """A value as a label of at most so many characters."""
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    return plain(text if len(text) <= longest else f"{text[: longest - 1]}…")


def wrapped(name: str, width: int = _LINE_OF_NAME) -> str:
    """A long dotted name in short lines: `optim.` above `offset_lr_mult`."""
    parts = re.split(r"(?<=\.)", name) if len(name) > width else [name]
    return plain("\n".join(line for part in parts for line in textwrap.wrap(part, width)))


def colours_for(count: int) -> Sequence[Any]:
    """As many colours: distinct ones, or shades where there are too many to tell apart."""
    return COLOURS[:count] if count <= len(COLOURS) else [shade(i / (count - 1)) for i in range(count)]


def shade(goodness: float) -> Any:
    """From light (0, worst) to dark (1, best)."""
    return mpl.colormaps["cividis"](_LIGHTEST * (1 - goodness))


def tidy(axes: Axes, title: str) -> None:
    """A title on the left, a faint grid, no box."""
    axes.set_title(plain(title), fontsize=10, loc="left")
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
