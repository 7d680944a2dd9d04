"""The cells of a grid: one run each, with its folder and its state."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dcnrun.compare.grid import Grid, Variant
from dcnrun.compare.results import FinishedRun, read_finished
from dcnrun.compare.variants import identity
from dcnrun.config.compose import load
from dcnrun.config.inactive import settings_of
from dcnrun.config.settings import as_typed
from dcnrun.errors import RunError, UsageError
from dcnrun.jobs.train import is_begun, train_arguments
from dcnrun.runs import RunFolder


@dataclass(frozen=True, eq=False)
class GridCell:
    """One cell of the grid and its folder."""

    variant: Variant
    seed: int
    path: Path

    @property
    def title(self) -> str:
        """The name that people read, such as `dilated 4, seed 0`."""
        return f"{self.variant.name}, seed {self.seed}"

    @property
    def steps(self) -> int:
        """The number of training steps."""
        return self.variant.config.trainer.steps

    @property
    def overrides(self) -> tuple[str, ...]:
        """The overrides that `dcnrun train` is given."""
        return (*self.variant.overrides, f"seed={self.seed}")

    @property
    def is_begun(self) -> bool:
        """Whether there is a run to resume."""
        return is_begun(self.path)

    def finished(self) -> FinishedRun | None:
        """Return its result, or None unless it is completed."""
        try:
            return read_finished(self.path)
        except RunError:
            return None

    def arguments(self, config_dir: Path | None) -> list[str]:
        """Return the arguments of `dcnrun` that start or resume the run."""
        return train_arguments(self.path, self.overrides, config_dir)


def grid_cells(grid: Grid, folder: Path) -> list[GridCell]:
    """Return all cells in the order in which they run; UsageError where a folder holds a run of another config.

    All variants of a seed come before the next seed, so that a comparison that is stopped early has complete pairs.
    """
    runs = [
        GridCell(variant, seed, folder / f"{variant.slug}-seed{seed}")
        for seed in grid.seeds
        for variant in grid.variants
    ]
    _check_folders(runs)
    return runs


def _check_folders(runs: Sequence[GridCell]) -> None:
    problems = []
    for run in runs:
        if run.is_begun:
            file = RunFolder(run.path).config_file
            own = {"seed": run.seed, **identity(run.variant.settings)}
            held = settings_of(load(file))
            held = {"seed": held["seed"], **identity(held)}
            problems += [
                f"{file} has {key}={as_typed(held.get(key))}, but {run.title} needs {key}={as_typed(own.get(key))}"
                for key in sorted(own.keys() | held.keys())
                if own.get(key) != held.get(key)
            ]
    if problems:
        raise UsageError("\n".join(problems) + "\nGive another --out, or move those runs away.")
