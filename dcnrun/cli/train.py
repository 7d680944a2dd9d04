"""`dcnrun train` and `dcnrun lr`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from dcnrun.cli.imports import kept_imports
from dcnrun.cli.options import ConfigDir, DryRun, Json, Overrides
from dcnrun.errors import UsageError


def train(
    overrides: Overrides = None,
    config_dir: ConfigDir = None,
    dry_run: DryRun = False,
    resume: Annotated[
        Path | None,
        typer.Option(
            metavar="RUN",
            help="Resume a run from its last checkpoint, as it was set up. Settings that change no number may be given: where the data are (data.root), devices, loggers, workers.",
        ),
    ] = None,
    run_dir: Annotated[
        Path | None, typer.Option(metavar="DIR", help="The run's folder; by default a new one below runs_dir.")
    ] = None,
    as_json: Json = False,
) -> dict[str, Any]:
    """Train a network for segmentation or detection.

    For example: dcnrun train conv=dilated data=nuclei
    """
    if resume is not None:
        if config_dir or dry_run or run_dir:
            raise UsageError("--resume continues a run as it was set up: give no other options.")
        with kept_imports():
            from dcnrun.training.run import resume as resume_run

        return resume_run(resume, overrides or [])

    from dcnrun.training.loggers import under_wandb_agent

    if under_wandb_agent() and not dry_run:
        with kept_imports():
            from dcnrun.training.wandb_agent import train as train_for_agent

        return train_for_agent(overrides or [], config_dir, run_dir)

    from dcnrun.config.compose import compose

    config = compose(overrides or [], config_dir)
    if dry_run:
        if run_dir:
            raise UsageError("--dry-run makes no run folder: leave out --run-dir.")
        with kept_imports():
            from dcnrun.training.prepare import dry_run as show_plan

        return show_plan(config)

    with kept_imports():
        from dcnrun.training.run import train as train_run

    return train_run(config, overrides or [], run_dir)


def lr(
    overrides: Overrides = None,
    config_dir: ConfigDir = None,
    low: Annotated[float, typer.Option("--from", metavar="RATE", help="The first learning rate.")] = 1e-6,
    high: Annotated[float, typer.Option("--to", metavar="RATE", help="The last one.")] = 10.0,
    steps: Annotated[int, typer.Option(help="Training steps: each has a larger rate than the one before.")] = 100,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where lr.json and the picture are written.")] = Path(
        "lr-range"
    ),
    as_json: Json = False,
) -> dict[str, Any]:
    """Test learning rates: train while the rate grows until the loss diverges, draw it, and suggest one.

    For example: dcnrun lr conv=deformable data=nuclei optim=adamw
    """
    from dcnrun.config.compose import compose

    with kept_imports():
        from dcnrun.training.lr_range import lr_range_test

    return lr_range_test(compose(overrides or [], config_dir), low, high, steps, out)
