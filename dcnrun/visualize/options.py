"""The options of `dcnrun visualize-offsets`, apart from what they start: the command line parses them without torch."""

from dataclasses import dataclass
from pathlib import Path

from dcnrun.errors import UsageError
from dcnrun.runs import CheckpointChoice

Pixel = tuple[int, int]
"""A row and a column."""


@dataclass(frozen=True)
class Options:
    """Which query points, layers and weights are shown, and where that is written."""

    out: Path | None = None
    """The folder to write to; by default figures/offsets of the first run."""
    at: tuple[Pixel, ...] = ()
    """Query points on the images, rows and columns in pixels of the image that the network sees; () for automatic ones."""
    layers: tuple[str, ...] = ()
    """Layers to draw; () for the last ones."""
    checkpoint: CheckpointChoice = CheckpointChoice.best
    limit: int = 200
    """The most validation images for the statistics; 0 for no statistics."""
    page: bool = True


def parse_query_point(text: str) -> Pixel:
    """Parse `Y,X`, two integers; UsageError for anything else."""
    try:
        y, x = (int(part) for part in text.split(","))
    except ValueError:
        raise UsageError(f"--at {text}: give a row and a column in pixels of the image, such as 120,84.") from None
    return y, x
