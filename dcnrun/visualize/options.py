"""The options of `dcnrun visualize-offsets`, apart from what they start: the command line parses them without torch."""

from dataclasses import dataclass
from pathlib import Path

from dcnrun.errors import UsageError
from dcnrun.runs import CheckpointChoice

Pixel = tuple[int, int]
"""A row and a column."""


@dataclass(frozen=True)
class Options:
    """Which places, layers and weights are shown, and where that is written."""

    out: Path | None = None
    """Folder of all that is written; by default figures/offsets of the first run."""
    at: tuple[Pixel, ...] = ()
    """Places on the images, rows and columns in pixels of the image that the network sees; () for automatic ones."""
    layers: tuple[str, ...] = ()
    """To be drawn; () for the last ones."""
    checkpoint: CheckpointChoice = CheckpointChoice.best
    limit: int = 200
    """Validation images for the statistics; 0 for no statistics."""
    page: bool = True


def parse_place(text: str) -> Pixel:
    """`Y,X` as two whole numbers; UsageError for anything else."""
    try:
        y, x = (int(part) for part in text.split(","))
    except ValueError:
        raise UsageError(f"--at {text}: give a row and a column in pixels of the image, such as 120,84.") from None
    return y, x
