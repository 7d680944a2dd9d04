"""`dcnrun sweep`, and `dcnrun agent`, which joins one."""

from pathlib import Path
from typing import Annotated, Any

import typer

from dcnrun.cli.options import Address, Gpus, Json, Overrides, PerTrial, Storage, WhereRuns, cluster_options, gpu_list
from dcnrun.errors import UsageError
from dcnrun.sweep.engines.engine import Engine, Options, Sampler, engine_for


def sweep(
    file: Annotated[
        Path | None,
        typer.Argument(metavar="FILE", help="A sweep file of Weights & Biases, or the name of one that ships."),
    ] = None,
    overrides: Overrides = None,
    count: Annotated[
        int | None,
        typer.Option(min=1, help="The most trials in all, however often it is started; or run_cap, if less."),
    ] = None,
    agents: Annotated[
        int | None,
        typer.Option(min=1, help="Trials at a time; by default 1, on a Ray cluster as many as it has room for."),
    ] = None,
    gpus: Gpus = None,
    name: Annotated[
        str | None, typer.Option(metavar="NAME", help="By default the name in the file, or of the file.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="The sweep's folder; by default runs/sweeps/NAME.")
    ] = None,
    storage: Storage = None,
    engine: Annotated[
        Engine, typer.Option(help="Here, on a Ray cluster, or on Weights & Biases with its agents here.")
    ] = Engine.local,
    address: Address = None,
    per_trial: PerTrial = None,
    runs: WhereRuns = None,
    search: Annotated[
        Sampler | None, typer.Option(help="What method bayes is here: TPE (the default) or a Gaussian process.")
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Seed of the search; by default 0.")] = None,
    repeats: Annotated[
        int | None,
        typer.Option(
            min=2, metavar="K", help="Run the best settings again over K new seeds and rank them by their means."
        ),
    ] = None,
    top: Annotated[int | None, typer.Option(min=1, metavar="M", help="How many of the best; by default 3.")] = None,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Run trials that failed again, from their last checkpoints.")
    ] = False,
    status: Annotated[
        str | None,
        typer.Option(metavar="SWEEP", help="Show how a sweep stands (its name or folder), and do nothing else."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show trials, bands, search space and five suggestions; start nothing.")
    ] = False,
    as_json: Json = False,
) -> dict[str, Any]:
    """Search the best settings with a sweep file; the same command resumes a sweep that was stopped or killed.

    For example: dcnrun sweep offset_lr_bayes --count 12
    """
    if status is not None:
        if file or overrides or retry_failed:
            raise UsageError("--status shows a sweep that was started: leave out FILE, overrides and --retry-failed.")
        return engine_for(engine).show_status(status, Options(storage=storage, out=out))
    if file is None:
        raise UsageError("Nothing to search: give a sweep file, or one that ships, such as offset_lr_bayes.")
    if agents and gpus:
        raise UsageError("Give --agents or --gpus, not both: each GPU has an agent.")
    if dry_run and retry_failed:
        raise UsageError("--dry-run starts nothing: leave out --retry-failed.")
    if top and not repeats:
        raise UsageError("--top says how many settings --repeats runs again: give --repeats too.")
    options = Options(
        count=count,
        agents=agents or 1,
        gpus=gpu_list(gpus),
        name=name,
        out=out,
        storage=storage,
        sampler=search,
        seed=seed,
        repeats=repeats,
        top=top or 3,
        retry_failed=retry_failed,
        cluster=cluster_options(engine is Engine.ray, address, per_trial, runs, agents, gpus),
    )
    chosen = engine_for(engine)
    return (chosen.show_plan if dry_run else chosen.run)(file, overrides or [], options)


def agent(
    sweep: Annotated[str, typer.Argument(metavar="SWEEP", help="Its name, or its folder where there is no --storage.")],
    storage: Storage = None,
    count: Annotated[
        int | None, typer.Option(min=1, help="The most trials that are run here, on all GPUs together.")
    ] = None,
    gpus: Gpus = None,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder of trials on this machine; by default the sweep's own.")
    ] = None,
    as_json: Json = False,
) -> dict[str, Any]:
    """Join a sweep that was started here or on another machine, until no trial is left.

    For example: dcnrun agent offset-lr-bayes --storage postgresql://me@host/sweeps
    """
    from dcnrun.console import console
    from dcnrun.jobs.database import storage_url
    from dcnrun.sweep.agent import run_agent

    try:
        return run_agent(sweep, storage_url(storage), count, gpu_list(gpus), out)
    except KeyboardInterrupt:
        console.print(
            "Stopped; what its trials have trained is kept. This command or any other agent goes on with them."
        )
        raise
