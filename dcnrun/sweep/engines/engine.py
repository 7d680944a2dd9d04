"""The interface of an engine that runs sweep files, and the list of engines.

Another engine is a file beside this one with a subclass of `SweepEngine`, a name in `Engine` and a case in `engine_for`.
The command line imports this module at its start, so that it imports little itself.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dcnrun.errors import ConfigError
from dcnrun.jobs.cluster.options import ClusterOptions

if TYPE_CHECKING:
    from dcnrun.sweep.spec.sweep_file import SweepFile


class Engine(StrEnum):
    """The engines that run a sweep."""

    local = "local"
    wandb = "wandb"
    ray = "ray"


class Sampler(StrEnum):
    """The samplers of method bayes in the local engine."""

    tpe = "tpe"
    gp = "gp"


@dataclass(frozen=True)
class Options:
    """The options of a sweep, as the user gave them; None leaves a choice to the engine."""

    count: int | None = None
    """The most trials over all agents and all times it is started; the smaller of this and `run_cap` holds."""
    agents: int = 1
    gpus: tuple[str, ...] = ()
    name: str | None = None
    out: Path | None = None
    storage: str | None = None
    sampler: Sampler | None = None
    seed: int | None = None
    repeats: int | None = None
    """Seeds over which the best settings are run again when the trials are done; None: they are not."""
    top: int = 3  # the number of the best settings that are repeated
    retry_failed: bool = False  # whether trials that failed before run again
    cluster: ClusterOptions | None = None  # of the Ray engine alone

    def cap(self, sweep: "SweepFile") -> int | None:
        """The most trials of a sweep: the smaller of --count and run_cap; None without either."""
        return min((number for number in (self.count, sweep.run_cap) if number is not None), default=None)


class SweepEngine(ABC):
    """Runs sweep files."""

    @abstractmethod
    def problems(self, sweep: "SweepFile") -> list[str]:
        """Return what of a sweep file the engine can't honour, each with its line; it ignores nothing instead."""

    @abstractmethod
    def run(self, path: Path, overrides: Sequence[str], options: Options) -> dict[str, Any]:
        """Run a sweep file to its end, or resume it; print and return what was found."""

    @abstractmethod
    def show_plan(self, path: Path, overrides: Sequence[str], options: Options) -> dict[str, Any]:
        """Print and return what `run` would do; start nothing and write nothing."""

    @abstractmethod
    def show_status(self, sweep: str, options: Options) -> dict[str, Any]:
        """Print and return how a sweep stands, by its name or folder, wherever it was started."""

    def read(self, path: Path, overrides: Sequence[str]) -> "SweepFile":
        """Read a sweep file and say what was mended in it; ConfigError has all that is wrong with it for this engine."""
        from dcnrun.console import console
        from dcnrun.sweep.spec.checks import check_against_settings
        from dcnrun.sweep.spec.reading import read_sweep

        sweep = read_sweep(path)
        for note in sweep.notes:
            console.print(note, markup=False, soft_wrap=True)
        if problems := self.problems(sweep):
            raise ConfigError(problems)
        check_against_settings(sweep, overrides)
        return sweep


def engine_for(engine: Engine) -> SweepEngine:
    """Return an engine by its name; its module is imported first here, since each takes long."""
    match engine:
        case Engine.local:
            from dcnrun.sweep.engines.local import LocalEngine

            return LocalEngine()
        case Engine.wandb:
            from dcnrun.sweep.engines.wandb import WandbEngine

            return WandbEngine()
        case Engine.ray:
            from dcnrun.jobs.cluster.options import require_ray

            require_ray()
            from dcnrun.sweep.engines.ray import RayEngine

            return RayEngine()
