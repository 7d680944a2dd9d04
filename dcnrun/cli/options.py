"""Options that several commands have, and the words that options take."""

import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from dcnrun.errors import DcnrunError, UsageError
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
Checkpoint = Annotated[CheckpointChoice, typer.Option(help="Which weights.")]


def gpu_list(gpus: str | None) -> tuple[str, ...]:
    """Return the GPUs that --gpus names, each once."""
    names = tuple(name.strip() for name in gpus.split(",")) if gpus is not None else ()
    if not all(names) or len(set(names)) < len(names):
        raise UsageError(f"--gpus {gpus}: give each GPU once, such as 0,1.")
    return names
