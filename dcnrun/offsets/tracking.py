"""Measures and pictures of a run on Weights & Biases, beside the run itself."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dcnrun.config.schema import LoggerConfig
from dcnrun.errors import RunError
from dcnrun.offsets.measure import Measures
from dcnrun.offsets.objects import SizeClass
from dcnrun.runs import RunFolder

JOB_TYPE = "offsets"


def log_to_wandb(folder: RunFolder, logger: LoggerConfig, measures: Measures, pictures: Mapping[str, Path]) -> None:
    """Log tables and pictures (PNG files by title) in the mode that the run's config names; RunError without a login.

    They make a W&B run of their own, of job type `offsets` in the group of the run's name: the run itself is finished, and
    an offline one can't be gone on with. Its files lie in the run's folder too.
    """
    import wandb

    try:
        run = wandb.init(
            project=logger.wandb_project,
            name=f"{folder.path.name}-{JOB_TYPE}",
            group=folder.path.name,
            job_type=JOB_TYPE,
            dir=folder.path,
            mode=logger.wandb_mode.value,
            config={"run": folder.path.name, "checkpoint": measures.checkpoint, "step": measures.step},
            settings=wandb.Settings(console="off", silent=True),
        )
    except Exception as error:  # no login, no network: the client raises many kinds
        raise RunError(
            f"Weights & Biases can't start a run ({error}). Log in with `wandb login`, or give logger.wandb_mode=offline."
        ) from error
    with run:
        run.log(
            {
                "effective_dilation": wandb.Table(*_dilation(measures)),
                "offset_health": wandb.Table(*_health(measures)),
                "warnings": wandb.Table(["warning"], [[line] for layer in measures.layers for line in layer.warnings]),
                **{title: wandb.Image(str(path)) for title, path in pictures.items()},
            }
        )


_Columns = list[str | int]
_Rows = list[list[Any]]


def _dilation(measures: Measures) -> tuple[_Columns, _Rows]:
    """Columns and rows: a row for each layer and size class."""
    return ["layer", "plain", "size", "mean", "std", "count"], [
        [layer.name, layer.plain, size.value, spread.mean, spread.std, spread.count]
        for layer in measures.layers
        for size, spread in ((size, layer.spreads[size]) for size in SizeClass)
    ]


def _health(measures: Measures) -> tuple[_Columns, _Rows]:
    """Columns and rows: a row for each deformable layer."""
    columns: _Columns = ["layer", "median", "95 %", "most", "hardly move", "lost", "group similarity", "mask median"]
    return columns, [
        [
            health.name,
            health.offset_quantiles[0.5],
            health.offset_quantiles[0.95],
            health.offset_max,
            health.still,
            health.lost,
            health.group_similarity,
            None if health.mask is None else health.mask.quantiles[0.5],
        ]
        for health in (layer.health for layer in measures.layers)
        if health is not None
    ]
