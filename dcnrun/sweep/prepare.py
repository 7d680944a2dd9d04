"""What comes before the first trial: the sweep file checked whole, and how and where it is run."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dcnrun.console import console
from dcnrun.errors import ConfigError
from dcnrun.sweep.places import SWEEPS, slug
from dcnrun.sweep.plan import Plan
from dcnrun.sweep.search import SamplerName
from dcnrun.sweep.spec.checks import check_against_settings
from dcnrun.sweep.spec.engines import local_problems
from dcnrun.sweep.spec.reading import read_sweep
from dcnrun.sweep.spec.sweep_file import SweepFile


@dataclass(frozen=True)
class Options:
    """How a sweep is run."""

    count: int | None = None
    """The most trials over all agents and all times it is started; the smaller of this and `run_cap` holds."""
    agents: int = 1
    gpus: tuple[str, ...] = ()
    name: str | None = None
    out: Path | None = None
    storage: str | None = None
    sampler: SamplerName = "tpe"
    seed: int = 0
    repeats: int | None = None
    """Seeds over which the best settings are run again when the trials are done; None: they are not."""
    top: int = 3
    """How many of the best settings are."""
    retry_failed: bool = False
    """Run trials that failed before once more."""


def local_plan(path: Path, overrides: Sequence[str], options: Options) -> Plan:
    """Read a sweep file for the local engine; ConfigError has everything that is wrong with it, or can't be honoured here.

    UsageError if its settings can't be compared, where they are to be repeated.
    """
    sweep = read_and_tell(path)
    if problems := local_problems(sweep):
        raise ConfigError(problems)
    check_against_settings(sweep, overrides)
    plan = Plan(sweep, tuple(overrides), options.seed, options.sampler)
    if options.repeats:
        from dcnrun.sweep.repeats import check_repeatable  # imports what reads finished runs

        check_repeatable(plan)
    return plan


def read_and_tell(path: Path) -> SweepFile:
    """Read a sweep file, and say what was mended in it."""
    sweep = read_sweep(path)
    for note in sweep.notes:
        console.print(note, markup=False, soft_wrap=True)
    return sweep


def name_of(sweep: SweepFile, options: Options) -> str:
    """A sweep's name in runs/sweeps, or in a database."""
    return slug(options.name or sweep.name)


def folder_of(sweep: SweepFile, options: Options) -> Path:
    """Where a sweep is kept on this machine."""
    return options.out or SWEEPS / name_of(sweep, options)


def cap_of(sweep: SweepFile, options: Options) -> int | None:
    """The most trials: the smaller of --count and run_cap; None without either."""
    return min((number for number in (options.count, sweep.run_cap) if number is not None), default=None)
