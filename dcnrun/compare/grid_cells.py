"""The cells of a grid: one run each, with its folder and its state."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dcnrun.compare.earlier_runs import find_completed, settings_here, settings_of_run
from dcnrun.compare.grid import Grid, Variant
from dcnrun.compare.results import FinishedRun, read_finished
from dcnrun.compare.variants import digest
from dcnrun.config.settings import as_typed
from dcnrun.errors import RunError, UsageError
from dcnrun.jobs.train import PROGRAM, is_begun, program_on, train_arguments
from dcnrun.runs import RunFolder


@dataclass(frozen=True, eq=False)
class GridCell:
    """One cell of the grid and its folder."""

    variant: Variant
    seed: int
    path: Path
    is_elsewhere: bool = False
    """Whether it is a completed run in a folder that is not the comparison's."""

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
    def settings(self) -> dict[str, Any]:
        """What decides its numbers."""
        return settings_here(replace(self.variant.config, seed=self.seed))

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

    def command(self, config_dir: Path | None, program: Sequence[str] = PROGRAM) -> list[str]:
        """Return the command that starts or resumes the run."""
        devices = self.variant.config.trainer.devices
        return [*program_on(devices, program), *train_arguments(self.path, self.overrides, config_dir)]


def grid_cells(grid: Grid, folder: Path) -> list[GridCell]:
    """Return all cells in the order in which they run; UsageError where a folder holds a run of another config.

    All variants of a seed come before the next seed, so that a comparison that is stopped early has complete pairs. A run
    that is not begun here and was completed elsewhere is taken from there.
    """
    runs = [
        GridCell(variant, seed, folder / f"{variant.slug}-seed{seed}")
        for seed in grid.seeds
        for variant in grid.variants
    ]
    _check_folders(runs)
    new = {cell: digest(cell.settings) for cell in runs if not cell.is_begun}
    found = find_completed(set(new.values()), Path(grid.variants[0].config.runs_dir), folder)
    taken = {cell: replace(cell, path=found[key], is_elsewhere=True) for cell, key in new.items() if key in found}
    return [taken.get(cell, cell) for cell in runs]


def changed_since(runs: Sequence[GridCell]) -> list[str]:
    """Return a line for what has changed in images or labels since runs began that are taken as they are."""
    from dcnrun.tasks.validate import changed_data  # imports torch

    begun = [run.path for run in runs if run.is_begun or run.is_elsewhere]
    environments = {str(path): RunFolder(path).read_environment() for path in begun}
    return changed_data(runs[0].variant.config, environments)  # all variants have the same data


def _check_folders(runs: Sequence[GridCell]) -> None:
    problems = []
    for run in runs:
        if run.is_begun:
            file, own, held = RunFolder(run.path).config_file, run.settings, settings_of_run(run.path)
            problems += [
                f"{file} has {key}={as_typed(held.get(key))}, but {run.title} needs {key}={as_typed(own.get(key))}"
                for key in sorted(own.keys() | held.keys())
                if own.get(key) != held.get(key)
            ]
    if problems:
        raise UsageError("\n".join(problems) + "\nGive another --out, or move those runs away.")
