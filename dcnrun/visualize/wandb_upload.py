"""Upload measures and pictures of a run to Weights & Biases, beside the run itself."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dcnrun.training.loggers import start_wandb
from dcnrun.visualize.load import LoadedRun
from dcnrun.visualize.measures import Measures

JOB_TYPE = "offsets"


def log_to_wandb(trained: LoadedRun, measures: Measures | None, pictures: Mapping[str, Path]) -> None:
    """Log tables of measures, if there are any, and pictures (PNG files by title), in the mode of the run's config.

    They go to a separate W&B run of job type `offsets` in a group with the run's name, with files in the run's folder too:
    the run itself is finished, and an offline run can't be resumed. RunError without a login.
    """
    import wandb

    folder, logger = trained.folder, trained.config.logger
    run = start_wandb(
        folder,
        project=logger.wandb_project,
        name=f"{folder.path.name}-{JOB_TYPE}",
        group=folder.path.name,
        job_type=JOB_TYPE,
        mode=logger.wandb_mode.value,
        config={"run": folder.path.name, "checkpoint": trained.checkpoint, "step": trained.step},
    )
    with run:
        tables = {} if measures is None else _tables(measures)
        run.log(
            {name: wandb.Table(columns, rows) for name, (columns, rows) in tables.items()}
            | {title: wandb.Image(str(path)) for title, path in pictures.items()}
        )


def _tables(measures: Measures) -> dict[str, tuple[list[str | int], list[list[Any]]]]:
    """Return the columns and rows of each table, by its title."""
    spreads = [
        [layer.name, layer.plain, size.value, spread.mean, spread.std, spread.count]
        for layer in measures.layers
        for size, spread in layer.spreads.items()
    ]
    health = [
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
    health_columns = "layer", "median", "95 %", "most", "hardly move", "lost", "group similarity", "mask median"
    return {
        "effective_dilation": (["layer", "plain", "size", "mean", "std", "count"], spreads),
        "offset_health": ([*health_columns], health),
        "warnings": (["warning"], [[line] for layer in measures.layers for line in layer.warnings]),
    }
