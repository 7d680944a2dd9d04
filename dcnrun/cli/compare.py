"""`dcnrun compare`."""

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from dcnrun.cli.options import (
    Address,
    ConfigDir,
    DryRun,
    Gpus,
    Json,
    PerTrial,
    Storage,
    WhereRuns,
    cluster_options,
    complete_override,
    gpu_list,
    split_overrides,
)
from dcnrun.compare import PICTURES
from dcnrun.errors import UsageError


class Where(StrEnum):
    """Where the runs of a comparison are trained."""

    local = "local"
    ray = "ray"


def compare(
    arguments: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="OVERRIDE|RUN",
            help="Overrides with several values (conv=standard,dilated seed=0,1,2), or folders of finished runs.",
            autocompletion=complete_override,
        ),
    ] = None,
    vary: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=VALUES",
            help="Run the comparison at each of these values of a setting (data.warp=0,0.3,0.6), and show how the differences move; several settings one at a time.",
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Where the comparison is written.")] = None,
    config_dir: ConfigDir = None,
    dry_run: DryRun = False,
    storage: Storage = None,
    agents: Annotated[
        int | None,
        typer.Option(min=1, help="Runs at a time; by default 1, on a Ray cluster as many as it has room for."),
    ] = None,
    gpus: Gpus = None,
    pictures: Annotated[
        int,
        typer.Option(
            min=0, max=12, help="Images on which the variants differ most that are drawn into compare.html; 0 for none."
        ),
    ] = PICTURES,
    engine: Annotated[Where, typer.Option(help="Train here, or on a Ray cluster.")] = Where.local,
    address: Address = None,
    per_trial: PerTrial = None,
    run_folders: WhereRuns = None,
    as_json: Json = False,
) -> dict[str, Any]:
    """Train and compare variants, or compare finished runs.

    Runs of the same settings and seed that are completed already are not trained again.
    With --storage, machines on which the same command is started share the runs.
    For example: dcnrun compare conv=standard,dilated,deformable conv.dilation=2,6 seed=0,1,2
    """
    overrides, runs = split_overrides(arguments)
    if not overrides and not runs:
        raise UsageError("Nothing to compare: give overrides such as conv=standard,deformable, or folders of runs.")
    if overrides and runs:
        raise UsageError(f"Give overrides or folders of runs, not both: {', '.join(runs)} has no `=`.")
    if runs:
        of_training = (vary, config_dir, dry_run, storage, agents, gpus, address, per_trial, run_folders)
        if any(of_training) or engine is not Where.local:
            raise UsageError(
                "Folders of finished runs are compared as they are: give --out, --pictures and --json at most, and not --vary, --config-dir, "
                "--dry-run, --storage, --agents, --gpus, --engine, --address, --per-trial or --runs."
            )
        from dcnrun.compare.compare_runs import compare_runs

        return compare_runs([Path(run) for run in runs], out, pictures)

    if agents and gpus:
        raise UsageError("Give --agents or --gpus, not both: each GPU has an agent.")
    from dcnrun.compare.runner import run_grid
    from dcnrun.jobs.database import storage_url

    cluster = cluster_options(engine is Where.ray, address, per_trial, run_folders, agents, gpus)
    gpu_names, url = gpu_list(gpus), storage_url(storage)

    def run(settings: Sequence[str], folder: Path | None) -> dict[str, Any]:
        return run_grid(settings, folder, config_dir, dry_run, url, agents or 1, gpu_names, pictures, cluster)

    if not vary:
        return run(overrides, out)
    from dcnrun.compare.vary import run_varied

    return run_varied(overrides, vary, out, config_dir, dry_run, run)
