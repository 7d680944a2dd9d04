"""Options that several commands have, and the words that options take."""

import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from dcnrun.errors import DcnrunError, UsageError
from dcnrun.jobs.cluster.options import ClusterOptions, Runs, read_resources
from dcnrun.runs import CheckpointChoice


class Device(StrEnum):
    """Where a benchmark computes."""

    cpu = "cpu"
    cuda = "cuda"


class Dtype(StrEnum):
    """The type of an operator's operands."""

    float32 = "float32"
    float64 = "float64"
    bfloat16 = "bfloat16"
    float16 = "float16"


def complete_override(ctx: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """Return what may follow, with its meaning, as shells ask for it."""
    from dcnrun.config.completion import offers

    config_dir = ctx.params.get("config_dir")
    try:
        return offers(incomplete, os.environ, Path(config_dir) if config_dir else None)
    except DcnrunError:
        return []


_OVERRIDES = "Settings (optim.lr=0.1) and choices of groups (conv=dilated); `dcnrun config --list` shows all."

Overrides = Annotated[
    list[str] | None, typer.Argument(metavar="OVERRIDE", help=_OVERRIDES, autocompletion=complete_override)
]
ConfigDir = Annotated[
    Path | None, typer.Option(metavar="DIR", help="A folder of your own, laid out as conf/: its choices join dcnrun's.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Compose and build everything, show it, and train nothing.")]
Json = Annotated[
    bool, typer.Option("--json", help="Print one JSON object on standard output, all else on standard error.")
]
Gpus = Annotated[
    str | None,
    typer.Option(metavar="0,1", help="An agent for each of these GPUs, or for as many as a run trains on."),
]
Storage = Annotated[
    str | None,
    typer.Option(
        metavar="URL", help="The database that machines share, postgresql://...; by default what DCNRUN_STORAGE holds."
    ),
]
Address = Annotated[
    str | None,
    typer.Option(
        metavar="HOST:PORT", help="The Ray cluster's head node; by default the cluster that this machine is in."
    ),
]
PerTrial = Annotated[
    str | None,
    typer.Option(
        metavar="CPU=4,memory=8GiB", help="What a run needs of a node of the Ray cluster; by default by its settings."
    ),
]
WhereRuns = Annotated[
    Runs | None,
    typer.Option(
        "--runs", help="On a Ray cluster: run folders that nodes share (the default), or copied from their disks."
    ),
]
Checkpoint = Annotated[CheckpointChoice, typer.Option(help="Which weights.")]


def split_overrides(arguments: list[str] | None) -> tuple[list[str], list[str]]:
    """Return the overrides among a command's arguments, and the others; a path that exists is none, whatever its name."""
    overrides = [argument for argument in arguments or [] if "=" in argument and not Path(argument).exists()]
    return overrides, [argument for argument in arguments or [] if argument not in overrides]


def gpu_list(gpus: str | None) -> tuple[str, ...]:
    """Return the GPUs that --gpus names, each once."""
    names = tuple(name.strip() for name in gpus.split(",")) if gpus is not None else ()
    if not all(names) or len(set(names)) < len(names):
        raise UsageError(f"--gpus {gpus}: give each GPU once, such as 0,1.")
    return names


def cluster_options(
    on_ray: bool, address: str | None, per_trial: str | None, runs: Runs | None, agents: int | None, gpus: str | None
) -> ClusterOptions | None:
    """Return the options of a Ray cluster; None where it is none. UsageError where an option is for the other.

    Args:
        on_ray: Whether the command runs on one.
        address: The value of --address.
        per_trial: The value of --per-trial.
        runs: The value of --runs.
        agents: The value of --agents.
        gpus: The value of --gpus.
    """
    if not on_ray:
        if address or per_trial or runs:
            raise UsageError("--address, --per-trial and --runs are for --engine ray.")
        return None
    if gpus:
        raise UsageError(
            "--gpus names GPUs of this machine: with --engine ray, --per-trial GPU=1 says how many a run needs."
        )
    resources = read_resources(per_trial) if per_trial is not None else None
    return ClusterOptions(address or "auto", resources, runs or Runs.shared, agents)
