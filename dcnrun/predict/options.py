"""The options of `dcnrun predict`, apart from what they start: the command line parses them without torch."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from dcnrun.errors import UsageError
from dcnrun.runs import CheckpointChoice
from dcnrun.tasks.found import PredictionFormat

DEFAULT_OVERLAP = 128
"""Pixels that neighbouring tiles share, unless asked."""

TILE_MULTIPLE = 32
"""Sides and overlaps of tiles are multiples of this."""

DATA = "data"
"""The word that stands for the images of a run's data set."""

RunSplit = Literal["train", "val"]


@dataclass(frozen=True)
class Options:
    """What is predicted, how, and what is written."""

    out: Path
    """The folder to write to."""
    formats: tuple[PredictionFormat, ...] = ()
    """What is written; () for all that the task has."""
    split: RunSplit | None = None
    """Which images `data` stands for; None: those of validation."""
    checkpoint: CheckpointChoice = CheckpointChoice.best
    min_score: float | None = None
    """What an object must score to be written; None: DEFAULT_SCORE."""
    batch: int | None = None
    """The most images that a network sees at once; None: data.eval_batch_size of the run."""
    device: str | None = None
    """cpu or cuda; None: as the run's settings say."""
    tile: int | None = None
    """Larger images, as the network sees them, are cut into tiles of so many pixels a side; None: never."""
    overlap: int | None = None
    """The pixels that neighbouring tiles share; None: DEFAULT_OVERLAP."""

    def tiling(self) -> tuple[int, int] | None:
        """Return side and overlap of tiles, if there are to be any; UsageError for values that can't be."""
        if self.tile is None:
            if self.overlap is not None:
                raise UsageError(f"--overlap {self.overlap} is of tiles: give --tile too.")
            return None
        overlap = DEFAULT_OVERLAP if self.overlap is None else self.overlap
        for name, value in (("--tile", self.tile), ("--overlap", overlap)):
            if value % TILE_MULTIPLE:
                raise UsageError(
                    f"{name} {value}: give a multiple of {TILE_MULTIPLE}, the coarsest stride of the networks."
                )
        if not 0 <= overlap <= self.tile // 2:
            raise UsageError(f"--overlap {overlap}: with --tile {self.tile}, give 0 to {self.tile // 2}.")
        return self.tile, overlap


def check(words: Sequence[str], options: Options) -> None:
    """Raise UsageError for words, none of them a run or a setting, and options that don't go together."""
    options.tiling()
    if not words:
        raise UsageError(
            "Nothing to predict on: give image files, a folder of images, or the word data for the run's validation images."
        )
    if DATA in words and len(words) > 1:
        others = ", ".join(word for word in words if word != DATA)
        raise UsageError(
            f"The word data stands for the images of the run's data set, which are predicted by themselves: give either data or {others}"
            " (a folder of that name is ./data)."
        )
    if options.split and DATA not in words:
        raise UsageError(
            f"--split {options.split} is for the images of the run's data set: give the word data in place of {', '.join(words)}."
        )
