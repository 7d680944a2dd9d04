"""`dcnrun evaluate`: the scores of a trained run, the same as its validation gave."""

from collections.abc import Sequence
from math import isnan
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.table import Table

from dcnrun.console import console
from dcnrun.errors import UsageError
from dcnrun.runs import CheckpointChoice
from dcnrun.tasks.registry import task_of
from dcnrun.tasks.task import Evaluation
from dcnrun.training.launch import launch
from dcnrun.training.trained_run import TrainedRun, load_trained_run
from dcnrun.training.validation import Inference, in_memory_format, validate


def evaluate(
    run: Path,
    which: CheckpointChoice = CheckpointChoice.best,
    overrides: Sequence[str] = (),
    predictions: Path | None = None,
) -> dict[str, Any]:
    """Score a run's `best` or `last` checkpoint on its validation images, print a table, return the numbers.

    Overrides change the run's config first: other data, another batch size. What the network says is written to
    `predictions`, where one is given.
    """
    trained = load_trained_run(run, which, overrides)
    task = task_of(trained.config.model)
    if predictions is not None and not task.traits.saves_predictions:
        raise UsageError(f"--save-predictions {predictions}: predictions are written of networks for boxes only.")
    result = validate(_inference(trained))
    _print(result, trained.path)
    if which is CheckpointChoice.best:
        console.print(
            f"{trained.path.name} was chosen by {task.traits.metric(trained.config)} on the run's own validation images: on those, its "
            "scores are optimistic; with --checkpoint last they are not."
        )
    if predictions is not None:
        result.write_predictions(predictions)
        console.print(f"Written: {predictions}", markup=False, soft_wrap=True)
    return {
        "run": str(run),
        "checkpoint": which,
        "step": trained.step,
        "images": len(result.images.names),
        "metrics": result.metrics,
        "per_class": result.per_class,
    }


def _inference(trained: TrainedRun) -> Inference[Any, Any, Any]:
    config = trained.config
    fabric, task = launch(config), task_of(config.model)
    val_set = task.dataset(config.data, "val")
    network = in_memory_format(trained.model(len(val_set.classes)).network, config).to(fabric.device)
    return Inference(config, task, fabric, network, val_set)


def _print(result: Evaluation, path: Path) -> None:
    table = Table(title=str(path))
    table.add_column("class")
    for metric in result.per_class:
        table.add_column(metric, justify="right")
    for name in result.images.classes:
        values = (scores[name] for scores in result.per_class.values())
        table.add_row(escape(name), *("-" if isnan(value) else f"{value:.4f}" for value in values))
    console.print(table)
    for name, value in result.metrics.items():
        console.print(f"{name} {value:.4f}")
